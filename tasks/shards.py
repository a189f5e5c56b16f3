"""Units of scoring work, and the plan as a file that a host can score from with nothing beside it.

A shard is named by a hash of its responses and of what scores them, so a plan made again after a
crash finds the parts that were finished. In the file each shard is a row group, and the shards are
described in the footer: a host reads the rows of its own shards alone, and works the name out again
from what it has read.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import pyarrow as pa
import pyarrow.compute as pc

from tasks.spans import spans
from warehouse import parts
from warehouse.parts import DamagedFileError
from warehouse.storage import Location

OF_UNIT = ("item_id", "trait", "adapter_version", "adapter_sha256")
AGAIN = "run again, and it is planned anew"
ABOUT = b"gradeline"  # the footer's key for what is said of the shards


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

    path: Location
    responses: int
    reused: int  # scores that are copied from the ledger
    adapters: frozenset[str]  # hashes of all whose scores the run brings, copied ones included
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        """Scores to be computed: responses times traits, less what is copied; validity included."""
        return sum(shard.rows for shard in self.shards)


def part_path(plan: Location, shard: Shard) -> Location:
    """Where a shard's part lies."""
    return plan.with_name(f"{shard.name}.part.parquet")


def shard_of(pending: Sequence[tuple[Unit, pa.Table]], backbone_sha256: str, engine: str) -> Shard:
    """A shard of some units, each with its rows: response_id and text_sha256 count."""
    digest = hashlib.sha256(f"{backbone_sha256}\x1f{engine}\x1e".encode())
    for unit, piece in pending:
        scored_by = "\x1f".join(str(getattr(unit, field.name)) for field in fields(Unit))
        digest.update(f"{scored_by}\x1e".encode())
        for column in ("response_id", "text_sha256"):
            digest.update("\x1f".join(piece[column].to_pylist()).encode("utf-8") + b"\x1e")
    count = sum(len(piece) for _, piece in pending)
    return Shard(digest.hexdigest()[:16], count, tuple(unit for unit, _ in pending), engine)


def write_plan(
    path: Location, rows: pa.Table, shards: Sequence[Shard], backbone_sha256: str
) -> None:
    """Write a plan, sealed.

    Args:
        path: where.
        rows: every row, with the column ``shard``: a shard's name, or empty where none scores it.
            A shard's rows follow on one another but for such rows.
        shards: in the order of their rows.
        backbone_sha256: of the backbone's weights.
    """
    scored = pc.not_equal(rows["shard"], "")
    rest = len(rows) - sum(shard.rows for shard in shards)
    if rest:  # what no shard scores comes last
        rows = pa.concat_tables([rows.filter(scored), rows.filter(pc.invert(scored))])
    about = {"backbone_sha256": backbone_sha256, "shards": [asdict(shard) for shard in shards]}
    table = rows.replace_schema_metadata({ABOUT: json.dumps(about)})
    parts.write(path, table, [*(shard.rows for shard in shards), *([rest] if rest else [])])


def shards_in(path: Location) -> tuple[Shard, ...]:
    """The shards of a plan, as its footer describes them.

    Raises:
        DamagedFileError: it cannot be read, or is no plan.
    """
    _, shards = _about(path)
    return shards


def backbone_in(path: Location) -> str:
    """The hash of the backbone that a plan is made for.

    Raises:
        DamagedFileError: see ``shards_in``.
    """
    return _about(path)[0]


def rows_of(path: Location, shard: Shard) -> pa.Table:
    """A shard's rows, read alone and checked against its name.

    Raises:
        DamagedFileError: the plan cannot be read, knows no such shard, or holds other rows.
    """
    backbone_sha256, shards = _about(path)
    numbers = {one.name: number for number, one in enumerate(shards)}
    if shard.name not in numbers:
        raise DamagedFileError(f"{path} has no shard {shard.name}: {AGAIN}")
    try:
        with parts.open_parquet(path) as file:
            rows = file.read_row_group(numbers[shard.name])
        pieces = list(zip(shard.units, pieces_of(rows), strict=True))
        found = shard_of(pieces, backbone_sha256, shard.engine)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, ValueError, KeyError) as error:
        raise DamagedFileError(f"{path} cannot be read ({type(error).__name__}): {AGAIN}") from None
    if found != shard:
        raise DamagedFileError(f"{path} holds other rows of {shard.name} than planned: {AGAIN}")
    return rows


def pieces_of(rows: pa.Table) -> list[pa.Table]:
    """A shard's rows by unit, in the order of its units."""
    found = spans(*(rows[name].to_pylist() for name in OF_UNIT))
    return [rows.slice(start, stop - start) for start, stop in found]


def _about(path: Location) -> tuple[str, tuple[Shard, ...]]:
    try:
        with parts.open_parquet(path) as file:
            about = json.loads((file.schema_arrow.metadata or {})[ABOUT])
        shards = tuple(
            Shard(**{**one, "units": tuple(Unit(**unit) for unit in one["units"])})
            for one in about["shards"]
        )
        return about["backbone_sha256"], shards
    except (pa.ArrowInvalid, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{path} cannot be read ({type(error).__name__}): {AGAIN}") from None
