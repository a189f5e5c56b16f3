"""Agreement with true scores: PRMSE, disattenuated correlation, degradation from two people.

Figures without another source are those of RSMTool's unit tests, or were computed by independent
code; those of its published experiments are in test_models_golden.py.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.agreement import (
    bootstrap,
    degradation,
    disattenuated_correlation,
    pearson_r,
    percentile_interval,
    prmse,
    prmse_resampled,
    sample_values,
)

H1 = [1, 2, 3, 4, 2, 3, 1, 4, 3, 2]
H2 = [1, 2, 3, 3, 2, 4, 1, 4, 3, 1]
MACHINE = np.clip([1.2, 2.4, 2.6, 3.9, 1.4, 3.3, 0.8, 4.6, 3.1, 2.9], 1 - 0.4998, 4 + 0.4998)
NAN = math.nan

RSM = Path(__file__).parents[2] / "shared" / "data" / "rsm_golden"
needs_rsm = pytest.mark.skipif(not RSM.is_dir(), reason="needs ../shared/data/rsm_golden")


def close(expected: float) -> object:
    return pytest.approx(expected, abs=1e-9)


def simulated(n: int, seed: int, raters: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True scores of variance 1, a machine of error variance .25, and people of .5."""
    rng = np.random.default_rng(seed)
    true = 3 + rng.normal(size=n)
    machine = true + rng.normal(scale=0.5, size=n)
    return true, machine, true[:, None] + rng.normal(scale=0.5**0.5, size=(n, raters))


def test_one_rater_whose_errors_are_known_from_elsewhere() -> None:
    found = prmse([1, 2, 5], [[2], [3], [5]], error_variance=0.5)
    assert found.value == close(0.9090909090909091)
    assert (found.error_variance, found.n, found.n_multiple) == (0.5, 3, 0)


def test_two_raters_of_a_toy_sample() -> None:
    found = prmse(MACHINE, np.stack([H1, H2], axis=1))
    assert found.value == close(0.7824059665671641)
    assert found.error_variance == close(0.15)
    assert found.true_variance == close(1.1166666666666665)
    assert found.mse_true == close(0.242980004)
    assert (found.n, found.n_multiple) == (10, 10)


def test_a_second_rater_of_half_the_responses() -> None:
    ratings = np.stack([H1, H2], axis=1).astype(float)
    ratings[5:, 1] = NAN
    found = prmse(MACHINE, ratings)
    assert found.value == close(0.857209468852459)
    assert (found.n, found.n_multiple) == (10, 5)


# RSMTool's figures of these two files, to the digits in which they were noted.
@needs_rsm
@pytest.mark.parametrize(
    ("file", "n_multiple", "error", "true", "mse", "value"),
    [
        ("prmse_data.csv", 10_000, 0.509375, 0.7765515, 0.3564625, 0.5409673),
        ("prmse_data_sparse_matrix.csv", 6_579, 0.5150882, 0.769816, 0.3550792, 0.538748),
    ],
)
def test_true_scores_of_ten_thousand_responses(
    file: str, n_multiple: int, error: float, true: float, mse: float, value: float
) -> None:
    table = np.genfromtxt(RSM / file, delimiter=",", skip_header=1)
    found = prmse(table[:, 0], table[:, 1:])
    assert (found.n, found.n_multiple) == (10_000, n_multiple)
    figures = (found.error_variance, found.true_variance, found.mse_true, found.value)
    assert figures == pytest.approx((error, true, mse, value), abs=5.1e-8)


def test_rows_without_a_rating_or_a_machine_score_take_no_part() -> None:
    ratings = np.stack([H1, H2], axis=1).astype(float)
    expected = prmse(MACHINE, ratings)
    more = np.vstack([ratings, [[NAN, NAN], [4, 1]]])
    assert prmse([*MACHINE, 3.0, NAN], more) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_neither_order_of_rows_nor_of_raters_matters_nor_the_origin(seed: int, shift: int) -> None:
    _, machine, ratings = simulated(12, seed=4, raters=3)
    ratings[np.random.default_rng(4).random((12, 3)) < 0.3] = NAN
    rng = np.random.default_rng(seed)
    rows, raters = rng.permutation(12), rng.permutation(3)
    plain = prmse(machine, ratings)
    moved = prmse(machine[rows] + shift, ratings[rows][:, raters] + shift)
    for figure in ("value", "error_variance", "true_variance", "mse_true"):
        assert getattr(moved, figure) == pytest.approx(getattr(plain, figure), abs=1e-9)


