"""Score what was planned shard by shard, and commit it in one transaction.

Scoring never opens the warehouse: a shard reads its rows from the plan, the texts from the
responses' Parquet files, and writes one part. Parts are named by a hash of what they hold, so a
run that was killed and started again uses those that are there.
"""

import logging
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
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
from tasks.planning import Plan, Shard, Unit, part_path
from tasks.progress import silent
from warehouse import db, parts, schema
from warehouse.scores import Files, RunCost, commit
from warehouse.texts import MissingResponsesError, find_texts, require_texts

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitFailure:
    """An (item, trait) that was not scored, and why."""

    item_id: str
    trait: str
    reason: str


@dataclass(frozen=True)
class ShardResult:
    """What scoring a shard cost and what went wrong in it."""

    name: str
    rows: int
    adapters_loaded: int
    load_ms: Mapping[str, float]  # "<item_id> <trait>" to milliseconds
    seconds: float
    failures: tuple[UnitFailure, ...]


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
    """

    backbone: str
    max_tokens: int
    precision: Precision
    device: DeviceName
    trunk_cache: Path | None
    trunk_cache_bytes: int

    @property
    def cache(self) -> TrunkCache | None:
        """The trunk's cache."""
        if self.trunk_cache is None:
            return None
        return TrunkCache(self.trunk_cache, self.trunk_cache_bytes)


@task(cache_policy=NO_CACHE)
def score_shard(
    plan: Path,
    shard: Shard,
    responses: Path,
    adapters: Path,
    engine: Engine,
    advance: Callable[[int], None] = silent,
) -> ShardResult:
    """Score one shard: each adapter applied once, one part written beside the plan.

    An adapter that is missing, damaged or does not reproduce its probe predictions fails its own
    rows, as do texts that are missing; all others are scored.
    """
    began = time.perf_counter()
    part = part_path(plan, shard)
    if _is_part_of(part, shard):
        logger.info("shard %s was scored before the run was interrupted", shard.name)
        advance(shard.rows)
        return ShardResult(shard.name, shard.rows, 0, {}, 0.0, ())
    rows = pq.read_table(plan, filters=[("shard", "=", shard.name)])
    texts = find_texts(responses, rows)
    work, failures = [], []
    for unit in shard.units:
        ids = _rows_of(rows, unit)["response_id"].to_pylist()
        try:
            work.append(_Work(unit, ids, require_texts(texts, ids, responses)))
        except MissingResponsesError as error:
            failures.append(_held(unit, error))
            advance(len(ids))
    tables, load_ms = [], {}
    for one, result, backbone_sha256 in _results(work, adapters, engine):
        if isinstance(result, AdapterError):
            failures.append(_held(one.unit, result))
        else:
            load_ms[f"{one.unit.item_id} {one.unit.trait}"] = result.load_ms
            spoken = languages(one.texts)
            tables.append(_part_table(one, result, spoken, backbone_sha256, shard.engine))
        advance(len(one.ids))
    table = pa.concat_tables(tables) if tables else schema.PARTS.empty_table()
    table = table.replace_schema_metadata({"shard": shard.name})
    parts.write(part, table)
    seconds = time.perf_counter() - began
    return ShardResult(shard.name, len(table), len(load_ms), load_ms, seconds, tuple(failures))


@task(cache_policy=NO_CACHE)
def commit_scores(
    warehouse: Path,
    run_id: str,
    plan: Plan,
    results: Sequence[ShardResult],
    files: Files,
    reasons: Sequence[str],
) -> None:
    """Append all parts to the ledger in one transaction, then remove plan and parts."""
    seconds = sum(result.seconds for result in results)
    scored = sum(result.rows for result in results if result.seconds)
    cost = RunCost(
        adapters_loaded=sum(result.adapters_loaded for result in results),
        peak_rss_mb=_peak_rss_mb(),
        responses_per_s=scored / seconds if seconds else None,
    )
    paths = [part_path(plan.path, shard) for shard in plan.shards]
    with db.connect(warehouse) as connection:
        commit(connection, run_id, plan.path, paths, cost=cost, files=files, reasons=reasons)
    for path in (*paths, plan.path):
        path.unlink(missing_ok=True)


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
    return UnitFailure(unit.item_id, unit.trait, str(error))


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


def _rows_of(rows: pa.Table, unit: Unit) -> pa.Table:
    return rows.filter((pc.field("item_id") == unit.item_id) & (pc.field("trait") == unit.trait))


def _is_part_of(part: Path, shard: Shard) -> bool:
    """Whether the file is a whole part of exactly this shard."""
    if not part.exists():
        return False
    try:
        with pq.ParquetFile(part) as file:
            metadata = file.schema_arrow.metadata or {}
            whole = file.metadata.num_rows == shard.rows
            return whole and metadata.get(b"shard") == shard.name.encode()
    except (pa.ArrowInvalid, OSError):
        return False


def _peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MB (10^6 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
