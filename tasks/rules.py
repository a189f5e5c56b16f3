"""Rules that scores must keep, and what became of each of them.

A rule holds one figure of an item against a limit. What comes out is one of four:

- PASS: the figure is within the limit, and within the softer one where there is one.
- FAIL: it is beyond the limit, and so is its whole 95% interval: the responses at hand cannot be
  explained by a figure within the limit.
- FLAG: it is beyond, but its interval reaches back over the limit, or it is beyond a softer limit
  only, or it is not defined although there are enough responses; or all of its interval is
  beyond, but on fewer responses than a FAIL needs. A person should look.
- INSUFFICIENT_N: too few responses to say anything.

Drift is judged elsewhere (``tasks.drift``), by changes and their significance.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tasks.evaluation import NOT_KNOWN, Figure, ItemEvaluation, ValidityFigure

if TYPE_CHECKING:  # thresholds are checked against the rules, so they import this module
    from tasks.thresholds import Limit, Thresholds

Status = Literal["PASS", "FLAG", "FAIL", "INSUFFICIENT_N"]

_Z95 = 1.959963984540054  # half width of a 95% interval in standard errors
# On fewer responses bootstrap intervals are too narrow to go by: a good item would be flagged in
# one or two of a hundred nights.
_FEWEST_FLAGGED = 30


@dataclass(frozen=True)
class RuleResult:
    """One rule's outcome for one item and trait.

    Attributes:
        item_id, trait: the item; both empty for a rule about the run as a whole.
        rule: its name in the thresholds file.
        subject: what of the item it is about, such as a subgroup's level or a score point;
            empty where it is about the item as a whole.
        status: see the module.
        value: what was found; NaN where it is not defined, or rests on too few responses to show.
        low, high: its 95% interval; NaN where there is none.
        limit: what it was held against: the softer limit where that is all it is beyond.
        n: responses it rests on.
    """

    item_id: str
    trait: str
    rule: str
    subject: str
    status: Status
    value: float
    low: float
    high: float
    limit: float
    n: int


@dataclass(frozen=True)
class Rule:
    """What a rule means, and what a limit of it may be.

    Attributes:
        meaning: one sentence for a report.
        direction: on which side of the limit a value has to be.
        lowest, highest: what a limit can be at all.
        either_way: the limit holds for the size of the value, whatever its sign.
        fewest: least responses that its limit may ask for; None: ``small_cell``.
    """

    meaning: str
    direction: Literal["at_least", "at_most"]
    lowest: float
    highest: float
    either_way: bool = False
    fewest: int | None = None

    def is_beyond(self, value: float, limit: float) -> bool:
        """Whether a value is on the wrong side of a limit; NaN is not."""
        if self.direction == "at_least":
            return value < limit
        return (abs(value) if self.either_way else value) > limit

    def is_wholly_beyond(self, low: float, high: float, limit: float) -> bool:
        """Whether all of an interval is on the wrong side, and on the same; NaN is not."""
        if self.direction == "at_least":
            return high < limit
        return low > limit or (self.either_way and high < -limit)


RULES: Mapping[str, Rule] = {
    "qwk": Rule(
        "Quadratic weighted kappa of the first rater and the reported score: agreement beyond "
        "chance, where a miss by two points weighs four times a miss by one.",
        "at_least", -1, 1,
    ),
    "pearson_r": Rule(
        "Correlation of the first rater and the raw score before rounding: whether the machine "
        "puts responses in the order that people do.",
        "at_least", -1, 1,
    ),
    "degradation_qwk": Rule(
        "How much lower the kappa of rater and machine is than that of the two raters.",
        "at_most", 0, 2,
    ),
    "degradation_r": Rule(
        "How much lower the correlation of rater and machine is than that of the two raters.",
        "at_most", 0, 2,
    ),
    "disattenuated_r": Rule(
        "Correlation of the machine with people, after allowing for how far people agree among "
        "themselves: whether both measure the same thing.",
        "at_least", -1, 1,
    ),
    "smd": Rule(
        "Mean of the reported scores minus that of the first rater's, in standard deviations of "
        "the latter: above 0, the machine is milder.",
        "at_most", 0, 3, either_way=True,
    ),
    "far_apart": Rule(
        "Share of rated responses whose score is two points or more from the first rater's: rare "
        "gross errors, which averages hide. A person should read each of them.",
        "at_most", 0, 1,
    ),
    "one_score": Rule(
        "Share of the scored responses that got the item's commonest score: near 1, the machine "
        "gives everyone the same, whatever they wrote.",
        "at_most", 0, 1,
    ),
    "dsm": Rule(
        "How much milder (above 0) or stricter the machine is with this group than with all, "
        "compared with the first rater, in standard deviations.",
        "at_most", 0, 3, either_way=True,
    ),
    "psi": Rule(
        "Population stability index of the scores: how far the whole distribution over the score "
        "points is from the reference; it hardly moves when one point grows by a third.",
        "at_most", 0, 18,  # 2 ln(10^4): shares are floored at 10^-4
    ),
    "score_point_shift": Rule(
        "Change in the share of one score point, tonight minus the reference: the score point "
        "that has moved most.",
        "at_most", 0, 1, either_way=True,
    ),
    "mean_shift": Rule(
        "Change of the mean score, tonight minus the reference, in standard deviations.",
        "at_most", 0, 3, either_way=True,
    ),
    "confidence_shift": Rule(
        "Change of the mean confidence, tonight minus the reference: the change in exact "
        "agreement with people that the machine expects itself.",
        "at_most", 0, 1, either_way=True,
    ),
    "length_shift": Rule(
        "Change of the mean logarithm of the length in tokens: 0.22 is a quarter longer, -0.22 a "
        "fifth shorter, as where an export cuts texts off.",
        "at_most", 0, 6, either_way=True,  # ln 400: one word against a page
    ),
    "unknown_token_shift": Rule(
        "Change in the mean share of tokens that the model does not know, as where an export "
        "garbles letters.",
        "at_most", 0, 1, either_way=True,
    ),
    "language_shift": Rule(
        "Change in the share of one language among the responses whose language can be told: the "
        "language that has moved most.",
        "at_most", 0, 1, either_way=True,
    ),
    "condition_shift": Rule(
        "Change in the share of responses that got a condition code, such as blank, instead of a "
        "score.",
        "at_most", 0, 1, either_way=True,
    ),
    "validity_exact": Rule(
        "Share of validity responses that got their known score tonight.",
        "at_least", 0, 1,
    ),
    "validity_drop": Rule(
        "How much lower that share is tonight than the night before, on the same responses.",
        "at_most", 0, 1,
    ),
    "scored_share": Rule(
        "Share of the responses that could be scored that were: the rest failed, and have no "
        "score rather than a zero.",
        "at_least", 0, 1, fewest=1,
    ),
}  # fmt: skip


# Rules about tonight against earlier administrations, see ``tasks.drift``.
DRIFT_RULES = (
    "psi",
    "score_point_shift",
    "mean_shift",
    "confidence_shift",
    "length_shift",
    "unknown_token_shift",
    "language_shift",
    "condition_shift",
)


def is_drift(result: RuleResult) -> bool:
    """Whether a result is about drift."""
    return result.rule in DRIFT_RULES


def judge(evaluations: Iterable[ItemEvaluation], thresholds: "Thresholds") -> list[RuleResult]:
    """Hold agreement and fairness of every item against the limits.

    Returns:
        Per item, one result for each rule, and for ``dsm`` one for each level of each attribute
        (one without a subject where there are none).
    """
    return [result for item in evaluations for result in _of_item(item, thresholds)]


def judge_validity(figures: Iterable[ValidityFigure], thresholds: "Thresholds") -> list[RuleResult]:
    """Hold tonight's scores of validity responses against the limits: two results per item."""
    return [
        judge_figure(figure.item_id, figure.trait, rule, "", found, thresholds)
        for figure in figures
        for rule, found in (
            ("validity_exact", figure.exact),
            ("validity_drop", figure.loss),
        )
    ]


