"""The ledger is the score cache: what has been computed once is copied, and says so."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_tasks_planning import BACKFILL, ENGINE, NOW, Bench, adapter, part

from tasks import part_files, planning
from tasks.tracking import RegisteredAdapter
from warehouse import db, parts, reports


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def scored(bench: Bench, response_id: str, run_id: str) -> list[tuple[object, ...]]:
    """The values of a response's scores, and where they come from."""
    with db.connect(bench.warehouse) as connection:
        return connection.execute(
            "SELECT trait, raw_score, score, confidence, probabilities, truncated, trimmed_score, "
            "scaled_score, reported, tokens, unknown_tokens, language, engine, "
            "adapter_sha256, backbone_sha256, reused_from FROM scores "
            "WHERE response_id = ? AND run_id = ? ORDER BY trait",
            [response_id, run_id],
        ).fetchall()


def first_night(bench: Bench, *adapters: RegisteredAdapter) -> str:
    """Score what waits, and begin the next night; returns the first night's run id."""
    status, _ = bench.commit(bench.plan(*adapters))
    assert status == "done"
    run_id = bench.run_id
    bench.begin()
    return run_id


def test_the_same_text_is_scored_once_and_copied_ever_after(bench: Bench) -> None:
    both = (adapter("b", trait="ideas"), adapter("b", trait="form"))
    bench.respond("b", "b1", text="the same")
    first = first_night(bench, *both)
    original = scored(bench, "b1", first)
    for response_id in ("b2", "b3"):
        bench.respond("b", response_id, text="the same")
        plan = bench.plan(*both)
        assert (plan.rows, plan.reused, plan.shards) == (0, 2, ())
        assert plan.adapters == {one.sha256 for one in both}
        status, counts = bench.commit(plan)
        assert (status, counts.scored, counts.reused, counts.reconciled) == ("done", 1, 1, True)
        copied = scored(bench, response_id, bench.run_id)
        assert [row[:-1] for row in copied] == [row[:-1] for row in original]
        assert {row[-1] for row in copied} == {first}  # also of a copy's copy
        bench.begin()
        with db.connect(bench.warehouse) as connection:  # even where the clock was put back
            connection.execute("UPDATE scores SET scored_at = ? WHERE reused_from NOT NULL", [NOW])
    with db.connect(bench.warehouse) as connection:
        found = connection.execute(
            "SELECT DISTINCT latency_ms FROM scores WHERE reused_from IS NOT NULL"
        )
        assert found.fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("item_id", "text", "other"),
    [
        ("a", "the same ", {}),
        ("c", "the same", {}),
        ("a", "the same", {"engine": ENGINE.replace("fp32", "bf16")}),
        ("a", "the same", {"engine": ENGINE.replace("0.1.0", "0.1.1")}),
        ("a", "the same", {"backbone_sha256": "another"}),
    ],
    ids=["text", "item", "precision", "program", "backbone"],
)
def test_whatever_decides_a_score_must_be_the_same(
    bench: Bench, item_id: str, text: str, other: dict[str, str]
) -> None:
    bench.respond("a", "a1", text="the same")
    first_night(bench, adapter("a"))
    bench.respond(item_id, "new", text=text)
    plan = bench.plan(replace(adapter(item_id), sha256=adapter("a").sha256), **other)
    assert (plan.rows, plan.reused) == (1, 0)


def test_a_score_for_another_trait_is_not_taken(bench: Bench) -> None:
    ideas = adapter("b", trait="ideas")
    bench.respond("b", "b1", text="the same")
    bench.commit(bench.plan(ideas))
    bench.begin()
    bench.respond("b", "b2", text="the same")
    plan = bench.plan(replace(adapter("b", trait="form"), sha256=ideas.sha256))
    assert (plan.rows, plan.reused) == (2, 0)


def test_the_same_text_in_two_items_is_two_texts(bench: Bench) -> None:
    bench.respond("a", "a1", text="the same")
    first_night(bench, adapter("a"))
    bench.respond("a", "a2", text="the same")
    bench.respond("c", "c1", text="the same")
    plan = bench.plan(adapter("a"), adapter("c"))
    assert (plan.rows, plan.reused) == (1, 1)
    assert [unit.item_id for unit in plan.shards[0].units] == ["c"]


def test_one_changed_byte_of_an_adapter_misses(bench: Bench) -> None:
    bench.respond("a", "a1", text="the same")
    first_night(bench, adapter("a"))
    bench.respond("a", "a2", text="the same")
    assert bench.plan(adapter("a")).rows == 0
    retouched = replace(adapter("a"), sha256="0" + adapter("a").sha256[1:])
    assert bench.plan(retouched).rows == 1


def test_codes_and_scores_of_an_unknown_engine_are_not_reused(bench: Bench) -> None:
    bench.respond("a", "a1", text=" ", blank=True)
    bench.respond("a", "a2", text="before the cache")
    first_night(bench, adapter("a"))
    with db.connect(bench.warehouse) as connection:
        connection.execute("UPDATE scores SET engine = NULL")  # as after the migration
    bench.respond("a", "a3", text=" ", blank=True)
    bench.respond("a", "a4", text="before the cache")
    plan = bench.plan(adapter("a"))
    assert (plan.rows, plan.reused) == (1, 0)
    _, counts = bench.commit(plan)
    assert (counts.scored, counts.reused, counts.coded) == (1, 0, 1)


