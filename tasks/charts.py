"""Geometry of the report's charts: figures in, places in an SVG out; the template draws them."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.evaluation import ItemEvaluation, by_qwk
from tasks.rules import Status

PAGE_WIDTH = 960.0
GAP = 24.0
# (items at most, columns, height of a row, letters of a name): any panel fits on a printed page.
LAYOUTS = ((36, 1, 18.0, 40), (96, 2, 15.0, 24), (204, 3, 12.5, 17))
# The panel that is always open; those of a longer bank follow it.
FIRST_PANEL, PANEL = LAYOUTS[1][0], LAYOUTS[2][0]
AXIS_HEIGHT = 18.0
# Intervals of items with few ratings may reach far below 0; they are cut off here.
AXIS_MIN = -0.4
# The customary floor for operational use, where no limit is in force.
GUIDE = 0.7

BARS_WIDTH, BARS_HEIGHT, BARS_TOP = 210.0, 64.0, 12.0


@dataclass(frozen=True)
class QwkMark:
    """One item in the chart: places in SVG units, None where there is nothing to draw."""

    item: ItemEvaluation
    name: str
    status: Status | None
    y: float
    x: float
    low: float
    high: float
    cut: bool
    people: float | None


@dataclass(frozen=True)
class QwkChart:
    """Items by QWK, lowest first, in columns that share one axis."""

    width: float
    row_height: float
    height: float
    axis_left: float
    axis_right: float
    columns: tuple[tuple[QwkMark, ...], ...]
    ticks: tuple[tuple[float, str], ...]
    guide: float
    any_cut: bool

    @property
    def items(self) -> int:
        """How many items it shows."""
        return sum(map(len, self.columns))


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


def qwk_charts(
    evaluations: Sequence[ItemEvaluation],
    statuses: Mapping[tuple[str, str], Status],
    guide: float = GUIDE,
) -> list[QwkChart]:
    """Place every item whose QWK is defined and rests on enough responses to be shown.

    Args:
        evaluations: the items.
        statuses: what the rule about QWK says of an item and trait, where it was judged.
        guide: where to draw the line that items should keep to the right of.

    Returns:
        Charts of which each fits on a page; the first has the lowest items.
    """
    shown = [item for item in evaluations if item.qwk.n >= item.small_cell]
    items = sorted(by_qwk(shown), key=lambda item: (item.qwk.value, item.item_id, item.trait))
    if not items:
        return []
    lowest = _axis_start(items)
    return [_panel(part, statuses, guide, lowest) for part in _parts(items)]


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


def _parts(items: list[ItemEvaluation]) -> Iterator[list[ItemEvaluation]]:
    first = len(items) if len(items) <= FIRST_PANEL else FIRST_PANEL
    yield items[:first]
    for start in range(first, len(items), PANEL):
        yield items[start : start + PANEL]


def _panel(
    items: Sequence[ItemEvaluation],
    statuses: Mapping[tuple[str, str], Status],
    guide: float,
    lowest: float,
) -> QwkChart:
    _, columns, row_height, letters = next(row for row in LAYOUTS if len(items) <= row[0])
    width = (PAGE_WIDTH - (columns - 1) * GAP) / columns
    left, right = 8 + letters * row_height * 0.46, width - 10

    def place(value: float) -> float:
        return left + (max(value, lowest) - lowest) / (1 - lowest) * (right - left)

    rows = math.ceil(len(items) / columns)
    marks = [
        _mark(
            item,
            AXIS_HEIGHT + (n % rows + 0.5) * row_height,
            letters,
            place,
            lowest,
            statuses.get((item.item_id, item.trait)),
        )
        for n, item in enumerate(items)
    ]
    return QwkChart(
        width=width,
        row_height=row_height,
        height=AXIS_HEIGHT + rows * row_height + 4,
        axis_left=left,
        axis_right=right,
        columns=tuple(tuple(marks[start : start + rows]) for start in range(0, len(marks), rows)),
        ticks=_ticks({1: 0.1, 2: 0.2, 3: 0.5}[columns], lowest, place),
        guide=place(guide),
        any_cut=any(mark.cut for mark in marks),
    )


def _ticks(
    step: float, lowest: float, place: Callable[[float], float]
) -> tuple[tuple[float, str], ...]:
    count = math.floor((1 - lowest) / step + 1e-9)
    ticks = [round(1 - step * n, 1) for n in range(count, -1, -1)]
    return tuple((place(tick), f"{tick:g}".replace("-", "−")) for tick in ticks)


def _mark(
    item: ItemEvaluation,
    y: float,
    letters: int,
    place: Callable[[float], float],
    lowest: float,
    status: Status | None,
) -> QwkMark:
    low, high = item.qwk.low, item.qwk.high
    if math.isnan(low):
        low = high = item.qwk.value
    people = item.human_human["qwk"]
    hidden = math.isnan(people.value) or people.n < item.small_cell
    return QwkMark(
        item=item,
        name=shortened(item.name, letters),
        status=status,
        y=y,
        x=place(item.qwk.value),
        low=place(low),
        high=place(high),
        cut=low < lowest,
        people=None if hidden else place(people.value),
    )


def _axis_start(items: Sequence[ItemEvaluation]) -> float:
    """A multiple of .2 at or below all that is drawn, as far as the axis may go."""
    seen = [value for item in items for value in (item.qwk.value, item.qwk.low)]
    seen = [value for value in seen if not math.isnan(value)]
    return max(AXIS_MIN, min(0.0, math.floor(min(seen) * 5) / 5))
