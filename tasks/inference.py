"""Score what was planned shard by shard, and commit it in one transaction.

Scoring never opens the warehouse: a shard reads its rows from the plan, the texts from the
responses' Parquet files, and writes one part. Parts are named by a hash of what they hold, so a
run that was killed and started again uses those that are there.
"""

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE
from tokenizers import Tokenizer

from models.adapter_folders import read_scoring
from models.adapters import Adapter, AdapterError, load_adapter
from models.backbone import (
    Backbone,
    load_backbone,
    load_tokenizer,
    resolve_backbone,
)
from models.devices import DeviceName, device_named
from models.kernels import Precision
from models.language import languages
from models.postprocessing import Reported
from models.scored import Scored
from models.scorer import Group, Scorer
from models.scores import Scale
from models.student_adapter import load_student, score_with_student
from models.text import unknown_token, with_limit
from models.trunk_cache import TrunkCache
from tasks import probes
from tasks.part_files import ShardResult, UnitFailure, on_this_machine, read_part, write_part
from tasks.progress import silent
from tasks.shards import Plan, Shard, Unit, part_path, pieces_of, rows_of
from tasks.time_split import Stopwatch, TimeSplit
from warehouse import db, schema
from warehouse.parts import DamagedFileError
from warehouse.scores import Files, RunCost, commit
from warehouse.storage import Location
from warehouse.texts import MissingResponsesError, find_texts, require_texts

