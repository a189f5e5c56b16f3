"""Agreement statistics against published figures, scikit-learn, and the laws they obey."""

import csv
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from models.agreement import (
    Pairs,
    Statistic,
    adjacent_agreement,
    bootstrap_interval,
    confusion_matrix,
    exact_agreement,
    pearson_r,
    quadratic_weighted_kappa,
    root_mean_squared_error,
    standardized_mean_difference,
)

RSM = Path(__file__).parents[2] / "shared" / "data" / "rsm_golden"
needs_rsm = pytest.mark.skipif(not RSM.is_dir(), reason="needs ../shared/data/rsm_golden")

EVERY = [
    quadratic_weighted_kappa,
    exact_agreement,
    adjacent_agreement,
    pearson_r,
    standardized_mean_difference,
    root_mean_squared_error,
]
# Ten responses with two raters and a continuous machine score on a scale from 1 to 4.
H1 = [1, 2, 3, 4, 2, 3, 1, 4, 3, 2]
H2 = [1, 2, 3, 3, 2, 4, 1, 4, 3, 1]
MACHINE = np.clip([1.2, 2.4, 2.6, 3.9, 1.4, 3.3, 0.8, 4.6, 3.1, 2.9], 1 - 0.4998, 4 + 0.4998)


def close(expected: float) -> object:
    return pytest.approx(expected, abs=1e-9)


def test_a_machine_off_the_human_scale_is_worse_than_chance() -> None:
    human, machine = [8, 4, 6, 3], [9, 4, 5, 12]
    assert quadratic_weighted_kappa(human, machine) == close(-0.09210526315789469)
    # The published value divides by the population deviation, ours by the sample's.
    expected = 1.171700198827415 * math.sqrt(3 / 4)
    assert standardized_mean_difference(human, machine) == close(expected)


def test_continuous_scores_on_a_toy_sample() -> None:
    assert quadratic_weighted_kappa(H1, MACHINE) == close(0.9176326960926833)
    assert standardized_mean_difference(H1, MACHINE) == close(0.10182169457298537)
    assert root_mean_squared_error(H1, MACHINE) == close(0.4392948941201115)


def test_rounded_scores_and_two_people_on_a_toy_sample() -> None:
    assert quadratic_weighted_kappa(H1, np.rint(MACHINE)) == close(0.9130434782608696)
    assert exact_agreement(H1, np.rint(MACHINE)) == close(0.80)
    assert quadratic_weighted_kappa(H1, H2) == close(0.8695652173913042)


def test_adjacent_is_one_point_either_way_and_no_more() -> None:
    assert adjacent_agreement([1, 2, 3, 3, 4], [2, 2, 2, 1.5, 2]) == close(3 / 5)


@pytest.mark.parametrize("lowest", [0, 1, -2])
def test_kappa_equals_sklearn_over_the_full_scale(lowest: int) -> None:
    rng = np.random.default_rng(7)
    human = rng.integers(0, 4, 60) + lowest
    machine = np.clip(human + rng.integers(-1, 3, 60), lowest, lowest + 5)
    machine[machine == lowest + 1] = lowest  # a score point inside the scale that is never given
    labels = list(range(lowest, lowest + 8))
    expected = cohen_kappa_score(human, machine, labels=labels, weights="quadratic")
    assert quadratic_weighted_kappa(human, machine) == close(float(expected))


def test_kappa_without_the_full_scale_would_be_another_number() -> None:
    human, machine = [8, 4, 6, 3], [9, 4, 5, 12]
    seen_only = float(cohen_kappa_score(human, machine, weights="quadratic"))
    assert abs(quadratic_weighted_kappa(human, machine) - seen_only) > 0.03


def test_confusion_matrix_equals_sklearn_with_humans_in_rows() -> None:
    rounded = np.rint(MACHINE)
    ours = confusion_matrix(H1, rounded, [0, 1, 2, 3, 4])
    assert ours.tolist() == sklearn_confusion(H1, rounded, labels=[0, 1, 2, 3, 4]).tolist()
    assert confusion_matrix([1], [2], [1, 2, 3]).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_a_score_off_the_labels_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"machine score 5 is not one of the labels"):
        confusion_matrix([1, 2], [1, 5], [1, 2, 3])