def test_the_true_figures_are_recovered_from_erring_raters() -> None:
    _, machine, ratings = simulated(200_000, seed=1)
    found = prmse(machine, ratings)
    assert found.error_variance == pytest.approx(0.5, abs=0.01)
    assert found.true_variance == pytest.approx(1, abs=0.02)
    assert found.mse_true == pytest.approx(0.25, abs=0.01)
    assert found.value == pytest.approx(0.75, abs=0.01)


def test_errors_of_raters_that_explain_everything_leave_no_true_scores() -> None:
    found = prmse([2, 2, 3, 3], [[1, 3], [3, 1], [1, 3], [3, 1]])
    assert found.true_variance < 0
    assert math.isnan(found.value)


def test_without_double_ratings_or_responses_there_is_nothing_to_compute() -> None:
    assert math.isnan(prmse([1, 2, 5], [[2, NAN], [NAN, 3], [5, NAN]]).value)
    assert math.isnan(prmse([1], [[1, 2]]).value)
    assert math.isnan(prmse([1, 1], [[1, 1], [1, 1]]).value)
    nothing = prmse([], np.empty((0, 2)))
    assert math.isnan(nothing.value)
    assert nothing.n == 0


@pytest.mark.parametrize("ratings", [[1, 2], [[1, 2]], [[[1], [2]]]])
def test_ratings_that_do_not_match_the_scores_are_refused(ratings: list) -> None:
    with pytest.raises(ValueError, match="a row of ratings for each"):
        prmse([1, 2], ratings)


def test_resamples_are_those_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    _, machine, ratings = simulated(40, seed=2, raters=3)
    ratings[rng.random((40, 3)) < 0.5] = NAN
    machine[3] = NAN
    counts = rng.integers(0, 3, (8, 40))
    for known in (None, 0.4):
        resampled = prmse_resampled(machine, ratings, error_variance=known)
        for drawn, value in zip(counts, resampled(counts.astype(float)), strict=True):
            rows = np.repeat(np.arange(40), drawn)
            assert value == close(prmse(machine[rows], ratings[rows], error_variance=known).value)
        whole = sample_values({"prmse": resampled}, 40)["prmse"]
        assert whole == close(prmse(machine, ratings, error_variance=known).value)


def test_the_interval_holds_the_value() -> None:
    _, machine, ratings = simulated(300, seed=3)
    ratings[150:, 1] = NAN
    drawn = bootstrap({"prmse": prmse_resampled(machine, ratings)}, 300, seed=0)["prmse"]
    low, high = percentile_interval(drawn)
    assert low < prmse(machine, ratings).value < high
    assert low < 0.75 < high


def test_correlation_as_if_people_were_reliable() -> None:
    # Of RSMTool's experiment lr-eval-with-h2.
    found = disattenuated_correlation(0.7801773732608226, 0.8366627923660599)
    assert found == close(0.8529392950400517)
    _, machine, ratings = simulated(200_000, seed=1)
    r_machine = pearson_r(ratings[:, 0], machine)
    r_people = pearson_r(ratings[:, 0], ratings[:, 1])
    # The machine's correlation with true scores is 1 / sqrt(1.25).
    assert disattenuated_correlation(r_machine, r_people) == pytest.approx(1.25**-0.5, abs=0.01)


def test_people_who_do_not_agree_say_nothing_of_a_machine() -> None:
    for r_people in (0.0, -0.2, NAN):
        assert math.isnan(disattenuated_correlation(0.7, r_people))


def test_both_take_the_arrays_of_resamples_as_well() -> None:
    machine, people = np.array([0.7, 0.6, NAN]), np.array([0.8, 0.0, 0.8])
    expected = [0.7 / 0.8**0.5, NAN, NAN]
    found = disattenuated_correlation(machine, people)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    assert degradation(machine, people).tolist() == pytest.approx([-0.1, 0.6, NAN], nan_ok=True)
    assert degradation(0.7, 0.8) == close(-0.1)
