"""Compare machine scores with people's, item by item: the figures of ``tasks.evaluation``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.agreement import (
    Statistic,
    adjacent_agreement,
    bootstrap,
    calibration_error_resampled,
    calibration_table,
    confusion_matrix,
    degradation,
    disattenuated_correlation,
    dsm_resampled,
    exact_agreement,
    fairness,
    kappa,
    pearson_r,
    percentile_interval,
    pooled_smd,
    prmse_resampled,
    quadratic_weighted_kappa,
    r_squared,
    risk_coverage,
    root_mean_squared_error,
    sample_values,
    standardized_mean_difference,
)
from tasks.evaluation import (
    ENOUGH_RATED,
    NEAR_BOUNDARY,
    SMALL_CELL,
    FairnessFigure,
    Figure,
    ItemEvaluation,
    SubgroupFigure,
)
from warehouse import db
from warehouse.ratings import RatedScores, Scale, rated_scores

SAMPLES = 1_000
FAR_APART = 2  # score points
# Figures of the first rater and the machine, by which of the machine's scores they are about.
ON_REPORTED: Mapping[str, Statistic] = {
    "qwk": quadratic_weighted_kappa,
    "kappa": kappa,
    "exact": exact_agreement,
    "adjacent": adjacent_agreement,
    "smd": standardized_mean_difference,
}
ON_TRIMMED: Mapping[str, Statistic] = {
    "qwk_trimmed": quadratic_weighted_kappa,
    "smd_trimmed": standardized_mean_difference,
    "pearson_r": pearson_r,
    "r2": r_squared,
    "rmse": root_mean_squared_error,
}
BETWEEN_PEOPLE: Mapping[str, Statistic] = {
    "qwk": quadratic_weighted_kappa,
    "kappa": kappa,
    "exact": exact_agreement,
    "adjacent": adjacent_agreement,
    "pearson_r": pearson_r,
    "smd": pooled_smd,
}
DEGRADATIONS = {
    "degradation_qwk": "qwk",
    "degradation_r": "pearson_r",
    "degradation_exact": "exact",
    "degradation_smd": "smd",
}

Floats = NDArray[np.float64]


def evaluate_scores(
    warehouse: Path,
    run_id: str | None,
    *,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
    adapters_of: str | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    small_cell: int = SMALL_CELL,
    enough_rated: int = ENOUGH_RATED,
) -> list[ItemEvaluation]:
    """Compare machine scores with the first rater's, item by item.

    Args:
        warehouse: the ``warehouse.duckdb`` file.
        run_id: look at what this run scored; None looks at the current score of everything.
        seasons: only these seasons; None is all.
        items: only these item ids; None is all.
        adapters_of: instead of the current scores of everything, those that the adapters of this
            run gave in it and in released runs: what is known of these adapters so far.
        samples: bootstrap resamples behind each interval; a student's responses are drawn
            together.
        seed: of the bootstrap; the same seed gives the same intervals.
        small_cell: subgroups with fewer rated responses are left out.
        enough_rated: an item with fewer rated responses is marked as not to be judged.

    Returns:
        One evaluation for each item and trait that has scored or coded responses, by their ids.
    """
    with db.connect(warehouse, read_only=True) as connection:
        found = rated_scores(
            connection, run_id, seasons=seasons, items=items, adapters_of=adapters_of
        )
        draws, least = _Draws(samples, seed), _Least(small_cell, enough_rated)
        return [_evaluate(scale, rows, draws, least) for scale, rows in found]


class _Draws(NamedTuple):
    """How the bootstrap draws."""

    samples: int
    seed: int


class _Least(NamedTuple):
    """Responses needed to show a group, and to judge an item."""

    small_cell: int
    enough_rated: int


class _Measured(NamedTuple):
    """What the bootstrap gave: a figure's resamples and the responses it rests on."""

    value: float
    resamples: Floats
    n: int

    def figure(self) -> Figure:
        return Figure(self.value, *percentile_interval(self.resamples), self.n)


