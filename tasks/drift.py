"""Drift: are tonight's responses and scores of an item still those that it was accepted with?

Tonight is compared with two references of the same item: its baseline, the earliest
administrations, which a slow drift moves away from; and the last administrations, which a sudden
change stands out against. Both are samples themselves, so every comparison is one of two samples.

An alarm (FAIL) needs a change that matters, larger than its limit, and one that chance does not
make: p below alpha over the number of all comparisons of the item (Bonferroni). Hence without any
shift at most alpha of the items alarm in a night, however many score points or languages they
have. What the tests rest on:

- A share (score point, language, condition code) has Fisher's exact test: the normal approximation
  calls rare events in small samples significant far too often.
- A mean has the larger of the standard errors with and without equal variances: with skewed values
  the one is fooled by an outlier tonight, the other by its absence.
- The stability index is no test; its significance is that of chi-square on the same counts, rare
  neighbouring score points taken together.
- Nights differ, because other schools are tested: students are no independent draws. How much the
  item's shares and means have differed between its administrations beyond sampling is added to the
  variance of every change. It is taken from one administration to the next (von Neumann et al.
  1941), so that a slow drift does not pass for usual variation. In an item's first nights it is
  not known yet, and taken as none.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.agreement import population_stability_index, two_mean_z
from tasks.rules import RULES, RuleResult, Status, limit_told
from tasks.thresholds import Drift, Limit, Thresholds
from warehouse.history import ItemSample

Floats = NDArray[np.float64]

_Z95 = 1.959963984540054  # half width of a 95% interval in standard errors
# Chi-square is trusted where this many responses are expected at each point (Cochran 1954).
_EXPECTED = 5
# Languages that are rarer, tonight and before, are noise of the language identifier.
_LANGUAGE_SHARE = 0.01
_SEVERITY: Mapping[Status, int] = {"PASS": 0, "FLAG": 1, "FAIL": 2}


@dataclass(frozen=True)
class _Sums:
    """A sample as its sums."""

    n: float
    total: float
    squares: float

    @property
    def mean(self) -> float:
        return self.total / self.n

    @property
    def spread(self) -> float:
        """Sum of squared deviations from the mean."""
        return max(0.0, self.squares - self.total**2 / self.n)

    @property
    def variance(self) -> float:
        return self.spread / (self.n - 1)


@dataclass(frozen=True)
class _Measure:
    """One thing watched of an item: tonight first, then its administrations in order.

    Attributes:
        what: the score point or language, where the rule is about several.
        sums: [3, 1 + A] responses, sum of their values, sum of squares.
        is_share: the values are 0 and 1.
    """

    what: str
    sums: Floats
    is_share: bool = False

    def of(self, chosen: slice) -> _Sums:
        return _Sums(*self.sums[:, chosen].sum(axis=1).tolist())


class _Question(NamedTuple):
    """One rule for one item against one reference.

    Attributes:
        tests: comparisons of the item in all.
        n: responses of the smaller of both samples; 0 where there is nothing to compare.
    """

    item: ItemSample
    rule: str
    reference: str
    limit: Limit
    tests: int
    n: int


class _Change(NamedTuple):
    """Tonight minus a reference, in the units of the limit.

    Attributes:
        what: the score point or language, where the rule is about several.
        value: the change; for the stability index, the index.
        error: its standard error; NaN where it has none.
        p: how likely one as large is without a shift; 1 where the change is within its limits.
    """

    what: str
    value: float
    error: float
    p: float


_TONIGHT = slice(0, 1)
_TOO_FEW: Status = "INSUFFICIENT_N"


def since_accepted(
    history: Sequence[ItemSample], accepted: Mapping[tuple[str, str], str]
) -> list[ItemSample]:
    """Earlier administrations without those before a change that a person has accepted.

    Args:
        history: as for ``judge_drift``.
        accepted: per item and trait the run whose drift alarm a person overruled: what it brought
            is the new normal, and the item's baseline begins with it.
    """
    kept: list[ItemSample] = []
    for sample in history:
        if accepted.get((sample.item_id, sample.trait)) == sample.run_id:
            key = (sample.item_id, sample.trait)
            kept = [one for one in kept if (one.item_id, one.trait) != key]
        kept.append(sample)
    return kept


def judge_drift(
    tonight: Sequence[ItemSample], history: Sequence[ItemSample], thresholds: Thresholds
) -> list[RuleResult]:
    """Compare tonight with earlier administrations, item by item.

    Args:
        tonight: what the run scored, an entry per item and trait.
        history: earlier released administrations in the order in which they were, of any items;
            those on another score scale are left out.
        thresholds: limits of size, and of significance.

    Returns:
        For each item two results per drift rule. Subjects are ``baseline`` and ``recent``; where a
        rule is about several score points or languages, with the one that has moved most, such as
        ``baseline, point 0``. ``n`` is the smaller of both samples.
    """
    earlier: dict[tuple[str, str], list[ItemSample]] = defaultdict(list)
    for sample in sorted(history, key=lambda sample: sample.administration_date):
        earlier[sample.item_id, sample.trait].append(sample)
    return [
        result
        for sample in tonight
        for result in _of_item(sample, earlier[sample.item_id, sample.trait], thresholds)
    ]


def _of_item(
    tonight: ItemSample, earlier: Sequence[ItemSample], thresholds: Thresholds
) -> Iterator[RuleResult]:
    scale = (tonight.score_min, len(tonight.counts))
    history = [sample for sample in earlier if (sample.score_min, len(sample.counts)) == scale]
    references = _references(history, thresholds.drift)
    watched = _measures([tonight, *history])
    # The stability index is one comparison more.
    tests = len(references) * (1 + sum(map(len, watched.values())))
    for rule, measures in {"psi": watched["score_point_shift"], **watched}.items():
        limit = thresholds.limit_of(rule, tonight.item_id, tonight.trait)
        for name, chosen in references.items():
            sizes = [measures[0].of(part).n if measures else 0 for part in (_TONIGHT, chosen)]
            question = _Question(tonight, rule, name, limit, tests, int(min(sizes)))
            enough = sizes[0] >= limit.fewest and sizes[1] >= thresholds.drift.fewest
            found = _changes(rule, measures, chosen, limit) if enough else []
            yield _result(question, found, thresholds.drift)


def _references(history: Sequence[ItemSample], drift: Drift) -> dict[str, slice]:
    """Places in a measure's sums, where tonight is at 0 and the history follows."""
    n = np.array([sample.n for sample in history], dtype=np.float64)
    first = int(np.searchsorted(n.cumsum(), drift.baseline_n)) + 1
    enough = int(np.searchsorted(n[::-1].cumsum(), drift.fewest)) + 1
    last = max(drift.recent, enough)
    return {
        "baseline": slice(1, 1 + first),
        "recent": slice(max(1, 1 + len(history) - last), None),
    }


