"""The same figures as a user would write them with scikit-learn and scipy.

Each figure is a function of two arrays; ``scipy.stats.bootstrap`` calls it for every resample.
Figures that neither library has (QWK on continuous scores, differences of standardized means,
PRMSE, fairness, degradation) are left out here, and not left out of ours.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    r2_score,
    root_mean_squared_error,
)

from warehouse import db
from warehouse.ratings import RatedScores, Scale, rated_scores

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, Floats], float]


class Interval(NamedTuple):
    """A figure and its 95% interval."""

    value: float
    low: float
    high: float


def rated_items(
    warehouse: Path, run_id: str, items: list[str]
) -> Iterator[tuple[Scale, RatedScores]]:
    """The rated responses of some items, read as ``evaluate_scores`` reads them."""
    with db.connect(warehouse, read_only=True) as connection:
        for scale, rows in rated_scores(connection, run_id, items=items):
            yield scale, rows[rows.scored & ~np.isnan(rows.human_score)]


def rival_figures(scale: Scale, rows: RatedScores, samples: int, seed: int) -> dict[str, Interval]:
    """Every figure that scikit-learn and scipy have, with its bootstrap interval."""
    points = list(range(scale.score_min, scale.score_max + 1))

    def kappa(weights: str | None) -> Statistic:
        return lambda first, second: cohen_kappa_score(
            first.astype(int), second.astype(int), labels=points, weights=weights
        )

    on_reported: dict[str, Statistic] = {
        "qwk": kappa("quadratic"),
        "kappa": kappa(None),
        "exact": lambda first, second: accuracy_score(first.astype(int), second.astype(int)),
        "adjacent": lambda first, second: float(np.mean(np.abs(first - second) <= 1)),
        "smd": lambda first, second: float((second.mean() - first.mean()) / first.std(ddof=1)),
    }
    on_trimmed: dict[str, Statistic] = {
        "pearson_r": lambda first, second: float(stats.pearsonr(first, second).statistic),
        "r2": r2_score,
        "rmse": root_mean_squared_error,
    }
    double = ~np.isnan(rows.human_score_2)
    people = {name: on_reported[name] for name in ("qwk", "kappa", "exact", "adjacent")}
    people["pearson_r"] = on_trimmed["pearson_r"]
    found = {}
    for prefix, statistics, first, second in (
        ("", on_reported, rows.human_score, rows.score),
        ("", on_trimmed, rows.human_score, rows.trimmed_score),
        ("people ", people, rows.human_score[double], rows.human_score_2[double]),
    ):
        for name, statistic in statistics.items():
            found[prefix + name] = _interval(statistic, first, second, samples, seed)
    return found


def _interval(
    statistic: Statistic, first: Floats, second: Floats, samples: int, seed: int
) -> Interval:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # resamples in which a statistic is not defined
        found: Any = stats.bootstrap(
            (first, second),
            statistic,
            n_resamples=samples,
            paired=True,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    ends = found.confidence_interval
    return Interval(float(statistic(first, second)), float(ends.low), float(ends.high))
