"""A run scored again in a place of its own, and held against what the ledger says.

The rows that the run computed are packed into the same shards, validity responses included, so on
the same machine every bit should come out again. Scores that it copied are computed in shards of
their own: there the last digits may be others, where a text's states depend on its neighbours.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.jobs import PROBE_TOLERANCE
from tasks.inference import Engine, score_shard
from tasks.planning import packed
from tasks.progress import progress
from tasks.shards import part_path, write_plan
from warehouse import schema
from warehouse.storage import Location

# As `flows.scoring` writes it: precision, build, limit, tokeniser's hash, and a device but the CPU.
ENGINE = re.compile(r"(bf16|fp32) (\S+) (\d+) tokens (\w+)(?: (\w+))?")
EXACT = ("score", "truncated", "tokens", "unknown_tokens", "language", "by_student")
MEASURED = ("raw_score", "confidence", "trimmed_score", "scaled_score")
LISTED = 1000

Differing = NDArray[np.bool_]


class NotReplayableError(ValueError):
    """A run cannot be scored again here: something that it was scored with is not at hand."""


@dataclass(frozen=True)
class ScoredWith:
    """What a run's scores were computed with, as the ledger's column ``engine`` says."""

    precision: Literal["bf16", "fp32"]
    build: str
    max_tokens: int
    backbone_settings: str
    device: Literal["cpu", "cuda"]


@dataclass(frozen=True)
class Difference:
    """One value that came out otherwise; ``now`` is None where nothing came out."""

    response_id: str
    item_id: str
    trait: str
    field: str
    before: Any
    now: Any


@dataclass(frozen=True)
class Compared:
    """What came out of a replay.

    Attributes:
        rows: scores that were computed again.
        identical: of these, to the last bit.
        rounding: the same score, raw score off by no more than the tolerance.
        differing: another score, another property of the text, or further off; or none came out.
        fields: how many rows differ in which field.
        differences: the first thousand of them, one by one.
        largest: difference of raw scores, in score points; 0 where there is none.
        tolerance: of raw scores, as a share of the item's scale.
    """

    rows: int
    identical: int
    rounding: int
    differing: int
    fields: dict[str, int]
    differences: tuple[Difference, ...]
    largest: float
    tolerance: float


def scored_with(rows: pa.Table) -> ScoredWith:
    """What a run's scores were computed with.

    Raises:
        NotReplayableError: the ledger does not say, or names several things.
    """
    engines = pc.unique(rows["engine"]).to_pylist()
    match = ENGINE.fullmatch(engines[0] or "") if len(engines) == 1 else None
    if match is None:
        raise NotReplayableError(
            "the ledger does not say what this run's scores were computed with, so they cannot be "
            "computed again: it is from before that was kept"
        )
    precision, build, tokens, settings, device = match.groups("cpu")
    return ScoredWith(
        cast("Literal['bf16', 'fp32']", precision),
        build,
        int(tokens),
        settings,
        cast("Literal['cpu', 'cuda']", device),
    )


def score_again(
    rows: pa.Table,
    scratch: Path,
    responses: Location,
    adapters: Path,
    engine: Engine,
    backbone_sha256: str,
) -> pa.Table:
    """Score a run's rows again.

    Args:
        rows: of ``warehouse.ledger.run_rows``, all with their texts.
        scratch: a folder for plans and parts.
        responses: the texts.
        adapters: the folder of the adapters.
        engine: what scores; it should keep nothing.
        backbone_sha256: of the backbone's weights.

    Returns:
        rows of ``schema.PARTS``; those whose adapter or text failed are missing.
    """
    name = rows["engine"][0].as_py()
    copied = pc.is_valid(rows["reused_from"])
    tables = [schema.PARTS.empty_table()]
    with progress("scoring again", len(rows)) as advance:
        for word, chosen in (("computed", pc.invert(copied)), ("copied", copied)):
            shards, planned = packed(rows.filter(chosen), backbone_sha256, name)
            path = scratch / f"{word}.plan.parquet"
            write_plan(path, planned, shards, backbone_sha256)
            for shard in shards:
                score_shard.fn(path, shard, responses, adapters, engine, advance)
                part = pq.read_table(part_path(path, shard))
                tables.append(part.select(schema.PARTS.names).cast(schema.PARTS))
    return pa.concat_tables(tables)


def compared(before: pa.Table, now: pa.Table, precision: Literal["bf16", "fp32"]) -> Compared:
    """Hold what came out against the ledger.

    Args:
        before: rows of ``warehouse.ledger.run_rows``.
        now: rows of ``schema.PARTS`` for them; some may be missing.
        precision: decides what is rounding: a raw score may move by as much, of the scale, as an
            adapter's probe predictions may on average.
    """
    found = pc.index_in(_keys(before), _keys(now).combine_chunks())
    beside = now.take(found)
    tolerance = PROBE_TOLERANCE[precision][0]
    missing = _mask(pc.is_null(found))
    moved = np.abs(_floats(before, "raw_score") - _floats(beside, "raw_score"))
    span = _floats(before, "score_max") - _floats(before, "score_min")
    unequal = {name: ~missing & _differs(before, beside, name) for name in (*EXACT, *MEASURED)}
    unequal["probabilities"] = ~missing & _distributions_differ(before, beside)
    far = ~missing & ~(moved <= tolerance * span)
    differing = missing | far | np.logical_or.reduce([unequal[name] for name in EXACT])
    any_bit = missing | np.logical_or.reduce(list(unequal.values()))
    told = {"missing": missing, **unequal}
    return Compared(
        rows=len(before),
        identical=int((~any_bit).sum()),
        rounding=int((any_bit & ~differing).sum()),
        differing=int(differing.sum()),
        fields={name: int(mask.sum()) for name, mask in told.items() if mask.any()},
        differences=tuple(_told(before, beside, told, differing)),
        largest=float(np.nanmax(moved, initial=0.0)),
        tolerance=tolerance,
    )


def _told(
    before: pa.Table, now: pa.Table, unequal: dict[str, Differing], differing: Differing
) -> Iterator[Difference]:
    for number in np.flatnonzero(differing)[:LISTED].tolist():
        of_row = before.slice(number, 1).to_pylist()[0]
        new = now.slice(number, 1).to_pylist()[0]
        for name in (name for name, mask in unequal.items() if mask[number]):
            shown = "score" if name == "missing" else name
            yield Difference(
                of_row["response_id"],
                of_row["item_id"],
                of_row["trait"],
                name,
                of_row[shown],
                new[shown],
            )


def _keys(rows: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(rows["response_id"], rows["trait"], "\x1f")


def _mask(values: pa.ChunkedArray | pa.Array) -> Differing:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.bool_)


def _floats(rows: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(rows[name].cast(pa.float64()).to_numpy(), dtype=np.float64)


def _differs(before: pa.Table, now: pa.Table, name: str) -> Differing:
    """Where a value is another; what the ledger does not have of validity responses is the same."""
    old, new = before[name], now[name].cast(before[name].type)
    validity = pc.equal(before["purpose"], "validity")
    unknown = pc.and_(validity, pc.is_null(old))
    same = pc.if_else(
        pc.and_(pc.is_valid(old), pc.is_valid(new)),
        pc.fill_null(pc.equal(old, new), False),
        pc.and_(pc.is_null(old), pc.is_null(new)),
    )
    return ~_mask(pc.or_(unknown, same))


def _distributions_differ(before: pa.Table, now: pa.Table) -> Differing:
    pairs = zip(before["probabilities"].to_pylist(), now["probabilities"].to_pylist(), strict=True)
    return np.array([old is not None and old != new for old, new in pairs], dtype=np.bool_)
