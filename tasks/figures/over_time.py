"""Administrations one after the other: each item's drift, and a season as a whole."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import date

import numpy as np
from matplotlib.figure import Figure

from tasks.evaluation import SMALL_CELL
from tasks.figures.canvas import FAIL, FLAG, HUMAN, MACHINE, RULE, Sheet, batches, canvas
from tasks.trend import in_order
from warehouse.trends import Administration

Key = tuple[str, str]


def drift_pages(
    trend: Sequence[Administration],
    order: Sequence[Key],
    statuses: Mapping[Key, str],
    small_cell: int = SMALL_CELL,
) -> Iterator[Figure]:
    """Every item's mean score (blue) and share of the lowest point (amber) by administration.

    Both run from 0 at the bottom to the whole scale, or all responses, at the top. Held
    administrations have a red dot. Those with too few scored responses are left out, and items
    with fewer than two administrations have no panel.

    Args:
        trend: the administrations.
        order: (item_id, trait) in the order of the panels.
        statuses: the worst drift status of each.
        small_cell: fewest scored responses of an administration that is shown.
    """
    of_item: dict[Key, list[Administration]] = {key: [] for key in order}
    for point in in_order(trend):
        if point.n >= small_cell:
            of_item.setdefault((point.item_id, point.trait), []).append(point)
    drawn = [key for key, points in of_item.items() if len(points) > 1]
    title = "By administration: mean score blue, share of the lowest point amber, held runs red"
    for batch in batches(drawn):
        sheet = Sheet(title, len(batch))
        for key in batch:
            _drift_panel(sheet, key, of_item[key], statuses.get(key, ""))
        yield sheet.finished()


def season_figure(
    title: str,
    axis: str,
    series: Mapping[str, Mapping[date, float]],
    limit: float | None = None,
) -> Figure:
    """Lines over the administrations of a season, such as the mean QWK over items.

    Args:
        title: above the picture.
        axis: what the values are, with their unit.
        series: legend to administration date to value; NaN is left out.
        limit: a limit to draw.
    """
    figure, axes = canvas(title, width=8.0, height=3.2)
    for (name, values), colour in zip(
        series.items(), (MACHINE, RULE, FLAG, FAIL, "#3a7d44", "#6b4fa0"), strict=False
    ):
        known = {day: value for day, value in sorted(values.items()) if math.isfinite(value)}
        days = np.array(list(known), dtype="datetime64[D]")
        axes.plot(days, list(known.values()), marker="o", ms=3, color=colour, label=name)
    if limit is not None:
        axes.axhline(limit, color=FAIL, lw=0.8, ls="--", label="limit")
    axes.tick_params(axis="x", rotation=30)
    axes.set_ylabel(axis)
    axes.grid(axis="y", lw=0.4)
    if axes.lines:
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def _drift_panel(sheet: Sheet, key: Key, points: Sequence[Administration], status: str) -> None:
    item_id, trait = key
    name = item_id if trait == "overall" else f"{item_id} · {trait}"
    first, last = points[0].administration_date, points[-1]
    sheet.panel(name, f"{first} to {last.administration_date}, {last.n} last", status)
    steps = [number / (len(points) - 1) for number in range(len(points))]
    means = list(zip(steps, map(_share_of_scale, points), strict=True))
    sheet.line([(0, 0), (1, 0)], RULE)
    sheet.line([(0, 1), (1, 1)], HUMAN)
    sheet.line(zip(steps, (point.shares[0] for point in points), strict=True), FLAG)
    sheet.line(means, MACHINE)
    sheet.dots(means, MACHINE)
    pairs = zip(points, means, strict=True)
    sheet.dots([place for point, place in pairs if point.decision == "held"], FAIL)


def _share_of_scale(point: Administration) -> float:
    """The mean score between 0, the lowest point, and 1, the highest."""
    steps = len(point.shares) - 1
    return sum(place * share for place, share in enumerate(point.shares)) / max(1, steps)
