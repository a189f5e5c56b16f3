"""Agreement statistics against published figures, scikit-learn, and the laws they obey.

Figures without another source are those of RSMTool's unit tests
(github.com/EducationalTestingService/rsmtool), or were computed by independent code.
"""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score, r2_score
from sklearn.metrics import confusion_matrix as sklearn_confusion
from sklearn.metrics import root_mean_squared_error as sklearn_rmse

from models.agreement import (
    Pairs,
    Population,
    Statistic,
    adjacent_agreement,
    confusion_matrix,
    exact_agreement,
    johnson_smd,
    kappa,
    over_items,
    pearson_r,
    pooled_smd,
    quadratic_weighted_kappa,
    r_squared,
    root_mean_squared_error,
    smd_within,
    standardized_mean_difference,
    williamson_smd,
)

SMDS = [standardized_mean_difference, pooled_smd, williamson_smd, johnson_smd]
SYMMETRIC = [
    quadratic_weighted_kappa,
    kappa,
    exact_agreement,
    adjacent_agreement,
    pearson_r,
    root_mean_squared_error,
]
EVERY = [*SYMMETRIC, r_squared, *SMDS]
# Ten responses with two raters and a continuous machine score on a scale from 1 to 4.
H1 = [1, 2, 3, 4, 2, 3, 1, 4, 3, 2]
H2 = [1, 2, 3, 3, 2, 4, 1, 4, 3, 1]
MACHINE = np.clip([1.2, 2.4, 2.6, 3.9, 1.4, 3.3, 0.8, 4.6, 3.1, 2.9], 1 - 0.4998, 4 + 0.4998)


def close(expected: float) -> object:
    return pytest.approx(expected, abs=1e-9)


def test_a_machine_off_the_human_scale_is_worse_than_chance() -> None:
    human, machine = [8, 4, 6, 3], [9, 4, 5, 12]
    assert quadratic_weighted_kappa(human, machine) == close(-0.09210526315789469)
    assert williamson_smd(human, machine) == close(0.8523247028586811)
    assert johnson_smd(human, machine) == close(1.171700198827415)
    # With sample deviations in place of the population's, dividing by 3 in place of 4.
    assert standardized_mean_difference(human, machine) == close(1.171700198827415 * 0.75**0.5)
    assert pooled_smd(human, machine) == close(0.8523247028586811 * 0.75**0.5)


def test_the_mean_difference_of_a_subgroup_is_measured_by_its_population() -> None:
    human, machine = [8, 4, 6, 3], [9, 4, 5, 12]
    population = Population(mean_human=4.5, sd_human=2.3, mean_machine=5.1, sd_machine=1.8)
    assert smd_within(population, pooled=False)(human, machine) == close(0.9782608695652175)
    pooled = math.sqrt((2.3**2 + 1.8**2) / 2)
    assert smd_within(population, pooled=True)(human, machine) == close(2.25 / pooled)


def test_continuous_scores_on_a_toy_sample() -> None:
    assert quadratic_weighted_kappa(H1, MACHINE) == close(0.9176326960926833)
    assert standardized_mean_difference(H1, MACHINE) == close(0.10182169457298537)
    assert root_mean_squared_error(H1, MACHINE) == close(0.4392948941201115)
    assert r_squared(H1, MACHINE) == pytest.approx(0.81620952, abs=5e-9)


def test_rounded_scores_and_two_people_on_a_toy_sample() -> None:
    assert quadratic_weighted_kappa(H1, np.rint(MACHINE)) == close(0.9130434782608696)
    assert kappa(H1, np.rint(MACHINE)) == close(0.7333333333333334)
    assert exact_agreement(H1, np.rint(MACHINE)) == close(0.80)
    assert quadratic_weighted_kappa(H1, H2) == close(0.8695652173913042)
    assert kappa(H1, H2) == close(0.6)
    assert pooled_smd(H1, H2) == close(-0.08865811868483131)


def test_unweighted_kappa_is_that_of_rounded_scores_half_to_even() -> None:
    assert kappa(H1, MACHINE) == kappa(H1, np.rint(MACHINE))
    assert kappa([0, 2, 4], [0.5, 1.5, 4.4]) == 1


def test_adjacent_is_one_point_either_way_and_no_more() -> None:
    assert adjacent_agreement([1, 2, 3, 3, 4], [2, 2, 2, 1.5, 2]) == close(3 / 5)


@pytest.mark.parametrize("lowest", [0, 1, -2])
def test_kappas_equal_sklearn_over_the_full_scale(lowest: int) -> None:
    rng = np.random.default_rng(7)
    human = rng.integers(0, 4, 60) + lowest
    machine = np.clip(human + rng.integers(-1, 3, 60), lowest, lowest + 5)
    machine[machine == lowest + 1] = lowest  # a score point inside the scale that is never given
    labels = list(range(lowest, lowest + 8))
    for ours, weights in ((quadratic_weighted_kappa, "quadratic"), (kappa, None)):
        expected = cohen_kappa_score(human, machine, labels=labels, weights=weights)
        assert ours(human, machine) == close(float(expected))