# Columns of RSMTool's eval_short and consistency tables; its agreement figures are per cent.
FIGURES: dict[str, tuple[Statistic, float]] = {
    "wtkappa": (quadratic_weighted_kappa, 1),
    "corr": (pearson_r, 1),
    "SMD": (standardized_mean_difference, 1),
    "RMSE": (root_mean_squared_error, 1),
    "exact_agr": (exact_agreement, 100),
    "adj_agr": (adjacent_agreement, 100),
}
EXPERIMENTS = [
    ("lr-eval-with-h2", "lr_eval_with_h2"),
    ("lr-eval-scale-raw", "lr_eval_scale_raw"),
    ("lr-eval-with-scaling", "lr_evaluation_with_scaling"),
    ("lr-eval-with-subset-double-scored", "lr_eval_with_subset_double_scored"),
    ("lr-eval-with-continuous-human-scores", "lr_eval_with_continuous_human_scores"),
]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(table: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in table]


@needs_rsm
@pytest.mark.parametrize(("folder", "name"), EXPERIMENTS)
def test_rsmtool_reports_the_same_figures(folder: str, name: str) -> None:
    scored = read(RSM / folder / f"{name}_pred_processed.csv")
    published = read(RSM / folder / f"{name}_eval_short.csv")[0]
    compared = 0
    for key, value in published.items():
        figure, _, kind = key.partition(".")
        if figure not in FIGURES:
            continue  # unweighted kappa, R2 and descriptive columns are not ours
        statistic, unit = FIGURES[figure]
        ours = unit * statistic(column(scored, "sc1"), column(scored, kind))
        assert ours == pytest.approx(float(value), abs=1e-8), key
        compared += 1
    assert compared == 7


@needs_rsm
def test_rsmtool_reports_the_same_agreement_between_two_people() -> None:
    scored = read(RSM / "predictions_scaled_with_subgroups.csv")
    path = RSM / "lr-eval-with-h2" / "lr_eval_with_h2_consistency.csv"
    published = read(path)[0]
    # The SMD between people is pooled in RSMTool, another definition than human-machine.
    for figure in ("wtkappa", "corr", "exact_agr", "adj_agr"):
        statistic, unit = FIGURES[figure]
        ours = unit * statistic(column(scored, "h1"), column(scored, "h2"))
        assert ours == close(float(published[figure])), figure


@needs_rsm
def test_a_constant_machine_score_has_kappa_zero_and_no_correlation() -> None:
    folder = RSM / "lr-eval-system-score-constant"
    scored = read(folder / "lr_eval_system_score_constant_pred_processed.csv")
    human, machine = column(scored, "sc1"), column(scored, "raw_trim_round")
    assert quadratic_weighted_kappa(human, machine) == 0
    assert math.isnan(pearson_r(human, machine))
    assert 100 * exact_agreement(human, machine) == close(49.275362318840585)
    assert standardized_mean_difference(human, machine) == close(0.5149268018043555)


@pytest.mark.parametrize("statistic", EVERY)
def test_no_response_gives_nan(statistic: Statistic) -> None:
    assert math.isnan(statistic([], []))


def test_one_response_has_agreement_but_no_correlation() -> None:
    assert exact_agreement([2], [2]) == 1
    assert root_mean_squared_error([2], [3.5]) == 1.5
    assert quadratic_weighted_kappa([2], [3]) == 0
    for statistic in (pearson_r, standardized_mean_difference):
        assert math.isnan(statistic([2], [3]))


@pytest.mark.parametrize("constant", [2.0, 0.1, 1e6 + 0.3])
def test_a_constant_is_recognised_in_spite_of_rounding(constant: float) -> None:
    same, other = [constant] * 7, [1, 2, 3, 1, 2, 3, 9]
    assert math.isnan(quadratic_weighted_kappa(same, same))
    assert quadratic_weighted_kappa(same, other) == 0
    assert math.isnan(pearson_r(same, other))
    assert math.isnan(standardized_mean_difference(same, other))
    assert not math.isnan(standardized_mean_difference(other, same))


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
    assert not abs(quadratic_weighted_kappa(human, machine)) > 1 + 1e-9
    assert not abs(pearson_r(human, machine)) > 1
    assert 0 <= exact_agreement(human, machine) <= adjacent_agreement(human, machine) <= 1
    assert root_mean_squared_error(human, machine) >= 0


