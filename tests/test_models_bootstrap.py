"""Bootstrap intervals and paired differences: against plain loops, simulations, and their laws."""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_agreement import pairs_of_scores, same, unzip

from models.agreement import (
    Difference,
    Statistic,
    adjacent_agreement,
    bootstrap,
    bootstrap_interval,
    degradation,
    exact_agreement,
    kappa,
    paired_difference,
    pearson_r,
    percentile_interval,
    pooled_smd,
    quadratic_weighted_kappa,
    r_squared,
    root_mean_squared_error,
    sample_values,
    standardized_mean_difference,
)

EVERY = [
    quadratic_weighted_kappa,
    kappa,
    exact_agreement,
    adjacent_agreement,
    pearson_r,
    r_squared,
    root_mean_squared_error,
    standardized_mean_difference,
    pooled_smd,
]


def rated(n: int, seed: int, *spread: float) -> list[np.ndarray]:
    """Scores of n responses by as many raters as are given, each with a spread of its own."""
    rng = np.random.default_rng(seed)
    ability = rng.normal(size=n)
    return [np.clip(np.rint(2 + ability + rng.normal(scale=own, size=n)), 0, 4) for own in spread]


def simulated(n: int, seed: int) -> list[np.ndarray]:
    return rated(n, seed, 0.5, 0.5)


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
    drawn = bootstrap(
        {"qwk": quadratic_weighted_kappa.resampled(human, machine)}, 150, seed=1, samples=2000
    )
    assert percentile_interval(drawn["qwk"], 0.9) == pytest.approx((low, high), abs=0.01)


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


def test_unknown_students_are_not_one_student() -> None:
    human, machine = simulated(200, seed=5)
    unknown = np.full(200, -1)
    low, high = bootstrap_interval(
        human, machine, quadratic_weighted_kappa, seed=1, samples=2000, clusters=unknown
    )
    plain = bootstrap_interval(human, machine, quadratic_weighted_kappa, seed=2, samples=2000)
    assert (low, high) == pytest.approx(plain, abs=0.01)


def test_the_rows_of_a_cluster_are_always_drawn_together() -> None:
    clusters = np.array([7, -1, 3, 7, 3, -1, 7])
    seen: list[np.ndarray] = []

    def keep(counts: np.ndarray) -> np.ndarray:
        seen.append(counts)
        return counts[:, 0]

    bootstrap({"counts": keep}, 7, seed=0, samples=300, clusters=clusters)
    counts = np.concatenate(seen)
    assert (counts[:, 0] == counts[:, 3]).all()
    assert (counts[:, 0] == counts[:, 6]).all()
    assert (counts[:, 2] == counts[:, 4]).all()
    assert (counts[:, 1] != counts[:, 5]).any()
    # Four units are drawn four times, on average each of them once.
    assert (counts[:, [0, 1, 2, 5]].sum(axis=1) == 4).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.2)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = quadratic_weighted_kappa(*simulated(400_000, seed=99))
    covered = 0
    for seed in range(100):
        low, high = bootstrap_interval(
            *simulated(200, seed), quadratic_weighted_kappa, seed=seed, samples=400
        )
        covered += low <= truth <= high
    assert 88 <= covered <= 99


@pytest.mark.parametrize(("n", "expected"), [(50, 0.13), (100, 0.09), (300, 0.05), (1000, 0.03)])
def test_a_kappa_near_the_gate_is_as_uncertain_as_simulations_say(n: int, expected: float) -> None:
    # Half widths of 95% intervals near .73, simulated elsewhere: with 50 responses .70 is noise.
    widths = []
    for seed in range(20):
        human, machine = rated(n, seed, 0.5, 0.55)
        low, high = bootstrap_interval(human, machine, quadratic_weighted_kappa, seed=seed)
        widths.append((high - low) / 2)
    assert np.mean(widths) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("statistic", EVERY)
@settings(max_examples=20)
@given(pairs_of_scores, st.integers(0, 2**32 - 1))
def test_the_order_of_responses_does_not_move_the_interval(
    statistic: Statistic, pairs: list[tuple[int, int]], seed: int
) -> None:
    shuffled = [pairs[row] for row in np.random.default_rng(seed).permutation(len(pairs))]
    first = bootstrap_interval(*unzip(pairs), statistic, seed=4, samples=50)
    again = bootstrap_interval(*unzip(shuffled), statistic, seed=4, samples=50)
    assert same(first[0], again[0])
    assert same(first[1], again[1])


@pytest.mark.parametrize("students", [None, [5, 3, -1, 3, -1, 8, 5, -1, 8, 2] * 3])
def test_rows_put_in_order_are_drawn_alike_in_whatever_order_they_come(
    students: list[int] | None,
) -> None:
    rng = np.random.default_rng(6)
    human, machine = simulated(30, seed=6)
    raw = machine + rng.normal(scale=0.1, size=30)
    mixed = rng.permutation(30)

    def values(rows: np.ndarray) -> dict[str, np.ndarray]:
        figures = {
            "qwk": quadratic_weighted_kappa.resampled(human[rows], machine[rows]),
            "rmse": root_mean_squared_error.resampled(human[rows], raw[rows]),
        }
        clusters = None if students is None else np.array(students)[rows]
        order = (human[rows], raw[rows])
        return bootstrap(figures, 30, seed=1, samples=40, clusters=clusters, order=order)

    plain, again = values(np.arange(30)), values(mixed)
    for name, drawn in plain.items():
        assert again[name] == pytest.approx(drawn, abs=1e-9, nan_ok=True)


