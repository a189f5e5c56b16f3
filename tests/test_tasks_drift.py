"""Drift: what alarms, what must not, and how often it does for nothing."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from models.agreement import population_stability_index, two_proportion_z
from tasks import drift
from tasks.drift import judge_drift, since_accepted
from tasks.rules import RULES, RuleResult
from tasks.thresholds import Thresholds, read_thresholds
from warehouse.history import ItemSample

LIMITS = read_thresholds(None)
START = date(2026, 3, 2)
WATCHED = ("psi", "score_point_shift", "mean_shift", "confidence_shift", "length_shift",
           "unknown_token_shift", "language_shift", "condition_shift")  # fmt: skip
# Scales as they occur: right or wrong, easy, hard, even, an essay's, and a long one.
SCALES: Mapping[str, Sequence[float]] = {
    "right or wrong": (0.36, 0.64),
    "three points": (0.363, 0.35, 0.287),
    "hardly anyone": (0.96, 0.02, 0.015, 0.005),
    "even": (1 / 6,) * 6,
    "essay": (0.01, 0.05, 0.12, 0.2, 0.24, 0.2, 0.1, 0.05, 0.02, 0.007, 0.003),
    "long": tuple(np.diff(stats.norm.cdf((np.arange(32) - 15.5) / 6)) / 0.99),
}


def sample(counts: Sequence[int], day: int = 0, item_id: str = "A", **changes: Any) -> ItemSample:
    """Scores as counted; the rest as it always is, spread as it would be."""
    n, points = sum(counts), np.arange(len(counts))
    made = ItemSample(
        item_id=item_id,
        trait="overall",
        score_min=0,
        run_id=f"nightly-{day}",
        administration_date=START + timedelta(days=day),
        counts=tuple(int(count) for count in counts),
        n=n,
        score_sum=float(points @ counts),
        score_squares=float(points**2 @ counts),
        confidence_sum=0.70 * n,
        confidence_squares=(0.70**2 + 0.15**2) * n,
        measured=n,
        length_sum=3.4 * n,
        length_squares=(3.4**2 + 0.7**2) * n,
        unknown_sum=0.002 * n,
        unknown_squares=(0.002**2 + 0.02**2) * n,
        languages={"en": round(0.9 * n), "es": n - round(0.9 * n)},
        coded=round(0.03 * n),
    )
    return replace(made, **changes)


def drawn(
    rng: np.random.Generator, scale: str, day: int, n: int, cohort: float = 0.0
) -> ItemSample:
    """A night's responses; with a cohort, its mean lies that many standard deviations higher."""
    shares = np.array(SCALES[scale])
    points = np.arange(len(shares))
    shares = shares / shares.sum()
    spread = math.sqrt(shares @ points**2 - (shares @ points) ** 2)
    shares = shares * np.exp(cohort * (points - shares @ points) / spread)
    counts = rng.multinomial(n, shares / shares.sum())
    values = {
        "confidence": rng.beta(8, 3, n),
        "length": np.log(np.maximum(rng.lognormal(3.4 + 0.5 * cohort, 0.7, n), 1)),
        "unknown": np.where(rng.random(n) < 0.01, rng.beta(1, 2, n), 0.0),  # one in a hundred
    }
    told = rng.multinomial(rng.binomial(n, 0.95), (0.9, 0.07, 0.02, 0.01))
    return sample(
        counts.tolist(),
        day,
        scale,
        **{f"{name}_sum": float(of.sum()) for name, of in values.items()},
        **{f"{name}_squares": float((of**2).sum()) for name, of in values.items()},
        languages=dict(zip(("en", "es", "fr", "vi"), told.tolist(), strict=True)),
        coded=int(rng.binomial(n, 0.03)),
    )


def judged(
    tonight: ItemSample, history: Sequence[ItemSample], limits: Thresholds = LIMITS
) -> dict[str, RuleResult]:
    """Results by rule and reference, such as ``psi baseline``."""
    results = judge_drift([tonight], history, limits)
    found = {f"{r.rule} {r.subject.split(',')[0]}": r for r in results}
    assert len(found) == len(results) == 2 * len(WATCHED)
    return found