def _evaluate(scale: Scale, rows: RatedScores, draws: _Draws, least: _Least) -> ItemEvaluation:
    scored, rated = rows[rows.scored], rated_rows(rows)
    human, machine = rated.human_score, rated.score
    figures, people, subgroups = _agreement(rated, draws, least.small_cell)
    latency_ms = scored.latency_ms[~scored.reused]
    points = np.arange(scale.score_min, scale.score_max + 1)
    rounded = np.floor(human + 0.5)
    kinds = np.unique(scored.reported.astype(str)).tolist()
    return ItemEvaluation(
        **vars(scale),
        adapter_versions=tuple(int(version) for version in np.unique(scored.adapter_version)),
        reported=kinds[0] if len(kinds) == 1 else "mixed" if kinds else "",
        n_scored=len(scored),
        n_reused=int(scored.reused.sum()),
        n_coded=len(rows) - len(scored),
        n_seen=int(scored.seen.sum()),
        n_rated=len(rated),
        n_double=int((~np.isnan(rated.human_score_2)).sum()),
        figures=figures,
        human_human=people,
        subgroups=subgroups,
        fairness=tuple(_fairness(rated, least.small_cell)),
        calibration=calibration_table(human == machine, rated.confidence),
        coverage=risk_coverage(human, machine, rated.confidence) if len(rated) else (),
        mean_confidence=_mean(scored.confidence),
        mean_human=_mean(human),
        mean_machine=_mean(machine),
        latency_ms_p50=_percentile(latency_ms, 50),
        latency_ms_p95=_percentile(latency_ms, 95),
        scoring_s=float(latency_ms.sum()) / 1000,
        confusion=tuple(map(tuple, confusion_matrix(rounded, machine, points).tolist())),
        human_distribution=_shares(rounded, points),
        machine_distribution=_shares(scored.score, points),
        n_truncated=int(scored.truncated.sum()),
        n_by_student=int(scored.by_student.sum()),
        near_boundary=int((np.abs(scored.raw_score % 1 - 0.5) < NEAR_BOUNDARY).sum()),
        n_far_apart=int((np.abs(human - machine) >= FAR_APART).sum()),
        small_cell=least.small_cell,
        enough_to_judge=least.enough_rated,
    )


def _agreement(
    rated: RatedScores, draws: _Draws, small_cell: int
) -> tuple[dict[str, Figure], dict[str, Figure], tuple[SubgroupFigure, ...]]:
    """All figures with intervals, from one set of resamples."""
    levels = list(_levels(rated, small_cell))
    measured = _resampled(rated, levels, draws)
    human_human = {name: measured[f"people {name}"] for name in BETWEEN_PEOPLE}
    direct = (*ON_REPORTED, *ON_TRIMMED, "prmse", "calibration_error")
    figures = {name: measured[name].figure() for name in direct}
    for name, of in DEGRADATIONS.items():
        figures[name] = _difference(measured[of], human_human[of]).figure()
    attenuated = _disattenuated(measured["pearson_r"], human_human["pearson_r"])
    figures["disattenuated_r"] = attenuated.figure()
    people = {name: entry.figure() for name, entry in human_human.items()}
    return figures, people, tuple(_subgroups(rated, levels, measured))


def _resampled(
    rated: RatedScores, levels: Sequence[tuple[str, str]], draws: _Draws
) -> dict[str, _Measured]:
    """Every statistic of the sample and of the same resamples."""
    human, human_2 = rated.human_score, rated.human_score_2
    double = ~np.isnan(human_2)
    pairs: dict[str, tuple[Statistic, Floats, Floats]] = {
        **{name: (statistic, human, rated.score) for name, statistic in ON_REPORTED.items()},
        **{name: (statistic, human, rated.trimmed_score) for name, statistic in ON_TRIMMED.items()},
        **{
            f"people {name}": (statistic, np.where(double, human, np.nan), human_2)
            for name, statistic in BETWEEN_PEOPLE.items()
        },
    }
    formulas: dict[str, Callable[[Floats], Floats]] = {
        name: statistic.resampled(first, second)
        for name, (statistic, first, second) in pairs.items()
    }
    for attribute, level in levels:
        formulas[_dsm_name(attribute, level)] = dsm_resampled(
            human, rated.trimmed_score, rated.groups[attribute], level
        )
    formulas["prmse"] = prmse_resampled(rated.trimmed_score, np.stack([human, human_2], axis=1))
    formulas["calibration_error"] = calibration_error_resampled(
        human == rated.score, rated.confidence
    )
    values = bootstrap(
        formulas,
        len(rated),
        seed=draws.seed,
        samples=draws.samples,
        clusters=_clusters(rated),
        order=(human, rated.raw_score, np.nan_to_num(human_2, nan=-1.0)),
    )
    found = sample_values(formulas, len(rated))
    n_double = int(double.sum())
    return {
        name: _Measured(found[name], values[name], n_double if _is_of_two(name) else len(rated))
        for name in formulas
    }


