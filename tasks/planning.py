"""Plan what must be scored: every response that waits, grouped by item, packed into shards.

A score that an earlier run has computed for the same text is copied from the ledger when the run
commits; only the other rows go into shards. A shard is named by a hash of its responses and of what
scores them, so a plan made again after a crash finds the parts that were finished.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.shards import Plan, Shard, Unit, part_path, shard_of, write_plan
from tasks.spans import spans
from tasks.tracking import RegisteredAdapter
from warehouse import db
from warehouse.parts import clear_unfinished
from warehouse.storage import Location

__all__ = [
    "Plan",
    "Selection",
    "Shard",
    "Unit",
    "chosen",
    "last_day",
    "packed",
    "part_path",
    "plan_scoring",
    "planned_rows",
]

SHARD_ROWS = 4_096  # a shard is this many rows, or one item if that has more
SPLIT_ROWS = 32_768  # an item with more than this is split over several shards


@dataclass(frozen=True)
class Selection:
    """Which responses a run looks at; None is no restriction."""

    seasons: tuple[str, ...] | None = None
    items: tuple[str, ...] | None = None
    from_date: date | None = None
    to_date: date | None = None
    rescore: bool = False  # also what another adapter has scored (a backfill)
    validity: bool = False  # and all validity responses, which know no restriction (a night)
    as_then: bool = False  # each with the adapter whose score of it stands; none that has no score

    def bound(self) -> dict[str, list[str] | date | None]:
        """The restrictions as the parameters of a statement."""
        return {
            "seasons": None if self.seasons is None else list(self.seasons),
            "items": None if self.items is None else list(self.items),
            "from_date": self.from_date,
            "to_date": self.to_date,
        }


def chosen(values: Sequence[str] | None) -> tuple[str, ...] | None:
    """A restriction, the same whatever order its values come in; none where there are none."""
    return tuple(sorted(set(values))) if values else None


def last_day(warehouse: Path, selection: Selection) -> date | None:
    """The last administration day among the selected responses; None where there are none."""
    with db.connect(warehouse) as connection:
        (found,) = db.rows(connection, "selection_last_day", selection.bound())
    day: date | None = found["day"]
    return day


def planned_rows(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    adapters: Sequence[RegisteredAdapter],
    selection: Selection,
    *,
    backbone_sha256: str,
    engine: str,
) -> pa.Table:
    """Every response and trait that a run has to score, by item, trait and adapter.

    Beside each is the adapter that is to score it, and the score that is copied where an earlier
    run has computed it. The arguments are those of ``plan_scoring``; the warehouse may be open for
    reading alone.

    Raises:
        ValueError: a response would be scored twice.
    """
    names = Counter(
        (adapter.item_id, adapter.trait, adapter.sha256 if selection.as_then else "")
        for adapter in adapters
    )
    if any(count > 1 for count in names.values()):
        raise ValueError("two adapters for one item and trait: each response would be scored twice")
    connection.register("adapters", _adapter_table(adapters))
    bound = {
        **selection.bound(),
        "run_id": run_id,
        "rescore": selection.rescore,
        "validity": selection.validity,
        "as_then": selection.as_then,
        "engine": engine,
    }
    db.execute(connection, "plan_responses", bound)
    computed_with = {"backbone_sha256": backbone_sha256, "engine": engine}
    return db.table(connection, "plan_reused", computed_with)


@task(cache_policy=NO_CACHE)
def plan_scoring(
    warehouse: Path,
    folder: Location,
    run_id: str,
    adapters: Sequence[RegisteredAdapter],
    selection: Selection,
    *,
    backbone_sha256: str,
    engine: str,
) -> Plan:
    """List what a run has to score, grouped by item and packed into shards, and write it down.

    The plan depends on the warehouse and the arguments alone.

    Args:
        warehouse: the DuckDB file.
        folder: where plans and parts lie; those of dead runs are removed unless they are of use.
        run_id: the run, already begun.
        adapters: the adapter of each (item, trait).
        selection: which responses.
        backbone_sha256: of the backbone's weights.
        engine: what decides a score beside text, adapter and backbone. A score that was computed
            with another one is not reused.

    Raises:
        ValueError: two adapters for one item and trait.
    """
    with db.connect(warehouse) as connection:
        rows = planned_rows(
            connection,
            run_id,
            adapters,
            selection,
            backbone_sha256=backbone_sha256,
            engine=engine,
        )
    operational = rows.filter(pc.equal(rows["purpose"], "operational"))
    copied = pc.is_valid(rows["reused_from"])
    computed = pc.and_not(_scorable(rows), copied)
    narrow = rows.select([*(field.name for field in fields(Unit)), "response_id", "text_sha256"])
    shards, names_of_rows = _shards(narrow.filter(computed), backbone_sha256, engine)
    path = folder / f"{run_id}.plan.parquet"
    _clear(folder, keep={part_path(path, shard) for shard in shards})
    planned = rows.append_column("shard", _spread(names_of_rows, computed))
    write_plan(path, planned, shards, backbone_sha256)
    return Plan(
        path,
        responses=len(pc.unique(operational["response_id"])),
        reused=pc.sum(copied).as_py() or 0,
        adapters=frozenset(
            pc.unique(operational.filter(_scorable(operational))["adapter_sha256"]).to_pylist()
        ),
        shards=shards,
    )


def _scorable(rows: pa.Table) -> pa.ChunkedArray:
    return pc.and_(pc.invert(rows["blank"]), pc.is_valid(rows["adapter_sha256"]))


def _clear(folder: Location, keep: set[Location]) -> None:
    """Remove plans, parts and halves of them that runs left behind when they were killed."""
    clear_unfinished(folder)
    left: list[Location] = [*folder.glob("*.parquet")]
    for path in left:
        if path not in keep:
            path.unlink(missing_ok=True)


def _shards(
    rows: pa.Table, backbone_sha256: str, engine: str
) -> tuple[tuple[Shard, ...], list[str]]:
    """Cut the sorted rows that are to be computed into shards; returns them and a name per row."""
    shards: list[Shard] = []
    names: list[str] = []
    pending: list[tuple[Unit, pa.Table]] = []

    def close() -> None:
        if pending:
            shard = shard_of(pending, backbone_sha256, engine)
            names.extend([shard.name] * shard.rows)
            shards.append(shard)
            pending.clear()

    size = 0
    for unit, piece in _units(rows):
        # A part names a score by response and trait: two adapters of an item go into two shards.
        again = any((one.item_id, one.trait) == (unit.item_id, unit.trait) for one, _ in pending)
        if size and (again or size + len(piece) > SHARD_ROWS):
            close()
            size = 0
        pending.append((unit, piece))
        size += len(piece)
    close()
    return tuple(shards), names


def packed(rows: pa.Table, backbone_sha256: str, engine: str) -> tuple[tuple[Shard, ...], pa.Table]:
    """Pack sorted rows that are all to be computed, as ``plan_scoring`` does.

    Returns:
        the shards, and the rows with the column ``shard`` of ``write_plan``.
    """
    shards, names = _shards(rows, backbone_sha256, engine)
    return shards, rows.append_column("shard", pa.array(names, pa.string()))


def _units(rows: pa.Table) -> list[tuple[Unit, pa.Table]]:
    """The rows of each item, trait and adapter, in pieces that fit a shard."""
    keys = (rows[name].to_pylist() for name in ("item_id", "trait", "adapter_sha256"))
    units = []
    for start, stop in spans(*keys):
        first = rows.slice(start, 1).select([field.name for field in fields(Unit)])
        unit = Unit(**first.to_pylist()[0])
        step = stop - start if stop - start <= SPLIT_ROWS else SHARD_ROWS
        units += [
            (unit, rows.slice(cut, min(step, stop - cut))) for cut in range(start, stop, step)
        ]
    return units


def _spread(names: Sequence[str], chosen: pa.ChunkedArray) -> pa.Array:
    """The names at the chosen rows, in their order; "" at all others."""
    spread = np.full(len(chosen), "", dtype=object)
    spread[np.asarray(chosen, dtype=bool)] = names
    return pa.array(spread, pa.string())


def _adapter_table(adapters: Sequence[RegisteredAdapter]) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array([a.item_id for a in adapters], pa.string()),
            "trait": pa.array([a.trait for a in adapters], pa.string()),
            "adapter_version": pa.array([a.version for a in adapters], pa.int32()),
            "adapter_sha256": pa.array([a.sha256 for a in adapters], pa.string()),
        }
    )
