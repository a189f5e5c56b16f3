"""Validity responses: tonight's scores against the known ones, and against last night's."""

import math
from dataclasses import replace

import numpy as np
import pytest

from models.agreement import exact_agreement, quadratic_weighted_kappa
from tasks.evaluation import ValidityFigure
from tasks.rules import judge_validity
from tasks.thresholds import read_thresholds
from tasks.validity import validity_figures
from warehouse.validity import ValidityScores

LIMITS = read_thresholds(None)
KNOWN = np.arange(50) % 4.0
NEVER = np.full(50, math.nan)


def off(*places: int) -> np.ndarray:
    """The known scores, but for a point at these places."""
    scores = KNOWN.copy()
    scores[list(places)] = (scores[list(places)] + 1) % 4
    return scores


def night(score: np.ndarray, before: np.ndarray) -> ValidityScores:
    return ValidityScores("plants", "overall", 0, 3, KNOWN, score, before, same_adapter=True)


def figure(score: np.ndarray, before: np.ndarray) -> ValidityFigure:
    (found,) = validity_figures([night(score, before)])
    return found


def statuses(score: np.ndarray, before: np.ndarray) -> tuple[str, str]:
    exact, drop = judge_validity([figure(score, before)], LIMITS)
    assert (exact.rule, drop.rule) == ("validity_exact", "validity_drop")
    return exact.status, drop.status


def test_what_is_told_of_two_nights() -> None:
    tonight, before = off(0, 1, 2, 3, 4), off(3, 4, 5)
    found = figure(tonight, before)
    assert (found.n, found.exact.n, found.n_changed, found.same_adapter) == (50, 50, 4, True)
    assert found.exact.value == exact_agreement(KNOWN, tonight)
    assert found.qwk.value == quadratic_weighted_kappa(KNOWN, tonight)
    assert found.exact.low < 0.9 < found.exact.high
    assert found.exact_before == 0.94
    assert (found.loss.value, found.loss.n) == (pytest.approx(0.04), 50)
    assert found.loss.low < 0.04 < found.loss.high


def test_known_scores_are_what_tonights_are_held_against() -> None:
    assert statuses(off(1, 2), off(1, 2)) == ("PASS", "PASS")
    assert statuses(off(*range(25)), off(*range(25))) == ("FAIL", "PASS")
    assert statuses(off(*range(17)), off(*range(17))) == ("FLAG", "PASS")


def test_a_fall_on_the_same_responses_is_a_failure() -> None:
    assert statuses(off(*range(14)), off(*range(5))) == ("PASS", "FAIL")  # nine of fifty were lost
    assert statuses(off(1, 2, 3, 4, 5), off(1, 6)) == ("PASS", "FLAG")  # one gained, four lost
    assert statuses(off(), off(*range(5))) == ("PASS", "PASS")


def test_in_the_first_night_nothing_has_fallen() -> None:
    found = figure(off(1), NEVER)
    assert (found.n_changed, found.loss.n) == (0, 0)
    assert math.isnan(found.exact_before)
    assert math.isnan(found.loss.value)
    assert statuses(off(1), NEVER) == ("PASS", "INSUFFICIENT_N")


def test_a_response_that_is_new_tonight_hides_no_fall_of_the_others() -> None:
    before = off(*range(5))
    before[49] = math.nan
    found = figure(off(*range(14)), before)
    assert math.isnan(found.exact_before)  # no share of the same responses
    assert (found.loss.value, found.loss.n) == (pytest.approx(9 / 49), 49)
    assert statuses(off(*range(14)), before) == ("PASS", "FAIL")


def test_a_few_that_both_nights_scored_say_nothing() -> None:
    before = NEVER.copy()
    before[:5] = KNOWN[:5]
    assert statuses(off(1), before) == ("PASS", "INSUFFICIENT_N")


def test_few_validity_responses_are_no_judgement() -> None:
    scores = night(off(1), KNOWN)
    few = replace(scores, **{n: getattr(scores, n)[:8] for n in ("known", "score", "before")})
    exact, drop = judge_validity(validity_figures([few]), LIMITS)
    assert {exact.status, drop.status} == {"INSUFFICIENT_N"}
    assert math.isnan(exact.value)
