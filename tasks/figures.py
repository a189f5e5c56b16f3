"""Pictures of agreement for reviewers, as matplotlib figures: they hold counts and shares only.

Figures are made without pyplot: it keeps every figure alive and is not safe in threads.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.evaluation import ENOUGH_RATED, SMALL_CELL, ItemEvaluation, by_qwk

MACHINE = "#1d5fa8"
HUMAN = "#c9ced6"
INK = "#1c1f24"
# More items than this and their names cannot be read any more.
LONGEST = 220


def confusion_figure(evaluation: ItemEvaluation) -> Figure:
    """Human scores in rows, machine scores in columns; each cell its count and share of its row.

    Fewer than ten rated responses are not drawn.
    """
    figure, axes = _figure(_title(evaluation), width=4.6, height=4.4)
    if evaluation.n_rated < SMALL_CELL:
        return _suppressed(figure, axes)
    table = np.array(evaluation.confusion)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25)
    for (row, column), count in np.ndenumerate(table):
        if count:
            label = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, label, ha="center", va="center", fontsize=8, color=INK)
    points = range(evaluation.score_min, evaluation.score_max + 1)
    axes.set_xticks(range(len(points)), [str(point) for point in points])
    axes.set_yticks(range(len(points)), [str(point) for point in points])
    axes.set_xlabel("machine score")
    axes.set_ylabel("human score")
    return figure


def distribution_figure(evaluation: ItemEvaluation) -> Figure:
    """Share of responses at each score point: people and machine on the rated ones.

    Where fewer than ten are rated, the machine's distribution over all scored responses is drawn
    alone; where fewer than ten are scored, nothing is.
    """
    figure, axes = _figure(_title(evaluation), width=4.6, height=3.2)
    bars = evaluation.distributions
    if not bars:
        return _suppressed(figure, axes)
    points = np.arange(evaluation.score_min, evaluation.score_max + 1)
    width = 0.8 / len(bars)
    for position, (name, shares) in enumerate(bars.items()):
        offset = (position - (len(bars) - 1) / 2) * width
        colour = HUMAN if name.startswith("human") else MACHINE
        axes.bar(points + offset, shares, width, label=name, color=colour, edgecolor=INK, lw=0.6)
    axes.set_xticks(points)
    axes.set_xlabel("score")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(frameon=False, fontsize=8)
    return figure


def overview_figure(evaluations: Sequence[ItemEvaluation]) -> Figure:
    """QWK of every item with rated responses, best first, with its interval and human-human QWK."""
    rated = by_qwk(evaluations)[:LONGEST]
    title = f"Agreement with the first rater, {len(rated)} items"
    figure, axes = _figure(title, width=7.0, height=max(1.8, 1.2 + 0.19 * len(rated)))
    places = np.arange(len(rated))
    for place, item in zip(places, rated, strict=True):
        if not math.isnan(item.qwk_low):
            axes.plot([item.qwk_low, item.qwk_high], [place, place], color=MACHINE, lw=1.2)
    enough = np.array([item.enough_rated for item in rated], dtype=bool)
    qwk = np.array([item.qwk for item in rated])
    axes.scatter(qwk[enough], places[enough], s=22, color=MACHINE, zorder=3, label="QWK")
    few = f"QWK, fewer than {ENOUGH_RATED} rated"
    axes.scatter(
        qwk[~enough], places[~enough], s=22, color="white", edgecolors=MACHINE, zorder=3, label=few
    )
    people = np.array([item.qwk_human_human for item in rated])
    axes.scatter(people, places, s=28, marker="|", color=INK, zorder=2, label="human-human QWK")
    axes.set_yticks(places, [item.name for item in rated], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(right=1.02)
    axes.grid(axis="x", lw=0.4)
    axes.set_xlabel("quadratic weighted kappa, 95% interval")
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _title(evaluation: ItemEvaluation) -> str:
    return f"{evaluation.name} ({evaluation.n_scored} scored, {evaluation.n_rated} rated)"


def _figure(title: str, *, width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    # Item ids are shown as they are: "$" would otherwise begin a formula.
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    return figure, axes


def _suppressed(figure: Figure, axes: Axes) -> Figure:
    axes.text(0.5, 0.5, f"fewer than {SMALL_CELL} responses: not shown", ha="center", va="center")
    axes.set_axis_off()
    return figure