def test_the_same_seed_gives_the_same_resamples_for_every_figure() -> None:
    human, machine = simulated(60, seed=1)
    figures = {
        "exact": exact_agreement.resampled(human, machine),
        "missed": lambda counts: 1 - exact_agreement.resampled(human, machine)(counts),
    }
    drawn = bootstrap(figures, 60, seed=1, samples=100)
    assert (drawn["exact"] + drawn["missed"] == 1).all()
    alone = bootstrap({"exact": figures["exact"]}, 60, seed=1, samples=100)
    assert alone["exact"].tolist() == drawn["exact"].tolist()
    other = bootstrap({"exact": figures["exact"]}, 60, seed=2, samples=100)
    assert other["exact"].tolist() != drawn["exact"].tolist()


def test_memory_is_bounded_by_drawing_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    human, machine = simulated(60, seed=1)
    figures = {"qwk": quadratic_weighted_kappa.resampled(human, machine)}
    at_once = bootstrap(figures, 60, seed=1, samples=100)
    monkeypatch.setattr("models.agreement.resampling._BLOCK", 7 * 60)
    in_blocks = bootstrap(figures, 60, seed=1, samples=100)
    assert in_blocks["qwk"] == pytest.approx(at_once["qwk"], abs=1e-12)


@pytest.mark.parametrize("statistic", EVERY)
def test_rows_without_both_scores_weigh_nothing(statistic: Statistic) -> None:
    rng = np.random.default_rng(2)
    human, machine = simulated(50, seed=2)
    human[rng.random(50) < 0.2] = math.nan
    machine[rng.random(50) < 0.2] = math.nan
    known = ~(np.isnan(human) | np.isnan(machine))
    assert 20 < known.sum() < 45
    counts = rng.integers(0, 3, (9, 50)).astype(float)
    ours = statistic.resampled(human, machine)(counts)
    for drawn, value in zip(counts.astype(int), ours, strict=True):
        rows = np.repeat(np.arange(50), drawn)
        rows = rows[known[rows]]
        assert same(value, statistic(human[rows], machine[rows]))
    of_sample = sample_values({"it": statistic.resampled(human, machine)}, 50)["it"]
    assert same(of_sample, statistic(human[known], machine[known]))


def test_figures_of_different_rows_are_paired_row_by_row() -> None:
    # The second rater has read a part of the responses; both figures share those.
    human, second, machine = rated(400, 8, 0.4, 0.4, 0.4)
    second[200:] = math.nan
    drawn = bootstrap(
        {
            "machine": quadratic_weighted_kappa.resampled(human, machine),
            "people": quadratic_weighted_kappa.resampled(human, second),
        },
        400,
        seed=0,
        samples=1000,
    )
    low, high = percentile_interval(degradation(drawn["machine"], drawn["people"]))
    assert low < 0 < high
    apart = np.hypot(drawn["machine"].std(), drawn["people"].std())
    assert degradation(drawn["machine"], drawn["people"]).std() < 0.95 * apart


def test_a_figure_no_rater_has_taken_part_in_is_nan_and_not_an_error() -> None:
    nobody = np.full(5, math.nan)
    figures = {statistic.__name__: statistic.resampled(nobody, nobody) for statistic in EVERY}  # type: ignore[attr-defined]
    for values in bootstrap(figures, 5, seed=0, samples=3).values():
        assert np.isnan(values).all()
    nothing = {name: statistic.resampled([], []) for name, statistic in enumerate(EVERY)}
    drawn = bootstrap(nothing, 0, seed=0, samples=3, clusters=[], order=([], []))  # type: ignore[arg-type]
    for values in drawn.values():
        assert values.shape == (3,)
        assert np.isnan(values).all()
    assert all(map(math.isnan, sample_values(nothing, 0).values()))  # type: ignore[arg-type]


def test_few_resamples_without_a_value_are_left_out_and_many_leave_no_interval() -> None:
    values = [math.nan] * 2 + [3.0] * 98
    assert percentile_interval(values) == (3, 3)
    assert all(map(math.isnan, percentile_interval([math.nan, *values])))
    assert percentile_interval([math.nan, *values], level=0.9) == (3, 3)
    # Half of the resamples of two responses hold one of them twice: kappa is not defined there.
    assert all(map(math.isnan, bootstrap_interval([1, 2], [1, 2], pearson_r, seed=0)))