def test_kappa_without_the_full_scale_would_be_another_number() -> None:
    human, machine = [8, 4, 6, 3], [9, 4, 5, 12]
    seen_only = float(cohen_kappa_score(human, machine, weights="quadratic"))
    assert seen_only == pytest.approx(-0.0556, abs=5e-5)
    assert quadratic_weighted_kappa(human, machine) == pytest.approx(-0.0921, abs=5e-5)


@pytest.mark.parametrize("origin", [0.0, 1e6])
def test_continuous_figures_equal_scipy_and_sklearn(origin: float) -> None:
    rng = np.random.default_rng(3)
    human = origin + rng.normal(size=300)
    machine = 0.7 * human + 0.3 * origin + rng.normal(size=300)
    assert pearson_r(human, machine) == close(float(stats.pearsonr(human, machine)[0]))
    assert r_squared(human, machine) == close(float(r2_score(human, machine)))
    assert root_mean_squared_error(human, machine) == close(float(sklearn_rmse(human, machine)))


def test_confusion_matrix_equals_sklearn_with_humans_in_rows() -> None:
    rounded = np.rint(MACHINE)
    ours = confusion_matrix(H1, rounded, [0, 1, 2, 3, 4])
    assert ours.tolist() == sklearn_confusion(H1, rounded, labels=[0, 1, 2, 3, 4]).tolist()
    assert confusion_matrix([1], [2], [1, 2, 3]).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_a_score_off_the_labels_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"machine score 5 is not one of the labels"):
        confusion_matrix([1, 2], [1, 5], [1, 2, 3])


@pytest.mark.parametrize("statistic", EVERY)
def test_no_response_gives_nan(statistic: Statistic) -> None:
    assert math.isnan(statistic([], []))


def test_one_response_has_agreement_but_no_correlation() -> None:
    assert exact_agreement([2], [2]) == 1
    assert root_mean_squared_error([2], [3.5]) == 1.5
    assert quadratic_weighted_kappa([2], [3]) == kappa([2], [3]) == 0
    for statistic in (pearson_r, r_squared, *SMDS):
        assert math.isnan(statistic([2], [3]))


@pytest.mark.parametrize("constant", [2.0, 0.1, 3.536, 1e6 + 0.3])
def test_a_constant_is_recognised_in_spite_of_rounding(constant: float) -> None:
    same, other = [constant] * 7, [1, 2, 3, 1, 2, 3, 9]
    for statistic in (quadratic_weighted_kappa, kappa, pearson_r, r_squared, *SMDS):
        assert math.isnan(statistic(same, same))
    assert quadratic_weighted_kappa(same, other) == 0
    assert quadratic_weighted_kappa(other, same) == 0
    assert math.isnan(pearson_r(same, other))
    assert math.isnan(pearson_r(other, same))
    for statistic in (standardized_mean_difference, johnson_smd, r_squared):
        assert math.isnan(statistic(same, other))
        assert not math.isnan(statistic(other, same))


@pytest.mark.parametrize("others", [0.7, 50.3, 100.7])
def test_a_resample_of_one_response_again_and_again_has_no_variance(others: float) -> None:
    # That response 1 to 60 times; the other one never.
    counts = np.stack([np.zeros(60), np.arange(1, 61)], axis=1)
    repeated = Pairs(np.array([0.1, others]), np.array([0.3, others / 3]), counts)
    for statistic in (pearson_r, r_squared, *SMDS):
        assert np.isnan(statistic.of(repeated)).all()
    assert (quadratic_weighted_kappa.of(repeated) == 0).all()


def test_one_score_in_a_million_that_differs_is_variance() -> None:
    human = np.array([100.0, 0.0, 1.0])
    pairs = Pairs(human, human, np.array([[0.0, 999_999.0, 1.0]]))
    assert pearson_r.of(pairs) == close(1)
    assert quadratic_weighted_kappa.of(pairs) == close(1)


