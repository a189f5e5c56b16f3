"""Every table of RSMTool's published evaluation experiments, computed again from its own scores.

The experiments are test data of github.com/EducationalTestingService/rsmtool (Apache-2.0), read in
place from ../shared/data/rsm_golden: the scores in ``*_pred_processed.csv``, the second raters in
``*_test_human_scores.csv``, the subgroups in ``*_test_metadata.csv``. All else is compared, figure
by figure, to 1e-9; an empty cell stands for a figure that is not defined.
"""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest

from models.agreement import (
    FairnessTest,
    Population,
    Statistic,
    adjacent_agreement,
    confusion_matrix,
    degradation,
    difference_of_standardized_means,
    disattenuated_correlation,
    exact_agreement,
    fairness,
    kappa,
    pearson_r,
    pooled_smd,
    prmse,
    quadratic_weighted_kappa,
    r_squared,
    root_mean_squared_error,
    standardized_mean_difference,
)

RSM = Path(__file__).parents[2] / "shared" / "data" / "rsm_golden"
pytestmark = pytest.mark.skipif(not RSM.is_dir(), reason="needs ../shared/data/rsm_golden")

# RSMTool's names of the statistics, and the units it gives them in.
HUMAN_MACHINE: dict[str, tuple[Statistic, float]] = {
    "corr": (pearson_r, 1),
    "wtkappa": (quadratic_weighted_kappa, 1),
    "kappa": (kappa, 1),
    "exact_agr": (exact_agreement, 100),
    "adj_agr": (adjacent_agreement, 100),
    "R2": (r_squared, 1),
    "RMSE": (root_mean_squared_error, 1),
    "SMD": (standardized_mean_difference, 1),
}
HUMAN_HUMAN = {name: HUMAN_MACHINE[name] for name in list(HUMAN_MACHINE)[:5]} | {
    "SMD": (pooled_smd, 1.0)
}
INPUTS = ("pred_processed", "test_human_scores", "test_metadata", "test_other_columns")

Table = list[dict[str, str]]
Scores = np.ndarray


