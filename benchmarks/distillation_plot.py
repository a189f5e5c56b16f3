"""The plot of ``benchmarks.distillation``: students against teachers, and quality by speed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.distillation_report import SOURCES

mpl.use("Agg")
# The same figures give the same file, and text stays text.
mpl.rcParams.update({"svg.hashsalt": "gradeline", "svg.fonttype": "none", "font.size": 8})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what draws

COLOURS = {"semeval": "#1b6ca8", "saf": "#c8553d", "examples": "#7a8b3f"}


def draw(summary: Mapping[str, Any], path: Path) -> None:
    """Write the plot as SVG."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    _by_item(left, summary)
    _by_speed(right, summary)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _by_item(axis: Any, summary: Mapping[str, Any]) -> None:
    for source, colour in COLOURS.items():
        rows = [row for row in summary["items"] if row["source"] == source]
        pairs = [(row["ways"]["teacher"]["qwk"], row["ways"]["student"]["qwk"]) for row in rows]
        pairs = [pair for pair in pairs if None not in pair]
        if pairs:
            axis.scatter(*zip(*pairs, strict=True), s=14, color=colour, label=SOURCES[source])
    axis.axline((0, 0), slope=1, color="#b9c0c7", linewidth=1)
    axis.set(xlabel="QWK of the teacher", ylabel="QWK of its student", title="item by item")
    axis.legend(frameon=False)


def _by_speed(axis: Any, summary: Mapping[str, Any]) -> None:
    """The cascade's speed follows from the share its students kept."""
    rates, ways = summary["speed"]["per_cpu_s"], summary["means"]["ways"]
    times = float(np.median(summary["speed"]["times_faster"]["student"]))
    cascade = rates["teacher"] / (1 - summary["means"]["kept"] + 1 / times)
    points = {"teacher": rates["teacher"], "cascade": cascade, "student": rates["student"]}
    for way, rate in points.items():
        axis.scatter(rate, ways[way]["qwk"], s=30, color="#1b6ca8")
        axis.annotate(way, (rate, ways[way]["qwk"]), (5, 5), textcoords="offset points")
    for way in ("hard", "tfidf"):
        axis.axhline(ways[way]["qwk"], color="#b9c0c7", linewidth=1)
        axis.annotate(
            {"hard": "student of human scores only", "tfidf": "TF-IDF + ridge"}[way],
            (rates["teacher"], ways[way]["qwk"]),
            (0, 3),
            textcoords="offset points",
            color="#5b6670",
        )
    axis.set(
        xscale="log",
        xlabel="responses per CPU-second, one core",
        ylabel="mean QWK, public items",
        title="quality by speed",
    )