def _measures(samples: Sequence[ItemSample]) -> dict[str, list[_Measure]]:
    """What is watched, by rule."""

    def column(name: str) -> Floats:
        return np.array([getattr(sample, name) for sample in samples], dtype=np.float64)

    def share(what: str, n: Floats, k: Floats) -> _Measure:
        return _Measure(what, np.array([n, k, k]), is_share=True)

    def mean(n: str, of: str) -> list[_Measure]:
        return [_Measure("", np.array([column(n), column(f"{of}_sum"), column(f"{of}_squares")]))]

    counts = np.array([sample.counts for sample in samples], dtype=np.float64)
    told = np.array([sum(sample.languages.values()) for sample in samples], dtype=np.float64)
    spoken = {
        code: np.array([sample.languages.get(code, 0) for sample in samples], dtype=np.float64)
        for code in sorted({code for sample in samples for code in sample.languages})
    }
    languages = [share(code, told, k) for code, k in spoken.items()]
    return {
        "score_point_shift": [
            share(f"point {samples[0].score_min + place}", counts.sum(axis=1), k)
            for place, k in enumerate(counts.T)
        ],
        "mean_shift": mean("n", "score"),
        "confidence_shift": mean("n", "confidence"),
        "length_shift": mean("measured", "length"),
        "unknown_token_shift": mean("measured", "unknown"),
        "language_shift": [language for language in languages if _is_common(language)],
        "condition_shift": [share("", column("n") + column("coded"), column("coded"))],
    }


