"""Standardized differences by item and subgroup as a heat map, small groups left out.

The DSM of an attribute's levels and of the responses without one, weighted by their numbers, add up
to nothing. What is left out for its size could therefore be worked out from the others: unless
rounding hides it, the next larger level is left out with it.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.evaluation import FairnessFigure, Figure, ItemEvaluation, SubgroupFigure
from tasks.report_items import ItemView
from tasks.report_rules import by_item, starts
from tasks.report_text import NOT_DEFINED, figure, interval
from tasks.rules import RuleResult

# Columns that fit beside an item's name on a page, and levels of one attribute that are shown.
WIDEST, MOST_LEVELS = 14, 12
# DSM are shown to two digits; a group's is given away where it is known to a quarter of a
# standard deviation.
DIGITS, HALF_DIGIT, TELLING = 2, 0.005, 0.25
DSM, RATED = "dsm", "smd"  # a rule about groups, and one about all rated responses
SMALLEST_LIMIT = 0.001
ALL = "all responses"
MACHINE, PEOPLE = "machine", "second rater"
Column = tuple[str, str]


@dataclass(frozen=True)
class HeatCell:
    """One difference in standard deviations.

    Attributes:
        text: the difference.
        shade: from -1 to 1, colours it.
        mark: ``beyond`` its limit, ``unsure``: too few responses to judge, ``unknown``.
        hint: the same with its interval.
    """

    text: str
    shade: float
    mark: str
    hint: str


@dataclass(frozen=True)
class HeatRow:
    """One item's differences, and how many times its limit the largest is."""

    view: ItemView
    cells: tuple[HeatCell, ...]
    largest: float


@dataclass(frozen=True)
class HeatMap:
    """Items by groups of responses.

    Attributes:
        groups: (attribute, columns) of neighbouring columns.
        columns: levels.
        starts: whether an attribute begins with the column.
        rows: items, the largest difference first.
    """

    groups: tuple[tuple[str, int], ...]
    columns: tuple[str, ...]
    starts: tuple[bool, ...]
    rows: tuple[HeatRow, ...]


def heat_maps(views: Sequence[ItemView], smd_limit: float, dsm_limit: float) -> list[HeatMap]:
    """SMD and DSM of all items, in as many tables as the number of levels asks for.

    Args:
        views: the items.
        smd_limit: what an SMD is held against.
        dsm_limit: what a DSM is held against.
    """
    blocks = [[(ALL, MACHINE), (ALL, PEOPLE)], *_levels(views)]
    return [
        table
        for columns in _tables(blocks)
        if (table := _heat_map(views, columns, smd_limit, dsm_limit)).rows
    ]


def left_out(views: Sequence[ItemView]) -> dict[str, int]:
    """How many levels of an attribute the heat map has no room for."""
    return {
        attribute: len(sizes) - MOST_LEVELS
        for attribute, sizes in _sizes(views).items()
        if len(sizes) > MOST_LEVELS
    }


def fairness_rows(views: Sequence[ItemView]) -> list[tuple[ItemView, FairnessFigure]]:
    """Fairness tests of enough responses, the largest conditional difference first."""
    rows = [(v, entry) for v in views for entry in v.item.fairness if entry.n >= v.item.small_cell]
    return sorted(rows, key=lambda row: (math.isnan(row[1].csd_r2), -row[1].csd_r2))


def hidden_levels(item: ItemEvaluation) -> set[tuple[str, str]]:
    """Attributes and levels that rest on few responses, or would tell of others that do."""
    return {
        (attribute, level)
        for attribute in {group.attribute for group in item.subgroups}
        for level in _hidden(
            [(g.dsm.n, g.level) for g in item.subgroups if g.attribute == attribute],
            item.n_rated,
            item.small_cell,
        )
    }


def shown_groups(item: ItemEvaluation) -> list[SubgroupFigure]:
    """Levels as a table may tell them: no hidden ones, and differences to two digits.

    Means are NaN where those of few others could be had by subtraction.
    """
    hidden = hidden_levels(item)
    shown = [group for group in item.subgroups if (group.attribute, group.level) not in hidden]
    told = Counter[str]()
    for group in shown:
        told[group.attribute] += group.dsm.n
    return [
        _as_told(group, few_left=0 < item.n_rated - told[group.attribute] < item.small_cell)
        for group in shown
    ]


def told_results(results: Sequence[RuleResult], small_cell: int) -> list[RuleResult]:
    """What rules say, but for the values of groups that hide others; what failed is told.

    Rules may be about more responses than the report's own figures, so sizes are the results'.
    """
    hidden = {
        (*key, subject)
        for key, of_item in by_item(results).items()
        for subject in _hidden_subjects(of_item, small_cell)
    }
    return [
        replace(result, value=math.nan, low=math.nan, high=math.nan)
        if result.status not in ("FAIL", "FLAG")
        and (result.item_id, result.trait, result.subject) in hidden
        else result
        for result in results
    ]


