"""What a backfill changes of released scores, all items to a page."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from tasks.comparison import ItemComparison, ScoreComparison
from tasks.figures.canvas import RULE, batches, canvas

ITEMS_PER_PAGE = 60
# As in the report: up in blue, down in orange, darker where it is by more than a point.
COLOURS = {"up": ("#7fa6d1", "#1d5fa8"), "down": ("#e8ad78", "#c0600a")}


def replaced_pages(found: ScoreComparison | None, small_cell: int) -> Iterator[Figure]:
    """Shares of released scores that rise and fall, by item, largest first, sixty to a page."""
    if found is None:
        return
    for batch in batches([i for i in found.replacing if i.n >= small_cell], ITEMS_PER_PAGE):
        yield _page(found, batch)


def _page(found: ScoreComparison, items: list[ItemComparison]) -> Figure:
    title = f"{found.changed:,} of {found.n:,} released scores are another, by item"
    figure, axes = canvas(title, width=7.0, height=max(1.8, 1.2 + 0.19 * len(items)))
    places = np.arange(len(items))
    for word, sign in (("up", 1), ("down", -1)):
        left = np.zeros(len(items))
        for far, colour in zip((False, True), COLOURS[word], strict=True):
            share = np.array([_share(item, sign, far) for item in items])
            label = f"{word} by {'2 points or more' if far else '1 point'}"
            axes.barh(places, sign * share, left=left, height=0.7, color=colour, label=label)
            left += sign * share
    axes.axvline(0, color=RULE, lw=0.8)
    axes.set_yticks(places, [item.name for item in items], fontsize=7, parse_math=False)
    axes.invert_yaxis()
    axes.grid(axis="x", lw=0.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * abs(value):.4g}%")
    axes.set_xlabel("share of the replaced scores: down to the left, up to the right")
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _share(item: ItemComparison, sign: int, far: bool) -> float:
    shifts = item.shifts.items()
    return sum(n for shift, n in shifts if sign * shift > 0 and (abs(shift) > 1) == far) / item.n
