"""Promote, keep or ask: decided by figures that are recorded, and that a person can defend."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.agreement import quadratic_weighted_kappa
from tasks.promotion import (
    ENOUGH_ROWS,
    FEWEST_ROWS,
    Comparison,
    Crossing,
    Flaw,
    compare,
    metrics,
    of_first,
    tags,
    unopposed,
)

LOST = Flaw("its files are missing or damaged", usable=False)
UNKNOWN = Flaw("the warehouse does not know what it was trained on", usable=True)


def people(n):
    return np.arange(n) % 4


def off_by_one(scores, every, start=0):
    """Each n-th score one point lower, or higher where it is the lowest."""
    wrong = scores.copy()
    wrong[start::every] += np.where(wrong[start::every] > 0, -1, 1)
    return wrong


def test_clearly_better_is_promoted_with_every_figure_recorded():
    human = people(200)
    champion, challenger = off_by_one(human, 2), off_by_one(human, 10)
    found = compare(human, champion, challenger)
    assert found.verdict == "promote"
    assert found.champion_qwk == quadratic_weighted_kappa(human, champion)
    assert found.challenger_qwk == quadratic_weighted_kappa(human, challenger)
    assert found.difference == pytest.approx(found.challenger_qwk - found.champion_qwk)
    assert 0 < found.low < found.difference < found.high
    assert found.changed == np.mean(champion != challenger)
    for figure in (found.challenger_qwk, found.champion_qwk, found.low, found.high):
        assert f"{figure:.3f}" in found.reason
    recorded = metrics(found)
    assert recorded["comparison/difference_low"] == found.low
    assert recorded["comparison/scores_changed"] == found.changed
    assert tags(found.verdict, found.reason)["promotion"] == "promote"


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [(3, 3), (20, 2), (10, 9)],
    ids=["the same scores", "worse", "better by chance"],
)
def test_what_is_not_better_by_more_than_chance_leaves_the_champion(champion, challenger):
    human = people(120)
    found = compare(human, off_by_one(human, champion), off_by_one(human, challenger))
    assert found.verdict == "keep"
    assert "not better by more than chance" in found.reason


def test_students_across_a_cut_are_a_question_for_people():
    """Every answer of three points had two from the champion: a quarter would now pass."""
    human = people(200)
    champion = np.minimum(human, 2)
    found = compare(human, champion, human, cut_scores=(1, 3))
    assert found.crossings == (Crossing(1, 0, 0), Crossing(3, 50, 0))
    assert found.low > 0
    assert found.verdict == "ask"
    assert "25.0% of the responses cross a cut score" in found.reason
    assert metrics(found)["comparison/cut_3_upwards"] == 50
    assert compare(human, champion, human, cut_scores=(1, 2)).verdict == "promote"
    assert compare(human, champion, human).verdict == "promote"


def test_crossings_are_counted_in_each_direction():
    champion, challenger = np.array([0, 1, 2, 2] * 10), np.array([1, 0, 1, 2] * 10)
    found = compare(people(40), champion, challenger, cut_scores=(1, 2))
    assert found.crossings == (Crossing(1, 10, 10), Crossing(2, 0, 10))
    assert found.most_crossing == 0.25


def test_better_on_few_responses_is_asked_about():
    human = people(ENOUGH_ROWS - 1)
    found = compare(human, human[::-1].copy(), human)
    assert found.low > 0
    assert found.verdict == "ask"
    assert f"fewer than {ENOUGH_ROWS} responses" in found.reason


def test_too_few_to_tell_leave_a_sound_champion():
    human = people(FEWEST_ROWS - 1)
    found = compare(human, human[::-1].copy(), human)
    assert found.verdict == "keep"
    assert math.isnan(found.challenger_qwk)
    assert "9 held-out responses: too little" in found.reason


def test_one_score_among_people_tells_nothing():
    human = np.ones(40)
    found = compare(human, np.ones(40, int), np.ones(40, int))
    assert found.verdict == "keep"


def test_a_champion_that_cannot_be_used_gives_way():
    human = people(FEWEST_ROWS)
    found = unopposed(human, human, LOST)
    assert (found.verdict, found.challenger_qwk) == ("promote", 1.0)
    assert "its files are missing or damaged" in found.reason


@pytest.mark.parametrize("other", [3 - people(40), np.ones(40, int)], ids=["opposite", "constant"])
def test_unless_the_other_does_not_agree_with_people(other):
    found = unopposed(people(40), other, LOST)
    assert found.challenger_qwk <= 0
    assert found.verdict == "ask"
    assert "does not agree with people" in found.reason
    nothing = unopposed(np.ones(40), np.ones(40, int), LOST)
    assert math.isnan(nothing.challenger_qwk)
    assert nothing.verdict == "ask"


def test_unless_nobody_can_say_how_good_the_other_is():
    found = unopposed(people(4), people(4), LOST)
    assert found.verdict == "ask"
    assert "4 held-out responses say too little" in found.reason


def test_a_champion_that_may_have_seen_the_responses_is_only_beaten_or_asked_about():
    human = people(200)
    better = compare(human, off_by_one(human, 2), human, flaw=UNKNOWN)
    assert better.verdict == "promote"
    assert "may have seen" in better.reason
    worse = compare(human, human, off_by_one(human, 2), flaw=UNKNOWN)
    assert worse.verdict == "ask"
    assert compare(human[:5], human[:5], human[:5], flaw=UNKNOWN).verdict == "ask"
    assert compare(human, human, human, flaw=UNKNOWN).verdict == "keep"  # nothing changes


def test_answers_of_one_student_count_together():
    """Three students, each with many answers, say less than as many strangers."""
    human = people(120)
    champion, challenger = off_by_one(human, 3), human
    apart = compare(human, champion, challenger)
    students = np.repeat([7, 8, 9], 40)
    together = compare(human, champion, challenger, students=students.tolist())
    assert together.difference == apart.difference
    assert (together.low, together.high) != (apart.low, apart.high)
    unknown = compare(human, champion, challenger, students=[-1] * 120)
    assert unknown.low == pytest.approx(apart.low, abs=0.03)


@given(
    n=st.integers(0, 60),
    low=st.floats(-1, 1) | st.just(math.nan),
    crossing=st.integers(0, 60),
    flaw=st.sampled_from([None, LOST, UNKNOWN]),
)
def test_only_figures_that_say_so_promote(n, low, crossing, flaw):
    crossings = (Crossing(1, min(crossing, n), 0),)
    found = Comparison(n, 0.5, 0.6, 0.1, low, 1.0, 0.2, crossings, flaw)
    assert found.reason
    if found.verdict == "promote":
        assert n >= FEWEST_ROWS
        assert flaw is LOST or (low > 0 and n >= ENOUGH_ROWS and crossing <= 0.05 * n)
    if found.verdict == "keep":
        assert flaw is None


@pytest.mark.parametrize(
    ("qwk", "n", "verdict"),
    [(0.6, 40, "promote"), (0.0, 12, "promote"), (0.0, 40, "ask"), (float("nan"), 40, "ask")],
)
def test_a_first_adapter_that_clearly_scores_nothing_is_asked_about(qwk, n, verdict):
    assert of_first(qwk, n)[0] == verdict


def test_a_cheaper_challenger_that_gives_up_little_is_asked_about() -> None:
    human = np.tile([0, 1, 2, 3], 20)
    champion = human.copy()
    champion[:8] = (champion[:8] + 1) % 4
    nearly = champion.copy()
    nearly[70] = min(3, nearly[70] + 1) if nearly[70] < 3 else 2
    found = compare(human, champion, nearly, saving="its student keeps 80% of the responses")
    assert found.verdict == "ask"
    assert "not better, but its student keeps 80%" in found.reason
    assert compare(human, champion, nearly).verdict == "keep"
    poor = np.roll(champion, 1)
    assert compare(human, champion, poor, saving="it is quick").verdict == "keep"


def test_who_is_asked_about_a_student_hears_who_would_cross_a_cut_score() -> None:
    human = np.tile([0, 1, 2, 3], 25)
    student = human.copy()
    student[:40:4] = 1  # ten of a hundred zeros become ones, and as many ones zeros
    student[1:41:4] = 0

    found = compare(human, human, student, cut_scores=[1], saving="it is quick")
    told = replace(found, difference=-0.01)

    assert told.verdict == "ask"
    assert "it is quick; 10.0% of the responses cross a cut score in one direction" in told.reason
