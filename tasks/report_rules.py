"""What the rules found, as the report shows it: a matrix of items and rules, and the outliers."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tasks.report_text import NOT_DEFINED, against, limit_text
from tasks.rules import RULES, RuleResult, Status

ItemKey = tuple[str, str]


class RuleName(NamedTuple):
    """How a report names a rule: above a column, in a sentence, and among its like."""

    short: str
    words: str
    group: str


AGREEMENT, GROUPED, DRIFT, VALIDITY = "Agreement", "Groups", "Drift", "Validity"
THE_RUN, OTHER = "The run", "Other"
GROUPS = (AGREEMENT, GROUPED, DRIFT, VALIDITY)
# In the order of the matrix. A rule that is not here shows under its own name, at the end.
NAMES: Mapping[str, RuleName] = {
    "qwk": RuleName("QWK", "QWK, first rater and machine", AGREEMENT),
    "pearson_r": RuleName("r", "correlation, first rater and machine", AGREEMENT),
    "degradation_qwk": RuleName("QWK loss", "QWK lost against two raters", AGREEMENT),
    "degradation_r": RuleName("r loss", "correlation lost against two raters", AGREEMENT),
    "disattenuated_r": RuleName("true r", "disattenuated correlation", AGREEMENT),
    "smd": RuleName("SMD", "standardized mean difference", AGREEMENT),
    "far_apart": RuleName("far apart", "share two points or more apart", AGREEMENT),
    "one_score": RuleName("one score", "share of the commonest score", AGREEMENT),
    "dsm": RuleName("DSM", "difference of standardized means", GROUPED),
    "psi": RuleName("PSI", "population stability index", DRIFT),
    "score_point_shift": RuleName("point", "share of a score point, change", DRIFT),
    "mean_shift": RuleName("mean", "mean score, change", DRIFT),
    "confidence_shift": RuleName("confidence", "mean confidence, change", DRIFT),
    "length_shift": RuleName("length", "log of length, change", DRIFT),
    "unknown_token_shift": RuleName("unknown", "share of unknown tokens, change", DRIFT),
    "language_shift": RuleName("language", "share of a language, change", DRIFT),
    "condition_shift": RuleName("codes", "share of condition codes, change", DRIFT),
    "validity_exact": RuleName("exact", "exact agreement on validity responses", VALIDITY),
    "validity_drop": RuleName("drop", "fall of it since the night before", VALIDITY),
    "scored_share": RuleName("scored", "share of scorable responses scored", THE_RUN),
}
ORDER = {name: place for place, name in enumerate(NAMES)}
# Of several outcomes, the gravest counts; one that could not be judged hides no other.
SEVERITY: Mapping[Status, int] = {"FAIL": 3, "FLAG": 2, "PASS": 1, "INSUFFICIENT_N": 0}


def rule_named(name: str) -> RuleName:
    """How to call a rule."""
    words = name.replace("_", " ")
    return NAMES.get(name, RuleName(words, words, OTHER))


def limit_told(name: str, limit: float) -> str:
    """A limit with its direction: ≥ 0.70, ≤ 0.10, ±0.15."""
    rule = RULES.get(name)
    if rule is None or math.isnan(limit):
        return limit_text(limit)
    if rule.either_way:
        return f"±{limit_text(limit)}"
    return f"{'≥' if rule.direction == 'at_least' else '≤'} {limit_text(limit)}"


def item_name(item_id: str, trait: str) -> str:
    """What to call an item in tables, as ``ItemEvaluation.name`` does; the run itself if empty."""
    if not item_id:
        return "the run as a whole"
    return item_id if trait == "overall" else f"{item_id} · {trait}"


@dataclass(frozen=True)
class Finding:
    """A failed or flagged rule, in words.

    Attributes:
        key: item and trait.
        name: what to call the item.
        rule: the rule, in words, with its subject.
        status: FAIL or FLAG.
        value: what was found, and its interval where it has one.
        limit: what it was held against, with its direction.
        n: responses it rests on.
    """

    key: ItemKey
    name: str
    rule: str
    status: Status
    value: str
    limit: str
    n: int


@dataclass(frozen=True)
class Cell:
    """One item under one rule; the worst of its subjects. An empty status was not judged."""

    status: Status | None
    text: str
    hint: str


@dataclass(frozen=True)
class Row:
    """One item under all rules."""

    key: ItemKey
    name: str
    cells: tuple[Cell, ...]
    worst: Status


@dataclass(frozen=True)
class Matrix:
    """Items by rules, what needs eyes first on top.

    Attributes:
        groups: (title, columns) of neighbouring columns.
        columns: their rules.
        meanings: what these ask, in a sentence.
        starts: whether a group begins with the column.
        limits: each rule's limit, or "by item".
        failed, flagged: items of which this is the outcome of the rule.
        eyes: items with a failed or a flagged rule.
        others: the rest.
    """

    groups: tuple[tuple[str, int], ...]
    columns: tuple[RuleName, ...]
    starts: tuple[bool, ...]
    meanings: tuple[str, ...]
    limits: tuple[str, ...]
    failed: tuple[int, ...]
    flagged: tuple[int, ...]
    eyes: tuple[Row, ...]
    others: tuple[Row, ...]


def by_item(results: Iterable[RuleResult]) -> dict[ItemKey, list[RuleResult]]:
    """Results of each item and trait; those about the run as a whole under two empty strings."""
    grouped: dict[ItemKey, list[RuleResult]] = defaultdict(list)
    for result in results:
        grouped[result.item_id, result.trait].append(result)
    return grouped


def worst(results: Iterable[RuleResult]) -> Status | None:
    """The gravest outcome among them; None where there are none."""
    return max((result.status for result in results), key=SEVERITY.__getitem__, default=None)


def urgency(results: Collection[RuleResult]) -> tuple[int, int]:
    """Sorts items by what needs eyes first: failed rules, then flagged ones."""
    counts = Counter(result.status for result in results)
    return -counts["FAIL"], -counts["FLAG"]


def findings(results: Iterable[RuleResult], small_cell: int) -> list[Finding]:
    """Failed rules, then flagged ones; the run's own first, then items with most of them.

    Values that rest on fewer than ``small_cell`` responses are left out.
    """
    grouped = by_item(results)
    order = {key: (bool(key[0]), *urgency(of_item), key) for key, of_item in grouped.items()}
    found = [r for of_item in grouped.values() for r in of_item if r.status in ("FAIL", "FLAG")]
    found.sort(
        key=lambda r: (
            r.status != "FAIL",
            order[r.item_id, r.trait],
            ORDER.get(r.rule, len(ORDER)),
            r.subject,
        )
    )
    return [_finding(result, small_cell) for result in found]


def matrix(results: Iterable[RuleResult], small_cell: int) -> Matrix | None:
    """Items by rules; None where no item was judged."""
    grouped = {key: of_item for key, of_item in by_item(results).items() if key[0]}
    if not grouped:
        return None
    names = {result.rule for of_item in grouped.values() for result in of_item}
    columns = sorted(names, key=lambda name: (ORDER.get(name, len(ORDER)), name))
    keys = sorted(grouped, key=lambda key: (urgency(grouped[key]), key))
    rows = [_row(key, grouped[key], columns, small_cell) for key in keys]
    titles = [rule_named(name).group for name in columns]
    return Matrix(
        groups=tuple(Counter(titles).items()),
        columns=tuple(rule_named(name) for name in columns),
        starts=starts(titles),
        meanings=tuple(_meaning(name) for name in columns),
        limits=tuple(_limits(name, grouped.values()) for name in columns),
        failed=_items_with("FAIL", rows),
        flagged=_items_with("FLAG", rows),
        eyes=tuple(row for row in rows if row.worst in ("FAIL", "FLAG")),
        others=tuple(row for row in rows if row.worst not in ("FAIL", "FLAG")),
    )


def starts(titles: Sequence[str]) -> tuple[bool, ...]:
    """Where in a row of titles another one begins."""
    return tuple(n == 0 or titles[n - 1] != title for n, title in enumerate(titles))


def usual_limit(results: Iterable[RuleResult], rule: str, otherwise: float) -> float:
    """The limit of a rule that most items have."""
    limits = Counter(_hard_limits(rule, results))
    return limits.most_common(1)[0][0] if limits else otherwise


def _finding(result: RuleResult, small_cell: int) -> Finding:
    rule = rule_named(result.rule)
    return Finding(
        key=(result.item_id, result.trait),
        name=item_name(result.item_id, result.trait),
        rule=f"{rule.words}: {result.subject}" if result.subject else rule.words,
        status=result.status,
        value=_value(result, small_cell),
        limit=limit_told(result.rule, result.limit),
        n=result.n,
    )


def _value(result: RuleResult, small_cell: int) -> str:
    if 0 < result.n < small_cell:
        return f"fewer than {small_cell} responses: not shown"
    if math.isnan(result.value):
        return "not defined"
    value = against(result.value, result.limit)
    if not result.low < result.high:
        return value
    return f"{value} [{against(result.low, result.limit)}, {against(result.high, result.limit)}]"


def _row(key: ItemKey, of_item: Sequence[RuleResult], columns: Sequence[str], small: int) -> Row:
    of_rule: dict[str, list[RuleResult]] = defaultdict(list)
    for result in of_item:
        of_rule[result.rule].append(result)
    return Row(
        key=key,
        name=item_name(*key),
        cells=tuple(_cell(of_rule[name], small) for name in columns),
        worst=worst(of_item) or "PASS",
    )


def _cell(subjects: Sequence[RuleResult], small_cell: int) -> Cell:
    if not subjects:
        return Cell(None, "", "not judged")
    # Rules about several subjects limit a change or a difference: the largest is the worst.
    shown = max(subjects, key=lambda r: (SEVERITY[r.status], _size(r.value)))
    subject = f" ({shown.subject})" if shown.subject else ""
    hint = f"{rule_named(shown.rule).words}{subject}: {_value(shown, small_cell)}, n {shown.n}"
    few = shown.status == "INSUFFICIENT_N" or 0 < shown.n < small_cell
    if few:
        hint = f"{rule_named(shown.rule).words}: {shown.n} responses are too few to judge"
    text = NOT_DEFINED if few or math.isnan(shown.value) else against(shown.value, shown.limit)
    return Cell(shown.status, text, hint)


def _items_with(status: Status, rows: Sequence[Row]) -> tuple[int, ...]:
    columns = zip(*(row.cells for row in rows), strict=True)
    return tuple(sum(cell.status == status for cell in column) for column in columns)


def _size(value: float) -> float:
    return -1.0 if math.isnan(value) else abs(value)


def _limits(name: str, grouped: Iterable[Sequence[RuleResult]]) -> str:
    limits = set(_hard_limits(name, (result for of_item in grouped for result in of_item)))
    if len(limits) > 1:
        return "by item"
    return limit_told(name, limits.pop()) if limits else ""


def _hard_limits(name: str, results: Iterable[RuleResult]) -> list[float]:
    """Limits that a rule fails beyond; where it is flagged, the softer one may stand instead."""
    of_rule = [r for r in results if r.rule == name and not math.isnan(r.limit)]
    return [r.limit for r in of_rule if r.status != "FLAG"] or [r.limit for r in of_rule]


def _meaning(name: str) -> str:
    return RULES[name].meaning if name in RULES else rule_named(name).words
