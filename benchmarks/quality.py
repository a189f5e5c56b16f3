"""How well items are scored, side by side on the same folds: ``make quality``.

Five folds over every item's answers; each way of scoring sees the same four and scores the
fifth. QWK is taken per item over its five scored parts, then averaged over items; intervals of
differences come from a bootstrap over items, paired. Finished folds are kept in
``build/quality``, so a run that was stopped goes on where it was.

Writes ``docs/quality.md`` and ``docs/quality.json``; exits 1 and says which comparison was lost.
"""

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.public_data import FILES, PublicItem, quality_items, read_items
from benchmarks.quality_arms import (
    SEED,
    Fold,
    Scores,
    adapters,
    frozen_logistic,
    majority,
    tfidf_ridge,
)
from models.agreement import exact_agreement, quadratic_weighted_kappa

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
KEPT = ROOT / "build" / "quality"
FOLDS = 5
# Every fifth of the 52 items, from the third on: ten, six of SemEval's and four of SAF's.
FULL_TUNING_ITEMS = slice(2, None, 5)
RESAMPLES = 10_000
ALLOWED_BELOW_FULL = 0.01


# Full fine-tuning is loaded where it runs: it alone needs torch in this process's imports.
ARMS = {
    "majority": "majority score",
    "tfidf_ridge": "TF-IDF (words, characters) + ridge",
    "frozen_logistic": "frozen backbone + logistic regression",
    "adapters": "gradeline adapters",
    "full_tuning": "full fine-tuning of the same backbone",
}
SIMPLE = ("majority", "tfidf_ridge", "frozen_logistic")


@dataclass(frozen=True)
class Job:
    """One fold of one item for one arm, and the file that keeps its scores."""

    arm: str
    item: PublicItem
    fold: int
    kept: Path


def folds_of(scores: Scores) -> NDArray[np.int64]:
    """Fold of each answer, int64 [n]: every score point dealt out in turn after a shuffle."""
    random = np.random.default_rng(SEED)
    folds, dealt = np.empty(len(scores), dtype=np.int64), 0
    for point in np.unique(scores):
        members = random.permutation(np.flatnonzero(scores == point))
        folds[members] = (np.arange(len(members)) + dealt) % FOLDS
        dealt += len(members)
    return folds


def run_job(job: Job) -> Job:
    """Score one fold in a worker process and keep the scores."""
    folds = folds_of(job.item.scores)
    known, unknown = np.flatnonzero(folds != job.fold), np.flatnonzero(folds == job.fold)
    fold = Fold(
        item_id=job.item.item_id,
        score_max=job.item.score_max,
        ids=[job.item.response_ids[i] for i in known],
        texts=[job.item.texts[i] for i in known],
        scores=job.item.scores[known],
        unknown=[job.item.texts[i] for i in unknown],
    )
    started = time.process_time()
    scores = scorer_of(job.arm)(fold)
    result = {"scores": scores.tolist(), "cpu_s": time.process_time() - started}
    job.kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.kept.with_suffix(".tmp")
    temporary.write_text(json.dumps(result))
    temporary.replace(job.kept)
    return job


def scorer_of(arm: str) -> Callable[[Fold], Scores]:
    """The function that scores a fold the given way."""
    if arm == "full_tuning":
        from benchmarks.full_tuning import full_tuning

        return full_tuning
    simple = {"majority": majority, "tfidf_ridge": tfidf_ridge, "frozen_logistic": frozen_logistic}
    return simple.get(arm, adapters)


def summarise(
    items: Sequence[PublicItem], kept: Callable[[str, PublicItem, int], dict[str, Any]]
) -> dict[str, Any]:
    """Figures of all arms and the comparisons between them."""
    rows = []
    for place, item in enumerate(items):
        row: dict[str, Any] = {"item_id": item.item_id, "n": len(item.texts), "arms": {}}
        for arm in _arms_of(place, len(items)):
            row["arms"][arm] = _agreement(item, [kept(arm, item, k) for k in range(FOLDS)])
        rows.append(row)
    means = {arm: _mean_row(rows, arm) for arm in ARMS}
    comparisons = [_compare(rows, other, 0.0) for other in list(ARMS)[:3]]
    comparisons.append(_compare(rows, "full_tuning", -ALLOWED_BELOW_FULL))
    return {"arms": means, "comparisons": comparisons, "items": rows}


