"""What bfloat16 does to scores: trained adapters of public items, scored in both precisions."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.backbones import BUILD, ROOT
from benchmarks.engine.machine import hash_of
from benchmarks.public_data import FILES, PublicItem, quality_items, read_items
from tasks.evaluation import NEAR_BOUNDARY

DATA = ROOT.parent / "shared" / "data"
ITEMS = 48
QUESTIONS = 200  # SemEval's that are looked through: all of them
FEWEST_HELD_OUT = 8


def chosen_items() -> list[PublicItem]:
    """Public items that have answers to hold out: ITEMS of them, those with most answers first."""
    items = [
        item
        for item in quality_items(read_items(DATA), QUESTIONS)
        if item.unseen.sum() >= FEWEST_HELD_OUT and len(set(item.scores[item.unseen])) > 1
    ]
    return items[:ITEMS]


def measure_precision(workers: int, advance: Callable[[int], None]) -> dict[str, Any]:
    """Train where no adapter of this code is kept, score the held-out answers twice, compare.

    Args:
        workers: processes of one thread.
        advance: called with 1 for each item.

    Returns:
        items' figures and their means; only the reason under ``skipped`` without the data.
    """
    if not DATA.is_dir():
        return {"skipped": "the public data is not there"}
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    rows = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done in as_completed([pool.submit(compared, item) for item in chosen_items()]):
            rows.append(done.result())
            advance(1)
    return summary(sorted(rows, key=lambda row: row["item_id"]))


def compared(item: PublicItem) -> dict[str, Any]:
    """One item's held-out answers in float32 and in bfloat16."""
    from models.adapters import load_adapter
    from models.agreement import quadratic_weighted_kappa
    from models.scorer import Scorer

    adapter = load_adapter(_trained(item), _backbone())
    texts = [item.texts[i] for i in np.flatnonzero(item.unseen)]
    human = item.scores[item.unseen]
    exact = Scorer(_backbone(), precision="fp32").score(adapter, texts)
    quick = Scorer(_backbone(), precision="bf16").score(adapter, texts)
    return {
        "item_id": item.item_id,
        "answers": len(texts),
        "qwk_fp32": float(quadratic_weighted_kappa(human, exact.score)),
        "qwk_bf16": float(quadratic_weighted_kappa(human, quick.score)),
        **flips(exact.raw_score, exact.score, quick.score),
        "largest_raw_difference": float(np.abs(exact.raw_score - quick.raw_score).max()),
    }


def flips(
    raw: NDArray[np.float64], exact: NDArray[np.int32], quick: NDArray[np.int32]
) -> dict[str, int]:
    """Reported scores that changed, and how many of them lay near a boundary.

    Args:
        raw: raw scores in float32, [n].
        exact: reported scores in float32, [n].
        quick: reported scores in bfloat16, [n].
    """
    near = np.abs(raw - np.floor(raw) - 0.5) < NEAR_BOUNDARY
    changed = exact != quick
    return {
        "flips": int(changed.sum()),
        "flips_near_boundary": int((changed & near).sum()),
        "near_boundary": int(near.sum()),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over items, and sums of what is counted."""
    exact, quick = (
        float(np.mean([row[name] for row in rows])) for name in ("qwk_fp32", "qwk_bf16")
    )
    counted = ("answers", "flips", "flips_near_boundary", "near_boundary")
    return {
        "mean_qwk_fp32": exact,
        "mean_qwk_bf16": quick,
        "difference": quick - exact,
        **{name: sum(row[name] for row in rows) for name in counted},
        "items": list(rows),
    }


@cache
def _backbone() -> Any:
    import torch

    from models.backbone import EMBEDDED, load_backbone

    torch.set_num_threads(1)
    return load_backbone(EMBEDDED)


def _trained(item: PublicItem) -> Path:
    """The item's adapter, learned from its training split by the code as it is."""
    from models.scores import Scale
    from models.training import Recipe, TrainingSet, split_validation, train_adapter

    folder = BUILD / "precision" / _fingerprint() / item.item_id
    if not folder.is_dir():
        seen = np.flatnonzero(~item.unseen)
        ids = [item.response_ids[i] for i in seen]
        scores = item.scores[seen].astype(np.float64)
        held_out = split_validation(ids, scores)
        training, validation = (
            TrainingSet([item.texts[seen[i]] for i in np.flatnonzero(part)], scores[part])
            for part in (~held_out, held_out)
        )
        train_adapter(
            training,
            validation,
            Scale(0, item.score_max),
            _backbone(),
            Recipe(),
            folder,
            training_data_sha256=hashlib.sha256("\n".join(ids).encode()).hexdigest(),
        )
    return folder


@cache
def _fingerprint() -> str:
    """Of the data and of all code that training runs: kept adapters are good for these only."""
    return hash_of([*(DATA / name for name in FILES), *sorted((ROOT / "models").glob("*.py"))])
