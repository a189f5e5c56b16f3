"""Drift of distributions, shares and means: worked examples, scipy, and the laws they obey."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.agreement import population_stability_index, two_mean_z, two_proportion_z

counts = st.lists(st.integers(0, 500), min_size=4, max_size=4).filter(any)


def test_the_index_of_a_worked_example() -> None:
    found = population_stability_index([200, 500, 300], [100, 600, 300])
    assert found == pytest.approx(0.0875, abs=5e-5)


def test_the_index_misses_a_rise_of_zeros_that_the_z_test_sees() -> None:
    # Zeros of one district before and after an engine took restating the question for copying:
    # 36.3% to 48.0%. Where 1,000 responses each show it, it is no chance.
    then, now = [363, 637], [480, 520]
    assert population_stability_index(then, now) == pytest.approx(0.0564, abs=5e-5)
    z, p = two_proportion_z(363, 1000, 480, 1000)
    assert z == pytest.approx(5.3, abs=0.01)
    assert p < 2e-7


def test_the_index_misses_a_few_disasters_among_many() -> None:
    # 1,400 of 750,000 essays with the lowest score in place of the highest.
    then = [50_000, 200_000, 300_000, 150_000, 50_000]
    now = [51_400, 200_000, 300_000, 150_000, 48_600]
    assert population_stability_index(then, now) < 0.0002


def test_an_empty_score_point_counts_as_a_share_of_one_in_ten_thousand() -> None:
    expected = 2 * (0.5 - 1e-4) * math.log(0.5 / 1e-4)
    found = population_stability_index([10, 10, 0, 0], [0, 0, 30, 30])
    assert found == pytest.approx(2 * expected)


def test_an_empty_distribution_is_not_compared() -> None:
    for then, now in (([0, 0], [1, 2]), ([1, 2], [0, 0]), ([], [])):
        assert math.isnan(population_stability_index(then, now))
    with pytest.raises(ValueError, match="give the same bins"):
        population_stability_index([1, 2], [1, 2, 3])


@given(counts, counts, st.permutations(range(4)))
def test_the_index_is_symmetric_and_blind_to_order_and_number(
    then: list[int], now: list[int], order: list[int]
) -> None:
    found = population_stability_index(then, now)
    assert found >= 0
    assert population_stability_index(then, then) == 0
    assert population_stability_index(now, then) == pytest.approx(found)
    mixed = ([row[place] for place in order] for row in (then, now))
    assert population_stability_index(*mixed) == pytest.approx(found)
    assert population_stability_index(np.multiply(then, 7), now) == pytest.approx(found)


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_shares_are_tested_as_by_chi_square(n1: int, n2: int, share1: float, share2: float) -> None:
    k1, k2 = round(share1 * n1), round(share2 * n2)
    z, p = two_proportion_z(k1, n1, k2, n2)
    if 0 < k1 + k2 < n1 + n2:
        table = [[k1, n1 - k1], [k2, n2 - k2]]
        expected = stats.chi2_contingency(table, correction=False)
        assert (z**2, p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)
        assert z * (k2 / n2 - k1 / n1) >= 0
    else:
        assert (z, p) == (0, 1)
    assert two_proportion_z(k2, n2, k1, n1) == pytest.approx((-z, p))


def test_no_responses_have_no_share() -> None:
    for case in ((0, 0, 3, 9), (3, 9, 0, 0)):
        assert all(map(math.isnan, two_proportion_z(*case)))


@given(
    st.tuples(st.floats(-5, 5), st.floats(0.01, 9), st.integers(2, 400)),
    st.tuples(st.floats(-5, 5), st.floats(0.01, 9), st.integers(2, 400)),
)
def test_means_are_tested_as_by_welch(
    first: tuple[float, float, int], second: tuple[float, float, int]
) -> None:
    z, p = two_mean_z(*first, *second)
    (mean1, variance1, n1), (mean2, variance2, n2) = first, second
    expected = stats.ttest_ind_from_stats(
        mean2, variance2**0.5, n2, mean1, variance1**0.5, n1, equal_var=False
    )
    assert (z, p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)
    assert two_mean_z(*second, *first) == pytest.approx((-z, p))


def test_means_without_any_variance_are_the_same_or_surely_not() -> None:
    assert two_mean_z(0.5, 0, 30, 0.5, 0, 30) == (0, 1)
    assert two_mean_z(0.5, 0, 30, 0.4, 0, 30) == (-math.inf, 0)
    # A variance from sums of squares may fall below 0 by rounding.
    assert two_mean_z(0.5, -1e-18, 30, 0.5, -1e-18, 30) == (0, 1)


def test_one_response_has_no_variance_to_test_with() -> None:
    for case in ((1, 1, 1, 2, 1, 9), (1, 1, 9, 2, 1, 1), (math.nan, 1, 9, 2, 1, 9)):
        assert all(map(math.isnan, two_mean_z(*case)))


def test_alarms_are_as_rare_as_the_level_says() -> None:
    rng = np.random.default_rng(0)
    shares, means = [], []
    for _ in range(2000):
        k1, k2 = rng.binomial(300, 0.3), rng.binomial(60, 0.3)
        shares.append(two_proportion_z(k1, 300, k2, 60)[1])
        then, now = rng.normal(size=300), rng.normal(scale=2, size=30)
        means.append(
            two_mean_z(then.mean(), then.var(ddof=1), 300, now.mean(), now.var(ddof=1), 30)[1]
        )
    for p in (np.array(shares), np.array(means)):
        assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.015)
        assert np.mean(p < 0.005) == pytest.approx(0.005, abs=0.005)
