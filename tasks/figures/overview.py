"""All items side by side: agreement, mean differences by subgroup, and cost."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tasks.evaluation import ENOUGH_RATED, ItemEvaluation, by_qwk
from tasks.figures.canvas import FAIL, INK, MACHINE, RULE, batches, canvas, plain, shortened
from tasks.report_subgroups import shown_groups
from warehouse.reports import Run

# More items than this and their names cannot be read any more.
ITEMS_PER_PAGE = 100
ROWS_PER_MAP = 80
# Colours of the heat map are full at this difference, in standard deviations.
FULL_COLOUR = 0.3
LEVELS_AT_MOST = 40
# Smaller differences have their colour only: numbers in all cells would hide these.
WORTH_WRITING = 0.1
LETTERS_OF_NAME = 32


def agreement_pages(
    evaluations: Sequence[ItemEvaluation],
    enough_rated: int = ENOUGH_RATED,
    limit: float = math.nan,
) -> Iterator[Figure]:
    """QWK of every item with enough responses to be shown, lowest first, a hundred to a page.

    Args:
        evaluations: all items.
        enough_rated: items with fewer rated responses have a hollow mark.
        limit: the QWK that items must reach, drawn as a line; NaN for none.
    """
    shown = [item for item in by_qwk(evaluations) if item.n_rated >= item.small_cell]
    for batch in batches(shown[::-1], ITEMS_PER_PAGE):
        yield overview_figure(batch, enough_rated, limit)


def overview_figure(
    evaluations: Sequence[ItemEvaluation],
    enough_rated: int = ENOUGH_RATED,
    limit: float = math.nan,
) -> Figure:
    """QWK of these items with its interval and human-human QWK, lowest first."""
    rated = by_qwk(evaluations)[::-1]
    title = f"Agreement with the first rater, {len(rated)} items"
    figure, axes = canvas(title, width=7.0, height=max(1.8, 1.2 + 0.19 * len(rated)))
    places = np.arange(len(rated))
    for place, item in zip(places, rated, strict=True):
        if not math.isnan(item.qwk.low):
            axes.plot([item.qwk.low, item.qwk.high], [place, place], color=MACHINE, lw=1.2)
    enough = np.array([item.n_rated >= enough_rated for item in rated], dtype=bool)
    qwk = np.array([item.qwk.value for item in rated])
    axes.scatter(qwk[enough], places[enough], s=22, color=MACHINE, zorder=3, label="QWK")
    few = f"QWK, fewer than {enough_rated} rated"
    axes.scatter(
        qwk[~enough], places[~enough], s=22, color="white", edgecolors=MACHINE, zorder=3, label=few
    )
    people = np.array([_human_human(item) for item in rated])
    axes.scatter(people, places, s=28, marker="|", color=INK, zorder=2, label="human-human QWK")
    if not math.isnan(limit):
        axes.axvline(limit, color=FAIL, lw=0.8, ls="--", label="limit")
    axes.set_yticks(places, [item.name for item in rated], fontsize=7, parse_math=False)
    axes.margins(y=0.6 / max(1, len(rated)))
    axes.invert_yaxis()
    axes.set_xlim(right=1.02)
    axes.grid(axis="x", lw=0.4)
    axes.set_xlabel("quadratic weighted kappa, 95% interval")
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def mean_difference_pages(evaluations: Sequence[ItemEvaluation]) -> Iterator[Figure]:
    """Heat map: SMD of each item, and DSM of each of its subgroups; blue where it is milder.

    Rows are items, those with the largest difference first. What rests on too few responses, or
    is not known, is left white.
    """
    shown = [item for item in evaluations if item.n_rated >= item.small_cell]
    found = [_differences(item) for item in shown]
    columns = ["SMD", *_levels(found)]
    values = np.array([[of_item.get(name, math.nan) for name in columns] for of_item in found])
    values = values.reshape(len(shown), len(columns))
    largest = np.max(np.nan_to_num(np.abs(values)), axis=1, initial=0)
    order = np.argsort(-largest, kind="stable")
    for rows in batches(order.tolist(), ROWS_PER_MAP):
        yield _heat_map([shown[row].name for row in rows], columns, values[rows])


def cost_figure(evaluations: Sequence[ItemEvaluation], run: Run) -> Figure:
    """Latency of all items, slowest first, with the run's speed and memory in words."""
    timed = [item for item in evaluations if not math.isnan(item.latency_ms_p95)]
    timed.sort(key=lambda item: (-item.latency_ms_p95, item.item_id, item.trait))
    title = "  ".join(
        [
            f"{run.peak_rss_mb or math.nan:,.0f} MB at most,",
            f"{run.responses_per_s or math.nan:,.1f} responses/s,",
            f"{run.adapters_loaded} adapters loaded",
        ]
    ).replace("nan", "–")
    figure, axes = canvas(title, width=7.0, height=3.0)
    places = np.arange(1, len(timed) + 1)
    for name, values, colour in (
        ("95th percentile", [item.latency_ms_p95 for item in timed], RULE),
        ("median", [item.latency_ms_p50 for item in timed], MACHINE),
    ):
        axes.plot(places, values, color=colour, marker=".", lw=0.8, label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("items by latency, slowest first")
    axes.set_ylabel("milliseconds per score")
    axes.legend(frameon=False, fontsize=8)
    return figure


def _human_human(item: ItemEvaluation) -> float:
    people = item.human_human["qwk"]
    return people.value if people.n >= item.small_cell else math.nan


def _differences(item: ItemEvaluation) -> dict[str, float]:
    """SMD of all responses, DSM of the levels that may be shown."""
    levels = {f"{one.attribute}: {one.level}": one.dsm.value for one in shown_groups(item)}
    return {"SMD": item.figures["smd"].value, **levels}


def _levels(found: Sequence[Mapping[str, float]]) -> list[str]:
    """Columns for the subgroups: of very many, those that most items have."""
    counts = Counter(name for of_item in found for name in of_item if name != "SMD")
    common = sorted(counts, key=lambda name: (-counts[name], name))[:LEVELS_AT_MOST]
    return sorted(common)


def _heat_map(names: list[str], columns: list[str], values: NDArray[np.float64]) -> Figure:
    # In the colours of the report.
    title = "SMD, DSM by subgroup, in standard\ndeviations; blue milder, red harsher"
    width, height = 3.6 + max(2.4, 0.46 * len(columns)), 2.0 + 0.17 * len(names)
    # Margins are fixed, in inches: finding them would take matplotlib longer than drawing.
    figure = Figure(figsize=(width, height), dpi=110)
    axes = figure.add_axes((2.2 / width, 1.6 / height, 1 - 3.0 / width, 1 - 2.0 / height))
    drawn = axes.imshow(values, cmap="RdBu", vmin=-FULL_COLOUR, vmax=FULL_COLOUR, aspect="auto")
    for row, column in np.argwhere(np.abs(values) >= WORTH_WRITING).tolist():
        value = float(values[row, column])
        colour = INK if abs(value) < 0.7 * FULL_COLOUR else "white"
        label = f"{value:+.2f}".replace("0.", ".")
        axes.text(column, row, label, ha="center", va="center", fontsize=5.5, color=colour)
    labels = [shortened(name, LETTERS_OF_NAME) for name in columns]
    axes.set_xticks(range(len(columns)), labels, rotation=90, fontsize=7, parse_math=False)
    shown = [shortened(name, LETTERS_OF_NAME) for name in names]
    axes.set_yticks(range(len(names)), shown, fontsize=6.5, parse_math=False)
    bar = figure.add_axes((1 - 0.6 / width, 1.6 / height, 0.12 / width, 1 - 2.0 / height))
    figure.colorbar(drawn, cax=bar).ax.tick_params(labelsize=6)
    plain(axes, title)
    axes.tick_params(axis="y", labelsize=6.5)
    return figure
