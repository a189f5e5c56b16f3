"""Distilled students beside their teachers: how well and how fast they score, and in cascades.

On every item of ``benchmarks.quality`` and of the sample bank an adapter is trained by the default
recipe, a student is distilled from it, and both score answers that neither has learned from. Takes
half an hour on two cores. Finished items are kept in ``build/distillation``, so a run that was
stopped goes on where it was.

    python -m benchmarks.distillation [--finished]

Writes ``docs/distillation.md``, ``.json`` and ``.svg``; exits 1 where a target was missed.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.progress import track

from benchmarks.distillation_cascades import cascade_of
from benchmarks.distillation_cases import EXAMPLES, Case, all_cases
from benchmarks.distillation_report import markdown, summary_of
from benchmarks.public_data import FILES
from benchmarks.quality import DATA, ROOT

KEPT = ROOT / "build" / "distillation"
DOCS = ROOT / "docs"
# The code that decides what is trained: kept results are good for this only. Cascades are made of
# what is kept when the page is written.
DECISIVE = (
    "bert_training",
    "distillation",
    "features",
    "fitting",
    "heads",
    "lora",
    "lora_training",
    "recipes",
    "scores",
    "stopping",
    "student",
    "student_fitting",
    "student_net",
    "training_data",
    "variants",
    "word_table",
    "word_vectors",
)


def run_case(case: Case, kept: Path) -> str:
    """Judge one item in a worker process and keep what was found."""
    from benchmarks.distillation_jobs import judge

    _keep(kept, judge(case))
    return case.name


def measured(cases: Sequence[Case], folder: Path, workers: int) -> dict[str, Any]:
    """What was found of every case, by its name; what is kept already is not done again."""
    paths = {case.name: folder / f"{case.name}.json" for case in cases}
    left = [case for case in cases if not paths[case.name].exists()]
    # The longest first, so that no core idles at the end.
    left.sort(key=lambda case: -sum(map(len, case.texts)))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(run_case, case, paths[case.name]) for case in left]
        for future in track(as_completed(running), "items", total=len(running)):
            future.result()
    return {name: json.loads(path.read_text()) for name, path in paths.items()}


def timed(cases: Sequence[Case], kept: Path) -> dict[str, Any]:
    """The rounds of ``benchmarks.distillation_jobs.speed``, alone on the machine."""
    from benchmarks.distillation_jobs import speed

    if not kept.exists():
        _keep(kept, speed(cases))
    found: dict[str, Any] = json.loads(kept.read_text())
    return found


def _keep(path: Path, found: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(found))
    temporary.replace(path)


def _fingerprint() -> str:
    """Hash of the data and of the code that a result hangs on."""
    paths = [DATA / name for name in FILES if DATA.is_dir()]
    paths += sorted(path for path in EXAMPLES.rglob("*") if path.is_file())
    paths += [ROOT / "models" / f"{name}.py" for name in DECISIVE]
    names = ("public_data.py", "quality_arms.py", "distillation_cases.py", "distillation_jobs.py")
    paths += [ROOT / "benchmarks" / name for name in names]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def main() -> int:
    """Run what is left, write the files, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--finished", action="store_true", help="only of the items that are done")
    arguments = parser.parse_args()
    # One thread per process, set before the workers load their libraries.
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    fingerprint = _fingerprint()
    everything, folder = all_cases(), KEPT / fingerprint
    cases = everything
    if arguments.finished:
        cases = [case for case in everything if (folder / f"{case.name}.json").exists()]
    found = measured(cases, folder, arguments.workers)
    found = {case.name: found[case.name] | cascade_of(case, found[case.name]) for case in cases}
    libraries = ("gradeline", "numpy", "torch", "scikit-learn")
    summary: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "fingerprint": fingerprint,
        "left": len(everything) - len(cases),
        "versions": ", ".join(f"{name} {version(name)}" for name in libraries),
        **summary_of(cases, found, timed(everything, folder / "speed.json")),
    }
    (DOCS / "distillation.json").write_text(json.dumps(summary, indent=1) + "\n")
    text = markdown(summary)
    (DOCS / "distillation.md").write_text(text)
    from benchmarks.distillation_plot import draw

    draw(summary, DOCS / "distillation.svg")
    print(text.split("## Item by item")[0])
    missed = [target["what"] for target in summary["targets"] if not target["met"]]
    for what in missed:
        print(f"MISSED: {what}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
