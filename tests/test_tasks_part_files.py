"""A part is believed only if it is whole and holds what was planned."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_tasks_planning import Bench, adapter, part

from tasks import planning
from tasks.part_files import ShardResult, UnitFailure, read_part, unsound, write_part
from tasks.shards import Plan, Shard, rows_of, shards_in
from warehouse.parts import DamagedFileError


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def plan(bench: Bench) -> Plan:
    bench.respond("a", "a1", "a2")
    bench.respond("b", "b1", "b2")
    bench.respond("c", "c1", blank=True)
    return bench.plan(adapter("a"), adapter("b", trait="ideas"), adapter("c"))


def made(plan: Plan, **other: object) -> tuple[Shard, pa.Table, ShardResult]:
    (shard,) = plan.shards
    rows = [{**row, **other} for row in rows_of(plan.path, shard).to_pylist()]
    result = ShardResult(shard.name, len(rows), 2, {"a overall": 3.5}, 1.5, (), 1.0, 600.0)
    return shard, part(rows), result


def test_a_part_says_what_it_cost(plan: Plan) -> None:
    shard, table, result = made(plan)
    write_part(plan.path, shard, table, result)
    assert read_part(plan.path, shard) == result
    found = result.as_found()
    assert (found.rows, found.seconds, found.adapters_loaded) == (4, 0, 0)
    assert unsound(plan.path, plan.shards) == {}


def test_a_part_may_lack_what_failed_and_nothing_else(plan: Plan) -> None:
    shard, table, result = made(plan)
    first = shard.units[0]
    failure = UnitFailure(first.item_id, first.trait, "it is damaged", first.adapter_sha256)
    lacking = ShardResult(result.name, 2, 1, {}, 1.0, (failure,))
    write_part(plan.path, shard, table.slice(2), lacking)
    assert read_part(plan.path, shard) == lacking
    write_part(plan.path, shard, table.slice(0, 2), lacking)
    with pytest.raises(DamagedFileError, match="rows that were planned"):
        read_part(plan.path, shard)


@pytest.mark.parametrize(
    "wrong",
    [
        {"response_id": "a1"},
        {"trait": "form"},
        {"adapter_sha256": "0" * 64},
        {"adapter_version": 9},
    ],
    ids=str,
)
def test_a_part_of_other_rows_or_adapters_is_refused(plan: Plan, wrong: dict[str, object]) -> None:
    shard, table, result = made(plan, **wrong)
    write_part(plan.path, shard, table, result)
    with pytest.raises(DamagedFileError, match="rows that were planned"):
        read_part(plan.path, shard)


def test_a_part_that_is_not_the_shards_is_refused(plan: Plan, bench: Bench) -> None:
    shard, table, result = made(plan)
    path = planning.part_path(plan.path, shard)
    for damaged in (table.slice(1), pa.concat_tables([table, table.slice(3)])):
        write_part(plan.path, shard, damaged, result)
        assert "rows that were planned" in unsound(plan.path, plan.shards)[shard]
    write_part(plan.path, shard, table.drop_columns(["language"]), result)
    assert "not a part" in unsound(plan.path, plan.shards)[shard]
    other = Shard("0123456789abcdef", shard.rows, shard.units, shard.engine)
    write_part(plan.path, other, table, result)
    planning.part_path(plan.path, other).replace(path)  # under another's name
    assert "not a part" in unsound(plan.path, plan.shards)[shard]
    engine = table.column_names.index("engine")
    mixed = table.set_column(engine, "engine", pa.array(["bf16"] * len(table)))
    write_part(plan.path, shard, mixed.cast(table.schema), result)
    assert "another engine" in unsound(plan.path, plan.shards)[shard]
    path.unlink()
    assert "not there" in unsound(plan.path, plan.shards)[shard]


def test_a_plan_can_be_scored_from_with_nothing_beside_it(plan: Plan) -> None:
    assert shards_in(plan.path) == plan.shards
    (shard,) = plan.shards
    rows = rows_of(plan.path, shard)
    assert rows["response_id"].to_pylist() == ["a1", "a2", "b1", "b2"]
    everything = pq.read_table(plan.path)
    assert set(everything["shard"].to_pylist()) == {shard.name, ""}


def test_a_plan_with_other_rows_than_its_names_say_is_refused(plan: Plan) -> None:
    (shard,) = plan.shards
    table = pq.read_table(plan.path)
    ids = table["response_id"].to_pylist()
    place = table.column_names.index("response_id")
    swapped = table.set_column(place, "response_id", pa.array([ids[1], ids[0], *ids[2:]]))
    swapped = swapped.replace_schema_metadata(table.schema.metadata)
    pq.write_table(swapped, plan.path, row_group_size=shard.rows)
    with pytest.raises(DamagedFileError, match="other rows"):
        rows_of(plan.path, shard)
    content = plan.path.read_bytes()
    plan.path.write_bytes(content[:-30])
    with pytest.raises(DamagedFileError, match="cannot be read"):
        rows_of(plan.path, shard)


def test_nothing_damaged_is_committed(plan: Plan, bench: Bench) -> None:
    from tasks.inference import commit_scores
    from warehouse.scores import Files

    shard, table, result = made(plan)
    write_part(plan.path, shard, table, result)
    path = planning.part_path(plan.path, shard)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum"):
        commit_scores.fn(bench.warehouse, bench.run_id, plan, [result], Files(), [])
    assert bench.ledger() == []
    write_part(plan.path, shard, table, result)
    commit_scores.fn(bench.warehouse, bench.run_id, plan, [result], Files(), [])
    assert [row[0] for row in bench.ledger()] == ["a1", "a2", "b1", "b2", "c1"]
    assert list(plan.path.parent.glob("*.parquet")) == []