def test_a_blank_response_stays_coded_whatever_its_text_once_got(bench: Bench) -> None:
    bench.respond("a", "a1", text="the same")
    first_night(bench, adapter("a"))
    bench.respond("a", "a2", text="the same", blank=True)
    plan = bench.plan(adapter("a"))
    assert (plan.rows, plan.reused) == (0, 0)
    _, counts = bench.commit(plan)
    assert (counts.scored, counts.coded) == (0, 1)


def test_a_response_with_one_computed_trait_is_not_counted_as_reused(bench: Bench) -> None:
    bench.respond("b", "b1", text="the same")
    bench.commit(bench.plan(adapter("b", trait="ideas")))
    bench.begin()
    bench.respond("b", "b2", text="the same")
    plan = bench.plan(adapter("b", trait="ideas"), adapter("b", trait="form"))
    assert (plan.rows, plan.reused) == (2, 1)  # form of both, ideas of the second is copied
    _, counts = bench.commit(plan)
    assert (counts.scored, counts.reused) == (2, 0)


def test_going_back_to_an_earlier_adapter_computes_nothing(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    first = first_night(bench, adapter("a"))
    bench.commit(bench.plan(adapter("a", version=2), selection=BACKFILL))
    bench.begin()
    plan = bench.plan(adapter("a"), selection=BACKFILL)
    assert (plan.rows, plan.reused) == (0, 2)
    bench.commit(plan)
    assert [row[:2] + row[3:] for row in bench.ledger()] == [
        ("a1", "overall", 1), ("a2", "overall", 1)
    ]  # fmt: skip
    values = [scored(bench, "a1", run_id)[0] for run_id in (first, bench.run_id)]
    assert values[0][:-1] == values[1][:-1]


def test_the_donor_is_the_first_that_was_computed(bench: Bench) -> None:
    bench.respond("a", "a2", "a1", text="the same")  # both computed in one night
    first = first_night(bench, adapter("a"))
    bench.respond("a", "a0", text="the same")
    plan = bench.plan(adapter("a"))
    assert pq.read_table(plan.path).to_pylist()[0]["reused_response_id"] == "a1"
    bench.commit(plan)
    assert scored(bench, "a0", bench.run_id)[0][:-1] == scored(bench, "a1", first)[0][:-1]


def test_a_night_killed_after_planning_ends_with_the_same_copies(bench: Bench) -> None:
    bench.respond("a", "a1", text="the same")
    first = first_night(bench, adapter("a"))
    bench.respond("a", "a2", text="the same")
    bench.respond("a", "a3")
    killed = bench.plan(adapter("a"))
    (shard,) = killed.shards
    written = part(pq.read_table(killed.path, filters=[("shard", "=", shard.name)]).to_pylist())
    made = planning.part_path(killed.path, shard)
    parts.write(made, written.replace_schema_metadata({"shard": shard.name}))
    again = bench.plan(adapter("a"))
    assert again == killed
    assert part_files.read_part(again.path, shard).rows == 1
    status, counts = bench.commit(again)
    assert (status, counts.scored, counts.reused) == ("done", 2, 1)
    bench.commit(again)  # a commit that is repeated adds nothing
    with db.connect(bench.warehouse) as connection:
        found = connection.execute(
            "SELECT response_id, reused_from FROM scores WHERE run_id = ? ORDER BY ALL",
            [bench.run_id],
        )
        assert found.fetchall() == [("a2", first), ("a3", None)]


def test_a_part_of_another_engine_is_not_taken_up(bench: Bench) -> None:
    bench.respond("a", "a1")
    (fp32,) = bench.plan(adapter("a")).shards
    (bf16,) = bench.plan(adapter("a"), engine=ENGINE.replace("fp32", "bf16")).shards
    assert fp32.name != bf16.name


def test_what_was_measured_about_a_text_is_in_the_ledger(bench: Bench) -> None:
    with db.connect(bench.warehouse) as connection:
        connection.execute("UPDATE items SET reported = 'scaled' WHERE item_id = 'c'")
    bench.respond("a", "a1")
    bench.respond("c", "c1")
    bench.commit(bench.plan(adapter("a"), adapter("c")))
    with db.connect(bench.warehouse) as connection:
        found = connection.execute(
            "SELECT trimmed_score, scaled_score, reported, tokens, unknown_tokens, language "
            "FROM scores ORDER BY response_id"
        ).fetchall()
    assert found == [(1.3, None, "rounded", 7, 2, "en"), (1.3, 1.6, "scaled", 7, 2, "en")]


def test_why_a_run_was_held_at_its_commit_is_kept(bench: Bench) -> None:
    bench.respond("a", "a1", "a2")
    bench.commit(bench.plan(adapter("a")), skip="a1")
    with db.connect(bench.warehouse) as connection:
        run = reports.run(connection, bench.run_id)
    assert run.held_reasons == ("1 responses were not scored: they are planned again",)
    assert run.message == run.held_reasons[0]


def test_a_donor_that_has_vanished_is_a_failure_not_a_score(bench: Bench) -> None:
    bench.respond("a", "a1", text="the same")
    first_night(bench, adapter("a"))
    bench.respond("a", "a2", text="the same")
    plan = bench.plan(adapter("a"))
    with db.connect(bench.warehouse) as connection:
        connection.execute("DELETE FROM scores")
    status, counts = bench.commit(plan)
    assert (status, counts.scored, counts.failed) == ("held", 0, 1)
