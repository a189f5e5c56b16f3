"""Plan what must be scored: every response that waits, grouped by item, packed into shards.

A shard is named by a hash of its responses and adapters, so a plan made again after a crash finds
the parts that were finished.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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

    def bound(self) -> dict[str, list[str] | date | None]:
        """The restrictions as the parameters of a statement."""
        return {
            "seasons": None if self.seasons is None else list(self.seasons),
            "items": None if self.items is None else list(self.items),
            "from_date": self.from_date,
            "to_date": self.to_date,
        }


@dataclass(frozen=True)
class Unit:
    """The rows of one shard that one adapter scores."""

    item_id: str
    trait: str
    score_min: int
    score_max: int
    adapter_version: int
    adapter_sha256: str


@dataclass(frozen=True)
class Shard:
    """A unit of scoring work; ``name`` is a hash of its rows and adapters."""

    name: str
    rows: int
    units: tuple[Unit, ...]


@dataclass(frozen=True)
class Plan:
    """What a run has to score: the Parquet file with every row, and the shards in it."""

    path: Path
    responses: int
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Scores to be made: responses times traits."""
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
) -> Plan:
    """List what a run has to score, grouped by item and packed into shards, and write it down.

    The plan depends on the warehouse, the adapters and the selection alone.
    """
    names = Counter((adapter.item_id, adapter.trait) for adapter in adapters)
    if any(count > 1 for count in names.values()):
        raise ValueError("two adapters for one item and trait: each response would be scored twice")
    with db.connect(warehouse) as connection:
        connection.register("adapters", _adapter_table(adapters))
        rows = db.table(
            connection,
            "plan_responses",
            {**selection.bound(), "run_id": run_id, "rescore": selection.rescore},
        )
    shards, shard_names = _shards(rows)
    rows = rows.append_column("shard", pa.array(shard_names, pa.string()))
    path = folder / f"{run_id}.plan.parquet"
    _clear(folder, keep={part_path(path, shard) for shard in shards})
    parts.write(path, rows)
    return Plan(path, len(pc.unique(rows["response_id"])), shards)


def part_path(plan: Path, shard: Shard) -> Path:
    """Where a shard's part lies."""
    return plan.with_name(f"{shard.name}.part.parquet")


def _clear(folder: Path, keep: set[Path]) -> None:
    """Remove plans and parts that runs left behind when they were killed."""
    for path in folder.glob("*.parquet"):
        if path not in keep:
            path.unlink()


def _shards(rows: pa.Table) -> tuple[tuple[Shard, ...], list[str]]:
    """Cut the sorted rows into shards; returns them and each row's shard name ("" for none)."""
    names = [""] * len(rows)
    shards: list[Shard] = []
    pending: list[tuple[Unit, int, int]] = []

    def close() -> None:
        if pending:
            shard = _shard(rows, pending)
            for _, start, stop in pending:
                names[start:stop] = [
                    shard.name if use else "" for use in usable[start:stop].tolist()
                ]
            shards.append(shard)
            pending.clear()

    usable = np.asarray(
        pc.and_(pc.invert(rows["blank"]), pc.is_valid(rows["adapter_sha256"])), dtype=bool
    )
    size = 0
    for unit, start, stop in _units(rows, usable):
        if size and size + stop - start > SHARD_ROWS:
            close()
            size = 0
        pending.append((unit, start, stop))
        size += stop - start
    close()
    return tuple(shards), names


def _units(rows: pa.Table, usable: np.ndarray) -> list[tuple[Unit, int, int]]:
    """Runs of rows with the same item and trait that have something to score."""
    items, traits = rows["item_id"].to_pylist(), rows["trait"].to_pylist()
    versions, hashes = rows["adapter_version"].to_pylist(), rows["adapter_sha256"].to_pylist()
    units = []
    for start, stop in spans(items, traits):
        if not usable[start:stop].any():
            continue
        scale = rows["score_min"][start].as_py(), rows["score_max"][start].as_py()
        unit = Unit(items[start], traits[start], *scale, versions[start], hashes[start])
        step = stop - start if stop - start <= SPLIT_ROWS else SHARD_ROWS
        units += [
            (unit, cut, min(cut + step, stop))
            for cut in range(start, stop, step)
            if usable[cut : cut + step].any()
        ]
    return units


def _shard(rows: pa.Table, pending: Sequence[tuple[Unit, int, int]]) -> Shard:
    digest = hashlib.sha256()
    count = 0
    for unit, start, stop in pending:
        piece = rows.slice(start, stop - start)
        piece = piece.filter(~pc.field("blank"))
        count += len(piece)
        digest.update(f"{unit.trait}\x1f{unit.adapter_sha256}\x1e".encode())
        for column in ("response_id", "text_sha256"):
            digest.update("\x1f".join(piece[column].to_pylist()).encode("utf-8") + b"\x1e")
    return Shard(digest.hexdigest()[:16], count, tuple(unit for unit, _, _ in pending))


def _adapter_table(adapters: Sequence[RegisteredAdapter]) -> pa.Table:
    return pa.table(
        {
            "item_id": pa.array([a.item_id for a in adapters], pa.string()),
            "trait": pa.array([a.trait for a in adapters], pa.string()),
            "adapter_version": pa.array([a.version for a in adapters], pa.int32()),
            "adapter_sha256": pa.array([a.sha256 for a in adapters], pa.string()),
        }
    )