def _is_common(language: _Measure) -> bool:
    samples = (language.of(_TONIGHT), language.of(slice(1, None)))
    return any(sample.n and sample.mean >= _LANGUAGE_SHARE for sample in samples)


def _changes(rule: str, measures: Sequence[_Measure], chosen: slice, limit: Limit) -> list[_Change]:
    if rule == "psi":
        return [_stability(measures, chosen, limit)]
    return [_change(rule, measure, chosen, limit) for measure in measures]


def _change(rule: str, measure: _Measure, chosen: slice, limit: Limit) -> _Change:
    now, before = measure.of(_TONIGHT), measure.of(chosen)
    gap = now.mean - before.mean
    unit = _together(now, before).variance ** 0.5 if rule == "mean_shift" else 1.0
    between = _between(measure, chosen)
    error = math.sqrt(_variance(now, before, measure.is_share) + between)
    value = gap / (unit or 1.0)
    p = 1.0
    if RULES[rule].is_beyond(value, limit.soft):
        p = _exact_p(now, before) if measure.is_share else _mean_p(now, before)
        p = _less_sure(p, gap, between)
    return _Change(measure.what, value, error / (unit or 1.0), p)


def _together(now: _Sums, before: _Sums) -> _Sums:
    return _Sums(now.n + before.n, now.total + before.total, now.squares + before.squares)


def _between(measure: _Measure, chosen: slice) -> float:
    """Variance of tonight minus the reference that comes from differences between administrations.

    Squared differences of successive administrations, less what sampling explains, weighted by
    their precision, are twice the variance between administrations.
    """
    sums = measure.sums[:, 1:]
    n, total, squares = sums[:, sums[0] > 0]
    if len(n) < 2:
        return 0.0
    within = max(0.0, float((squares - total**2 / n).sum())) / max(1.0, float(n.sum()) - len(n))
    weight = 1 / (1 / n[1:] + 1 / n[:-1])
    excess = float((weight * np.diff(total / n) ** 2 - within).sum() / weight.sum()) / 2
    share = measure.sums[0, chosen] / measure.sums[0, chosen].sum()
    return max(0.0, excess) * (1 + float((share**2).sum()))


def _variance(now: _Sums, before: _Sums, is_share: bool) -> float:
    """Sampling variance of the difference, for its interval."""
    if is_share:  # Agresti and Caffo (2000): one success and one failure more on either side
        more = [(s.total + 1) / (s.n + 2) for s in (now, before)]
        return sum(p * (1 - p) / (s.n + 2) for p, s in zip(more, (now, before), strict=True))
    pooled = (now.spread + before.spread) / (now.n + before.n - 2)
    apart = sum(s.variance / s.n for s in (now, before))
    return max(pooled * (1 / now.n + 1 / before.n), apart)


def _mean_p(now: _Sums, before: _Sums) -> float:
    """The larger p of Welch's test and of the one with equal variances."""
    pooled = (now.spread + before.spread) / (now.n + before.n - 2)
    apart = (before.variance, now.variance)
    return max(
        two_mean_z(before.mean, first, before.n, now.mean, second, now.n)[1]
        for first, second in (apart, (pooled, pooled))
    )


def _exact_p(now: _Sums, before: _Sums) -> float:
    """Fisher's exact test of two shares, two-sided: twice the smaller tail."""
    n, k = int(now.n), int(now.total)
    drawn, marked = n + int(before.n), k + int(before.total)
    log = _log_factorials(1 << drawn.bit_length())
    x = np.arange(max(0, marked - drawn + n), min(n, marked) + 1)
    # Ways to find x of the marked among the n, up to a factor that all x share.
    ways = -(log[x] + log[marked - x] + log[n - x] + log[drawn - n - marked + x])
    likely = np.exp(ways - ways.max())
    tail = min(likely[x >= k].sum(), likely[x <= k].sum()) / likely.sum()
    return min(1.0, 2 * float(tail))