def _agreement(item: PublicItem, results: Sequence[dict[str, Any]]) -> dict[str, float]:
    folds, machine = folds_of(item.scores), np.empty(len(item.texts), dtype=np.int64)
    for fold, result in enumerate(results):
        machine[folds == fold] = result["scores"]
    return {
        "qwk": float(quadratic_weighted_kappa(item.scores, machine)),
        "exact": float(exact_agreement(item.scores, machine)),
        "cpu_s": float(np.mean([result["cpu_s"] for result in results])),
    }


def _mean_row(rows: Sequence[dict[str, Any]], arm: str) -> dict[str, float]:
    mine = [row["arms"][arm] for row in rows if arm in row["arms"]]
    means = {name: float(np.mean([row[name] for row in mine])) for name in mine[0]}
    return {"items": len(mine), **means}


def _compare(rows: Sequence[dict[str, Any]], other: str, allowed: float) -> dict[str, Any]:
    """Adapters minus another arm: won by the whole interval, or by the mean against full tuning."""
    both = [row["arms"] for row in rows if other in row["arms"]]
    gains = np.array([arms["adapters"]["qwk"] - arms[other]["qwk"] for arms in both])
    draws = np.random.default_rng(SEED).integers(len(gains), size=(RESAMPLES, len(gains)))
    low, high = np.percentile(gains[draws].mean(axis=1), [2.5, 97.5])
    return {
        "than": other,
        "items": len(gains),
        "adapters_qwk": float(np.mean([arms["adapters"]["qwk"] for arms in both])),
        "other_qwk": float(np.mean([arms[other]["qwk"] for arms in both])),
        "difference": float(gains.mean()),
        "low": float(low),
        "high": float(high),
        "needed": f"mean of {allowed:+.2f} or more" if allowed else "whole interval above 0",
        "won": bool(gains.mean() >= allowed if allowed else low > 0),
    }


def _arms_of(place: int, n_items: int) -> list[str]:
    full = place in range(n_items)[FULL_TUNING_ITEMS]
    return [arm for arm in ARMS if arm != "full_tuning" or full]


def _fingerprints() -> dict[str, str]:
    """Per arm, a hash of the data and the code it runs: kept results are good for these only."""
    benchmarks = ROOT / "benchmarks"
    shared = [DATA / name for name in FILES]
    shared += [benchmarks / "public_data.py", benchmarks / "quality_arms.py"]
    trained = [*shared, *sorted((ROOT / "models").glob("*.py"))]
    paths = dict.fromkeys(SIMPLE, shared)
    paths["adapters"] = trained
    paths["full_tuning"] = [*trained, benchmarks / "full_tuning.py"]
    return {arm: _hash(paths[arm]) for arm in ARMS}