def judge_figure(
    item_id: str, trait: str, rule: str, subject: str, figure: Figure, thresholds: "Thresholds"
) -> RuleResult:
    """Hold one figure against the limit of a rule; see the module for what comes out.

    A figure of fewer than ``small_cell`` responses is not told.
    """
    limit = thresholds.limit_of(rule, item_id, trait)
    told = figure.n >= thresholds.small_cell or not item_id
    return RuleResult(
        item_id=item_id,
        trait=trait,
        rule=rule,
        subject=subject,
        status=_status(RULES[rule], figure, limit, told=told),
        value=figure.value if told else math.nan,
        low=figure.low if told else math.nan,
        high=figure.high if told else math.nan,
        limit=limit_told(RULES[rule], figure.value, limit),
        n=figure.n,
    )


def limit_told(rule: Rule, value: float, limit: "Limit") -> float:
    """The limit to print beside a value: the softer one where it is beyond that one only."""
    hard = limit.hard
    if hard is None or (rule.is_beyond(value, limit.soft) and not rule.is_beyond(value, hard)):
        return limit.soft
    return hard


def _status(rule: Rule, figure: Figure, limit: "Limit", *, told: bool) -> Status:
    if figure.n < limit.fewest:
        # A kappa of .1 on sixty responses is no chance result, though sixty do not hold a run.
        enough = told and figure.n >= _FEWEST_FLAGGED
        gross = enough and rule.is_wholly_beyond(figure.low, figure.high, limit.soft)
        return "FLAG" if gross else "INSUFFICIENT_N"
    if math.isnan(figure.value):
        return "FLAG"
    if not rule.is_beyond(figure.value, limit.soft):
        return "PASS"
    hard = limit.hard
    if hard is None or not rule.is_beyond(figure.value, hard):
        return "FLAG"
    return "FAIL" if rule.is_wholly_beyond(figure.low, figure.high, hard) else "FLAG"