def read(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(cells: list[str]) -> Scores:
    return np.array([float(cell) if cell else math.nan for cell in cells])


@dataclass(frozen=True)
class Experiment:
    folder: Path
    name: str

    def table(self, kind: str) -> Table:
        return read(self.folder / f"{self.name}_{kind}.csv")

    @property
    def tables(self) -> list[str]:
        return [file.stem.removeprefix(f"{self.name}_") for file in self.folder.glob("*.csv")]

    @cached_property
    def human(self) -> Scores:
        return self.machine("sc1")

    @cached_property
    def second(self) -> Scores:
        """The second rater's scores, NaN where there is none."""
        table = self.table("test_human_scores")
        assert [row["spkitemid"] for row in table] == self.ids
        return numbers([row["sc2"] for row in table])

    @cached_property
    def predictions(self) -> Table:
        return self.table("pred_processed")

    @property
    def ids(self) -> list[str]:
        return [row["spkitemid"] for row in self.predictions]

    def machine(self, kind: str) -> Scores:
        return numbers([row[kind] for row in self.predictions])

    @property
    def trimmed(self) -> str:
        """The scores that RSMTool evaluates by subgroup."""
        return "scale_trim" if "scale_trim" in self.predictions[0] else "raw_trim"

    def groups(self, attribute: str) -> np.ndarray:
        table = self.table("test_metadata")
        assert [row["spkitemid"] for row in table] == self.ids
        return np.array([row[attribute] for row in table], dtype=object)

    def parts(self, attribute: str) -> Iterator[tuple[str, np.ndarray]]:
        groups = self.groups(attribute)
        yield "All data", np.ones(groups.size, dtype=bool)
        for level in sorted(set(groups.tolist())):
            yield level, groups == level


EXPERIMENTS = [Experiment(file.parent, file.stem) for file in sorted(RSM.glob("*/*.json"))]


COMPARED: set[str] = set()


def each(*kinds: str) -> pytest.MarkDecorator:
    """Run a test on every published table of these kinds, ``by_`` standing for any attribute."""
    cases = {
        f"{experiment.name}-{table}": (experiment, table)
        for experiment in EXPERIMENTS
        for table in experiment.tables
        if any(table == kind or (kind.endswith("by_") and table.startswith(kind)) for kind in kinds)
    }
    COMPARED.update(cases)
    return pytest.mark.parametrize(("experiment", "table"), cases.values(), ids=cases)


def same(published: str, ours: float, where: str) -> None:
    if published:
        assert ours == pytest.approx(float(published), abs=1e-9), where
    else:
        assert math.isnan(ours), where


def described(prefix: str, scores: Scores) -> dict[str, float]:
    scores = scores[~np.isnan(scores)]
    if not scores.size:
        return dict.fromkeys(
            (f"{prefix}_{what}" for what in ("mean", "sd", "min", "max")), math.nan
        )
    return {
        f"{prefix}_mean": scores.mean(),
        f"{prefix}_sd": scores.std(ddof=1),
        f"{prefix}_min": scores.min(),
        f"{prefix}_max": scores.max(),
    }


def agreement(
    statistics: dict[str, tuple[Statistic, float]], human: Scores, other: Scores
) -> dict[str, float]:
    return {name: unit * of(human, other) for name, (of, unit) in statistics.items()}


def human_machine(experiment: Experiment, kind: str, chosen: np.ndarray) -> dict[str, float]:
    human, machine = experiment.human[chosen], experiment.machine(kind)[chosen]
    figures = described("h", human) | described("sys", machine) | {"N": float(human.size)}
    return figures | agreement(HUMAN_MACHINE, human, machine)


def human_human(experiment: Experiment, chosen: np.ndarray) -> dict[str, float]:
    both = chosen & ~np.isnan(experiment.second)
    first, second = experiment.human[both], experiment.second[both]
    figures = described("h1", first) | described("h2", second) | {"N": float(first.size)}
    return figures | agreement(HUMAN_HUMAN, first, second)


def test_there_are_six_experiments_and_every_table_of_theirs_is_compared() -> None:
    published = {f"{one.name}-{table}" for one in EXPERIMENTS for table in one.tables}
    inputs = {f"{one.name}-{table}" for one in EXPERIMENTS for table in INPUTS}
    assert len(EXPERIMENTS) == 6
    assert published - inputs == COMPARED


@each("eval")
def test_people_and_machine_by_kind_of_score(experiment: Experiment, table: str) -> None:
    everyone = np.ones(experiment.human.size, dtype=bool)
    for row in experiment.table(table):
        kind = row.pop("")
        ours = human_machine(experiment, kind, everyone)
        assert set(row) == set(ours) & set(row)
        for name, published in row.items():
            same(published, ours[name], f"{kind}: {name}")


@each("eval_short")
def test_people_and_machine_in_short(experiment: Experiment, table: str) -> None:
    everyone = np.ones(experiment.human.size, dtype=bool)
    for key, published in list(experiment.table(table)[0].items())[1:]:
        name, _, kind = key.partition(".")
        ours = human_machine(experiment, kind or experiment.trimmed, everyone)
        same(published, ours[name], key)


def dsm(experiment: Experiment, other: Scores, groups: np.ndarray) -> dict[str, float]:
    population = Population.of(experiment.human, other)
    return difference_of_standardized_means(experiment.human, other, groups, population)


@each("eval_by_")
def test_people_and_machine_by_subgroup(experiment: Experiment, table: str) -> None:
    attribute = table.removeprefix("eval_by_")
    parts = dict(experiment.parts(attribute))
    rows = {row.pop(""): row for row in experiment.table(table)}
    assert set(rows) == set(parts)
    for level, row in rows.items():
        groups = np.where(parts[level], level, None)
        for key, published in row.items():
            name, _, kind = key.partition(".")
            kind = kind or experiment.trimmed
            ours = human_machine(experiment, kind, parts[level])
            if name == "DSM":
                ours["DSM"] = dsm(experiment, experiment.machine(kind), groups)[level]
            same(published, ours[name], f"{level}: {key}")


@each("consistency")
def test_two_people(experiment: Experiment, table: str) -> None:
    row = dict(list(experiment.table(table)[0].items())[1:])
    ours = human_human(experiment, np.ones(experiment.human.size, dtype=bool))
    assert set(row) == set(ours)
    for name, published in row.items():
        same(published, ours[name], name)


@each("consistency_by_")
def test_two_people_by_subgroup(experiment: Experiment, table: str) -> None:
    parts = dict(experiment.parts(table.removeprefix("consistency_by_")))
    rows = {row.pop(""): row for row in experiment.table(table)}
    assert set(rows) == set(parts)
    for level, row in rows.items():
        ours = human_human(experiment, parts[level])
        # Here the first rater's population is that of all responses, the second's of those read.
        groups = np.where(parts[level], level, None)
        ours["DSM"] = dsm(experiment, experiment.second, groups)[level]
        for name, published in row.items():
            same(published, ours[name], f"{level}: {name}")


@each("confMatrix", "confMatrix_h1h2")
def test_confusion(experiment: Experiment, table: str) -> None:
    other = experiment.machine(f"{experiment.trimmed}_round")
    if table == "confMatrix_h1h2":
        other = experiment.second
    known = ~np.isnan(other)
    human, other = np.rint(experiment.human[known]), np.rint(other[known])
    rows = experiment.table(table)
    labels = [int(row.pop("")) for row in rows]
    published = [[int(cell) for cell in row.values()] for row in rows]
    assert confusion_matrix(human, other, labels).tolist() == published


@each("score_dist")
def test_distributions_of_scores(experiment: Experiment, table: str) -> None:
    machine = experiment.machine(f"{experiment.trimmed}_round")
    rows = experiment.table(table)
    labels = [float(row["score"]) for row in rows]
    counts = confusion_matrix(np.rint(experiment.human), machine, labels)
    shares = 100 * counts / counts.sum()
    for row, human, system in zip(rows, shares.sum(axis=1), shares.sum(axis=0), strict=True):
        same(row["human"], human, row["score"])
        same(row.get("sys_scale", row.get("sys_raw", "")), system, row["score"])
        same(row["difference"], system - human, row["score"])


@each("degradation")
def test_degradation(experiment: Experiment, table: str) -> None:
    everyone = np.ones(experiment.human.size, dtype=bool)
    people = human_human(experiment, everyone)
    for row in experiment.table(table):
        kind = row.pop("")
        machine = human_machine(experiment, kind, everyone)
        for name, published in row.items():
            same(published, degradation(machine[name], people[name]), f"{kind}: {name}")


@each("disattenuated_correlations", "disattenuated_correlations_by_")
def test_disattenuated_correlations(experiment: Experiment, table: str) -> None:
    attribute = table.removeprefix("disattenuated_correlations").removeprefix("_by_")
    parts = dict(experiment.parts(attribute)) if attribute else {}
    everyone = np.ones(experiment.human.size, dtype=bool)
    for row in experiment.table(table):
        part = row.pop("")
        chosen = parts.get(part, everyone)
        kind = experiment.trimmed if attribute else part
        r_machine = human_machine(experiment, kind, chosen)["corr"]
        r_people = human_human(experiment, chosen)["corr"]
        ours = disattenuated_correlation(r_machine, r_people)
        same(row["corr_HM"], r_machine, part)
        same(row["corr_HH"], r_people, part)
        same(row["sqrt_HH"], math.sqrt(r_people), part)
        same(row["corr_disattenuated"], ours, part)


@each("true_score_eval")
def test_true_scores(experiment: Experiment, table: str) -> None:
    ratings = np.stack([experiment.human, experiment.second], axis=1)
    for row in experiment.table(table):
        kind = row.pop("")
        found = prmse(experiment.machine(kind), ratings)
        ours = {
            "N": found.n,
            "N raters": ratings.shape[1],
            "N single": found.n - found.n_multiple,
            "N multiple": found.n_multiple,
            "Variance of errors": found.error_variance,
            "True score var": found.true_variance,
            "MSE true": found.mse_true,
            "PRMSE true": found.value,
        }
        assert set(row) == set(ours)
        for name, published in row.items():
            same(published, ours[name], f"{kind}: {name}")


@each("fairness_metrics_by_")
def test_fairness(experiment: Experiment, table: str) -> None:
    groups = experiment.groups(table.removeprefix("fairness_metrics_by_"))
    found = fairness(experiment.human, experiment.machine(experiment.trimmed), groups)
    columns = {
        "Overall score accuracy": found.osa,
        "Overall score difference": found.osd,
        "Conditional score difference": found.csd,
    }
    for row in experiment.table(table):
        assert row["base_category"] == found.reference
        for name, test in columns.items():
            same(row[name], test.r2_adjusted if row[""] == "R2" else test.p, name)


@each("estimates_osa_by_", "estimates_osd_by_", "estimates_csd_by_")
def test_coefficients_of_fairness(experiment: Experiment, table: str) -> None:
    test, _, attribute = table.removeprefix("estimates_").partition("_by_")
    groups = experiment.groups(attribute)
    found = fairness(experiment.human, experiment.machine(experiment.trimmed), groups)
    tested: FairnessTest = getattr(found, test)
    rows = {row.pop(""): row for row in experiment.table(table)}
    ours = {
        f"Intercept ({level})" if level == found.reference else level: estimate
        for level, estimate in tested.estimates.items()
    }
    assert set(rows) == set(ours)
    for level, row in rows.items():
        low, high = ours[level].interval()
        same(row["estimate"], ours[level].value, level)
        same(row["P>[t]"], ours[level].p, level)
        same(row["[0.025"], low, level)
        same(row["0.975]"], high, level)


@each("data_composition", "data_composition_by_")
def test_numbers_of_responses(experiment: Experiment, table: str) -> None:
    attribute = table.removeprefix("data_composition").removeprefix("_by_")
    rows = experiment.table(table)
    if attribute:
        groups = experiment.groups(attribute).tolist()
        ours = {level: str(groups.count(level)) for level in set(groups)}
        assert {row[attribute]: row["N responses"] for row in rows} == ours
    else:
        assert rows[0].pop("partition") == "Evaluation"
        assert int(rows[0].pop("responses")) == experiment.human.size
        for name, levels in rows[0].items():
            assert len(set(experiment.groups(name).tolist())) == int(levels)


@each("test_excluded_composition")
def test_no_response_was_left_out(experiment: Experiment, table: str) -> None:
    # RSMTool counts the responses that it refused; all that its input holds were evaluated.
    cells = {cell for row in experiment.table(table) for cell in row.values()}
    assert cells - {""} == {"0", "0.0"}
    assert not np.isnan(experiment.human).any()
    assert not np.isnan(experiment.machine(experiment.trimmed)).any()


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.name)
def test_scores_were_trimmed_and_rounded_half_to_even(experiment: Experiment) -> None:
    # What the figures above rest on: trimming to the scale plus .4998 either way.
    settings = json.loads((experiment.folder / f"{experiment.name}.json").read_text("utf-8"))
    low, high = settings["trim_min"] - 0.4998, settings["trim_max"] + 0.4998
    for kind in ("raw", "scale"):
        if kind in experiment.predictions[0]:
            trimmed = np.clip(experiment.machine(kind), low, high)
            assert experiment.machine(f"{kind}_trim") == pytest.approx(trimmed, abs=1e-9)
            rounded = experiment.machine(f"{kind}_trim_round")
            assert rounded.tolist() == np.rint(trimmed).tolist()