def _hidden_subjects(of_item: Sequence[RuleResult], small_cell: int) -> Iterator[str]:
    rated = max((result.n for result in of_item if result.rule == RATED), default=0)
    groups: dict[str, list[tuple[int, str]]] = {}
    for result in of_item:
        if result.rule == DSM and result.subject:
            attribute = result.subject.split(": ")[0]
            groups.setdefault(attribute, []).append((result.n, result.subject))
    for sizes in groups.values():
        yield from _hidden(sizes, rated, small_cell)


def _hidden(sizes: Sequence[tuple[int, str]], everyone: int, small_cell: int) -> Iterator[str]:
    """Of (responses, name), what may not be shown beside the rest."""
    together = max(0, everyone - sum(n for n, _ in sizes))
    for n, name in sorted(sizes):
        if n < small_cell or _tells(together, everyone, small_cell):
            yield name
            together += n


def _as_told(group: SubgroupFigure, *, few_left: bool) -> SubgroupFigure:
    dsm = group.dsm
    value, low, high = (round(number, DIGITS) for number in (dsm.value, dsm.low, dsm.high))
    told = replace(group, dsm=Figure(value, low, high, dsm.n))
    return replace(told, mean_human=math.nan, mean_machine=math.nan) if few_left else told


def _tells(hidden: int, everyone: int, small_cell: int) -> bool:
    """Whether what is shown gives away what is not: small groups, known well in spite of rounding.

    The hidden ones' DSM is known to half a digit of the shown ones', times their share.
    """
    if not 0 < hidden < small_cell:
        return False
    return HALF_DIGIT * (everyone - hidden) / hidden < TELLING


def _levels(views: Sequence[ItemView]) -> Iterator[list[Column]]:
    """The levels of each attribute that have the most responses."""
    for attribute, sizes in sorted(_sizes(views).items()):
        yield [(attribute, level) for level, _ in sizes.most_common(MOST_LEVELS)]


def _sizes(views: Sequence[ItemView]) -> dict[str, Counter[str]]:
    sizes: dict[str, Counter[str]] = {}
    for view in views:
        hidden = hidden_levels(view.item)
        for group in view.item.subgroups:
            if (group.attribute, group.level) not in hidden:
                sizes.setdefault(group.attribute, Counter())[group.level] += group.dsm.n
    return sizes


def _tables(blocks: Sequence[Sequence[Column]]) -> list[list[Column]]:
    tables: list[list[Column]] = [[]]
    for block in blocks:
        if tables[-1] and len(tables[-1]) + len(block) > WIDEST:
            tables.append([])
        tables[-1] += block
    return tables


def _heat_map(
    views: Sequence[ItemView], columns: Sequence[Column], smd_limit: float, dsm_limit: float
) -> HeatMap:
    rows = [_row(view, columns, smd_limit, dsm_limit) for view in views]
    rows = [row for row in rows if any(cell.text != NOT_DEFINED for cell in row.cells)]
    return HeatMap(
        groups=tuple(Counter(attribute for attribute, _ in columns).items()),
        columns=tuple(level for _, level in columns),
        starts=starts([attribute for attribute, _ in columns]),
        rows=tuple(sorted(rows, key=lambda row: -row.largest)),
    )


def _row(view: ItemView, columns: Sequence[Column], smd_limit: float, dsm_limit: float) -> HeatRow:
    hidden = hidden_levels(view.item)
    found: Mapping[Column, Figure] = {
        (ALL, MACHINE): view.figure("smd"),
        (ALL, PEOPLE): view.people("smd"),
        **{
            (group.attribute, group.level): group.dsm
            for group in view.item.subgroups
            if (group.attribute, group.level) not in hidden
        },
    }
    statuses = {r.subject: r.status for r in view.results if r.rule == DSM}
    cells = []
    judged = [0.0]
    for column in columns:
        # A limit may be 0, but how many times it a difference is cannot be told then.
        limit = max(smd_limit if column[0] == ALL else dsm_limit, SMALLEST_LIMIT)
        too_few = statuses.get(": ".join(column)) == "INSUFFICIENT_N"
        cell = _cell(column, found.get(column), limit, too_few=too_few)
        cells.append(cell)
        # People's own difference is there to compare with; it is not what ranks an item, nor is
        # what rests on too few responses.
        if column != (ALL, PEOPLE) and cell.shade and not too_few:
            judged.append(abs(found[column].value) / limit)
    return HeatRow(view, tuple(cells), max(judged))


def _cell(column: Column, found: Figure | None, limit: float, *, too_few: bool) -> HeatCell:
    name = " ".join(column)
    if found is None or math.isnan(found.value):
        return HeatCell(NOT_DEFINED, 0.0, "unknown", f"{name}: not defined, or too few responses")
    shade = max(-1.0, min(1.0, found.value / (2 * limit)))
    hint = f"{name}: {figure(found.value)} [{interval(found)}], {found.n} responses"
    if too_few:
        return HeatCell(figure(found.value), shade, "unsure", f"{hint}, too few to judge")
    mark = "beyond" if abs(found.value) > limit else ""
    return HeatCell(figure(found.value), shade, mark, hint)
