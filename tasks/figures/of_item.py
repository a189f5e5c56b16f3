"""One item in four pictures: confusion matrix, distribution, calibration, risk and coverage."""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tasks.evaluation import ItemEvaluation
from tasks.figures.canvas import HUMAN, INK, MACHINE, RULE, SUPPRESSED, plain
from tasks.report_charts import merged_bins


def item_figure(evaluation: ItemEvaluation) -> Figure:
    """All that is drawn of one item; what rests on too few responses is left out, and says so."""
    # Margins are fixed: finding them would take matplotlib longer than drawing.
    figure = Figure(figsize=(9.6, 7.6), dpi=110)
    axes = figure.subplots(2, 2, gridspec_kw={"hspace": 0.34, "wspace": 0.2})
    figure.subplots_adjust(left=0.06, right=0.98, top=0.9, bottom=0.07)
    title = f"{evaluation.name} ({evaluation.n_scored} scored, {evaluation.n_rated} rated)"
    figure.suptitle(title, fontsize=10, x=0.06, ha="left", parse_math=False)
    pictures: dict[str, Callable[[Axes, ItemEvaluation], bool]] = {
        "Confusion matrix: count and share of the row": _confusion,
        "Score distribution": _distribution,
        "Calibration": _calibration,
        "Risk and coverage": _coverage,
    }
    for place, (name, draw) in zip(axes.flat, pictures.items(), strict=True):
        plain(place, name)
        if not draw(place, evaluation):
            words = SUPPRESSED.format(evaluation.small_cell)
            place.text(0.5, 0.5, words, ha="center", va="center", fontsize=8)
            place.set_axis_off()
    return figure


def _confusion(axes: Axes, evaluation: ItemEvaluation) -> bool:
    """Human scores in rows, machine scores in columns."""
    if evaluation.n_rated < evaluation.small_cell:
        return False
    table = np.array(evaluation.confusion)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.25, aspect="auto")
    for (row, column), count in np.ndenumerate(table):
        if count:
            label = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, label, ha="center", va="center", fontsize=8, color=INK)
    points = range(evaluation.score_min, evaluation.score_max + 1)
    axes.set_xticks(range(len(points)), [str(point) for point in points])
    axes.set_yticks(range(len(points)), [str(point) for point in points])
    axes.set_xlabel("machine score")
    axes.set_ylabel("human score")
    return True


def _distribution(axes: Axes, evaluation: ItemEvaluation) -> bool:
    """People and machine on the rated responses; the machine alone where these are few."""
    bars = evaluation.distributions
    if not bars:
        return False
    points = np.arange(evaluation.score_min, evaluation.score_max + 1)
    width = 0.8 / len(bars)
    for position, (name, shares) in enumerate(bars.items()):
        offset = (position - (len(bars) - 1) / 2) * width
        colour = HUMAN if name.startswith("human") else MACHINE
        axes.bar(points + offset, shares, width, label=name, color=colour, edgecolor=INK, lw=0.6)
    axes.set_xticks(points)
    axes.set_xlabel("score")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2)
    return True


def _calibration(axes: Axes, evaluation: ItemEvaluation) -> bool:
    """What confidence promised against what came true, by tenths of the responses or more."""
    bins = merged_bins(evaluation.calibration, evaluation.small_cell)
    if not bins:
        return False
    axes.plot([0, 1], [0, 1], color=RULE, lw=0.8, label="as promised")
    confidence = [row.confidence for row in bins]
    exact = [row.exact for row in bins]
    axes.plot(confidence, exact, marker="o", ms=4, color=MACHINE, label="found")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share with the first rater's score")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return True


def _coverage(axes: Axes, evaluation: ItemEvaluation) -> bool:
    """Agreement on the most confident responses, by the share of them that is kept."""
    rows = [row for row in evaluation.coverage if row.n >= evaluation.small_cell]
    if not rows:
        return False
    kept = [row.kept for row in rows]
    for name, values, colour in (
        ("exact agreement", [row.exact for row in rows], RULE),
        ("QWK", [row.qwk for row in rows], MACHINE),
    ):
        axes.plot(kept, values, marker="o", ms=4, color=colour, label=name)
    axes.set_xlabel("share of responses kept, the least confident going to people")
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.invert_xaxis()
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    return True
