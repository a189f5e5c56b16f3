"""Score what was planned shard by shard, and commit it in one transaction.

Scoring never opens the warehouse: a shard reads its rows from the plan, the texts from the
responses' Parquet files, and writes one part. Parts are named by a hash of what they hold, so a
run that was killed and started again uses those that are there.
"""

import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
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

from models.adapters import Adapter, AdapterError, load_adapter
from models.backbone import Backbone, load_backbone
from models.devices import DeviceName, device_named
from models.kernels import Precision
from models.language import languages
from models.postprocessing import Reported
from models.scorer import Group, Scored, Scorer
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


@task(cache_policy=NO_CACHE)
def score_shard(
    plan: Path,
    shard: Shard,
    responses: Path,
    adapters: Path,
    backbone: str,
    max_tokens: int,
    precision: Precision,
    device: DeviceName,
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
    scorer = _scorer(backbone, max_tokens, precision, device)
    work, failures = [], []
    for unit in shard.units:
        ids = _rows_of(rows, unit)["response_id"].to_pylist()
        try:
            work.append(_work(unit, ids, require_texts(texts, ids, responses), adapters, scorer))
        except MissingResponsesError as error:
            failures.append(_held(unit, error))
            advance(len(ids))
    tables, load_ms = [], {}
    results = scorer.score_groups(group for _, _, group in work)
    for (unit, ids, group), result in zip(work, results, strict=True):
        if isinstance(result, AdapterError):
            failures.append(_held(unit, result))
        else:
            probes.note_reproduced(adapters, unit.adapter_sha256, scorer)
            load_ms[f"{unit.item_id} {unit.trait}"] = result.load_ms
            spoken = languages(group.texts)
            backbone_sha256 = scorer.backbone.sha256
            tables.append(_part_table(ids, unit, result, spoken, backbone_sha256, shard.engine))
        advance(len(ids))
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


@lru_cache(maxsize=1)
def _scorer(backbone: str, max_tokens: int, precision: Precision, device: DeviceName) -> Scorer:
    """The backbone, loaded once per process."""
    return Scorer(
        load_backbone(backbone, max_tokens=max_tokens),
        precision=precision,
        device=device_named(device),
    )


def _work(
    unit: Unit, ids: list[str], texts: list[str], adapters: Path, scorer: Scorer
) -> tuple[Unit, list[str], Group]:
    group = Group(
        adapter=partial(_adapter, adapters, unit, scorer.backbone),
        texts=texts,
        verify=not probes.was_reproduced(adapters, unit.adapter_sha256, scorer),
        reported=cast("Reported", unit.reported),
    )
    return unit, ids, group


def _held(unit: Unit, error: Exception) -> UnitFailure:
    logger.error("item %s (%s) is held: %s", unit.item_id, unit.trait, error)
    return UnitFailure(unit.item_id, unit.trait, str(error))


def _adapter(adapters: Path, unit: Unit, backbone: Backbone) -> Adapter:
    """The registered adapter of an item, in memory."""
    folder = adapters / unit.adapter_sha256
    adapter = load_adapter(folder, backbone, expected_sha256=unit.adapter_sha256)
    scale = adapter.scale
    if (scale.score_min, scale.score_max) != (unit.score_min, unit.score_max):
        raise AdapterError(
            f"it scores {scale.score_min} to {scale.score_max}, the item's scale is "
            f"{unit.score_min} to {unit.score_max}: train the item again"
        )
    return adapter


def _part_table(
    ids: list[str],
    unit: Unit,
    scored: Scored,
    spoken: list[str | None],
    backbone_sha256: str,
    engine: str,
) -> pa.Table:
    n = len(ids)
    points = scored.probabilities.shape[1]
    columns = {
        "response_id": ids,
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