__all__ = ["Engine", "ShardResult", "UnitFailure", "commit_scores", "score_shard"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Work:
    """What is to be scored of one unit."""

    unit: Unit
    ids: list[str]
    texts: list[str]


@dataclass(frozen=True)
class Engine:
    """What scores: a backbone, where and how it computes, and what it keeps between runs.

    Attributes:
        backbone: Hugging Face id or folder.
        max_tokens: longer texts are cut here.
        precision: of the encoder.
        device: where batches are computed.
        trunk_cache: the folder that keeps what the shared trunk makes of texts; None: nothing does.
        trunk_cache_bytes: its budget.
        threads: batches that are computed side by side; None: one per core.
    """

    backbone: str
    max_tokens: int
    precision: Precision
    device: DeviceName
    trunk_cache: Path | None
    trunk_cache_bytes: int
    threads: int | None = None

    @property
    def cache(self) -> TrunkCache | None:
        """The trunk's cache."""
        if self.trunk_cache is None:
            return None
        return TrunkCache(self.trunk_cache, self.trunk_cache_bytes)


@task(cache_policy=NO_CACHE)
def score_shard(
    plan: Location,
    shard: Shard,
    responses: Location,
    adapters: Path,
    engine: Engine,
    advance: Callable[[int], None] = silent,
) -> ShardResult:
    """Score one shard: each adapter applied once, one part written beside the plan.

    An adapter that is missing, damaged or does not reproduce its probe predictions fails its own
    rows, as do texts that are missing; all others are scored.

    Raises:
        DamagedFileError: the plan cannot be read, or holds other rows than were planned.
    """
    began = time.perf_counter()
    rows = rows_of(plan, shard)
    found = _found_part(plan, shard, rows)
    if found is not None:
        logger.info("shard %s was scored before the run was interrupted", shard.name)
        advance(shard.rows)
        return found
    texts = find_texts(responses, rows)
    work, failures = [], []
    for unit, piece in zip(shard.units, pieces_of(rows), strict=True):
        ids = piece["response_id"].to_pylist()
        try:
            work.append(_Work(unit, ids, require_texts(texts, ids, responses)))
        except MissingResponsesError as error:
            failures.append(_held(unit, error))
            advance(len(ids))
    tables, load_ms = {}, {}
    model = Stopwatch()
    for one, scored, backbone_sha256 in model.waiting_for(_results(work, adapters, engine)):
        if isinstance(scored, AdapterError):
            failures.append(_held(one.unit, scored))
        else:
            load_ms[f"{one.unit.item_id} {one.unit.trait}"] = scored.load_ms
            spoken = languages(one.texts)
            tables[one.unit] = _part_table(one, scored, spoken, backbone_sha256, shard.engine)
        advance(len(one.ids))
    ordered = [tables[unit] for unit in shard.units if unit in tables]  # students came first
    table = pa.concat_tables(ordered) if ordered else schema.PARTS.empty_table()
    result = ShardResult(
        shard.name,
        len(table),
        len(load_ms),
        load_ms,
        time.perf_counter() - began,
        tuple(failures),
        model.seconds,
        peak_rss_mb(),
    )
    write_part(plan, shard, table, result)
    return result


@task(cache_policy=NO_CACHE)
def commit_scores(
    warehouse: Path,
    run_id: str,
    plan: Plan,
    results: Sequence[ShardResult],
    files: Files,
    reasons: Sequence[str],
    split: TimeSplit | None = None,
) -> None:
    """Append all parts to the ledger in one transaction, then remove plan and parts.

    Raises:
        DamagedFileError: the plan or a part is not as it was written; nothing is committed.
    """
    spent = sum(result.seconds for result in results)
    seconds = min(spent, split.seconds.get("score", spent)) if split else spent  # side by side
    scored = sum(result.rows for result in results if result.seconds)
    cost = RunCost(
        adapters_loaded=sum(result.adapters_loaded for result in results),
        peak_rss_mb=max([peak_rss_mb(), *(result.peak_rss_mb for result in results)]),
        responses_per_s=scored / seconds if seconds else None,
        stage_seconds=split.seconds if split else {},
    )
    places = [plan.path, *(part_path(plan.path, shard) for shard in plan.shards)]
    with (
        on_this_machine(places, warehouse.parent / "parts") as (planned, *paths),
        db.connect(warehouse) as connection,
    ):
        commit(connection, run_id, planned, paths, cost=cost, files=files, reasons=reasons)
    for place in reversed(places):
        place.unlink(missing_ok=True)


def _results(
    work: Sequence[_Work], adapters: Path, engine: Engine
) -> Iterator[tuple[_Work, Scored | AdapterError, str]]:
    """Score all units: students by themselves, the others through the backbone.

    Yields:
        per unit its scores, or why it has none, and the hash of the backbone of its adapter.
    """
    rest = []
    for one in work:
        if _is_student(one.unit, adapters):
            yield one, *_by_student(one, adapters, engine)
        else:
            rest.append(one)
    if not rest:
        return
    scorer = _scorer(engine)
    results = scorer.score_groups(_group(one, adapters, scorer) for one in rest)
    for one, result in zip(rest, results, strict=True):
        if not isinstance(result, AdapterError):
            probes.note_reproduced(adapters, one.unit.adapter_sha256, scorer)
        yield one, result, scorer.backbone.sha256


def _is_student(unit: Unit, adapters: Path) -> bool:
    """Whether a unit is scored without a backbone; one that cannot be read is found so later."""
    try:
        return read_scoring(adapters / unit.adapter_sha256).method == "student"
    except AdapterError:
        return False


def _by_student(work: _Work, adapters: Path, engine: Engine) -> tuple[Scored | AdapterError, str]:
    unit = work.unit
    try:
        student = load_student(adapters / unit.adapter_sha256, expected_sha256=unit.adapter_sha256)
        _check_scale(student.scoring.scale, unit)
        tokenizer = _tokenizer(engine)
        scored = score_with_student(
            student,
            work.texts,
            tokenizer,
            unknown_token(tokenizer),
            reported=cast("Reported", unit.reported),
        )
    except AdapterError as error:
        return error, ""
    return scored, student.scoring.backbone_sha256


@lru_cache(maxsize=1)
def _tokenizer(engine: Engine) -> Tokenizer:
    """What counts a student's tokens."""
    return with_limit(load_tokenizer(resolve_backbone(engine.backbone).folder), engine.max_tokens)


@lru_cache(maxsize=1)
def _scorer(engine: Engine) -> Scorer:
    """The backbone, loaded once per process."""
    return Scorer(
        load_backbone(engine.backbone, max_tokens=engine.max_tokens),
        precision=engine.precision,
        device=device_named(engine.device),
        threads=engine.threads,
        trunk_cache=engine.cache,
    )


def _group(work: _Work, adapters: Path, scorer: Scorer) -> Group:
    unit = work.unit
    return Group(
        adapter=partial(_adapter, adapters, unit, scorer.backbone),
        texts=work.texts,
        verify=not probes.was_reproduced(adapters, unit.adapter_sha256, scorer),
        reported=cast("Reported", unit.reported),
    )


def _held(unit: Unit, error: Exception) -> UnitFailure:
    logger.error("item %s (%s) is held: %s", unit.item_id, unit.trait, error)
    return UnitFailure(unit.item_id, unit.trait, str(error), unit.adapter_sha256)


def _adapter(adapters: Path, unit: Unit, backbone: Backbone) -> Adapter:
    """The registered adapter of an item, in memory."""
    folder = adapters / unit.adapter_sha256
    adapter = load_adapter(folder, backbone, expected_sha256=unit.adapter_sha256)
    _check_scale(adapter.scale, unit)
    return adapter


def _check_scale(scale: Scale, unit: Unit) -> None:
    if (scale.score_min, scale.score_max) != (unit.score_min, unit.score_max):
        raise AdapterError(
            f"it scores {scale.score_min} to {scale.score_max}, the item's scale is "
            f"{unit.score_min} to {unit.score_max}: train the item again"
        )


def _part_table(
    work: _Work,
    scored: Scored,
    spoken: list[str | None],
    backbone_sha256: str,
    engine: str,
) -> pa.Table:
    unit, n = work.unit, len(work.ids)
    points = scored.probabilities.shape[1]
    columns = {
        "response_id": work.ids,
        "item_id": pa.repeat(unit.item_id, n),
        "trait": pa.repeat(unit.trait, n),
        "raw_score": scored.raw_score,
        "score": scored.score,
        "confidence": scored.confidence,
        "probabilities": pa.ListArray.from_arrays(
            np.arange(0, (n + 1) * points, points, dtype=np.int32),
            pa.array(scored.probabilities.ravel(), pa.float32()),
        ),
        "truncated": scored.truncated,
        "by_student": scored.by_student,
        "trimmed_score": scored.trimmed_score,
        "scaled_score": pa.array(scored.scaled_score, from_pandas=True),  # NaN becomes null
        "reported": pa.repeat(unit.reported, n),
        "tokens": scored.tokens.astype(np.int32),
        "unknown_tokens": scored.unknown_tokens.astype(np.int32),
        "language": pa.array(spoken, pa.string()),
        "adapter_version": pa.repeat(pa.scalar(unit.adapter_version, pa.int32()), n),
        "adapter_sha256": pa.repeat(unit.adapter_sha256, n),
        "backbone_sha256": pa.repeat(backbone_sha256, n),
        "engine": pa.repeat(engine, n),
        "latency_ms": scored.latency_ms,
    }
    return pa.table([columns[name] for name in schema.PARTS.names], schema=schema.PARTS)


def _found_part(plan: Location, shard: Shard, rows: pa.Table) -> ShardResult | None:
    """What an interrupted run has left of this shard, where it is whole and nothing failed."""
    try:
        found = read_part(plan, shard, rows)
    except DamagedFileError:
        return None
    return None if found.failures else found.as_found()


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
