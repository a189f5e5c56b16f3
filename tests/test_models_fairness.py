"""Subgroups: standardized means, the three regressions of the scoring error, and their tails.

Figures without another source are those of RSMTool's unit tests, or were computed by independent
code; those of its published experiments are in test_models_golden.py.
"""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from models.agreement import (
    FairnessTest,
    Population,
    bootstrap,
    difference_of_standardized_means,
    dsm_resampled,
    fairness,
    percentile_interval,
    sample_values,
)
from models.agreement.tails import f_tail, normal_tail, t_quantile, t_tail

H1 = [1, 2, 3, 4, 2, 3, 1, 4, 3, 2]
MACHINE = np.clip([1.2, 2.4, 2.6, 3.9, 1.4, 3.3, 0.8, 4.6, 3.1, 2.9], 1 - 0.4998, 4 + 0.4998)
GROUPS = list("AABBABABAB")
NAN = math.nan


def close(expected: float) -> object:
    return pytest.approx(expected, abs=1e-9)


def simulated(n: int, seed: int, levels: str = "pqrs") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    human = rng.integers(0, 5, n).astype(float)
    groups = rng.choice(np.array([*levels, None], dtype=object), n)
    return human, human * 0.8 + 0.5 + rng.normal(scale=0.6, size=n), groups


def test_standardized_means_of_a_toy_sample() -> None:
    found = difference_of_standardized_means(H1, MACHINE, GROUPS)
    # A and B are equally many, and all there is: what one gains the other loses.
    assert found == {"A": close(-0.047661304199659714), "B": close(0.047661304199659714)}


def test_standardized_means_against_a_given_population() -> None:
    population = Population(mean_human=4.5, sd_human=1.2, mean_machine=5.1, sd_machine=1.8)
    found = difference_of_standardized_means([8, 4, 6, 3], [9, 4, 5, 12], ["a"] * 4, population)
    assert found == {"a": close(0.7083333333333336)}


def test_a_machine_that_is_milder_with_everybody_is_unfair_to_nobody() -> None:
    human, _, groups = simulated(100, seed=1)
    found = difference_of_standardized_means(human, human * 0.5 + 2, groups)
    assert list(found) == ["p", "q", "r", "s"]
    assert list(found.values()) == pytest.approx([0] * 4, abs=1e-9)


def test_a_machine_that_is_milder_with_one_level_shows_it() -> None:
    human, machine, groups = simulated(4000, seed=2, levels="pq")
    found = difference_of_standardized_means(human, machine + 0.4 * (groups == "q"), groups)
    assert found["q"] > 0.15
    assert found["p"] < -0.05


def test_responses_of_no_level_belong_to_the_population() -> None:
    human, machine, groups = simulated(60, seed=3)
    known = np.array([level is not None for level in groups])
    assert (~known).sum() > 5
    among_all = difference_of_standardized_means(human, machine, groups)
    z = {
        name: (scores - scores.mean()) / scores.std(ddof=1)
        for name, scores in (("human", human), ("machine", machine))
    }
    for level, value in among_all.items():
        assert value == close((z["machine"] - z["human"])[groups == level].mean())


def test_rows_without_both_scores_are_left_out() -> None:
    human, machine, groups = simulated(60, seed=3)
    expected = difference_of_standardized_means(human[10:], machine[10:], groups[10:])
    tested = fairness(human[10:], machine[10:], groups[10:])
    human[:5], machine[5:10] = NAN, NAN
    assert difference_of_standardized_means(human, machine, groups) == pytest.approx(expected)
    assert fairness(human, machine, groups).csd.p == close(tested.csd.p)
    assert fairness(human, machine, groups).n == tested.n


@pytest.mark.parametrize("constant", [3.0, 3.536])
def test_constant_scores_have_no_standardized_means(constant: float) -> None:
    human, _, groups = simulated(30, seed=3)
    same = np.full(30, constant)
    for pair in ((human, same), (same, human), (same, same)):
        found = difference_of_standardized_means(*pair, groups)
        assert list(found) == ["p", "q", "r", "s"]
        assert all(map(math.isnan, found.values()))
        assert math.isnan(sample_values({"p": dsm_resampled(*pair, groups, "p")}, 30)["p"])


def test_a_level_without_scores_and_no_level_at_all() -> None:
    found = difference_of_standardized_means([1, 2, NAN], [1, 3, 2], ["a", "a", "b"])
    assert math.isnan(found["b"])
    assert difference_of_standardized_means([1, 2], [2, 3], [None, None]) == {}
    assert difference_of_standardized_means([], [], []) == {}


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from("abc")), min_size=2)
)
def test_standardized_means_add_up_to_nothing(rows: list[tuple[int, int, str]]) -> None:
    human, machine, groups = (list(column) for column in zip(*rows, strict=True))
    assume(len(set(human)) > 1 and len(set(machine)) > 1)
    found = difference_of_standardized_means(human, machine, groups)
    assert sum(found[level] * groups.count(level) for level in found) == close(0)
    # Neither do they depend on the labels of the scale, or on who is called the machine.
    moved = [3 * score + 7 for score in human]
    assert difference_of_standardized_means(moved, machine, groups) == pytest.approx(
        found, abs=1e-9
    )
    turned = difference_of_standardized_means(machine, human, groups)
    assert turned == pytest.approx({level: -value for level, value in found.items()}, abs=1e-9)


