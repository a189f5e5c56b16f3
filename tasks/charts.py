"""Geometry of the report's charts: figures in, places in an SVG out; the template draws them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.evaluation import ItemEvaluation, by_qwk

PAGE_WIDTH = 960.0
GAP = 24.0
# (items at most, columns, height of a row, letters of a name): 204 items fit on a printed page.
LAYOUTS = ((36, 1, 18.0, 40), (96, 2, 15.0, 24), (1_000_000, 3, 12.5, 17))
AXIS_HEIGHT = 18.0
# Intervals of items with few ratings may reach far below 0; they are cut off here.
AXIS_MIN = -0.4
GUIDE = 0.7

BARS_WIDTH, BARS_HEIGHT, BARS_TOP = 210.0, 64.0, 12.0


@dataclass(frozen=True)
class QwkMark:
    """One item in the chart: places in SVG units, None where there is nothing to draw."""

    item: ItemEvaluation
    name: str
    y: float
    x: float
    low: float
    high: float
    cut: bool
    people: float | None


@dataclass(frozen=True)
class QwkChart:
    """Items by QWK, highest first, in columns that share one axis."""

    width: float
    row_height: float
    height: float
    axis_left: float
    axis_right: float
    columns: tuple[tuple[QwkMark, ...], ...]
    ticks: tuple[tuple[float, str], ...]
    guide: float
    any_cut: bool


@dataclass(frozen=True)
class Bar:
    """One bar of a distribution, in SVG units."""

    x: float
    y: float
    width: float
    height: float
    people: bool
    label: str


@dataclass(frozen=True)
class BarChart:
    """Bars by score point; people and machine side by side."""

    width: float
    height: float
    base: float
    bars: tuple[Bar, ...]
    points: tuple[tuple[float, int], ...]
    legend: tuple[str, ...]


def qwk_chart(evaluations: Sequence[ItemEvaluation]) -> QwkChart | None:
    """Place every item whose QWK is defined; None where there is no such item."""
    items = by_qwk(evaluations)
    if not items:
        return None
    _, columns, row_height, letters = next(row for row in LAYOUTS if len(items) <= row[0])
    width = (PAGE_WIDTH - (columns - 1) * GAP) / columns
    left, right = 8 + letters * row_height * 0.46, width - 10
    lowest = _axis_start(items)

    def place(value: float) -> float:
        return left + (max(value, lowest) - lowest) / (1 - lowest) * (right - left)

    per_column = math.ceil(len(items) / columns)
    marks = [
        _mark(item, AXIS_HEIGHT + (n % per_column + 0.5) * row_height, letters, place, lowest)
        for n, item in enumerate(items)
    ]
    step = {1: 0.1, 2: 0.2, 3: 0.5}[columns]
    count = math.floor((1 - lowest) / step + 1e-9)
    ticks = [round(1 - step * n, 1) for n in range(count, -1, -1)]
    return QwkChart(
        width=width,
        row_height=row_height,
        height=AXIS_HEIGHT + per_column * row_height + 4,
        axis_left=left,
        axis_right=right,
        columns=tuple(
            tuple(marks[start : start + per_column]) for start in range(0, len(marks), per_column)
        ),
        ticks=tuple((place(tick), f"{tick:g}".replace("-", "−")) for tick in ticks),
        guide=place(GUIDE),
        any_cut=any(mark.cut for mark in marks),
    )


def bar_chart(evaluation: ItemEvaluation) -> BarChart | None:
    """Bars of the distributions that may be shown; None where none may."""
    distributions = evaluation.distributions
    if not distributions:
        return None
    points = range(evaluation.score_min, evaluation.score_max + 1)
    slot = BARS_WIDTH / len(points)
    width = 0.8 * slot / len(distributions)
    tallest = max(max(shares) for shares in distributions.values())
    bars = [
        Bar(
            x=(place + 0.1) * slot + series * width,
            y=BARS_TOP + BARS_HEIGHT * (1 - value / tallest),
            width=width,
            height=BARS_HEIGHT * value / tallest,
            people=name == "human",
            label=f"{100 * value:.0f}",
        )
        for series, (name, shares) in enumerate(distributions.items())
        for place, value in enumerate(shares)
    ]
    return BarChart(
        width=BARS_WIDTH,
        height=BARS_TOP + BARS_HEIGHT + 14,
        base=BARS_TOP + BARS_HEIGHT,
        bars=tuple(bars),
        points=tuple(((place + 0.5) * slot, point) for place, point in enumerate(points)),
        legend=tuple(distributions),
    )


def shortened(name: str, letters: int) -> str:
    """The name in that many letters: ids differ most at their ends, so the middle is left out."""
    if len(name) <= letters:
        return name
    front = (letters - 1) // 2
    return f"{name[:front]}…{name[len(name) - (letters - 1 - front) :]}"


def _mark(
    item: ItemEvaluation, y: float, letters: int, place: Callable[[float], float], lowest: float
) -> QwkMark:
    low, high = item.qwk_low, item.qwk_high
    if math.isnan(low):
        low = high = item.qwk
    people = item.qwk_human_human
    return QwkMark(
        item=item,
        name=shortened(item.name, letters),
        y=y,
        x=place(item.qwk),
        low=place(low),
        high=place(high),
        cut=low < lowest,
        people=None if math.isnan(people) else place(people),
    )


def _axis_start(items: Sequence[ItemEvaluation]) -> float:
    """A multiple of .2 at or below all that is drawn, as far as the axis may go."""
    seen = [value for item in items for value in (item.qwk, item.qwk_low) if not math.isnan(value)]
    return max(AXIS_MIN, min(0.0, math.floor(min(seen) * 5) / 5))