def alarms(tonight: ItemSample, history: Sequence[ItemSample]) -> set[str]:
    return {name for name, result in judged(tonight, history).items() if result.status == "FAIL"}


def test_the_zeros_of_ohio_alarm() -> None:
    """Ohio 2018, grade 3: zeros rose from 36.3% to 48.0%; 1,000 responses each."""
    before, tonight = sample([363, 350, 287]), sample([480, 286, 234], day=1)
    assert population_stability_index(before.counts, tonight.counts) < 0.10  # sees nothing
    assert two_proportion_z(363, 1000, 480, 1000)[0] == pytest.approx(5.3, abs=0.05)
    found = judged(tonight, [before])
    assert found["psi baseline"].status == "PASS"
    for reference in ("baseline", "recent"):
        alarm = found[f"score_point_shift {reference}"]
        assert (alarm.status, alarm.subject) == ("FAIL", f"{reference}, point 0")
        assert (alarm.value, alarm.limit, alarm.n) == (pytest.approx(0.117), 0.05, 1000)
        assert 0.07 < alarm.low < 0.117 < alarm.high < 0.17


@pytest.mark.parametrize("nights", [1, 3, 6, 20])
def test_ohio_alarms_after_any_number_of_nights(nights: int) -> None:
    rng = np.random.default_rng(nights)
    history = [drawn(rng, "three points", day, 1000) for day in range(nights)]
    tonight = replace(sample([480, 286, 234], day=99), item_id="three points")
    assert "score_point_shift baseline" in alarms(tonight, history)


def test_the_same_change_among_fifty_is_no_alarm() -> None:
    assert not alarms(sample([24, 14, 12], day=1), [sample([363, 350, 287])])


def test_a_certain_change_that_does_not_matter_is_no_alarm() -> None:
    before, tonight = sample([363_000, 350_000, 287_000]), sample([373_000, 345_000, 282_000])
    assert two_proportion_z(363_000, 10**6, 373_000, 10**6)[1] < 1e-40
    assert not alarms(tonight, [before])


def nights(n: int = 12, size: int = 200) -> list[ItemSample]:
    rng = np.random.default_rng(0)
    return [drawn(rng, "even", day, size) for day in range(n)]