def _of_item(item: ItemEvaluation, thresholds: "Thresholds") -> Iterator[RuleResult]:
    for rule, figure_of in _FIGURES.items():
        figure = figure_of(item)
        yield judge_figure(item.item_id, item.trait, rule, "", figure, thresholds)
    levels = [(f"{group.attribute}: {group.level}", group.dsm) for group in item.subgroups]
    for subject, figure in levels or [("", NOT_KNOWN)]:
        yield judge_figure(item.item_id, item.trait, "dsm", subject, figure, thresholds)


def _named(name: str) -> Callable[[ItemEvaluation], Figure]:
    return lambda item: item.figures.get(name, NOT_KNOWN)


def _beyond_two_raters(name: str) -> Callable[[ItemEvaluation], Figure]:
    """A figure that rests on the responses which two people have read."""

    def figure_of(item: ItemEvaluation) -> Figure:
        found = item.figures.get(name, NOT_KNOWN)
        return Figure(found.value, found.low, found.high, min(found.n, item.n_double))

    return figure_of


def _loss(name: str) -> Callable[[ItemEvaluation], Figure]:
    """Human-human minus human-machine: evaluations keep the difference the other way round."""

    def figure_of(item: ItemEvaluation) -> Figure:
        found = _beyond_two_raters(name)(item)
        return Figure(0.0 - found.value, 0.0 - found.high, 0.0 - found.low, found.n)

    return figure_of


def _far_apart(item: ItemEvaluation) -> Figure:
    return share_figure(item.n_far_apart, item.n_rated)


def _one_score(item: ItemEvaluation) -> Figure:
    if not item.n_scored:
        return NOT_KNOWN
    return share_figure(round(max(item.machine_distribution) * item.n_scored), item.n_scored)


_FIGURES: Mapping[str, Callable[[ItemEvaluation], Figure]] = {
    "qwk": _named("qwk"),
    "pearson_r": _named("pearson_r"),
    "degradation_qwk": _loss("degradation_qwk"),
    "degradation_r": _loss("degradation_r"),
    "disattenuated_r": _beyond_two_raters("disattenuated_r"),
    "smd": _named("smd"),
    "far_apart": _far_apart,
    "one_score": _one_score,
}


def share_figure(k: int, n: int) -> Figure:
    """A share k / n with Wilson's 95% interval (Wilson 1927), which holds for rare events, too."""
    if n == 0:
        return NOT_KNOWN
    share, weight = k / n, _Z95**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight**2 / 4) / (1 + weight)
    # The ends are the share itself at 0 and 1, but for rounding.
    return Figure(
        share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), n
    )
