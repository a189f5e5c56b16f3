"""How well machine scores agree with people, per item and per administration date.

The human reference is the first rater's score; the second rater serves only to say how well two
people agree, on the responses that both have read. Two kinds of responses are counted but take no
part in agreement: those that got a condition code instead of a score, and those that the adapter
which scored them has seen in training or in validation.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.agreement import (
    adjacent_agreement,
    bootstrap_interval,
    confusion_matrix,
    exact_agreement,
    pearson_r,
    quadratic_weighted_kappa,
    root_mean_squared_error,
    standardized_mean_difference,
)
from warehouse import db
from warehouse.ratings import RatedScores, Scale, rated_scores

# With fewer rated responses the interval of a kappa is wider than .09 either way: too few to judge.
ENOUGH_RATED = 100
# Tables of counts over fewer responses than this could point at a student.
SMALL_CELL = 10
# A raw score this close to k + 1/2 could round either way in the other precision: bfloat16 moved
# raw scores of 102 public adapters by at most 0.038 points, see docs/experiments.md.
NEAR_BOUNDARY = 0.04

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ItemEvaluation:
    """One item's (item and trait's) scores, and their agreement with people.

    What is not defined is NaN: all agreement without rated responses, latency where all scores are
    copied. Agreement shares lie between 0 and 1, as do distributions, from score_min to score_max.

    Attributes:
        item_id: the item.
        trait: the trait.
        adapter_versions: the versions that gave these scores, ascending.
        score_min: lowest score point.
        score_max: highest score point.
        n_scored: responses with a machine score.
        n_reused: those of them whose score was copied from an earlier run.
        n_coded: responses with a condition code instead.
        n_seen: scored responses that the adapter was trained or validated on.
        n_rated: scored, not seen, and scored by the first human rater as well.
        n_double: those of them that the second rater has scored, too.
        qwk: quadratic weighted kappa of the first rater and the reported score: the headline.
        qwk_low: its 95% bootstrap interval, lower end.
        qwk_high: upper end.
        qwk_raw: kappa of the first rater and the raw score, before rounding.
        exact: share of rated responses whose reported score is the first rater's.
        adjacent: share within one point.
        smd: standardized mean difference of the reported score; above 0, the machine is milder.
        r: Pearson correlation of the first rater and the raw score.
        rmse: root mean squared error of the raw score, in score points.
        mean_human: mean of the first rater's scores.
        mean_machine: mean reported score of the same responses.
        qwk_human_human: kappa of the two raters on the n_double responses.
        exact_human_human: their exact agreement.
        latency_ms_p50: median time per computed score, in milliseconds.
        latency_ms_p95: its 95th percentile.
        scoring_s: the time of all computed scores together, in seconds.
        confusion: [K][K] rated responses, rows human, columns machine. Human halves count as the
            point above, here and in the distributions only.
        human_distribution: share of rated responses at each score point.
        machine_distribution: share of scored responses at each score point, rated or not.
        n_truncated: scored responses longer than the model reads.
        near_boundary: scored responses with a raw score within NEAR_BOUNDARY of a boundary.
    """

    item_id: str
    trait: str
    adapter_versions: tuple[int, ...]
    score_min: int
    score_max: int
    n_scored: int
    n_reused: int
    n_coded: int
    n_seen: int
    n_rated: int
    n_double: int
    qwk: float
    qwk_low: float
    qwk_high: float
    qwk_raw: float
    exact: float
    adjacent: float
    smd: float
    r: float
    rmse: float
    mean_human: float
    mean_machine: float
    qwk_human_human: float
    exact_human_human: float
    latency_ms_p50: float
    latency_ms_p95: float
    scoring_s: float
    confusion: tuple[tuple[int, ...], ...]
    human_distribution: tuple[float, ...]
    machine_distribution: tuple[float, ...]
    n_truncated: int
    near_boundary: int

    @property
    def adapter_version(self) -> int | None:
        """The newest version among the scores; None where all responses were coded."""
        return self.adapter_versions[-1] if self.adapter_versions else None

    @property
    def name(self) -> str:
        """What to call it in tables: the item, and its trait where it may have several."""
        return self.item_id if self.trait == "overall" else f"{self.item_id} · {self.trait}"

    @property
    def distributions(self) -> dict[str, tuple[float, ...]]:
        """Legend to shares per score point, as far as they may be shown.

        People and machine on the rated responses; where these are few, the machine on all scored
        ones; where they are few too, nothing.
        """
        if self.n_rated >= SMALL_CELL:
            machine = tuple(
                sum(column) / self.n_rated for column in zip(*self.confusion, strict=True)
            )
            return {"human": self.human_distribution, "machine": machine}
        if self.n_scored >= SMALL_CELL:
            return {"machine, all scored": self.machine_distribution}
        return {}

    @property
    def enough_rated(self) -> bool:
        """Whether its agreement rests on enough responses to judge the item by."""
        return self.n_rated >= ENOUGH_RATED

    @property
    def responses_per_s(self) -> float:
        """Scores computed per second of scoring, on one worker."""
        computed = self.n_scored - self.n_reused
        return computed / self.scoring_s if self.scoring_s > 0 else math.nan


@dataclass(frozen=True)
class DayEvaluation:
    """One item's agreement on one administration date.

    The day is that (UTC) on which a response was handed in, or ingested, where the
    export does not say.
    """

    item_id: str
    trait: str
    day: date
    n_scored: int
    n_rated: int
    qwk: float
    exact: float


def evaluate_scores(
    warehouse: Path,
    run_id: str | None,
    *,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> list[ItemEvaluation]:
    """Compare machine scores with the first rater's, item by item.

    Args:
        warehouse: the ``warehouse.duckdb`` file.
        run_id: look at what this run scored; None looks at the current score of everything.
        seasons: only these seasons; None is all.
        items: only these item ids; None is all.
        samples: bootstrap resamples behind each interval.
        seed: of the bootstrap; the same seed gives the same intervals.

    Returns:
        One evaluation for each item and trait that has scored or coded responses, by their ids.
    """
    with db.connect(warehouse, read_only=True) as connection:
        found = rated_scores(connection, run_id, seasons=seasons, items=items)
        return [_evaluate(scale, rows, samples, seed) for scale, rows in found]


def evaluate_by_day(
    warehouse: Path,
    run_id: str | None,
    *,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> list[DayEvaluation]:
    """Compare machine scores with the first rater's, item by item and date by date.

    The arguments are those of ``evaluate_scores``. Agreement on one date rests on few responses:
    it is for drawing a series, not for judging an item.

    Returns:
        One evaluation for each item, trait and date with scored responses, in that order.
    """
    with db.connect(warehouse, read_only=True) as connection:
        found = rated_scores(connection, run_id, seasons=seasons, items=items)
        return [of_day for scale, rows in found for of_day in _by_day(scale, rows[rows.scored])]


def by_qwk(evaluations: Iterable[ItemEvaluation]) -> list[ItemEvaluation]:
    """Those whose QWK is defined, highest first."""
    defined = [item for item in evaluations if not math.isnan(item.qwk)]
    return sorted(defined, key=lambda item: (-item.qwk, item.item_id, item.trait))


def _evaluate(scale: Scale, rows: RatedScores, samples: int, seed: int) -> ItemEvaluation:
    scored, rated = rows[rows.scored], _rated(rows)
    double = rated[~np.isnan(rated.human_score_2)]
    human, machine, raw = rated.human_score, rated.score, rated.raw_score
    low, high = bootstrap_interval(
        human, machine, quadratic_weighted_kappa, samples=samples, seed=seed
    )
    latency_ms = scored.latency_ms[~scored.reused]
    points = np.arange(scale.score_min, scale.score_max + 1)
    rounded = np.floor(human + 0.5)
    return ItemEvaluation(
        **vars(scale),
        adapter_versions=tuple(int(version) for version in np.unique(scored.adapter_version)),
        n_scored=len(scored),
        n_reused=int(scored.reused.sum()),
        n_coded=len(rows) - len(scored),
        n_seen=int(scored.seen.sum()),
        n_rated=len(rated),
        n_double=len(double),
        qwk=quadratic_weighted_kappa(human, machine),
        qwk_low=low,
        qwk_high=high,
        qwk_raw=quadratic_weighted_kappa(human, raw),
        exact=exact_agreement(human, machine),
        adjacent=adjacent_agreement(human, machine),
        smd=standardized_mean_difference(human, machine),
        r=pearson_r(human, raw),
        rmse=root_mean_squared_error(human, raw),
        mean_human=_mean(human),
        mean_machine=_mean(machine),
        qwk_human_human=quadratic_weighted_kappa(double.human_score, double.human_score_2),
        exact_human_human=exact_agreement(double.human_score, double.human_score_2),
        latency_ms_p50=_percentile(latency_ms, 50),
        latency_ms_p95=_percentile(latency_ms, 95),
        scoring_s=float(latency_ms.sum()) / 1000,
        confusion=tuple(map(tuple, confusion_matrix(rounded, machine, points).tolist())),
        human_distribution=_shares(rounded, points),
        machine_distribution=_shares(scored.score, points),
        n_truncated=int(scored.truncated.sum()),
        near_boundary=int((np.abs(scored.raw_score % 1 - 0.5) < NEAR_BOUNDARY).sum()),
    )


def _by_day(scale: Scale, scored: RatedScores) -> Iterator[DayEvaluation]:
    for day in np.unique(scored.day):
        of_day = scored[scored.day == day]
        rated = _rated(of_day)
        yield DayEvaluation(
            item_id=scale.item_id,
            trait=scale.trait,
            day=day.item(),
            n_scored=len(of_day),
            n_rated=len(rated),
            qwk=quadratic_weighted_kappa(rated.human_score, rated.score),
            exact=exact_agreement(rated.human_score, rated.score),
        )


def _rated(rows: RatedScores) -> RatedScores:
    """Those that agreement is computed on."""
    return rows[rows.scored & ~rows.seen & ~np.isnan(rows.human_score)]


def _mean(values: Floats | NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else math.nan


def _percentile(values: Floats, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else math.nan


def _shares(scores: Floats, points: NDArray[np.int64]) -> tuple[float, ...]:
    return tuple(_mean(scores == point) for point in points)