def test_resamples_are_those_of_repeated_rows() -> None:
    human, machine, groups = simulated(50, seed=5)
    human[4], machine[7] = NAN, NAN
    counts = np.random.default_rng(0).integers(0, 3, (6, 50))
    for level in ("p", "s"):
        values = dsm_resampled(human, machine, groups, level)(counts.astype(float))
        for drawn, value in zip(counts, values, strict=True):
            rows = np.repeat(np.arange(50), drawn)
            found = difference_of_standardized_means(human[rows], machine[rows], groups[rows])
            assert value == close(found[level])
    unknown = dsm_resampled(human, machine, groups, "of no response")(counts.astype(float))
    assert np.isnan(unknown).all()


def test_the_interval_of_a_level_tells_a_difference_from_chance() -> None:
    human, machine, groups = simulated(600, seed=6, levels="pq")
    machine = machine + 0.5 * (groups == "q")
    figures = {
        "unfair": dsm_resampled(human, machine, groups, "q"),
        "chance": dsm_resampled(human, machine, ["odd", "even"] * 300, "odd"),
    }
    drawn = bootstrap(figures, 600, seed=0)
    assert percentile_interval(drawn["unfair"])[0] > 0.05
    low, high = percentile_interval(drawn["chance"])
    assert low < 0 < high


def test_regressions_of_a_sample_of_four() -> None:
    found = fairness([2, 3, 2, 3], [1, 1.5, 3, 3.5], ["K", "K", "E", "E"])
    assert (found.reference, found.n) == ("E", 4)
    for test, difference, intercept in (
        (found.osa, 1, 0.625),
        (found.osd, -2, 0.75),
        (found.csd, -2, 1),
    ):
        assert test.coefficients == {"K": close(difference)}
        assert test.intercept == close(intercept)
    # The level and the human score together explain the error without rest.
    assert found.csd.f == math.inf
    assert found.csd.p == 0


def reference(
    target: np.ndarray, plain: np.ndarray, full: np.ndarray
) -> tuple[float, float, float]:
    """Difference of adjusted R2, F and p, by the textbook and scipy."""

    def left(design: np.ndarray) -> tuple[float, int]:
        fitted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
        return ((target - fitted) ** 2).sum(), target.size - np.linalg.matrix_rank(design)

    (rest0, df0), (rest1, df1) = left(plain), left(full)
    total = ((target - target.mean()) ** 2).sum() / (target.size - 1)
    f = (rest0 - rest1) / (df0 - df1) / (rest1 / df1)
    return rest0 / df0 / total - rest1 / df1 / total, f, stats.f.sf(f, df0 - df1, df1)


@pytest.mark.parametrize("seed", range(5))
def test_regressions_are_those_of_the_textbook(seed: int) -> None:
    human, machine, groups = simulated(80, seed)
    found = fairness(human, machine, groups)
    known = np.array([level is not None for level in groups])
    human, error, groups = human[known], (machine - human)[known], groups[known]
    levels, sizes = np.unique(groups.astype(str), return_counts=True)
    assert found.reference == levels[sizes.argmax()]
    constant = np.ones((human.size, 1))
    group = (groups[:, None] == levels[levels != found.reference]).astype(float)
    score = (human[:, None] == np.unique(human)[1:]).astype(float)
    all_three: list[tuple[FairnessTest, np.ndarray, list[np.ndarray]]] = [
        (found.osa, error**2, []),
        (found.osd, error, []),
        (found.csd, error, [score]),
    ]
    for test, target, others in all_three:
        plain, full = np.hstack([constant, *others]), np.hstack([constant, group, *others])
        expected = reference(target, plain, full)
        assert (test.r2_adjusted, test.f, test.p) == pytest.approx(expected, abs=1e-9)
    # With one attribute and nothing else this is the analysis of variance.
    of_levels = [error[groups == level] for level in levels]
    assert found.osd.p == close(float(stats.f_oneway(*of_levels).pvalue))


def test_fair_and_unfair_machines_are_told_apart() -> None:
    human, machine, groups = simulated(1500, seed=7)
    assert fairness(human, machine, groups).osd.p > 0.01
    unfair = fairness(human, machine + 0.3 * (groups == "r"), groups)
    assert unfair.osd.p < 1e-6
    assert unfair.osd.r2_adjusted > 0.01
    found = unfair.osd.estimates["r"]
    low, high = found.interval()
    assert 0 < low < 0.3 < high
    assert found.p < 1e-3