@given(pairs_of_scores)
def test_all_but_the_mean_difference_ignore_who_is_who(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    for statistic in EVERY:
        if statistic is not standardized_mean_difference:
            assert same(statistic(human, machine), statistic(machine, human))


@given(pairs_of_scores, st.integers(-5, 5), st.sampled_from([0.5, 2.0, 3.0]))
def test_relabelling_the_scale_changes_no_scale_free_statistic(
    pairs: list[tuple[int, int]], shift: int, stretch: float
) -> None:
    human, machine = unzip(pairs)
    for statistic in (quadratic_weighted_kappa, pearson_r, standardized_mean_difference):
        relabelled = statistic(human * stretch + shift, machine * stretch + shift)
        assert same(statistic(human, machine), relabelled)


@given(pairs_of_scores)
def test_turning_the_scale_round_turns_the_mean_difference(pairs: list[tuple[int, int]]) -> None:
    human, machine = unzip(pairs)
    turned = standardized_mean_difference(6 - human, 6 - machine)
    assert same(standardized_mean_difference(human, machine), -turned)
    assert same(
        quadratic_weighted_kappa(human, machine), quadratic_weighted_kappa(6 - human, 6 - machine)
    )


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


def simulated(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ability = rng.normal(size=n)
    human = np.clip(np.rint(2 + ability + rng.normal(scale=0.5, size=n)), 0, 4)
    return human, np.clip(np.rint(2 + ability + rng.normal(scale=0.5, size=n)), 0, 4)


def one_by_one(draw: Callable[[], np.ndarray], human: np.ndarray, machine: np.ndarray) -> list:
    chosen = [draw() for _ in range(2000)]
    return [quadratic_weighted_kappa(human[rows], machine[rows]) for rows in chosen]


def test_the_interval_is_that_of_a_plain_loop_over_resamples() -> None:
    human, machine = simulated(150, seed=3)
    rng = np.random.default_rng(0)
    plain = one_by_one(lambda: rng.integers(0, 150, 150), human, machine)
    low, high = bootstrap_interval(
        human, machine, quadratic_weighted_kappa, seed=1, samples=2000, level=0.9
    )
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.05, 0.95])), abs=0.01)


def test_whole_clusters_are_drawn() -> None:
    # Forty students with five like answers each: as uncertain as forty answers, not two hundred.
    human, machine = simulated(40, seed=5)
    students = np.repeat(np.arange(40), 5)
    rng = np.random.default_rng(0)
    plain = one_by_one(lambda: rng.integers(0, 40, 40), human, machine)
    low, high = bootstrap_interval(
        human[students],
        machine[students],
        quadratic_weighted_kappa,
        seed=1,
        samples=2000,
        clusters=[f"student {number}" for number in students],
    )
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.015)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = quadratic_weighted_kappa(*simulated(400_000, seed=99))
    covered = 0
    for seed in range(100):
        low, high = bootstrap_interval(
            *simulated(200, seed), quadratic_weighted_kappa, seed=seed, samples=400
        )
        covered += low <= truth <= high
    assert 88 <= covered <= 99


@pytest.mark.parametrize("statistic", EVERY)
@settings(max_examples=20)
@given(pairs_of_scores, st.randoms(use_true_random=False))
def test_the_order_of_responses_does_not_move_the_interval(
    statistic: Statistic, pairs: list[tuple[int, int]], shuffler: object
) -> None:
    shuffled = list(pairs)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    first = bootstrap_interval(*unzip(pairs), statistic, seed=4, samples=50)
    again = bootstrap_interval(*unzip(shuffled), statistic, seed=4, samples=50)
    assert same(first[0], again[0])
    assert same(first[1], again[1])


def test_resamples_without_variance_are_left_out() -> None:
    # Half of the resamples of two responses hold one of them twice: kappa is not defined there.
    assert bootstrap_interval([1, 2], [1, 2], quadratic_weighted_kappa, seed=0) == (1, 1)


@pytest.mark.parametrize("statistic", [pearson_r, standardized_mean_difference])
def test_rounding_noise_is_not_taken_for_variance(statistic: Statistic) -> None:
    # The same response again and again, 1 to 60 times; the other one never.
    counts = np.stack([np.zeros(60), np.arange(1, 61)], axis=1)
    repeated = Pairs(np.array([0.1, 0.7]), np.array([0.3, 0.2]), counts)
    assert np.isnan(statistic.of(repeated)).all()


def test_there_is_no_interval_for_one_response_or_one_student() -> None:
    nothing = bootstrap_interval([1], [1], exact_agreement, seed=0)
    one_student = bootstrap_interval([1, 2], [1, 1], exact_agreement, seed=0, clusters=["a", "a"])
    always_undefined = bootstrap_interval([1, 1], [1, 1], quadratic_weighted_kappa, seed=0)
    for low, high in (nothing, one_student, always_undefined):
        assert math.isnan(low)
        assert math.isnan(high)


def test_clusters_must_name_every_response() -> None:
    with pytest.raises(ValueError, match="3 scores but 2 clusters"):
        bootstrap_interval([1, 2, 3], [1, 2, 3], exact_agreement, seed=0, clusters=[1, 2])
