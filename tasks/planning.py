"""Plan what must be scored: every response that waits, grouped by item, packed into shards.

A score that an earlier run has computed for the same text is copied from the ledger when the run
commits; only the other rows go into shards. A shard is named by a hash of its responses and of what
scores them, so a plan made again after a crash finds the parts that were finished.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.spans import spans
from tasks.tracking import RegisteredAdapter
from warehouse import db, parts

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


@dataclass(frozen=True)
class Unit:
    """The rows of one shard that one adapter scores."""

    item_id: str
    trait: str
    score_min: int
    score_max: int
    adapter_version: int
    adapter_sha256: str
    reported: str  # which score the item reports: rounded or scaled


@dataclass(frozen=True)
class Shard:
    """A unit of scoring work; ``name`` is a hash of its rows, adapters, backbone and engine."""

    name: str
    rows: int
    units: tuple[Unit, ...]
    engine: str  # what the ledger says its scores were computed with


@dataclass(frozen=True)
class Plan:
    """What a run has to score: the Parquet file with every row, and the shards in it.

    Validity responses are in the file and in the shards, and nowhere else.
    """

    path: Path
    responses: int
    reused: int  # scores that are copied from the ledger
    adapters: frozenset[str]  # hashes of all whose scores the run brings, copied ones included
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Scores to be computed: responses times traits, less what is copied; validity included."""
        return sum(shard.rows for shard in self.shards)


def last_day(warehouse: Path, selection: Selection) -> date | None:
    """The last administration day among the selected responses; None where there are none."""
    with db.connect(warehouse) as connection:
        (found,) = db.rows(connection, "selection_last_day", selection.bound())
    day: date | None = found["day"]
    return day


@task(cache_policy=NO_CACHE)
def plan_scoring(
    warehouse: Path,
    folder: Path,
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
    names = Counter((adapter.item_id, adapter.trait) for adapter in adapters)
    if any(count > 1 for count in names.values()):
        raise ValueError("two adapters for one item and trait: each response would be scored twice")
    with db.connect(warehouse) as connection:
        connection.register("adapters", _adapter_table(adapters))
        bound = {
            **selection.bound(),
            "run_id": run_id,
            "rescore": selection.rescore,
            "validity": selection.validity,
            "engine": engine,
        }
        connection.register("planned", db.table(connection, "plan_responses", bound))
        computed_with = {"backbone_sha256": backbone_sha256, "engine": engine}
        rows = db.table(connection, "plan_reused", computed_with)
    operational = rows.filter(pc.equal(rows["purpose"], "operational"))
    copied = pc.is_valid(rows["reused_from"])
    computed = pc.and_not(_scorable(rows), copied)
    shards, names_of_rows = _shards(rows.filter(computed), backbone_sha256, engine)
    path = folder / f"{run_id}.plan.parquet"
    _clear(folder, keep={part_path(path, shard) for shard in shards})
    parts.write(path, rows.append_column("shard", _spread(names_of_rows, computed)))
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


def part_path(plan: Path, shard: Shard) -> Path:
    """Where a shard's part lies."""
    return plan.with_name(f"{shard.name}.part.parquet")


def _clear(folder: Path, keep: set[Path]) -> None:
    """Remove plans and parts that runs left behind when they were killed."""
    for path in folder.glob("*.parquet"):
        if path not in keep:
            path.unlink()


def _shards(
    rows: pa.Table, backbone_sha256: str, engine: str
) -> tuple[tuple[Shard, ...], list[str]]:
    """Cut the sorted rows that are to be computed into shards; returns them and a name per row."""
    shards: list[Shard] = []
    names: list[str] = []
    pending: list[tuple[Unit, pa.Table]] = []

    def close() -> None:
        if pending:
            shard = _shard(pending, backbone_sha256, engine)
            names.extend([shard.name] * shard.rows)
            shards.append(shard)
            pending.clear()

    size = 0
    for unit, piece in _units(rows):
        if size and size + len(piece) > SHARD_ROWS:
            close()
            size = 0
        pending.append((unit, piece))
        size += len(piece)
    close()
    return tuple(shards), names


def _units(rows: pa.Table) -> list[tuple[Unit, pa.Table]]:
    """The rows of each item and trait, in pieces that fit a shard."""
    items, traits = rows["item_id"].to_pylist(), rows["trait"].to_pylist()
    units = []
    for start, stop in spans(items, traits):
        first = rows.slice(start, 1).select([field.name for field in fields(Unit)])
        unit = Unit(**first.to_pylist()[0])
        step = stop - start if stop - start <= SPLIT_ROWS else SHARD_ROWS
        units += [
            (unit, rows.slice(cut, min(step, stop - cut))) for cut in range(start, stop, step)
        ]
    return units


def _shard(pending: Sequence[tuple[Unit, pa.Table]], backbone_sha256: str, engine: str) -> Shard:
    digest = hashlib.sha256(f"{backbone_sha256}\x1f{engine}\x1e".encode())
    for unit, piece in pending:
        scored_by = f"{unit.trait}\x1f{unit.adapter_sha256}\x1f{unit.reported}\x1e"
        digest.update(scored_by.encode())
        for column in ("response_id", "text_sha256"):
            digest.update("\x1f".join(piece[column].to_pylist()).encode("utf-8") + b"\x1e")
    count = sum(len(piece) for _, piece in pending)
    return Shard(digest.hexdigest()[:16], count, tuple(unit for unit, _ in pending), engine)


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
