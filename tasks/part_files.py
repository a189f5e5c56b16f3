"""What scoring a shard yields: a part, which says itself what it holds and what it cost.

A part is believed only where every byte is as it was written, and where it holds just the rows that
were planned, scored by just the adapters that were planned. Any other is refused, and its shard
scored again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.shards import OF_UNIT, Shard, part_path, pieces_of, rows_of
from warehouse import parts, schema
from warehouse.parts import DamagedFileError
from warehouse.storage import Location, ObjectPath

SHARD, RESULT = b"shard", b"result"  # keys in the footer


@dataclass(frozen=True)
class UnitFailure:
    """An (item, trait) that was not scored, and why."""

    item_id: str
    trait: str
    reason: str
    adapter_sha256: str = ""


@dataclass(frozen=True)
class ShardResult:
    """What scoring a shard cost and what went wrong in it."""

    name: str
    rows: int
    adapters_loaded: int
    load_ms: Mapping[str, float]  # "<item_id> <trait>" to milliseconds
    seconds: float
    failures: tuple[UnitFailure, ...]
    model_s: float = 0.0  # of the seconds: spent waiting for the model
    peak_rss_mb: float = 0.0  # of the process that scored it

    def as_found(self) -> "ShardResult":
        """The same for a run that found the part of an earlier one, and spent nothing on it."""
        return replace(
            self, adapters_loaded=0, load_ms={}, seconds=0.0, model_s=0.0, peak_rss_mb=0.0
        )


def write_part(plan: Location, shard: Shard, table: pa.Table, result: ShardResult) -> None:
    """Write a shard's part beside the plan, sealed, whole or not at all."""
    about = {SHARD: shard.name, RESULT: json.dumps(asdict(result))}
    parts.write(part_path(plan, shard), table.replace_schema_metadata(about))


def read_part(plan: Location, shard: Shard, rows: pa.Table | None = None) -> ShardResult:
    """What a shard's part says of itself, once it is found to be sound.

    Args:
        plan: the plan, beside which it lies.
        shard: whose part it should be.
        rows: the shard's rows in the plan; read where not given.

    Raises:
        DamagedFileError: it is not there, not as it was written, of another shard, or does not
            hold what was planned; or the plan itself cannot be read.
    """
    path = part_path(plan, shard)
    if not parts.is_there(path):
        raise DamagedFileError(f"{path} is not there")
    table = parts.read(path)
    about = table.schema.metadata or {}
    if about.get(SHARD) != shard.name.encode() or not table.schema.equals(schema.PARTS):
        raise DamagedFileError(f"{path} is not a part of shard {shard.name}")
    result = _result(about.get(RESULT), shard, len(table))
    expected = _planned(rows_of(plan, shard) if rows is None else rows, shard, result.failures)
    if len(expected) != len(table) or not all(
        table[name].equals(expected[name].cast(table.schema.field(name).type))
        for name in ("response_id", *OF_UNIT)
    ):
        raise DamagedFileError(f"{path} does not hold the rows that were planned")
    if pc.any(pc.not_equal(table["engine"], shard.engine)).as_py():
        raise DamagedFileError(f"{path} was computed by another engine than was planned")
    return result


def unsound(plan: Location, shards: Sequence[Shard]) -> dict[Shard, str]:
    """The shards whose parts cannot be committed as they are, and why."""
    found = {}
    for shard in shards:
        try:
            read_part(plan, shard)
        except DamagedFileError as error:
            found[shard] = str(error)
    return found


@contextmanager
def on_this_machine(places: Sequence[Location], folder: Path) -> Iterator[list[Path]]:
    """Sealed files, each checked once more, as files that DuckDB can read.

    Args:
        places: where they are.
        folder: holds copies of those in an object store while they are used.

    Raises:
        DamagedFileError: one is not as it was written.
    """
    copies: list[Path] = []
    try:
        yield [_here(place, folder, copies) for place in places]
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def _here(place: Location, folder: Path, copies: list[Path]) -> Path:
    content = parts.read_bytes(place)
    if not isinstance(place, ObjectPath):
        return place
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / f".{place.name}.fetched.tmp"
    copies.append(copy)
    copy.write_bytes(content)
    return copy


def _planned(rows: pa.Table, shard: Shard, failures: Sequence[UnitFailure]) -> pa.Table:
    """The rows of the units that were scored."""
    failed = {(one.item_id, one.trait, one.adapter_sha256) for one in failures}
    if not failed:
        return rows
    pieces = zip(shard.units, pieces_of(rows), strict=True)
    kept = [
        piece
        for unit, piece in pieces
        if (unit.item_id, unit.trait, unit.adapter_sha256) not in failed
    ]
    return pa.concat_tables(kept) if kept else rows.slice(0, 0)


def _result(written: bytes | None, shard: Shard, rows: int) -> ShardResult:
    if written is None:
        return ShardResult(shard.name, rows, 0, {}, 0.0, ())
    found = json.loads(written)
    failures = tuple(UnitFailure(**failure) for failure in found.pop("failures"))
    return ShardResult(**found, failures=failures)