@pytest.mark.parametrize(
    ("rule", "size", "changes"),
    [
        ("confidence_shift", 0.12, lambda n: {
            "confidence_sum": 0.607 * n, "confidence_squares": (0.607**2 + 0.15**2) * n}),
        ("length_shift", 0.5, lambda n: {
            "length_sum": 2.9 * n, "length_squares": (2.9**2 + 0.7**2) * n}),
        ("unknown_token_shift", 0.1, lambda n: {
            "unknown_sum": 0.1 * n, "unknown_squares": (0.1**2 + 0.1**2) * n}),
        ("language_shift", 0.4, lambda n: {"languages": {"en": n // 2, "es": n - n // 2}}),
        ("language_shift", 0.3, lambda n: {
            "languages": {"en": 3 * n // 5, "es": n // 10, "tl": 3 * n // 10}}),
        ("condition_shift", 0.17, lambda n: {"coded": n // 4}),
    ],
)  # fmt: skip
def test_each_kind_of_shift_alarms_by_its_own_rule(rule: str, size: float, changes: Any) -> None:
    history = nights()
    usual = replace(history.pop(), administration_date=START + timedelta(days=99))
    assert not alarms(usual, history)
    found = judged(replace(usual, **changes(usual.n)), history)
    failed = {name for name, result in found.items() if result.status == "FAIL"}
    assert failed == {f"{rule} baseline", f"{rule} recent"}
    assert abs(found[f"{rule} recent"].value) == pytest.approx(size, abs=0.05)


def test_a_whole_distribution_that_moves_alarms_by_index_and_mean() -> None:
    found = alarms(sample([140, 100, 60, 60, 20, 20], day=99, item_id="even"), nights())
    assert {"psi recent", "mean_shift recent", "score_point_shift recent"} <= found


def test_a_language_or_point_is_named_that_has_moved_most() -> None:
    history = nights()
    tonight = sample([33, 33, 34, 33, 33, 34], day=99, item_id="even", languages={"vi": 200})
    found = judged(tonight, history)
    assert found["language_shift recent"].subject == "recent, vi"
    high = replace(sample([0, 0, 0, 50, 50, 100], day=99, item_id="even"), score_min=0)
    assert judged(high, history)["score_point_shift baseline"].subject == "baseline, point 5"
    from_one = [replace(night, score_min=1) for night in history]
    moved = judged(replace(high, score_min=1), from_one)["score_point_shift baseline"]
    assert moved.subject == "baseline, point 6"


def test_an_item_without_a_history_is_not_judged() -> None:
    found = judged(sample([300, 300, 300]), [])
    assert {result.status for result in found.values()} == {"INSUFFICIENT_N"}
    assert {result.n for result in found.values()} == {0}
    assert all(math.isnan(result.value) for result in found.values())


def test_few_responses_tonight_or_before_are_not_judged() -> None:
    def statuses(tonight: int, before: int) -> set[str]:
        history = [sample([before // 2, before - before // 2])]
        return {r.status for r in judged(sample([tonight, 0], day=1), history).values()}

    assert statuses(20, 1000) == {"INSUFFICIENT_N"}
    assert statuses(1000, 90) == {"INSUFFICIENT_N"}
    assert "FAIL" in statuses(100, 100)


def test_only_codes_tonight_are_an_alarm() -> None:
    found = judged(sample([0, 0, 0], day=1, coded=400), [sample([300, 300, 300])])
    assert {name for name, r in found.items() if r.status == "FAIL"} == {
        "condition_shift baseline", "condition_shift recent",
    }  # fmt: skip
    assert found["mean_shift recent"].status == "INSUFFICIENT_N"


def test_what_was_not_measured_is_not_judged() -> None:
    unmeasured = {"measured": 0, "length_sum": 0.0, "length_squares": 0.0, "unknown_sum": 0.0,
                  "unknown_squares": 0.0, "languages": {}}  # fmt: skip
    history = [sample([300, 300, 300], day, **unmeasured) for day in range(3)]
    found = judged(sample([300, 300, 300], day=9), history)
    for rule in ("length_shift", "unknown_token_shift", "language_shift"):
        assert found[f"{rule} recent"].status == "INSUFFICIENT_N"
    assert found["mean_shift recent"].status == "PASS"


def test_a_figure_that_is_no_number_is_flagged_and_does_not_pass() -> None:
    tonight = sample([300, 300, 300], day=1, confidence_sum=math.nan)
    found = judged(tonight, [sample([300, 300, 300])])
    assert found["confidence_shift recent"].status == "FLAG"
    assert found["mean_shift recent"].status == "PASS"


def test_other_items_traits_and_scales_are_no_reference() -> None:
    others = [
        sample([300, 300, 300], item_id="B"),
        sample([300, 300, 300], trait="style"),
        sample([300, 300, 300, 300]),
        sample([300, 300, 300], score_min=1),
    ]
    found = judged(sample([300, 300, 300], day=1), others)
    assert {result.status for result in found.values()} == {"INSUFFICIENT_N"}


def test_slow_drift_alarms_against_the_baseline_only() -> None:
    def night(day: int) -> ItemSample:
        zeros = 400 + 10 * day  # one point of a hundred more each night
        return sample([zeros, 500 - zeros // 2, 500 - zeros // 2], day)

    history = [night(day) for day in range(15)]
    assert alarms(night(15), history) >= {"score_point_shift baseline"}
    assert not {name for name in alarms(night(15), history) if "recent" in name}


def test_a_sudden_return_to_the_baseline_alarms_against_recent_nights() -> None:
    history = [sample([400, 300, 300], day) for day in range(3)]
    history += [sample([200, 400, 400], day) for day in range(3, 12)]
    assert alarms(sample([400, 300, 300], day=12), history) == {
        "score_point_shift recent", "mean_shift recent",
    }  # fmt: skip


def test_small_nights_are_put_together_until_they_are_a_reference() -> None:
    history = [sample([4, 4, 4], day) for day in range(40)]
    found = judged(sample([90, 5, 5], day=40), history)
    assert found["score_point_shift baseline"].n == 100
    assert found["score_point_shift recent"].status == "FAIL"


def test_nights_that_always_differ_make_a_difference_usual() -> None:
    def history(apart: int) -> list[ItemSample]:
        return [
            sample([400 + sign * apart, 350 - sign * apart, 250], day)
            for day, sign in enumerate((1, -1, 0, 1, -1, 0, -1, 1, 0, 1))
        ]

    tonight = sample([490, 260, 250], day=20)
    assert "score_point_shift recent" in alarms(tonight, history(0))
    assert not alarms(tonight, history(80))
    steady, wild = (judged(tonight, history(apart))["mean_shift recent"] for apart in (0, 80))
    assert wild.high - wild.low > 2 * (steady.high - steady.low)


def test_limits_and_alpha_are_those_of_the_item() -> None:
    before, tonight = sample([363, 350, 287]), sample([480, 286, 234], day=1)
    own = LIMITS.rules["score_point_shift"].model_copy(update={"at_most": 0.15})
    wide = LIMITS.model_copy(update={"items": {"A": {"score_point_shift": own}}})
    assert judged(tonight, [before], wide)["score_point_shift recent"].status == "PASS"
    strict = LIMITS.model_copy(update={"drift": LIMITS.drift.model_copy(update={"alpha": 1e-9})})
    assert judged(tonight, [before], strict)["score_point_shift recent"].status == "FLAG"


def test_an_index_between_its_limits_is_flagged() -> None:
    found = judged(sample([520, 280, 200], day=1), [sample([360, 300, 340])])["psi baseline"]
    assert (found.status, found.limit) == ("FLAG", 0.10)
    assert 0.10 < found.value < 0.25


def nightly(
    rng: np.random.Generator, nights: int, apart: float, scales: Sequence[str] = tuple(SCALES)
) -> Iterator[list[RuleResult]]:
    """A programme from its first night on, with 30 to 2,000 responses to each item every night."""
    history: list[ItemSample] = []
    for day in range(nights):
        sizes = np.exp(rng.uniform(math.log(30), math.log(2000), len(scales))).astype(int)
        tonight = [
            drawn(rng, scale, day, int(n), rng.normal(0, apart) if apart else 0.0)
            for scale, n in zip(scales, sizes, strict=True)
        ]
        yield judge_drift(tonight, history, LIMITS)
        history += tonight


def alarmed(results: Sequence[RuleResult], status: str = "FAIL") -> set[str]:
    return {result.item_id for result in results if result.status == status}


def test_a_thousand_nights_without_a_shift_hardly_ever_alarm() -> None:
    """The default limits; 1% of items and nights would be allowed. Flags stay below 5%."""
    rng, counts = np.random.default_rng(2026), Counter[str]()
    for _ in range(50):
        for results in nightly(rng, 20, apart=0.0):
            counts["nights"] += 1
            counts["items"] += len(SCALES)
            counts["alarms"] += len(alarmed(results))
            counts["flags"] += len(alarmed(results, "FLAG"))
            counts["judged"] += sum(result.status != "INSUFFICIENT_N" for result in results)
    assert counts["nights"] == 1000
    assert counts["judged"] > 0.8 * counts["items"] * 2 * len(WATCHED)
    assert counts["alarms"] <= 0.005 * counts["items"]
    assert counts["flags"] <= 0.05 * counts["items"]


def test_nights_of_different_cohorts_rarely_alarm_once_they_are_known() -> None:
    """Means of nights a tenth of a standard deviation apart, as schools take turns."""
    rng, found = np.random.default_rng(7), list[int]()
    for _ in range(10):
        programme = list(nightly(rng, 30, apart=0.1, scales=("three points", "even", "essay")))
        found += [len(alarmed(results)) for results in programme[10:]]
    assert sum(found) <= 0.03 * 3 * len(found)


counts_of = st.lists(st.integers(0, 400), min_size=3, max_size=3)


@settings(deadline=None)
@given(
    before=st.lists(st.tuples(counts_of, st.integers(0, 50)), max_size=8),
    tonight=st.tuples(counts_of, st.integers(0, 50)),
)
def test_any_counts_can_be_judged(
    before: list[tuple[list[int], int]], tonight: tuple[list[int], int]
) -> None:
    history = [sample(counts, day, coded=coded) for day, (counts, coded) in enumerate(before)]
    found = judged(sample(tonight[0], day=99, coded=tonight[1]), history)
    assert repr(found) == repr(judged(sample(tonight[0], day=99, coded=tonight[1]), history[::-1]))
    for result in found.values():
        assert result.rule in WATCHED
        if result.status == "INSUFFICIENT_N":
            assert math.isnan(result.value)
        else:
            assert math.isfinite(result.value)
            assert result.n >= 30
        if result.status in ("FAIL", "FLAG"):
            assert RULES[result.rule].is_beyond(result.value, result.limit)


@given(
    n=st.tuples(st.integers(2, 3000), st.integers(2, 3000)), share=st.floats(0, 1), data=st.data()
)
def test_shares_are_compared_by_fishers_test(
    n: tuple[int, int], share: float, data: st.DataObject
) -> None:
    k = [data.draw(st.integers(0, size)) for size in n]
    now, before = (drift._Sums(size, hits, hits) for size, hits in zip(n, k, strict=True))
    law = stats.hypergeom(sum(n), sum(k), n[0])
    tail = min(law.cdf(k[0]), law.sf(k[0] - 1))
    assert drift._exact_p(now, before) == pytest.approx(min(1, 2 * tail), rel=1e-6, abs=1e-300)


@given(x=st.floats(0.01, 300), df=st.integers(1, 40))
def test_the_tail_of_chi_square_is_scipys(x: float, df: int) -> None:
    assert drift._chi_square_tail(x, df) == pytest.approx(stats.chi2.sf(x, df), rel=1e-9)


@given(counts=st.lists(st.tuples(st.integers(20, 500), st.integers(20, 500)), min_size=2))
def test_points_with_many_responses_have_the_usual_chi_square_test(
    counts: list[tuple[int, int]],
) -> None:
    now, before = (np.array(column, dtype=np.float64) for column in zip(*counts, strict=True))
    table: NDArray[np.float64] = np.array([now, before])
    expected = table.sum(axis=0) * table.sum(axis=1, keepdims=True) / table.sum()
    if expected.min() >= 5:
        p = stats.chi2_contingency(table, correction=False).pvalue
        assert drift._chi_square_p(now, before, 1.0) == pytest.approx(p, rel=1e-8, abs=1e-300)


def test_a_change_that_a_person_has_accepted_is_where_the_baseline_begins() -> None:
    rng = np.random.default_rng(4)
    before = [drawn(rng, "even", day, 400) for day in range(6)]
    after = [drawn(rng, "even", day, 400, cohort=0.8) for day in range(6, 9)]
    assert alarms(after[2], [*before, *after[:2]])
    accepted = {("even", "overall"): after[0].run_id}
    kept = since_accepted([*before, *after[:2]], accepted)
    assert kept == after[:2]
    assert not alarms(after[2], kept)
    others = [replace(one, item_id="B") for one in before]
    assert since_accepted([*others, *before], accepted) == [*others, *before]
