"""The cascade: what the student keeps, what that may cost, and when it keeps nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.agreement import quadratic_weighted_kappa
from models.cascade import FEWEST_ROWS, cascaded, choose_limit
from models.scores import Scale, of_thresholds

SCALE = Scale(0, 3)
LOSS = 0.005


def item(n, seed, student_noise=0.9, human_noise=0.7):
    """People, teacher and student read the same answers; the student is the least exact.

    It leans on its teacher, and adds something of its own and more noise. Its confidence falls
    towards the boundary between two of its scores.

    Returns human, student, teacher, student_raw, teacher_raw, confidence.
    """
    random = np.random.default_rng(seed)
    quality = random.uniform(-0.5, 3.5, n)
    human = np.clip(np.rint(quality + random.normal(0, human_noise, n)), 0, 3)
    teacher_raw = np.clip(quality + random.normal(0, 0.4, n), 0, 3)
    own = 0.6 * teacher_raw + 0.4 * quality
    student_raw = np.clip(own + random.normal(0, student_noise, n) / 2, 0, 3)
    teacher, student = np.floor(teacher_raw + 0.5), np.floor(student_raw + 0.5)
    return human, student, teacher, student_raw, teacher_raw, 1 - np.abs(student_raw - student)


def cascade_of(student, teacher, confidence, limit):
    return np.where(confidence >= limit, student, teacher)


def test_the_student_keeps_much_and_the_cascade_scores_as_the_teacher_does():
    shares, losses = [], []
    for seed in range(20):
        found = choose_limit(*item(300, seed), LOSS)
        human, student, teacher, _, _, confidence = item(20_000, 1000 + seed)
        cascade = cascade_of(student, teacher, confidence, found.limit)
        shares.append(np.mean(confidence >= found.limit))
        losses.append(
            quadratic_weighted_kappa(human, teacher) - quadratic_weighted_kappa(human, cascade)
        )
    assert np.mean(shares) > 0.25
    assert np.mean(losses) < LOSS
    assert max(losses) < 3 * LOSS


def test_human_scores_are_not_needed():
    columns = list(item(300, 1))
    columns[0] = np.full(300, np.nan)
    found = choose_limit(*columns, LOSS)
    assert found.kept_share > 0.2
    assert (found.n, found.n_human) == (300, 0)
    assert (found.qwk_student, found.qwk_teacher, found.qwk_cascade) == (None, None, None)


def test_a_loss_that_people_see_is_heeded():
    """The teacher is unsure of everything, so nothing seems lost; people say otherwise."""
    n = 200
    teacher = np.arange(n) % 4.0
    teacher_raw = np.where(teacher < 2, teacher + 0.5, teacher - 0.5)
    student = np.where(teacher < 2, teacher + 1, teacher - 1)
    confidence = np.linspace(0.3, 0.9, n)
    columns = (student, teacher, teacher_raw, teacher_raw, confidence, 0.3)
    unseen, seen = choose_limit(np.full(n, np.nan), *columns), choose_limit(teacher, *columns)
    assert seen.kept_share < unseen.kept_share


def test_a_student_that_people_agree_with_keeps_more():
    columns = item(300, 9)
    student_raw, teacher_raw = columns[3], columns[4]
    right, wrong = (
        choose_limit(human, *columns[1:], LOSS).kept_share
        for human in (student_raw, 2 * teacher_raw - student_raw)
    )
    assert right > wrong


def test_a_student_that_is_its_teacher_keeps_everything():
    human, _, teacher, raw, teacher_raw, confidence = item(100, 3)
    found = choose_limit(human, teacher, teacher, raw, teacher_raw, confidence, 0.0)
    assert (found.kept_share, found.expected_loss) == (1.0, 0.0)
    assert found.qwk_cascade == found.qwk_teacher == found.qwk_student


def test_a_student_that_guesses_keeps_hardly_anything():
    human, _, teacher, _, teacher_raw, confidence = item(400, 4)
    guesses = np.random.default_rng(4).permutation(teacher)
    found = choose_limit(human, guesses, teacher, guesses, teacher_raw, confidence, LOSS)
    assert found.kept_share < 0.05


@pytest.mark.parametrize("n", [0, 1, FEWEST_ROWS - 1])
def test_on_too_few_responses_all_go_to_the_teacher(n):
    human, _, teacher, raw, teacher_raw, confidence = item(n, 5)
    found = choose_limit(human, teacher, teacher, raw, teacher_raw, confidence, 0.1)
    assert found.kept_share == 0
    assert found.limit > 1


def test_a_teacher_of_one_score_is_never_contradicted():
    n = 50
    teacher, confidence = np.full(n, 2.0), np.linspace(0.5, 1, n)
    student = np.where(np.arange(n) % 2 == 0, 2.0, 1.0)
    raw = np.full(n, 1.9)
    found = choose_limit(np.full(n, np.nan), student, teacher, raw, raw, confidence, 1.0)
    cascade = cascade_of(student, teacher, confidence, found.limit)
    np.testing.assert_array_equal(cascade, teacher)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 80), st.integers(0, 10**6), st.floats(0, 0.2))
def test_what_is_promised_holds_on_the_rows_it_was_chosen_on(n, seed, loss):
    columns = item(n, seed)
    found = choose_limit(*columns, loss)
    human, student, teacher, _, _, confidence = columns
    cascade = cascade_of(student, teacher, confidence, found.limit)
    assert found.expected_loss <= loss
    assert found.kept_share == (np.mean(confidence >= found.limit) if n else 0)
    scored_alike = quadratic_weighted_kappa(human, cascade)
    assert found.qwk_cascade == (None if np.isnan(scored_alike) else scored_alike)


def test_a_greater_loss_never_keeps_fewer():
    columns = item(300, 6)
    shares = [choose_limit(*columns, loss).kept_share for loss in (0, 0.002, 0.005, 0.02, 0.1)]
    assert shares == sorted(shares)


@pytest.mark.parametrize("place", range(6))
def test_what_is_no_number_is_refused(place):
    columns = [column.copy() for column in item(40, 7)]
    columns[place][3] = np.inf
    with pytest.raises(ValueError, match="finite"):
        choose_limit(*columns, LOSS)


def test_arrays_of_different_lengths_and_losses_below_zero_are_refused():
    columns = list(item(40, 8))
    with pytest.raises(ValueError, match="loss"):
        choose_limit(*columns, -0.1)
    with pytest.raises(ValueError, match="loss"):
        choose_limit(*columns, np.nan)
    columns[1] = columns[1][:-1]
    with pytest.raises(ValueError, match="shapes"):
        choose_limit(*columns, LOSS)


def columns_of(n, seed):
    return of_thresholds(np.random.default_rng(seed).random((n, 3)), SCALE)


def test_each_text_has_the_scores_of_whoever_scored_it():
    student, teacher = columns_of(9, 1), columns_of(9, 2)
    confidence = np.linspace(0, 1, 9)
    asked = []

    def teacher_of(positions):
        asked.append(positions.tolist())
        part = {name: getattr(teacher, name)[positions] for name in vars(teacher)}
        return type(teacher)(**part)

    found = cascaded(student, confidence, 0.5, teacher_of)
    assert asked == [[0, 1, 2, 3]]
    assert found.by_student.tolist() == [False] * 4 + [True] * 5
    for name in ("raw_score", "score", "probabilities"):
        expected = [*getattr(teacher, name)[:4], *getattr(student, name)[4:]]
        np.testing.assert_array_equal(getattr(found.columns, name), expected)
    np.testing.assert_array_equal(
        found.columns.confidence, [*teacher.confidence[:4], *confidence[4:]]
    )


def test_a_teacher_that_is_not_needed_is_not_asked():
    def teacher_of(positions):
        raise AssertionError("asked")

    student = columns_of(5, 1)
    found = cascaded(student, student.confidence, 0.0, teacher_of)
    assert found.by_student.all()
    np.testing.assert_array_equal(found.columns.score, student.score)
    assert not len(cascaded(columns_of(0, 1), np.empty(0), 0.5, teacher_of).by_student)
