"""How many upper blocks an item needs of its own: quality, blocks executed, training cost.

LoRA on the upper 1, 2, 3 and all blocks; 1, 2, 3 and all blocks as the item's own; branches of
three compressed to 1 and 2. The same folds for all. Takes three CPU-minutes or so per question;
finished folds are kept in ``build/depths``, so a run that was stopped goes on where it was.

    python -m benchmarks.depths [--every 5] [--shortest 7]

Writes ``docs/depths.md``, ``docs/depths.json`` and ``docs/depths.svg``.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.depths_arms import train_all
from benchmarks.depths_report import draw, markdown, summarise
from benchmarks.public_data import FILES, PublicItem, quality_items, read_items
from benchmarks.quality import DATA, FOLDS, ROOT, folds_of
from benchmarks.quality_arms import Fold

KEPT = ROOT / "build" / "depths"
# The code that decides what is trained: kept results are good for this only.
DECISIVE = (
    "bert_training",
    "branch_distillation",
    "fitting",
    "heads",
    "lora",
    "lora_training",
    "own_blocks",
    "partial",
    "recipes",
    "stopping",
    "trained_blocks",
    "training_data",
)


@dataclass(frozen=True)
class Job:
    """One fold of one question, and the file that keeps what came of it."""

    item: PublicItem
    fold: int
    kept: Path


def run_job(job: Job) -> None:
    """Train every way in a worker process and keep the results."""
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
    results = train_all(fold)
    job.kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = job.kept.with_suffix(".tmp")
    temporary.write_text(json.dumps(results))
    temporary.replace(job.kept)


def jobs_of(items: Sequence[PublicItem], fingerprint: str) -> list[Job]:
    """All folds of all items, the longest first, so that no core idles at the end."""
    jobs = [
        Job(item, fold, KEPT / fingerprint / f"{item.item_id}-{fold}.json")
        for item in items
        for fold in range(FOLDS)
    ]
    return sorted(jobs, key=lambda job: (-_letters(job.item), job.fold))


def _letters(item: PublicItem) -> int:
    return sum(map(len, item.texts))


def main() -> int:
    """Run what is left and write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--every", type=int, default=5, help="take every n-th of the 52 questions")
    parser.add_argument("--shortest", type=int, help="of these, the n with the least text only")
    arguments = parser.parse_args()
    if not DATA.is_dir():
        print(f"the public data is not at {DATA}; see docs/depths.md for the last figures")
        return 1
    # One thread per process, set before the workers load their libraries.
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    # From the third on, as the full fine-tuning of ``benchmarks.quality`` takes them.
    items = quality_items(read_items(DATA))[2 % arguments.every :: arguments.every]
    items = sorted(items, key=_letters)[: arguments.shortest]
    jobs = jobs_of(items, _fingerprint())
    left = [job for job in jobs if not job.kept.exists()]
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run_job, job) for job in left]
        for done in track(as_completed(running), "folds", total=len(left)):
            done.result()
    files = {(job.item.item_id, job.fold): job.kept for job in jobs}
    summary: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "arguments": " ".join(sys.argv[1:]),
        "versions": _versions(),
        **summarise(items, lambda item, fold: json.loads(files[item.item_id, fold].read_text())),
    }
    text = markdown(summary)
    (ROOT / "docs" / "depths.json").write_text(json.dumps(summary, indent=1) + "\n")
    (ROOT / "docs" / "depths.md").write_text(text)
    draw(summary, ROOT / "docs" / "depths.svg")
    print(text.split("## QWK per item")[0])
    return 0


def _fingerprint() -> str:
    """A hash of the data and of the code that trains."""
    benchmarks = [ROOT / "benchmarks" / name for name in ("public_data.py", "depths_arms.py")]
    models = [ROOT / "models" / f"{name}.py" for name in DECISIVE]
    digest = hashlib.sha256()
    for path in (*(DATA / name for name in FILES), *benchmarks, *models):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _versions() -> str:
    names = ("gradeline", "torch", "transformers")
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
