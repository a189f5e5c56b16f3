"""Planning a backfill with the adapters whose scores stand: several of an item, each its own."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest
from test_tasks_planning import BACKFILL, Bench, adapter

from tasks.planning import Plan
from warehouse import db, release

AS_THEN = replace(BACKFILL, as_then=True)
OTHER = "fp32 audit"
FIRST, SECOND = adapter("a"), adapter("a", version=2)


@pytest.fixture
def bench(tmp_path) -> Bench:
    """Two responses scored by version 1, one by version 2, one by nobody."""
    made = Bench(tmp_path)
    made.respond("a", "a1", "a2")
    made.commit(made.plan(FIRST))
    made.begin()
    made.respond("a", "a3")
    made.commit(made.plan(SECOND))
    made.begin()
    made.respond("a", "a4")
    return made


def planned(plan: Plan) -> list[tuple[str, int]]:
    rows = pq.read_table(plan.path).to_pylist()
    return sorted((row["response_id"], row["adapter_version"]) for row in rows)


def test_each_response_is_for_the_adapter_that_scored_it(bench: Bench) -> None:
    plan = bench.plan(FIRST, SECOND, selection=AS_THEN, engine=OTHER)
    assert planned(plan) == [("a1", 1), ("a2", 1), ("a3", 2)]  # a4 was scored by nobody
    assert plan.rows == 3
    assert bench.plan(FIRST, SECOND, selection=AS_THEN).rows == 0  # computed like that before


def test_no_shard_holds_two_adapters_of_an_item(bench: Bench) -> None:
    plan = bench.plan(FIRST, SECOND, selection=AS_THEN, engine=OTHER)
    assert [[unit.adapter_version for unit in shard.units] for shard in plan.shards] in (
        [[1], [2]], [[2], [1]]
    )  # fmt: skip
    bench.commit(plan)
    assert {(row[0], row[3]) for row in bench.ledger()} == {("a1", 1), ("a2", 1), ("a3", 2)}


def test_copies_are_of_the_same_adapter(bench: Bench) -> None:
    bench.respond("a", "b1", text="a1")  # the text of a1, scored by version 2 alone
    bench.commit(bench.plan(SECOND))
    bench.begin()
    bench.commit(bench.plan(FIRST, SECOND, selection=AS_THEN, engine=OTHER))
    with db.connect(bench.warehouse) as connection:
        copied = connection.execute(
            "SELECT response_id, reused_from FROM scores WHERE reused_from IS NOT NULL"
        ).fetchall()
    assert copied == []


def test_a_released_score_stands_before_a_later_held_one(bench: Bench) -> None:
    with db.connect(bench.warehouse) as connection:
        ((first,),) = connection.execute(
            "SELECT run_id FROM scores WHERE response_id = 'a1'"
        ).fetchall()
        release.decide(connection, first, "released", "A. Rater", "read")
    bench.commit(bench.plan(SECOND, selection=replace(BACKFILL, items=("a",))))
    bench.begin()
    plan = bench.plan(FIRST, SECOND, selection=AS_THEN, engine=OTHER)
    assert planned(plan) == [("a1", 1), ("a2", 1), ("a3", 2), ("a4", 2)]


def test_two_adapters_for_every_response_are_refused_otherwise(bench: Bench) -> None:
    with pytest.raises(ValueError, match="scored twice"):
        bench.plan(FIRST, SECOND, selection=BACKFILL)
    with pytest.raises(ValueError, match="scored twice"):
        bench.plan(FIRST, FIRST, selection=AS_THEN)
