"""Training against plain PEFT with bfloat16 autocast, at equal QWK, from texts to saved adapter.

Thirty public questions with about 100 answers to learn from, and 1,700 answers pooled from one
topic. Both ways train the same answers in turn, the order changing every time, in a process of
one thread per core, as ``gradeline train`` does. Takes a quarter of an hour on two cores.

    python -m benchmarks.training

Writes ``docs/training.md`` and ``docs/training.json``.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context

from rich.progress import track

from benchmarks.public_data import read_items
from benchmarks.quality import DATA, ROOT
from benchmarks.training_jobs import ITEMS, LARGE, SMALL, large_jobs, run_job, small_jobs, warm_up
from benchmarks.training_report import case, markdown

METHOD = (
    "From texts to a saved adapter; the backbone is loaded already, each process has trained one "
    "item each way, and one process with one thread runs per core. Both ways train the same "
    "answers in turn, with the same rank, head, steps, batch size, warm-up, decay, class weights, "
    "stopping rule and bfloat16. 100 answers: {items} SemEval questions, five folds; 1,700: "
    "answers to all questions on one topic, drawn anew in each round. PEFT runs with what was "
    "fastest for it: eager attention, batches of like length, padding to a multiple of 8, and of "
    "three peak rates the one with the best QWK. Its variant with adapters in the upper blocks "
    "only is timed in the first round."
)


def main() -> int:
    """Run all, print the table, write both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    workers = parser.parse_args().workers
    if not DATA.is_dir():
        print(f"the public data is not at {DATA}: nothing to train on")
        return 1
    # One thread per process, set before the workers load their libraries.
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    items = read_items(DATA)
    small = small_jobs(items)
    jobs = [*large_jobs(items), *small]
    with ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=warm_up, initargs=(small[0],)
    ) as pool:
        running = [pool.submit(run_job, job) for job in jobs]
        done = track(as_completed(running), "trainings", total=len(jobs))
        results = [result for future in done for result in future.result()]
    summary = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "method": METHOD.format(items=ITEMS),
        "workers": workers,
        "versions": _versions(),
        "cases": [
            case([result for result in results if result.job.answers == answers])
            for answers in (SMALL, LARGE)
        ],
    }
    text = markdown(summary)
    (ROOT / "docs" / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    (ROOT / "docs" / "training.md").write_text(text)
    print(text)
    return 0


def _versions() -> str:
    names = ("gradeline", "torch", "transformers", "peft")
    return ", ".join(f"{name} {version(name)}" for name in names)


if __name__ == "__main__":
    sys.exit(main())
