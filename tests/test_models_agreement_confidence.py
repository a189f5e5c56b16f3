"""Calibration of confidence, and agreement where the least confident responses go to people."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.agreement import (
    KEPT,
    bootstrap,
    calibration_error_resampled,
    calibration_table,
    exact_agreement,
    expected_calibration_error,
    percentile_interval,
    quadratic_weighted_kappa,
    risk_coverage,
    sample_values,
)

stated = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20).map(lambda twentieths: twentieths / 20)),
    min_size=1,
    max_size=60,
)


def simulated(n: int, seed: int, honest: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.4, 1, n)
    chance = confidence if honest else confidence - 0.2
    return (rng.random(n) < chance).astype(float), confidence


def test_a_table_by_tenths_of_confidence() -> None:
    confidence = np.arange(1, 101) / 100
    correct = np.arange(100) % 2
    table = calibration_table(correct, confidence)
    assert [row.n for row in table] == [10] * 10
    assert (table[0].low, table[0].high, table[-1].high) == (0.01, 0.10, 1)
    assert table[3].confidence == pytest.approx(0.355)
    assert [row.exact for row in table] == [0.5] * 10
    expected = np.mean([abs(0.5 - (0.055 + tenth / 10)) for tenth in range(10)])
    assert expected_calibration_error(correct, confidence) == pytest.approx(expected)


def test_equal_confidence_is_never_split() -> None:
    confidence = [0.5] * 30 + [0.9] * 10
    table = calibration_table([1] * 20 + [0] * 20, confidence)
    assert [(row.low, row.high, row.n) for row in table] == [(0.5, 0.5, 30), (0.9, 0.9, 10)]
    assert [row.exact for row in table] == pytest.approx([2 / 3, 0])
    found = expected_calibration_error([1] * 20 + [0] * 20, confidence)
    assert found == pytest.approx((30 * (2 / 3 - 0.5) + 10 * 0.9) / 40)


@given(stated, st.integers(0, 2**32 - 1))
def test_the_table_counts_everybody_once_in_whatever_order(
    rows: list[tuple[bool, float]], seed: int
) -> None:
    correct, confidence = zip(*rows, strict=True)
    table = calibration_table(correct, confidence)
    assert sum(row.n for row in table) == len(rows)
    assert len(table) <= 10
    assert all(row.low <= row.confidence + 1e-12 <= row.high + 2e-12 for row in table)
    assert all(one.high < other.low for one, other in pairwise(table))
    error = expected_calibration_error(correct, confidence)
    parts = sum(row.n * abs(row.exact - row.confidence) for row in table) / len(rows)
    assert error == pytest.approx(parts, abs=1e-9)
    assert 0 <= error <= 1
    mixed = [rows[row] for row in np.random.default_rng(seed).permutation(len(rows))]
    again = calibration_table(*zip(*mixed, strict=True))
    for one, other in zip(table, again, strict=True):
        assert (one.low, one.high, one.n) == (other.low, other.high, other.n)
        assert one.exact == pytest.approx(other.exact)


def test_honest_confidence_errs_by_chance_only_and_boasting_shows() -> None:
    assert expected_calibration_error(*simulated(100_000, seed=1)) < 0.01
    boasting = expected_calibration_error(*simulated(100_000, seed=1, honest=False))
    assert boasting == pytest.approx(0.2, abs=0.01)
    by_chance = [expected_calibration_error(*simulated(200, seed)) for seed in range(50)]
    assert np.mean(by_chance) == pytest.approx(0.08, abs=0.015)


def test_confidence_that_is_not_known_takes_no_part() -> None:
    correct, confidence = simulated(40, seed=2)
    expected = expected_calibration_error(correct, confidence)
    more_correct = np.concatenate([correct, [math.nan, 1]])
    more_confidence = np.concatenate([confidence, [0.9, math.nan]])
    assert expected_calibration_error(more_correct, more_confidence) == expected
    resampled = calibration_error_resampled(more_correct, more_confidence)
    assert sample_values({"ece": resampled}, 42)["ece"] == pytest.approx(expected)


def test_without_responses_there_is_no_table_and_no_error() -> None:
    assert calibration_table([], []) == ()
    assert math.isnan(expected_calibration_error([math.nan], [0.5]))
    nothing = bootstrap({"ece": calibration_error_resampled([math.nan] * 3, [0.5] * 3)}, 3, seed=0)
    assert np.isnan(nothing["ece"]).all()


def test_the_interval_of_the_error_tells_boasting_from_honesty() -> None:
    correct, confidence = simulated(2000, seed=3, honest=False)
    drawn = bootstrap({"ece": calibration_error_resampled(correct, confidence)}, 2000, seed=0)
    low, high = percentile_interval(drawn["ece"])
    assert 0.15 < low < expected_calibration_error(correct, confidence) < high < 0.25


def graded(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Human scores, machine scores, and confidence that is lower where the machine errs."""
    rng = np.random.default_rng(seed)
    human = rng.integers(0, 5, n).astype(float)
    noise = rng.exponential(0.5, n)
    machine = np.clip(human + np.rint(rng.normal(scale=noise)), 0, 4)
    return human, machine, 1 / (1 + noise)


def test_agreement_rises_as_the_least_confident_go_to_people() -> None:
    human, machine, confidence = graded(2000, seed=1)
    rows = risk_coverage(human, machine, confidence)
    assert tuple(row.kept for row in rows) == KEPT
    assert [row.n for row in rows] == [2000, 1900, 1800, 1600, 1400, 1000]
    assert [row.exact for row in rows] == sorted(row.exact for row in rows)
    assert [row.least_confidence for row in rows] == sorted(row.least_confidence for row in rows)
    assert rows[0].exact == exact_agreement(human, machine)
    assert rows[0].qwk == quadratic_weighted_kappa(human, machine)
    assert rows[-1].qwk > rows[0].qwk + 0.02
    kept = confidence >= rows[-1].least_confidence
    assert rows[-1].exact == exact_agreement(human[kept], machine[kept])


def test_responses_of_one_confidence_are_kept_or_sent_together() -> None:
    rows = risk_coverage([1, 2, 3, 4], [1, 2, 3, 3], [0.9, 0.7, 0.7, 0.7], kept=(1, 0.5, 0.25, 0))
    assert [row.n for row in rows] == [4, 4, 1, 1]
    assert [row.least_confidence for row in rows] == [0.7, 0.7, 0.9, 0.9]


def test_only_responses_with_all_three_are_kept() -> None:
    nan = math.nan
    rows = risk_coverage([1, 2, nan, 4], [1, nan, 3, 3], [0.9, 0.7, 0.7, 0.6], kept=(1,))
    assert (rows[0].n, rows[0].exact) == (2, 0.5)
    nothing = risk_coverage([nan], [1], [1], kept=(1, 0.5))
    assert [row.n for row in nothing] == [0, 0]
    assert all(math.isnan(row.exact) and math.isnan(row.least_confidence) for row in nothing)