@lru_cache(maxsize=2)
def _log_factorials(n: int) -> Floats:
    """[n + 1] logarithms of 0!, 1!, ..., n!."""
    return np.concatenate([[0.0], np.log(np.arange(1, n + 1)).cumsum()])


def _less_sure(p: float, gap: float, between: float) -> float:
    """The p of a gap whose variance is larger, by that between administrations."""
    if between == 0 or p >= 1:
        return p
    z = -NormalDist().inv_cdf(max(p / 2, 1e-300))
    return math.erfc(abs(gap) / math.sqrt(2 * ((gap / z) ** 2 + between)))


def _stability(points: Sequence[_Measure], chosen: slice, limit: Limit) -> _Change:
    now = np.array([point.of(_TONIGHT).total for point in points])
    before = np.array([point.of(chosen).total for point in points])
    value = population_stability_index(before, now)
    p = 1.0
    if value > limit.soft:
        effect = _design_effect(points, chosen)
        p = _chi_square_p(now, before, effect)
    return _Change("", value, math.nan, p)


def _design_effect(points: Sequence[_Measure], chosen: slice) -> float:
    """How many times the variance of simple sampling the shares have (Rao and Scott 1981)."""
    effects, weights = [], []
    for point in points:
        now, before = point.of(_TONIGHT), point.of(chosen)
        share = _together(now, before).mean
        if 0 < share < 1:
            sampling = share * (1 - share) * (1 / now.n + 1 / before.n)
            effects.append(1 + _between(point, chosen) / sampling)
            weights.append(1 - share)
    return float(np.average(effects, weights=weights)) if effects else 1.0


def _chi_square_p(now: Floats, before: Floats, effect: float) -> float:
    """Chi-square test of one distribution in both samples, on points with enough responses."""
    pairs = np.array([now, before])
    share = pairs.sum(axis=1, keepdims=True) / pairs.sum()
    merged, pending = [], np.zeros(2)
    for point in pairs.T:
        pending = pending + point
        if (pending.sum() * share).min() >= _EXPECTED:
            merged.append(pending)
            pending = np.zeros(2)
    if not merged:
        return 1.0
    merged[-1] = merged[-1] + pending  # the rest is too rare for a point of its own
    observed = np.array(merged).T
    expected = observed.sum(axis=0) * share
    statistic = float(((observed - expected) ** 2 / expected).sum()) / effect
    return _chi_square_tail(statistic, len(merged) - 1)


def _chi_square_tail(x: float, df: int) -> float:
    """Probability that chi-square with whole degrees of freedom exceeds x (DLMF 8.4)."""
    if df == 0 or x <= 0:
        return 1.0
    odd = df % 2
    powers = (i + odd / 2 for i in range(df // 2))
    whole = sum(math.exp(i * math.log(x / 2) - x / 2 - math.lgamma(i + 1)) for i in powers)
    return whole + (math.erfc(math.sqrt(x / 2)) if odd else 0.0)


def _result(question: _Question, found: Sequence[_Change], drift: Drift) -> RuleResult:
    """The gravest of a rule's changes, and of equally grave ones the largest."""
    status, change = max(
        ((_status(question, change, drift), change) for change in found),
        key=lambda judged: (_SEVERITY[judged[0]], abs(judged[1].value)),
        default=(_TOO_FEW, _Change("", math.nan, math.nan, 1.0)),
    )
    half = _Z95 * change.error
    return RuleResult(
        item_id=question.item.item_id,
        trait=question.item.trait,
        rule=question.rule,
        subject=", ".join(filter(None, (question.reference, change.what))),
        status=status,
        value=change.value,
        low=change.value - half,
        high=change.value + half,
        limit=limit_told(RULES[question.rule], change.value, question.limit),
        n=question.n,
    )


def _status(question: _Question, change: _Change, drift: Drift) -> Status:
    """Beyond the limit, and by chance in fewer nights than alpha: FAIL; FLAG if not defined."""
    if math.isnan(change.value):
        return "FLAG"
    p, hard = change.p * question.tests, question.limit.hard
    if hard is not None and RULES[question.rule].is_beyond(change.value, hard) and p < drift.alpha:
        return "FAIL"
    return "FLAG" if p < drift.flag_alpha else "PASS"
