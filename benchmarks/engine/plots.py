"""The three plots: throughput by system, memory by number of items, latency by group size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.engine.figures import SHORT, Results
from benchmarks.engine.mixes import SHAPES
from benchmarks.engine.rates import spread
from benchmarks.engine.report import system_rows

mpl.use("Agg")
# The same figures give the same file, and text stays text.
mpl.rcParams.update({"svg.hashsalt": "gradeline", "svg.fonttype": "none", "font.size": 8})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what draws

OURS, THEIRS, BOUND = "#1b6ca8", "#b9c0c7", "#5b6670"
LINES = {"ours": "-", "b1": ":", "b2": "--", "b0": ":"}


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw what was measured; returns the files."""
    plots: dict[str, Callable[[Results], Any]] = {
        "bench_throughput.svg": _throughput,
        "bench_memory.svg": _memory,
        "bench_latency.svg": _latency,
    }
    files = []
    for name, plot in plots.items():
        figure = plot(results)
        if figure is not None:
            figure.savefig(folder / name, metadata={"Date": None, "Creator": None})
            plt.close(figure)
            files.append(folder / name)
    return files


def _throughput(results: Results) -> Any:
    mixes = results.get("speed", {}).get("minilm", {})
    if not mixes:
        return None
    figure, axes = plt.subplots(
        1, len(mixes), figsize=(5 * len(mixes), 7), layout="constrained", squeeze=False
    )
    for axis, mix in zip(axes[0], mixes, strict=True):
        rows = list(system_rows(results, "minilm", mix))[::-1]
        rates = [row["rate"].median for row in rows]
        spans = [[row["rate"].median - row["rate"].low for row in rows]]
        spans.append([row["rate"].high - row["rate"].median for row in rows])
        axis.barh(range(len(rows)), rates, xerr=spans, color=[_color(row) for row in rows])
        axis.set_yticks(range(len(rows)), [row["label"] for row in rows])
        axis.set_title(SHAPES[mix].title)
        axis.set_xlabel("real tokens per second, MiniLM")
    return figure


def _color(row: dict[str, Any]) -> str:
    if row["baseline"] in ("ceiling", "machine"):
        return BOUND
    return OURS if row["baseline"] == "ours" else THEIRS


def _memory(results: Results) -> Any:
    systems = results.get("memory", {}).get("minilm", {}).get("systems", {})
    if not systems:
        return None
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, points in systems.items():
        axis.plot(
            [point["items"] for point in points],
            [point["steady_mb"] for point in points],
            LINES[name.split("-")[0]],
            marker="o",
            label=name,
        )
    axis.set(xlabel="items", ylabel="MB beyond the libraries", yscale="log", title="MiniLM")
    axis.legend()
    return figure


def _latency(results: Results) -> Any:
    measured = results.get("latency", {})
    if not measured:
        return None
    name, found = next(iter(measured.items()))
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for key, system in found["systems"].items():
        sizes = [int(size) for size in system["group_s"]]
        per_response = [
            1e3 * spread(times).median / int(size) for size, times in system["group_s"].items()
        ]
        axis.plot(sizes, per_response, LINES[key.split("-")[0]], marker="o", label=system["label"])
    axis.set(
        xlabel="responses in the group",
        ylabel="ms per response",
        xscale="log",
        yscale="log",
        title=SHORT[name],
    )
    axis.legend()
    return figure
