"""Geometry of the small pictures of one item: calibration, routing, history."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from models.agreement import ConfidenceBin, Kept
from tasks.evaluation import ItemEvaluation
from tasks.rules import share_figure
from tasks.trend import in_order
from warehouse.trends import Administration

SIDE = 132.0
LEFT, TOP, BOTTOM, RIGHT = 26.0, 14.0, 24.0, 14.0

TREND_WIDTH, TREND_HEIGHT, TREND_TOP = 290.0, 84.0, 6.0
TREND_LONGEST = 30  # administrations
# Score points from the lowest, dark, to the highest, light.
DARK, LIGHT = (18, 54, 95), (214, 227, 243)


@dataclass(frozen=True)
class Dot:
    """A place in a chart, with a vertical interval, and its figures in words."""

    x: float
    y: float
    low: float
    high: float
    hint: str


@dataclass(frozen=True)
class SquareChart:
    """A square field: dots or lines over shares on both axes.

    Attributes:
        left, right, top, base: edges of the field.
        width, height: of the whole, with labels.
        dots: what is measured.
        lines: places of polylines, "x,y x,y ...", by name.
        x_ticks, y_ticks: (place, label).
    """

    left: float
    right: float
    top: float
    base: float
    width: float
    height: float
    dots: tuple[Dot, ...]
    lines: dict[str, str]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class TrendChart:
    """Score points of an item over administrations: stacked shares, and the mean.

    Attributes:
        width, height, base: of the picture, and where its columns stand.
        slot: width of a column and the gap beside it.
        bands: (colour, path of vertical strokes) from the lowest score point up.
        mean: places of the line of mean scores.
        held: middles of the columns of held administrations.
        tonight: left edge of this run's column, where it has one.
        first, last: administration dates.
        n: administrations shown.
        mean_tonight: this run's mean score.
        mean_before: mean score of all responses of the administrations before.
        point: the lowest score point.
        share_tonight, share_before: share of responses at it.
    """

    width: float
    height: float
    base: float
    slot: float
    bands: tuple[tuple[str, str], ...]
    mean: str
    held: tuple[float, ...]
    tonight: float | None
    first: date
    last: date
    n: int
    mean_tonight: float
    mean_before: float
    point: int
    share_tonight: float
    share_before: float


def merged_bins(bins: Sequence[ConfidenceBin], fewest: int) -> list[ConfidenceBin]:
    """Neighbours joined until each rests on that many responses; none where all together do not."""
    joined: list[ConfidenceBin] = []
    for entry in bins:
        if joined and joined[-1].n < fewest:
            joined[-1] = _together(joined[-1], entry)
        else:
            joined.append(entry)
    if len(joined) > 1 and joined[-1].n < fewest:
        joined[-2:] = [_together(*joined[-2:])]
    return [entry for entry in joined if entry.n >= fewest]


def calibration_chart(item: ItemEvaluation) -> SquareChart | None:
    """Confidence against exact agreement, with 95% intervals; None where too few are rated."""
    bins = merged_bins(item.calibration, item.small_cell)
    if not bins:
        return None
    start = _start([value for b in bins for value in (b.confidence, b.exact)])
    dots = []
    for b in bins:
        found = share_figure(round(b.exact * b.n), b.n)
        low, y, high = (_up(value, start) for value in (found.low, b.exact, found.high))
        hint = f"confidence {b.confidence:.0%}, exact {b.exact:.0%} of {b.n}"
        dots.append(Dot(_along(b.confidence, start), y, low, high, hint))
    return _square(tuple(dots), {}, x_start=start, y_start=start)


def coverage_chart(item: ItemEvaluation) -> SquareChart | None:
    """Exact agreement and QWK of the kept responses against the share kept."""
    rows = shown_coverage(item)
    if len(rows) < 2:
        return None
    least = min(row.kept for row in rows)
    values = [v for row in rows for v in (row.exact, row.qwk) if not math.isnan(v)]
    start = _start(values)
    lines = {
        name: " ".join(
            f"{_along(kept, least):.1f},{_up(max(value, start), start):.1f}"
            for kept, value in series
            if not math.isnan(value)
        )
        for name, series in (
            ("exact", [(row.kept, row.exact) for row in rows]),
            ("qwk", [(row.kept, row.qwk) for row in rows]),
        )
    }
    return _square((), lines, x_start=least, y_start=start)


def shown_coverage(item: ItemEvaluation) -> list[Kept]:
    """Rows that rest on enough responses to be shown."""
    return [row for row in item.coverage if row.n >= item.small_cell]


def trend_chart(
    points: Sequence[Administration], run_id: str, score_min: int, small_cell: int
) -> TrendChart | None:
    """The last administrations of one item, oldest first; None where fewer than two are shown.

    Administrations of fewer than ``small_cell`` responses are left out.
    """
    shown = [p for p in in_order(points) if p.n >= small_cell]
    # On another scale, score points are not the same.
    shown = [p for p in shown if len(p.shares) == len(shown[-1].shares)][-TREND_LONGEST:]
    if len(shown) < 2:
        return None
    now = next((p for p in reversed(shown) if p.run_id == run_id), shown[-1])
    before = shown[: shown.index(now)]
    slot = TREND_WIDTH / len(shown)
    place = shown.index(now)
    return TrendChart(
        width=TREND_WIDTH,
        height=TREND_TOP + TREND_HEIGHT + 20,
        base=TREND_TOP + TREND_HEIGHT,
        slot=slot,
        bands=tuple(_bands(shown, slot)),
        mean=_mean_line(shown, slot, score_min),
        held=tuple((n + 0.5) * slot for n, p in enumerate(shown) if p.decision == "held"),
        tonight=place * slot if now.run_id == run_id else None,
        first=shown[0].administration_date,
        last=shown[-1].administration_date,
        n=len(shown),
        mean_tonight=now.mean_score,
        mean_before=_weighted_mean([(p.mean_score, p.n) for p in before]),
        point=score_min,
        share_tonight=now.shares[0],
        share_before=_weighted_mean([(p.shares[0], p.n) for p in before]),
    )


def point_colours(points: int) -> list[str]:
    """A colour for each score point, dark to light."""
    parts = [place / max(points - 1, 1) for place in range(points)]
    mixed = [
        [round(a + (b - a) * part) for a, b in zip(DARK, LIGHT, strict=True)] for part in parts
    ]
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in mixed]


def _between(first: float, second: float, share: float) -> float:
    """A weighted mean that rounding does not carry beyond either: bins keep their order."""
    mean = first + (second - first) * share
    return min(max(mean, min(first, second)), max(first, second))


def _together(one: ConfidenceBin, other: ConfidenceBin) -> ConfidenceBin:
    n = one.n + other.n
    return ConfidenceBin(
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        n=n,
        confidence=_between(one.confidence, other.confidence, other.n / n),
        exact=_between(one.exact, other.exact, other.n / n),
    )


def _square(
    dots: tuple[Dot, ...], lines: dict[str, str], *, x_start: float, y_start: float
) -> SquareChart:
    """Both axes end at 1 and have a tick at their ends and in the middle."""
    return SquareChart(
        left=LEFT,
        right=LEFT + SIDE,
        top=TOP,
        base=TOP + SIDE,
        width=LEFT + SIDE + RIGHT,
        height=TOP + SIDE + BOTTOM,
        dots=dots,
        lines=lines,
        x_ticks=tuple((_along(tick, x_start), f"{tick:.0%}") for tick in _ticks(x_start)),
        y_ticks=tuple((_up(tick, y_start), f"{100 * tick:.0f}") for tick in _ticks(y_start)),
    )


def _ticks(start: float) -> tuple[float, float, float]:
    return start, (start + 1) / 2, 1.0


def _start(values: Sequence[float]) -> float:
    """The axis begins at a multiple of .2 below all that is drawn."""
    return min(0.8, max(0.0, math.floor(min(values) * 5) / 5))


def _along(value: float, start: float) -> float:
    return LEFT + SIDE * (value - start) / (1 - start if start < 1 else 1)


def _up(value: float, start: float) -> float:
    return TOP + SIDE * (1 - (max(value, start) - start) / (1 - start))


def _bands(shown: Sequence[Administration], slot: float) -> Iterator[tuple[str, str]]:
    tops = [TREND_TOP + TREND_HEIGHT] * len(shown)
    for point, colour in enumerate(point_colours(len(shown[0].shares))):
        path = []
        for n, entry in enumerate(shown):
            foot = tops[n]
            tops[n] -= TREND_HEIGHT * entry.shares[point]
            if entry.shares[point] > 0:
                path.append(f"M{(n + 0.5) * slot:.1f} {foot:.0f}V{tops[n]:.0f}")
        yield colour, "".join(path)


def _mean_line(shown: Sequence[Administration], slot: float, score_min: int) -> str:
    span = len(shown[0].shares) - 1
    if span < 1:
        return ""
    return " ".join(
        f"{(n + 0.5) * slot:.1f},"
        f"{TREND_TOP + TREND_HEIGHT * (1 - (p.mean_score - score_min) / span):.0f}"
        for n, p in enumerate(shown)
        if not math.isnan(p.mean_score)
    )


def _weighted_mean(values: Sequence[tuple[float, int]]) -> float:
    """A mean weighted by responses; NaN of nothing."""
    n = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / n if n else math.nan
