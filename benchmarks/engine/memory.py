"""Memory of each system over a growing number of items, each in a fresh process of its own.

What a process keeps differs by some megabytes from one to the next: three rounds, medians.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.engine.adapters import adapter_folder
from benchmarks.engine.backbones import ROOT

PRECISIONS = ("bf16", "fp32")
# 27 models of BERT-base's size would need 12 GB; two sizes give the line they would lie on.
SIZES = {
    ("minilm", "ours"): (1, 9, 27, 100),
    ("minilm", "ours-in-turn"): (1, 27, 100),
    ("minilm", "b1"): (1, 9, 27),
    ("minilm", "b2"): (1, 9, 27),
    ("bert-base", "ours"): (1, 9, 27),
    ("bert-base", "ours-in-turn"): (1, 27),
    ("bert-base", "b1"): (1, 4),
}
ITEMS = 27  # that memory is compared at
ROUNDS = 3
MB = 1e6
LIMIT_S = 600


def jobs(backbone: str) -> list[tuple[str, str, int]]:
    """What is measured for a backbone, in this order: system, precision, number of items."""
    return ROUNDS * [
        (system, precision, n)
        for (name, system), sizes in SIZES.items()
        if name == backbone
        for precision in PRECISIONS
        for n in sizes
    ]


def measure_memory(backbone: str, advance: Callable[[int], None]) -> dict[str, Any]:
    """All jobs, one process after the other; megabytes by system, and the adapter file's size.

    Every figure is the median over the rounds.
    """
    for number in range(max(n for _, _, n in jobs(backbone))):
        adapter_folder(backbone, "recipe", number)
    rounds: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for job in jobs(backbone):
        rounds.setdefault(job, []).append(_in_a_process(backbone, *job))
        advance(1)
    figures: dict[str, list[dict[str, float]]] = {}
    for (system, precision, _), measured in rounds.items():
        figures.setdefault(f"{system}-{precision}", []).append(medians(measured))
    file = adapter_folder(backbone, "recipe", 0) / "adapter_model.safetensors"
    return {"adapter_file_mb": file.stat().st_size / MB, "systems": figures}


def at_items(points: Sequence[dict[str, float]], n: int, name: str) -> float:
    """A figure at n items: as measured, or on the line through the points where it was not."""
    for point in points:
        if point["items"] == n:
            return point[name]
    slope, start = _line(points, name)
    return start + slope * n


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of every figure over rounds that measured the same ones."""
    return {name: float(np.median([figures[name] for figures in rounds])) for name in rounds[0]}


def per_item(points: Sequence[dict[str, float]], name: str) -> float:
    """Megabytes of each further item: the slope of the line through the points."""
    return _line(points, name)[0]


def _line(points: Sequence[dict[str, float]], name: str) -> tuple[float, float]:
    slope, start = np.polyfit([p["items"] for p in points], [p[name] for p in points], 1)
    return float(slope), float(start)


def _in_a_process(backbone: str, system: str, precision: str, n: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.engine.holding", system, backbone]
    done = subprocess.run(
        [*command, precision, str(n)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"the memory of {system} {precision} with {n} items could not be measured:\n"
            + done.stderr[-2000:]
        )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
