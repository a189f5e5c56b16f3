"""Confidence: what a temperature mends, what it leaves alone, and why it is no isotonic curve."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression

from models.agreement import expected_calibration_error
from models.calibration import (
    COLDEST,
    FEWEST_ROWS,
    HOTTEST,
    Calibration,
    confidences,
    fitted_calibration,
)
from models.scores import Scale

SCALE = Scale(1, 4)
ROWS = arrays(np.float64, st.tuples(st.integers(1, 8), st.just(4)), elements=st.floats(0.01, 1))


def answers(n, seed, sharpness=2.5):
    """What an ordinal head says of n answers, its scores, and people's.

    People follow the threshold model that the head has. Its thresholds err each by itself, as
    trained ones do, and above a ``sharpness`` of 1 it is too sure of itself, below not sure enough.
    """
    random = np.random.default_rng(seed)
    above_cuts = random.normal(0, 1.5, (n, 1)) - np.array([-1.2, 0.0, 1.2])
    human = 1 + (above_cuts + random.logistic(size=(n, 1)) > 0).sum(axis=1)
    logits = above_cuts + random.normal(0, 0.3, (n, 3))
    above = np.sort(1 / (1 + np.exp(-logits)), axis=1)[:, ::-1]
    edges = np.concatenate([np.ones((n, 1)), above, np.zeros((n, 1))], axis=1)
    scores = np.floor(1 + above.sum(axis=1) + 0.5).astype(np.int64)
    stated = (edges[:, :-1] - edges[:, 1:]) ** sharpness
    return stated / stated.sum(axis=1, keepdims=True), scores, human


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 2.5, 5.0])
def test_confidence_comes_to_mean_what_it_says(sharpness):
    calibration = fitted_calibration(*answers(200, 1, sharpness), SCALE)
    probabilities, scores, human = answers(5000, 2, sharpness)
    correct = scores == human
    before = confidences(probabilities, scores - 1, 1.0)
    after = confidences(probabilities, scores - 1, calibration.temperature)
    if sharpness == 1.0:
        assert abs(after.mean() - correct.mean()) < 0.05
        return
    errors = [expected_calibration_error(correct, stated) for stated in (before, after)]
    assert errors[1] < errors[0] - 0.03
    assert abs(after.mean() - correct.mean()) < abs(before.mean() - correct.mean())
    assert (calibration.temperature > 1) == (sharpness > 1)


def test_on_a_few_dozen_answers_a_temperature_does_better_than_an_isotonic_curve():
    """Means over 20 items with 34 validation answers each, judged on 2,000 others."""
    found = {"none": [], "temperature": [], "isotonic": []}
    for seed in range(20):
        fitted, scores, human = answers(34, seed)
        calibration = fitted_calibration(fitted, scores, human, SCALE)
        curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
        curve.fit(confidences(fitted, scores - 1, 1.0), scores == human)
        probabilities, scores, human = answers(2000, 100 + seed)
        plain = confidences(probabilities, scores - 1, 1.0)
        stated = {
            "none": plain,
            "temperature": confidences(probabilities, scores - 1, calibration.temperature),
            "isotonic": curve.predict(plain),
        }
        for name, confidence in stated.items():
            correct = (scores == human).astype(float)
            brier = np.mean((confidence - correct) ** 2)
            found[name].append((expected_calibration_error(correct, confidence), brier))
    error, brier = (
        {name: np.mean(values, axis=0)[place] for name, values in found.items()} for place in (0, 1)
    )
    assert error["temperature"] < error["isotonic"] < error["none"]
    assert brier["temperature"] < brier["isotonic"] < brier["none"]


def test_the_temperature_is_the_likeliest():
    probabilities, scores, human = answers(300, 4)
    best = fitted_calibration(probabilities, scores, human, SCALE).temperature

    def likelihood(temperature):
        return np.log(confidences(probabilities, human - 1, temperature)).mean()

    for other in (best * 0.97, best * 1.03, 1.0):
        assert likelihood(best) > likelihood(other)


@given(rows=ROWS, temperature=st.floats(COLDEST, HOTTEST))
def test_tempered_probabilities_are_probabilities_in_the_same_order(rows, temperature):
    probabilities = rows / rows.sum(axis=1, keepdims=True)
    n = len(rows)
    tempered = np.stack(
        [confidences(probabilities, np.full(n, point), temperature) for point in range(4)], axis=1
    )
    np.testing.assert_allclose(tempered.sum(axis=1), 1)
    for before, after in zip(probabilities, tempered, strict=True):
        assert np.all(np.diff(after[np.argsort(before)]) >= -1e-12)
    np.testing.assert_allclose(
        confidences(probabilities, np.zeros(n, dtype=int), 1.0), probabilities[:, 0], atol=1e-9
    )


def test_too_few_answers_leave_confidence_alone_and_the_record_says_so():
    probabilities, scores, human = answers(FEWEST_ROWS - 1, 1)
    found = fitted_calibration(probabilities, scores, human, SCALE)
    assert found == Calibration(1.0, FEWEST_ROWS - 1, None, None, ())
    assert found.figures == {}
    nothing = fitted_calibration(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), SCALE)
    assert (nothing.n, nothing.temperature) == (0, 1.0)


def test_the_table_says_what_routing_the_doubtful_to_people_brings():
    probabilities, scores, human = answers(400, 3)
    found = fitted_calibration(probabilities, scores, human, SCALE)
    whole, half = found.coverage[0], found.coverage[-1]
    assert (whole.kept, whole.n) == (1.0, 400)
    assert whole.exact == np.mean(scores == human)
    assert half.kept == 0.5
    assert half.n == pytest.approx(200, abs=2)
    assert half.exact > whole.exact
    assert half.least_confidence > whole.least_confidence
    assert found.ece_after < found.ece_before
    assert found.figures["error_after"] == found.ece_after


def test_half_points_are_half_a_vote_for_each_neighbour():
    probabilities = np.tile([0.1, 0.45, 0.35, 0.1], (60, 1))
    halves = fitted_calibration(probabilities, np.full(60, 2), np.full(60, 2.5), SCALE)
    both = fitted_calibration(probabilities, np.full(60, 2), np.tile([2.0, 3.0], 30), SCALE)
    assert halves.temperature == pytest.approx(both.temperature)


@pytest.mark.parametrize("right", [True, False], ids=["all right", "all wrong"])
def test_answers_without_two_outcomes_end_at_a_bound(right):
    probabilities, _, _ = answers(40, 5)
    likeliest = probabilities.argmax(axis=1) + 1
    human = likeliest if right else 5 - likeliest
    found = fitted_calibration(probabilities, likeliest, human, SCALE)
    assert found.temperature == pytest.approx(COLDEST if right else HOTTEST, rel=1e-6)


def test_a_point_that_the_head_rules_out_is_still_possible():
    probabilities = np.tile([0.5, 0.0, 0.5, 0.0], (50, 1))
    found = fitted_calibration(probabilities, np.full(50, 1), np.full(50, 2.0), SCALE)
    assert np.isfinite(found.temperature)
    assert 0 < confidences(probabilities, np.full(50, 1), found.temperature).min() < 0.3


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, 1e3])
def test_a_temperature_out_of_range_is_refused(temperature):
    found = fitted_calibration(*answers(40, 1), SCALE)
    with pytest.raises(ValueError, match="the temperature is"):
        dataclasses.replace(found, temperature=temperature)
