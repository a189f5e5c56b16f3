"""Validity responses: scored anew every night, compared with what is known, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from test_tasks_planning import BACKFILL, DAY, Bench, adapter, part

from tasks import planning
from tasks.planning import Selection
from tasks.tracking import RegisteredAdapter
from warehouse import db, history, parts, ratings, release, training
from warehouse.release import ValidityScores

NIGHT = Selection(validity=True)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two validity responses of item a and one of item b, with known scores; one of c."""
    made = Bench(tmp_path)
    made.respond("a", "v1", "v2", known=1)
    made.respond("b", "v3", known=2)
    made.respond("c", "v4", known=0)
    made.begin()
    return made


def night(bench: Bench, *adapters: RegisteredAdapter) -> str:
    """Score a night; returns its run id."""
    status, counts = bench.commit(bench.plan(*adapters, selection=NIGHT))
    assert (status, counts.reconciled) == ("done", True)
    run_id = bench.run_id
    bench.begin()
    return run_id


def results(bench: Bench, run_id: str) -> dict[tuple[str, str], ValidityScores]:
    with db.connect(bench.warehouse, read_only=True) as connection:
        found = release.validity_results(connection, run_id)
    return {(one.item_id, one.trait): one for one in found}


def stored(bench: Bench, table: str = "validity_scores") -> list[tuple[object, ...]]:
    statement = f"SELECT run_id, response_id, trait, score FROM {table} ORDER BY ALL"  # noqa: S608
    with db.connect(bench.warehouse, read_only=True) as connection:
        return connection.execute(statement).fetchall()


def test_a_night_scores_them_for_every_adapter_and_counts_them_nowhere(bench: Bench) -> None:
    bench.respond("a", "a1")
    plan = bench.plan(adapter("a"), adapter("b", trait="ideas"), selection=NIGHT)
    assert (plan.rows, plan.responses, plan.reused) == (4, 1, 0)
    assert plan.adapters == {adapter("a").sha256}
    assert {(unit.item_id, unit.trait) for shard in plan.shards for unit in shard.units} == {
        ("a", "overall"), ("b", "ideas")
    }  # fmt: skip
    status, counts = bench.commit(plan)
    assert (status, counts.accepted, counts.waiting, counts.scored) == ("done", 1, 0, 1)
    assert counts.reconciled
    found = [row[1:3] for row in stored(bench)]
    assert found == [("v1", "overall"), ("v2", "overall"), ("v3", "ideas")]


def test_they_are_in_no_table_that_scores_are_reported_from(bench: Bench) -> None:
    bench.respond("a", "a1")
    run_id = night(bench, adapter("a"))
    with db.connect(bench.warehouse) as connection:
        release.record_gate(connection, run_id, [], "released", [], "sha", "{}")
        (rows,) = [rows for _, rows in ratings.rated_scores(connection, run_id)]
        everything = [rows for _, rows in ratings.rated_scores(connection, None)]
        (sample,) = history.samples_of_run(connection, run_id)
        trained = training.human_scored(connection, None, None)
    for table in ("scores", "current_scores", "released_scores"):
        assert [row[1] for row in stored(bench, table)] == ["a1"]
    assert (len(rows), len(everything), sample.n, len(trained)) == (1, 1, 1, 0)


def test_a_backfill_leaves_them_alone(bench: Bench) -> None:
    plan = bench.plan(adapter("a"), selection=BACKFILL)
    assert (plan.rows, plan.responses) == (0, 0)
    status, counts = bench.commit(plan)
    assert (status, counts.scored, stored(bench)) == ("done", 0, [])


def test_their_day_is_no_administration_day(bench: Bench) -> None:
    assert planning.last_day(bench.warehouse, Selection()) is None
    bench.respond("a", "a1")
    assert planning.last_day(bench.warehouse, Selection()) == DAY


def test_every_night_computes_them_anew(bench: Bench) -> None:
    bench.respond("a", "a1", text="v1")  # the same text as a validity response
    first = night(bench, adapter("a"))
    bench.respond("a", "a2", text="v1")
    plan = bench.plan(adapter("a"), selection=NIGHT)
    assert (plan.rows, plan.reused) == (2, 1)
    bench.commit(plan)
    assert [row[:2] for row in stored(bench)] == sorted(
        (run_id, name) for run_id in (first, bench.run_id) for name in ("v1", "v2")
    )
    with db.connect(bench.warehouse) as connection:
        copied = connection.execute("SELECT response_id, reused_from FROM scores WHERE reused_from"
                                    " IS NOT NULL").fetchall()  # fmt: skip
    assert copied == [("a2", first)]


