"""Rules on agreement and subgroups: which of four outcomes, and what is told."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import made_evaluations as made
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluation import NOT_KNOWN, Figure, ItemEvaluation, SubgroupFigure
from tasks.rules import RULES, RuleResult, judge, judge_figure, share_figure
from tasks.thresholds import Thresholds, read_thresholds, thresholds_from_json

LIMITS = read_thresholds(None)
OF_AN_ITEM = {"qwk", "pearson_r", "degradation_qwk", "degradation_r", "disattenuated_r", "smd",
              "far_apart", "one_score", "dsm"}  # fmt: skip


def item(figures: Mapping[str, Figure] | None = None, **changes: Any) -> ItemEvaluation:
    """500 rated responses, all of them by two people, with figures that keep every rule."""
    good = {
        "qwk": Figure(0.80, 0.76, 0.84, 500),
        "pearson_r": Figure(0.82, 0.78, 0.86, 500),
        "degradation_qwk": Figure(-0.03, -0.08, 0.02, 500),
        "degradation_r": Figure(-0.02, -0.07, 0.03, 500),
        "disattenuated_r": Figure(0.95, 0.91, 0.99, 500),
        "smd": Figure(0.02, -0.05, 0.09, 500),
    }
    settings: dict[str, Any] = {"n_rated": 500, "n_double": 500, "n_far_apart": 4, "subgroups": ()}
    return made.item(figures={**good, **(figures or {})}, **{**settings, **changes})


def of_rule(evaluation: ItemEvaluation, rule: str, limits: Thresholds = LIMITS) -> RuleResult:
    (found,) = [result for result in judge([evaluation], limits) if result.rule == rule]
    return found


def status(rule: str, figure: Figure, limits: Thresholds = LIMITS) -> str:
    return judge_figure("A", "overall", rule, "", figure, limits).status


def test_every_item_has_a_result_for_every_rule() -> None:
    none = {"n_scored": 0, "n_rated": 0, "n_double": 0, "n_far_apart": 0}
    unrated = item(dict.fromkeys(item().figures, NOT_KNOWN), **none)
    results = judge([item(), replace(unrated, item_id="maps", figures={})], LIMITS)
    assert Counter(result.item_id for result in results) == {"plants": 9, "maps": 9}
    assert {result.rule for result in results if result.item_id == "maps"} == OF_AN_ITEM
    assert {r.status for r in results if r.item_id == "maps"} == {"INSUFFICIENT_N"}
    assert {r.status for r in results if r.item_id == "plants" and r.rule != "dsm"} == {"PASS"}


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        (Figure(0.70, 0.60, 0.78, 500), "PASS"),  # at least .70
        (Figure(0.69, 0.60, 0.77, 500), "FLAG"),  # the interval reaches back
        (Figure(0.60, 0.50, 0.70, 500), "FLAG"),
        (Figure(0.60, 0.50, 0.69, 500), "FAIL"),
        (Figure(0.60, 0.50, 0.71, 99), "INSUFFICIENT_N"),
        (Figure(0.10, 0.00, 0.20, 100), "FAIL"),
        (Figure(math.nan, math.nan, math.nan, 500), "FLAG"),  # constant scores
        (Figure(0.10, math.nan, math.nan, 500), "FLAG"),  # no interval to be sure by
        (NOT_KNOWN, "INSUFFICIENT_N"),
    ],
)
def test_a_rule_fails_only_with_its_whole_interval(figure: Figure, expected: str) -> None:
    assert status("qwk", figure) == expected


def test_what_is_gross_on_few_responses_is_flagged_and_fails_nothing() -> None:
    gross = Figure(0.10, -0.15, 0.36, 60)
    found = judge_figure("A", "overall", "qwk", "", gross, LIMITS)
    assert (found.status, found.value, found.limit, found.n) == ("FLAG", 0.10, 0.70, 60)
    assert status("qwk", Figure(0.10, -0.15, 0.36, 29)) == "INSUFFICIENT_N"
    told_from_70 = LIMITS.model_copy(update={"small_cell": 70})
    assert status("qwk", gross, told_from_70) == "INSUFFICIENT_N"
    assert status("qwk", Figure(0.10, math.nan, math.nan, 60)) == "INSUFFICIENT_N"
    assert status("qwk", Figure(0.90, 0.80, 1.0, 60)) == "INSUFFICIENT_N"
    assert status("dsm", Figure(-0.5, -0.8, -0.2, 35)) == "FLAG"
    assert status("far_apart", share_figure(12, 40)) == "FLAG"
    assert status("far_apart", share_figure(1, 40)) == "INSUFFICIENT_N"


@pytest.mark.parametrize("sign", [1, -1])
def test_differences_count_either_way(sign: int) -> None:
    def of(value: float, half: float) -> Figure:
        ends = sorted([sign * value - half, sign * value + half])
        return Figure(sign * value, *ends, 500)

    assert status("smd", of(0.15, 0.07)) == "PASS"
    assert status("smd", of(0.20, 0.07)) == "FLAG"
    assert status("smd", of(0.30, 0.07)) == "FAIL"


def test_an_interval_from_one_side_to_the_other_fails_nothing() -> None:
    assert status("smd", Figure(0.2, -0.3, 0.7, 500)) == "FLAG"


@given(
    value=st.floats(-1, 1), half=st.floats(0, 1), n=st.integers(0, 1000),
    rule=st.sampled_from(sorted(RULES)),
)  # fmt: skip
def test_what_fails_is_beyond_its_limit(value: float, half: float, n: int, rule: str) -> None:
    found = judge_figure("A", "t", rule, "", Figure(value, value - half, value + half, n), LIMITS)
    limit = LIMITS.limit_of(rule, "A", "t")
    assert n < limit.fewest or found.status != "INSUFFICIENT_N"
    if n < limit.fewest:
        assert found.status in ("INSUFFICIENT_N", "FLAG")
    if found.status in ("FAIL", "FLAG"):
        assert RULES[rule].is_beyond(value, found.limit)
    if found.status == "FAIL":
        assert found.limit == limit.hard
        ends = (value - half, value + half)
        assert all(RULES[rule].is_beyond(end, limit.hard) for end in ends)
    if found.status == "PASS":
        assert not RULES[rule].is_beyond(value, limit.soft)


def test_a_softer_limit_flags_and_is_the_one_told() -> None:
    text = LIMITS.model_copy(
        update={"rules": {**LIMITS.rules, "qwk": LIMITS.rules["qwk"].model_copy(
            update={"flag": 0.8})}}
    )  # fmt: skip
    found = of_rule(item({"qwk": Figure(0.75, 0.7, 0.8, 500)}), "qwk", text)
    assert (found.status, found.limit) == ("FLAG", 0.8)
    found = of_rule(item({"qwk": Figure(0.65, 0.6, 0.75, 500)}), "qwk", text)
    assert (found.status, found.limit) == ("FLAG", 0.7)


def test_disattenuated_correlation_only_flags_by_default() -> None:
    found = of_rule(item({"disattenuated_r": Figure(0.7, 0.65, 0.75, 500)}), "disattenuated_r")
    assert (found.status, found.limit) == ("FLAG", 0.90)


def test_degradation_is_what_is_lost_against_two_people() -> None:
    lost = item({"degradation_qwk": Figure(-0.20, -0.27, -0.13, 500)})
    found = of_rule(lost, "degradation_qwk")
    assert (found.status, found.value, found.low, found.high) == ("FAIL", 0.20, 0.13, 0.27)
    gained = item({"degradation_qwk": Figure(0.20, 0.13, 0.27, 500)})
    assert of_rule(gained, "degradation_qwk").status == "PASS"


def test_what_two_people_say_rests_on_what_both_have_read() -> None:
    few = item({"degradation_qwk": Figure(-0.2, -0.4, 0.0, 500)}, n_double=60)
    found = of_rule(few, "degradation_qwk")
    assert (found.status, found.n) == ("INSUFFICIENT_N", 60)
    assert of_rule(few, "disattenuated_r").status == "INSUFFICIENT_N"
    assert of_rule(few, "qwk").status == "PASS"


def test_rare_gross_errors_are_flagged_and_never_fail() -> None:
    found = of_rule(item(n_far_apart=11), "far_apart")
    assert (found.status, found.value, found.limit, found.n) == ("FLAG", 0.022, 0.02, 500)
    assert found.low < 0.02 < found.high
    assert of_rule(item(n_far_apart=10), "far_apart").status == "PASS"
    assert of_rule(item(n_far_apart=400), "far_apart").status == "FLAG"
    assert of_rule(item(n_far_apart=0), "far_apart").high > 0


def test_each_level_of_each_attribute_is_judged() -> None:
    groups = (
        SubgroupFigure("language", "Spanish", Figure(-0.3, -0.4, -0.2, 150), 1.0, 0.8),
        SubgroupFigure("language", "English", Figure(0.05, -0.1, 0.2, 340), 1.0, 1.0),
        SubgroupFigure("school", "12", Figure(0.6, 0.0, 1.2, 40), 1.0, 1.5),
        SubgroupFigure("school", "13", Figure(0.6, 0.2, 1.0, 9), 1.0, 1.5),
    )
    found = {r.subject: r for r in judge([item(subgroups=groups)], LIMITS) if r.rule == "dsm"}
    assert {subject: result.status for subject, result in found.items()} == {
        "language: Spanish": "FAIL",
        "language: English": "PASS",
        "school: 12": "INSUFFICIENT_N",
        "school: 13": "INSUFFICIENT_N",
    }
    assert found["school: 12"].value == 0.6


def test_figures_of_a_small_cell_are_not_told() -> None:
    groups = (SubgroupFigure("school", "13", Figure(0.6, 0.2, 1.0, 9), 1.0, 1.5),)
    (found,) = [r for r in judge([item(subgroups=groups)], LIMITS) if r.rule == "dsm"]
    assert all(math.isnan(value) for value in (found.value, found.low, found.high))


def test_limits_are_those_of_the_item() -> None:
    own = {"plants": {"qwk": LIMITS.rules["qwk"].model_copy(update={"at_least": 0.85})}}
    limits = LIMITS.model_copy(update={"items": own})
    results = judge([item(), replace(item(), item_id="maps")], limits)
    assert {r.item_id: r.status for r in results if r.rule == "qwk"} == {
        "plants": "FAIL",
        "maps": "PASS",
    }


@given(n=st.integers(1, 5000), data=st.data())
def test_intervals_of_shares_hold_the_share(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    found = share_figure(k, n)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0


def test_wilson_intervals_are_those_published() -> None:
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81/263, 15/148, 0/20, 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0000, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (k, n), ends in published.items():
        found = share_figure(k, n)
        assert (round(found.low, 4), round(found.high, 4)) == ends


def test_stored_limits_judge_alike() -> None:
    stored = thresholds_from_json(LIMITS.as_json())
    assert repr(judge([item()], stored)) == repr(judge([item()], LIMITS))


def test_a_machine_that_gives_everyone_one_score_fails_without_a_single_rating() -> None:
    def outcome(n: int, *shares: float) -> str:
        unrated = dict.fromkeys(item().figures, NOT_KNOWN)
        alike = item(unrated, n_scored=n, machine_distribution=shares, n_rated=0, n_double=0)
        return of_rule(alike, "one_score").status

    assert outcome(1_000, 0, 1, 0, 0) == "FAIL"
    assert outcome(120, 0, 1, 0, 0) == "FLAG"
    assert outcome(1_000, 0.03, 0.97, 0, 0) == "FLAG"
    assert outcome(1_000, 0.5, 0.5, 0, 0) == "PASS"
    assert outcome(20, 0, 1, 0, 0) == "INSUFFICIENT_N"