@pytest.mark.parametrize(
    ("human", "machine", "message"),
    [
        ([1, 2], [1], "a score each for the same responses"),
        ([[1, 2]], [[1, 2]], "flat arrays"),
        ([1, math.nan], [1, 2], "leave out responses without both scores"),
        ([1, 2], [1, math.inf], "leave out responses without both scores"),
    ],
)
def test_scores_that_do_not_pair_up_are_refused(
    human: object, machine: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quadratic_weighted_kappa(human, machine)  # type: ignore[arg-type]


whole = st.integers(0, 6)
pairs_of_scores = st.lists(st.tuples(whole, whole), min_size=1, max_size=40)


def unzip(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    human, machine = zip(*pairs, strict=True)
    return np.array(human, dtype=float), np.array(machine, dtype=float)


def same(left: float, right: float) -> bool:
    return (math.isnan(left) and math.isnan(right)) or left == pytest.approx(right, abs=1e-9)


@given(pairs_of_scores)
def test_every_statistic_keeps_its_bounds(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    for statistic in (quadratic_weighted_kappa, kappa):
        assert not abs(statistic(human, machine)) > 1 + 1e-9
    assert not abs(pearson_r(human, machine)) > 1
    assert not r_squared(human, machine) > 1
    assert 0 <= exact_agreement(human, machine) <= adjacent_agreement(human, machine) <= 1
    assert root_mean_squared_error(human, machine) >= 0


@given(pairs_of_scores)
def test_who_is_who_matters_where_one_is_the_standard_only(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    for statistic in SYMMETRIC:
        assert same(statistic(human, machine), statistic(machine, human))
    for statistic in (pooled_smd, williamson_smd):
        assert same(statistic(human, machine), -statistic(machine, human))


@given(pairs_of_scores)
def test_perfect_agreement_is_1_or_not_defined(pairs: list[tuple[int, int]]) -> None:
    human, _ = unzip(pairs)
    for statistic in (quadratic_weighted_kappa, kappa, pearson_r, r_squared):
        value = statistic(human, human)
        assert math.isnan(value) == (len(set(human)) == 1)
        assert math.isnan(value) or value == close(1)


@given(pairs_of_scores, st.integers(0, 2**32 - 1))
def test_the_order_of_responses_changes_nothing(pairs: list[tuple[int, int]], seed: int) -> None:
    shuffled = [pairs[row] for row in np.random.default_rng(seed).permutation(len(pairs))]
    for statistic in EVERY:
        assert same(statistic(*unzip(pairs)), statistic(*unzip(shuffled)))


@given(pairs_of_scores)
def test_counts_are_as_good_as_repeated_responses(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    repeats = np.arange(len(pairs)) % 4
    counted = Pairs(human, machine, repeats.astype(float)[None])
    for statistic in EVERY:
        spelt_out = statistic(np.repeat(human, repeats), np.repeat(machine, repeats))
        assert same(statistic.of(counted)[0], spelt_out)


@given(pairs_of_scores, st.integers(-5, 5), st.sampled_from([1, 2, 3]))
def test_relabelling_the_scale_changes_no_scale_free_statistic(
    pairs: list[tuple[int, int]], shift: int, stretch: int
) -> None:
    human, machine = unzip(pairs)
    for statistic in (quadratic_weighted_kappa, kappa, pearson_r, r_squared, *SMDS):
        relabelled = statistic(human * stretch + shift, machine * stretch + shift)
        assert same(statistic(human, machine), relabelled)


@given(pairs_of_scores)
def test_turning_the_scale_round_turns_the_mean_difference(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    for statistic in SMDS:
        assert same(statistic(human, machine), -statistic(6 - human, 6 - machine))
    for statistic in (quadratic_weighted_kappa, kappa, pearson_r, r_squared):
        assert same(statistic(human, machine), statistic(6 - human, 6 - machine))


@given(pairs_of_scores)
def test_kappa_is_that_of_the_confusion_matrix(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    points = np.arange(7)
    table = confusion_matrix(human, machine, points)
    weights = (points[:, None] - points) ** 2
    expected = (weights * np.outer(table.sum(1), table.sum(0))).sum() / table.sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        kappa = 1 - (weights * table).sum() / expected
    assert same(quadratic_weighted_kappa(human, machine), float(kappa))


def test_figures_of_items_are_summarised_without_the_undefined_ones() -> None:
    found = over_items([0.999, 0.75, math.nan, 0.61])
    assert found.n == 3
    assert found.minimum == 0.61
    assert found.mean == pytest.approx(0.786, abs=5e-4)
    # One nearly perfect item lifts the mean over Fisher's z far above the others.
    assert found.fisher_mean == pytest.approx(0.950, abs=5e-4)


def test_perfect_items_count_as_nearly_perfect_and_no_item_gives_nan() -> None:
    assert over_items([1, 1]).fisher_mean == close(0.999)
    assert over_items([-1, 1]).fisher_mean == close(0)
    nothing = over_items([math.nan])
    assert nothing.n == 0
    assert all(map(math.isnan, (nothing.mean, nothing.minimum, nothing.fisher_mean)))


@given(st.lists(st.floats(-0.999, 0.999), min_size=1, max_size=20))
def test_means_over_items_lie_between_the_worst_and_the_best(values: list[float]) -> None:
    found = over_items(values)
    for mean in (found.mean, found.fisher_mean):
        assert found.minimum - 1e-9 <= mean <= max(values) + 1e-9


def test_a_machine_that_guesses_agrees_in_no_item_though_it_would_in_a_mixture() -> None:
    rng = np.random.default_rng(0)
    scales = [(2, 12), (1, 6), (0, 3), (0, 3), (0, 4), (0, 4), (0, 30), (0, 60)]
    guesses = [
        [rng.integers(low, high + 1, 1500) for _ in ("human", "machine")] for low, high in scales
    ]
    found = over_items(quadratic_weighted_kappa(*item) for item in guesses)
    assert abs(found.mean) < 0.03
    assert abs(found.fisher_mean) < 0.03
    mixture = np.concatenate(guesses, axis=1)
    assert quadratic_weighted_kappa(*mixture) > 0.6
