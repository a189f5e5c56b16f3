"""What a backfill changes of released scores, as the report draws it: bars by item, old by new."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tasks.comparison import ItemComparison, ScoreComparison

# Half of the field in which a bar grows to either side of its middle, in SVG units.
HALF = 120.0
# The axis ends at the first of these shares that all bars fit below.
ENDS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
MATRICES = 12  # open at once; the rest is folded
SHIFT_WIDTH, SHIFT_HEIGHT, SHIFT_TOP = 44.0, 70.0, 14.0


@dataclass(frozen=True)
class Segment:
    """A piece of a bar: scores that move by one point, or by more, in one direction."""

    x: float
    width: float
    kind: str
    hint: str


@dataclass(frozen=True)
class ReplacedItem:
    """An item that replaces released scores; without bar and figures where these are few."""

    item: ItemComparison
    anchor: str
    few: bool
    bar: tuple[Segment, ...]


@dataclass(frozen=True)
class ShiftBar:
    """How many released scores move by so many points, over all items."""

    x: float
    y: float
    height: float
    kind: str
    shift: str
    n: int


@dataclass(frozen=True)
class Replaced:
    """The section about what is replaced.

    Attributes:
        comparison: all of it.
        done: the run is released, so that this has happened.
        rows: items, largest share of changes first.
        end: the share at which the bars' axis ends.
        shifts: how far scores move, over all items.
        shifts_width: of that picture.
        matrices, folded: items whose old-by-new tables are open at first, and the others.
        judged: items with enough rated responses to say which scores agree better.
        adapters: how many items went from which version to which, in words.
        mean_qwk: of old and new scores, over items.
        half: see HALF.
    """

    comparison: ScoreComparison
    done: bool
    rows: tuple[ReplacedItem, ...]
    end: float
    shifts: tuple[ShiftBar, ...]
    shifts_width: float
    matrices: tuple[ReplacedItem, ...]
    folded: tuple[ReplacedItem, ...]
    judged: tuple[ReplacedItem, ...]
    adapters: tuple[tuple[str, int], ...]
    mean_qwk: float
    half: float = HALF


def replaced(comparison: ScoreComparison | None, status: str, small_cell: int) -> Replaced | None:
    """The section as the template wants it; None where the run was not compared.

    Args:
        comparison: what the run changes.
        status: of the run.
        small_cell: items that replace fewer scores show no figures.
    """
    if comparison is None:
        return None
    items = comparison.replacing
    end = _end([item for item in items if item.n >= small_cell])
    rows = [_row(place, item, small_cell, end) for place, item in enumerate(items)]
    rows.sort(key=lambda row: row.few)
    changed = [row for row in rows if row.item.changed and not row.few]
    shifts = _shifts(items)
    return Replaced(
        comparison=comparison,
        done=status == "released",
        rows=tuple(rows),
        end=end,
        shifts=shifts,
        shifts_width=max(len(shifts), 2) * SHIFT_WIDTH,
        matrices=tuple(changed[:MATRICES]),
        folded=tuple(changed[MATRICES:]),
        judged=tuple(row for row in rows if row.item.people.n >= small_cell),
        adapters=_adapters(items),
        mean_qwk=comparison.mean_qwk(small_cell),
    )


def versions(found: Sequence[int]) -> str:
    """Adapter versions in a few letters, such as v1, v2."""
    return ", ".join(f"v{version}" for version in found) or "–"


def _row(place: int, item: ItemComparison, small_cell: int, end: float) -> ReplacedItem:
    few = item.n < small_cell
    bar = () if few else tuple(_segments(item, end))
    return ReplacedItem(item, f"replaced-{place}", few, bar)


def _segments(item: ItemComparison, end: float) -> Iterable[Segment]:
    """One point from the middle outwards, then more; up to the right, down to the left."""
    for sign, word in ((1, "up"), (-1, "down")):
        from_middle = 0.0
        for name, counted in (("one", [1]), ("more", range(2, len(item.table)))):
            n = sum(item.shifts.get(sign * points, 0) for points in counted)
            width = HALF * n / item.n / end
            if n:
                x = HALF + from_middle if sign > 0 else HALF - from_middle - width
                far = "1 point" if name == "one" else "2 points or more"
                hint = f"{n:,} of {item.n:,} {word} by {far}"
                yield Segment(x, width, f"{word} {name}", hint)
            from_middle += width


def _end(items: Sequence[ItemComparison]) -> float:
    largest = max((max(item.up, item.down) / item.n for item in items), default=0.0)
    return next((end for end in ENDS if largest <= end), 1.0)


def _shifts(items: Sequence[ItemComparison]) -> tuple[ShiftBar, ...]:
    """Those that move; the others would dwarf them."""
    found: Counter[int] = Counter()
    for item in items:
        found.update({shift: n for shift, n in item.shifts.items() if shift})
    tallest = max(found.values(), default=0)
    return tuple(
        ShiftBar(
            x=place * SHIFT_WIDTH,
            y=SHIFT_TOP + SHIFT_HEIGHT * (1 - n / tallest),
            height=SHIFT_HEIGHT * n / tallest,
            kind=f"{'up' if shift > 0 else 'down'} {'one' if abs(shift) == 1 else 'more'}",
            shift=f"{shift:+d}".replace("-", "−"),
            n=n,
        )
        for place, (shift, n) in enumerate(sorted(found.items()))
    )


def _adapters(items: Sequence[ItemComparison]) -> tuple[tuple[str, int], ...]:
    said = sorted(f"{versions(one.old_versions)} → {versions(one.new_versions)}" for one in items)
    return tuple((name, len(list(group))) for name, group in groupby(said))