def _is_of_two(name: str) -> bool:
    """Whether a figure rests on the responses that two people have read."""
    return name.startswith("people ") or name == "prmse"


def _difference(machine: _Measured, people: _Measured) -> _Measured:
    """Human-machine minus human-human, as far as two people have read the same responses."""
    return _Measured(
        degradation(machine.value, people.value),
        degradation(machine.resamples, people.resamples),
        people.n,
    )


def _disattenuated(machine: _Measured, people: _Measured) -> _Measured:
    return _Measured(
        disattenuated_correlation(machine.value, people.value),
        disattenuated_correlation(machine.resamples, people.resamples),
        people.n,
    )


def _levels(rated: RatedScores, small_cell: int) -> Iterator[tuple[str, str]]:
    """Attributes and levels that are judged."""
    for attribute in rated.groups:
        for level in _large(rated, attribute, small_cell):
            yield attribute, level


def _large(rated: RatedScores, attribute: str, small_cell: int) -> list[str]:
    """Levels of enough rated responses; none where there is but one level.

    Which of them may be shown beside the rest is for ``tasks.report_subgroups`` to say.
    """
    known = rated.groups[attribute][_known(rated, attribute)].astype(str)
    found, counts = np.unique(known, return_counts=True)
    return [] if len(found) < 2 else [str(level) for level in found[counts >= small_cell]]


def _known(rated: RatedScores, attribute: str) -> NDArray[np.bool_]:
    """Of which responses an attribute is known."""
    return np.array([level is not None for level in rated.groups[attribute]], dtype=bool)


def _dsm_name(attribute: str, level: str) -> str:
    return f"dsm {attribute}\x1f{level}"  # a separator that no name holds


def _subgroups(
    rated: RatedScores, levels: Sequence[tuple[str, str]], measured: Mapping[str, _Measured]
) -> Iterator[SubgroupFigure]:
    for attribute, level in levels:
        members = rated.groups[attribute] == level
        found = measured[_dsm_name(attribute, level)]._replace(n=int(members.sum()))
        yield SubgroupFigure(
            attribute=attribute,
            level=level,
            dsm=found.figure(),
            mean_human=_mean(rated.human_score[members]),
            mean_machine=_mean(rated.score[members]),
        )


def _fairness(rated: RatedScores, small_cell: int) -> Iterator[FairnessFigure]:
    for attribute, values in rated.groups.items():
        large = _large(rated, attribute, small_cell)
        if len(large) < 2:
            continue
        groups = values.copy()
        groups[~np.isin(values.astype(str), large)] = None
        found = fairness(rated.human_score, rated.trimmed_score, groups)
        yield FairnessFigure(
            attribute=attribute,
            reference=str(found.reference),
            n=found.n,
            osa_r2=found.osa.r2_adjusted,
            osa_p=found.osa.p,
            osd_r2=found.osd.r2_adjusted,
            osd_p=found.osd.p,
            csd_r2=found.csd.r2_adjusted,
            csd_p=found.csd.p,
        )


def _clusters(rated: RatedScores) -> NDArray[np.int64] | None:
    """Whose response each is; None where every student has one, so that rows may be drawn."""
    known = rated.student[rated.student >= 0]
    return None if np.unique(known).size == known.size else rated.student


def rated_rows(rows: RatedScores) -> RatedScores:
    """Those that agreement is computed on."""
    return rows[rows.scored & ~rows.seen & ~np.isnan(rows.human_score)]


def _mean(values: Floats | NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _percentile(values: Floats, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else float("nan")


def _shares(scores: Floats, points: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(_mean(scores == point) for point in points)