def test_a_validity_score_is_no_donor(bench: Bench) -> None:
    night(bench, adapter("a"))
    bench.respond("a", "a1", text="v1")
    plan = bench.plan(adapter("a"))
    assert (plan.rows, plan.reused) == (1, 0)


def test_a_night_killed_after_scoring_ends_with_the_same_scores(bench: Bench) -> None:
    bench.respond("a", "a1")
    killed = bench.plan(adapter("a"), selection=NIGHT)
    (shard,) = killed.shards
    written = part(pq.read_table(killed.path).to_pylist())
    parts.write(
        planning.part_path(killed.path, shard),
        written.replace_schema_metadata({"shard": shard.name}),
    )
    again = bench.plan(adapter("a"), selection=NIGHT)
    assert again == killed
    for _ in range(2):  # a commit that is repeated adds nothing
        _, counts = bench.commit(again)
        assert (counts.scored, counts.reconciled) == (1, True)
        assert [row[1] for row in stored(bench)] == ["v1", "v2"]
        assert [row[1] for row in stored(bench, "scores")] == ["a1"]


def test_one_that_was_not_scored_holds_the_run(bench: Bench) -> None:
    bench.respond("a", "a1")
    plan = bench.plan(adapter("a"), selection=NIGHT)
    status, counts = bench.commit(plan, skip="v1")
    assert (status, counts.failed, counts.scored) == ("held", 0, 1)
    with db.connect(bench.warehouse) as connection:
        found = connection.execute("SELECT message FROM runs WHERE status = 'held'").fetchall()
    assert found == [("1 scores of validity responses are missing",)]


def test_known_scores_beside_those_of_tonight_and_of_the_night_before(bench: Bench) -> None:
    adapters = (adapter("a"), adapter("b", trait="ideas"), adapter("b", trait="form"))
    first = night(bench, *adapters)
    assert list(results(bench, first)) == [("a", "overall"), ("b", "form"), ("b", "ideas")]
    of_a = results(bench, first)["a", "overall"]
    assert (of_a.score_min, of_a.score_max) == (0, 2)
    assert (of_a.known.tolist(), of_a.score.tolist()) == ([1, 1], [1, 1])
    assert np.isnan(of_a.before).all()
    assert of_a.same_adapter

    bench.respond("a", "v5", known=2)
    bench.begin()
    with db.connect(bench.warehouse) as connection:
        connection.execute("UPDATE validity_scores SET score = 0 WHERE response_id = 'v1'")
    second = night(bench, adapter("a", version=2), *adapters[1:])
    of_a, of_b = results(bench, second)["a", "overall"], results(bench, second)["b", "form"]
    assert (of_a.known.tolist(), of_a.score.tolist()) == ([1, 1, 2], [1, 1, 1])
    np.testing.assert_equal(of_a.before, [0, 1, np.nan])
    assert (of_a.same_adapter, of_b.same_adapter) == (False, True)
    assert (of_b.known.tolist(), of_b.before.tolist()) == ([2], [1])
    # What an earlier night is told to have found does not change with later ones.
    assert np.isnan(results(bench, first)["a", "overall"].before).all()


def test_a_night_without_any_is_told_as_such(bench: Bench) -> None:
    assert results(bench, night(bench)) == {}


def test_a_blank_one_and_one_of_an_unrated_trait_are_not_scored(bench: Bench) -> None:
    bench.respond("a", "v6", known=0, blank=True)
    with db.connect(bench.warehouse) as connection:
        connection.execute("DELETE FROM human_scores WHERE trait = 'form'")
    both = (adapter("b", trait="ideas"), adapter("b", trait="form"))
    plan = bench.plan(adapter("a"), *both, selection=NIGHT)
    assert plan.rows == 3  # v1, v2 and the ideas of v3


def test_the_plan_says_which_rows_they_are(bench: Bench) -> None:
    bench.respond("a", "a1")
    plan = bench.plan(adapter("a"), selection=replace(NIGHT, items=("c",)))
    rows = pq.read_table(plan.path).to_pylist()
    assert [(row["response_id"], row["purpose"]) for row in rows] == [
        ("v1", "validity"), ("v2", "validity")
    ]  # fmt: skip
