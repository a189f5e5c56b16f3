"""Hold the newest figures against their targets: ``make bench-check``.

Prints the table, and exits 1 naming every figure that falls short or was not measured.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engine.backbones import ROOT
from benchmarks.engine.figures import figures
from benchmarks.engine.targets import FEWEST_ROUNDS, TARGETS, Figure

NEWEST = ROOT / "docs" / "bench.json"
TRAINING = ROOT / "docs" / "training.json"  # written by `python -m benchmarks.training`


def refusals(results: dict[str, Any]) -> list[str]:
    """Why a file is no evidence, whatever its figures say."""
    found = []
    if results.get("scale") != 1:
        found.append(f"it holds a quick run, scale {results.get('scale')}: run `make bench`")
    if results.get("rounds", 0) < FEWEST_ROUNDS:
        found.append(f"it holds {results.get('rounds', 0)} rounds, {FEWEST_ROUNDS} are needed")
    return found


def shortfalls(found: Sequence[Figure]) -> list[str]:
    """A sentence for each figure that is not met."""
    return [
        f"{TARGETS[figure.target].title}; {figure.case}: {figure.measured}, "
        f"needed {TARGETS[figure.target].text}"
        for figure in found
        if not figure.is_met
    ]


def table(found: Sequence[Figure]) -> list[str]:
    """All figures with their targets, as lines of Markdown."""
    lines = ["| figure | case | needed | measured | |", "| --- | --- | --- | --- | --- |"]
    for figure in found:
        target = TARGETS[figure.target]
        verdict = "met" if figure.is_met else "**not met**"
        lines.append(
            f"| {target.title} | {figure.case} | {target.text} | {figure.measured} | {verdict} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=NEWEST)
    path = parser.parse_args(arguments).file
    if not path.is_file():
        print("there are no figures yet: run `make bench` first")
        return 1
    results = json.loads(path.read_text("utf-8"))
    if path == NEWEST and TRAINING.is_file():
        results["training"] = json.loads(TRAINING.read_text("utf-8"))
    found = figures(results)
    print("\n".join(table(found)))
    problems = [*refusals(results), *shortfalls(found)]
    print(f"\n{len(found) - len(shortfalls(found))} of {len(found)} figures are met")
    for problem in problems:
        print(f"SHORT: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