def _hash(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _jobs(items: Sequence[PublicItem], fingerprints: dict[str, str]) -> list[Job]:
    """Quick arms first, and in each the longest items first, so that no core idles at the end."""
    jobs = [
        Job(arm, item, fold, KEPT / f"{arm}-{fingerprints[arm]}" / f"{item.item_id}-{fold}.json")
        for place, item in enumerate(items)
        for arm in _arms_of(place, len(items))
        for fold in range(FOLDS)
    ]
    names = list(ARMS)
    size = {item.item_id: sum(map(len, item.texts)) for item in items}
    return sorted(jobs, key=lambda job: (names.index(job.arm), -size[job.item.item_id], job.fold))


def _run(jobs: Sequence[Job], workers: int) -> None:
    left = [job for job in jobs if not job.kept.exists()]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with (
        ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool,
        Progress(*columns) as progress,
    ):
        names = list(dict.fromkeys(job.arm for job in jobs))
        bars = {
            arm: progress.add_task(
                ARMS[arm],
                total=sum(job.arm == arm for job in jobs),
                completed=sum(job.arm == arm and job.kept.exists() for job in jobs),
            )
            for arm in names
        }
        for done in as_completed([pool.submit(run_job, job) for job in left]):
            progress.advance(bars[done.result().arm])


def _fixed(value: float, digits: int = 3) -> str:
    """The rounded value, without the sign of a zero: -0.0004 is 0.000."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def _markdown(summary: dict[str, Any]) -> str:
    lines = [
        "# Quality on public data",
        "",
        "Written by `make quality`; the same figures are in `quality.json`. Items with blocks of "
        "their own are in [depths.md](depths.md). "
        f"{FOLDS}-fold cross-validation on {len(summary['items'])} questions: 30 of SemEval-2013 "
        "Task 7 (0..2) and 22 of SAF (0..4), train and unseen_answers together. QWK per item over "
        "all its answers, then the mean over items. Adapters hold out part of the training folds "
        "for early stopping; the simple baselines learn from all of them.",
        "",
        f"Run on {summary['date']} with {summary['workers']} processes of one thread each.",
        "",
        "| way of scoring | items | mean QWK | mean exact agreement | CPU-s per fold |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for arm, row in summary["arms"].items():
        lines.append(
            f"| {ARMS[arm]} | {row['items']} | {_fixed(row['qwk'])} | {row['exact']:.1%} "
            f"| {row['cpu_s']:.1f} |"
        )
    lines += [
        "",
        "Adapters against each, on the items that both scored; 95% interval from a paired "
        f"bootstrap over items ({RESAMPLES:,} resamples).",
        "",
        "| adapters minus | items | adapters' QWK | its QWK | difference | interval | needed | |",
        "| --- | ---: | ---: | ---: | ---: | :---: | --- | --- |",
    ]
    for row in summary["comparisons"]:
        lines.append(
            f"| {ARMS[row['than']]} | {row['items']} | {_fixed(row['adapters_qwk'])} "
            f"| {_fixed(row['other_qwk'])} | {row['difference']:+.3f} | "
            f"{row['low']:+.3f} to {row['high']:+.3f} | {row['needed']} | "
            f"{'won' if row['won'] else '**lost**'} |"
        )
    names = list(ARMS)
    lines += [
        "",
        "## QWK per item",
        "",
        "| item | n | " + " | ".join(names) + " |",
        "| --- | ---: |" + " ---: |" * len(names),
    ]
    for row in summary["items"]:
        cells = [_fixed(row["arms"][arm]["qwk"], 2) if arm in row["arms"] else "" for arm in names]
        lines.append(f"| {row['item_id']} | {row['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is left, write both files, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"the public data is not at {DATA}; see docs/quality.md for the last figures")
        return 1
    # One thread per process, set before the workers load their libraries.
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    fingerprints = _fingerprints()
    items = quality_items(read_items(DATA))
    jobs = _jobs(items, fingerprints)
    _run(jobs, arguments.workers)
    results = {(job.arm, job.item.item_id, job.fold): job.kept for job in jobs}
    summary: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "workers": arguments.workers,
        "fingerprints": fingerprints,
        "seed": SEED,
        **summarise(items, partial(_read, results)),
    }
    (ROOT / "docs" / "quality.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = _markdown(summary)
    (ROOT / "docs" / "quality.md").write_text(text)
    print(text.split("## QWK per item")[0])
    lost = [ARMS[row["than"]] for row in summary["comparisons"] if not row["won"]]
    for name in lost:
        print(f"LOST: adapters against {name}")
    return 1 if lost else 0


def _read(
    results: dict[tuple[str, str, int], Path], arm: str, item: PublicItem, fold: int
) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(results[arm, item.item_id, fold].read_text())
    return loaded


if __name__ == "__main__":
    sys.exit(main())