@given(st.integers(0, 2**32 - 1))
def test_the_order_of_responses_does_not_matter(seed: int) -> None:
    human, machine, groups = simulated(40, seed=8)
    rows = np.random.default_rng(seed).permutation(40)
    plain, mixed = (
        fairness(human, machine, groups),
        fairness(human[rows], machine[rows], groups[rows]),
    )
    assert mixed.reference == plain.reference
    for name in ("osa", "osd", "csd"):
        assert getattr(mixed, name).p == close(getattr(plain, name).p)
        assert getattr(mixed, name).coefficients == pytest.approx(getattr(plain, name).coefficients)


def test_of_equally_large_levels_the_first_by_name_is_the_reference() -> None:
    human, machine, _ = simulated(9, seed=1)
    assert fairness(human, machine, list("cacbabbca")).reference == "a"


def test_what_cannot_be_tested_is_nan_and_not_an_error() -> None:
    human, machine, groups = simulated(30, seed=1)
    cases = {
        "no response": fairness([], [], []),
        "one level": fairness(human, machine, ["a"] * 30),
        "no level": fairness(human, machine, [None] * 30),
        "no error": fairness(human, human, groups),
        "the same error": fairness(human, human + 0.1, groups),
        "too few": fairness([1, 2], [2, 2], ["a", "b"]),
    }
    for name, found in cases.items():
        for test in (found.osa, found.osd, found.csd):
            assert math.isnan(test.p), name
            assert math.isnan(test.r2_adjusted), name
    assert cases["one level"].reference == "a"
    assert cases["no level"].reference == ""
    assert math.isnan(cases["no level"].osd.intercept)
    others = set("pqrs") - {cases["no error"].reference}
    assert cases["no error"].osd.coefficients == pytest.approx(dict.fromkeys(others, 0), abs=1e-9)


def test_human_scores_that_are_all_different_leave_nothing_to_condition_on() -> None:
    human, machine, groups = simulated(30, seed=1)
    found = fairness(human + np.arange(30) / 100, machine, groups)
    assert math.isnan(found.csd.p)
    assert not math.isnan(found.osd.p)


def test_a_level_that_goes_with_one_human_score_shares_its_effect() -> None:
    human = np.array([1.0, 1, 1, 2, 2, 2, 2])
    found = fairness(human, human + np.array([0.1, 0.3, 0.2, 0, 0.1, -0.1, 0.2]), list("aaabbbb"))
    assert math.isnan(found.csd.p)  # beyond the score, the level has nothing to tell
    assert found.csd.r2_adjusted == close(0)


def test_levels_must_be_given_for_every_response() -> None:
    with pytest.raises(ValueError, match="3 scores but 2 levels"):
        fairness([1, 2, 3], [1, 2, 3], ["a", "b"])


@given(st.floats(0, 50), st.integers(1, 40), st.one_of(st.integers(1, 300), st.floats(0.5, 5000)))
def test_tails_equal_scipys(value: float, df1: int, df2: float) -> None:
    assert f_tail(value, df1, df2) == pytest.approx(
        stats.f.sf(value, df1, df2), rel=1e-9, abs=1e-15
    )
    expected = 2 * stats.t.sf(value, df2)
    assert t_tail(value, df2) == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert t_tail(-value, df2) == t_tail(value, df2)
    assert normal_tail(value) == pytest.approx(2 * stats.norm.sf(value), rel=1e-9)


@pytest.mark.parametrize("df", [1e5, 1e6])
def test_tails_hold_for_a_million_responses(df: float) -> None:
    for value in (0.3, 1.0, 1.96, 5.0):
        assert t_tail(value, df) == pytest.approx(2 * stats.t.sf(value, df), rel=1e-7)
        assert f_tail(value, 3, df) == pytest.approx(stats.f.sf(value, 3, df), rel=1e-7)


@given(st.floats(0.01, 0.999), st.integers(1, 500))
def test_quantiles_equal_scipys(level: float, df: int) -> None:
    assert t_quantile(level, df) == pytest.approx(stats.t.ppf((1 + level) / 2, df), rel=1e-9)


def test_tails_where_there_is_nothing_to_compute() -> None:
    assert f_tail(math.inf, 2, 9) == t_tail(math.inf, 9) == 0
    assert f_tail(0, 2, 9) == t_tail(0, 9) == 1
    for nothing in (f_tail(NAN, 2, 9), f_tail(1, 0, 9), t_tail(NAN, 9), t_tail(1, 0)):
        assert math.isnan(nothing)
    assert math.isnan(t_quantile(0.95, 0))