@pytest.mark.parametrize(("missed", "known"), [(1, False), (3, False), (8, True)])
def test_a_kappa_that_rests_on_a_few_rare_scores_has_no_interval(missed: int, known: bool) -> None:
    # The machine gives everyone 0, and so do people but for a few. Kappa is 0 in every resample
    # that holds one of these: of one response that would say far too much.
    human, machine = np.zeros(100), np.zeros(100)
    human[:missed] = 1
    found = bootstrap_interval(human, machine, quadratic_weighted_kappa, seed=0)
    assert quadratic_weighted_kappa(human, machine) == 0
    assert (found == (0, 0)) is known
    assert known or all(map(math.isnan, found))


def test_there_is_no_interval_for_one_response_or_one_student() -> None:
    none = bootstrap_interval([], [], exact_agreement, seed=0)
    nothing = bootstrap_interval([1], [1], exact_agreement, seed=0)
    one_student = bootstrap_interval([1, 2], [1, 1], exact_agreement, seed=0, clusters=["a", "a"])
    always_undefined = bootstrap_interval([1, 1], [1, 1], quadratic_weighted_kappa, seed=0)
    for low, high in (none, nothing, one_student, always_undefined, percentile_interval([])):
        assert math.isnan(low)
        assert math.isnan(high)


def test_clusters_and_keys_must_name_every_response() -> None:
    with pytest.raises(ValueError, match="3 scores but 2 clusters"):
        bootstrap_interval([1, 2, 3], [1, 2, 3], exact_agreement, seed=0, clusters=[1, 2])
    figure = {"exact": exact_agreement.resampled([1, 2], [1, 2])}
    with pytest.raises(ValueError, match="2 scores but 3 clusters or keys"):
        bootstrap(figure, 2, seed=0, order=([1, 2, 3],))
    with pytest.raises(ValueError, match="3 scores but 2 clusters"):
        paired_difference([1, 2, 3], [1, 2, 3], [1, 2, 3], seed=0, clusters=[1, 2])


def test_a_better_machine_is_told_from_a_worse_one_though_their_intervals_overlap() -> None:
    human, champion = rated(300, 4, 0.5, 0.5)
    challenger = np.where(np.random.default_rng(1).random(300) < 0.12, human, champion)
    found = paired_difference(human, challenger, champion, seed=1)
    assert found.low > 0
    assert found.low < found.value < found.high
    gain = quadratic_weighted_kappa(human, challenger) - quadratic_weighted_kappa(human, champion)
    assert found.value == pytest.approx(gain)
    assert found.n == 300
    one = bootstrap_interval(human, challenger, quadratic_weighted_kappa, seed=1)
    other = bootstrap_interval(human, champion, quadratic_weighted_kappa, seed=1)
    assert one[0] < other[1]


def test_the_difference_is_that_of_a_plain_loop_over_resamples() -> None:
    human, challenger, champion = rated(120, 9, 0.5, 0.4, 0.6)
    rng = np.random.default_rng(0)
    plain = []
    for _ in range(2000):
        rows = rng.integers(0, 120, 120)
        new, old = (
            exact_agreement(human[rows], machine[rows]) for machine in (challenger, champion)
        )
        plain.append(new - old)
    found = paired_difference(human, challenger, champion, exact_agreement, seed=1, level=0.9)
    expected = tuple(np.quantile(plain, [0.05, 0.95]))
    assert (found.low, found.high) == pytest.approx(expected, abs=0.015)


def test_like_machines_do_not_differ() -> None:
    human, machine = simulated(80, seed=1)
    assert paired_difference(human, machine, machine, seed=1) == Difference(0, 0, 0, 80)


def test_a_difference_rests_on_responses_that_all_three_have_scored() -> None:
    human, challenger, champion = rated(90, 2, 0.5, 0.4, 0.6)
    students = np.arange(90) // 2
    human[:10], challenger[20:30], champion[40:50] = math.nan, math.nan, math.nan
    found = paired_difference(human, challenger, champion, seed=1, clusters=students)
    known = ~np.isnan(human + challenger + champion)
    kept = (scores[known] for scores in (human, challenger, champion))
    assert found == paired_difference(*kept, seed=1, clusters=students[known])
    assert found.n == 60


def test_a_difference_of_too_few_responses_has_no_interval() -> None:
    for n in (0, 1):
        found = paired_difference([1] * n, [1] * n, [2] * n, exact_agreement, seed=0)
        assert found.n == n
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_a_thousand_resamples_of_an_item_take_a_small_part_of_a_second() -> None:
    human, second, machine = rated(200, 0, 0.4, 0.4, 0.4)
    second[40:] = math.nan
    raw = machine + np.random.default_rng(0).normal(scale=0.2, size=200)
    figures = {
        f"{statistic.__name__} {name}": statistic.resampled(human, other)  # type: ignore[attr-defined]
        for statistic in EVERY
        for name, other in (("machine", machine), ("raw", raw), ("second", second))
    }
    started = time.process_time()
    for seed in range(5):
        bootstrap(figures, 200, seed=seed, clusters=np.arange(200) // 3, order=(human, raw))
    # About 10 ms each; the limit leaves room for a busy machine.
    assert (time.process_time() - started) / 5 < 0.15
