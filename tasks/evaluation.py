"""What an evaluation says of an item: agreement with people, calibration, fairness, speed.

The human reference is the first rater's score; the second rater serves only to say how well two
people agree, on the responses that both have read. Two kinds of responses are counted but take no
part in agreement: those that got a condition code instead of a score, and those that the adapter
which scored them has seen in training or in validation.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from models.agreement import ConfidenceBin, Kept

# With fewer rated responses the interval of a kappa is wider than .09 either way: too few to judge.
# The default, as is the next.
ENOUGH_RATED = 100
# Tables of counts over fewer responses than this could point at a student; the default.
SMALL_CELL = 10
# A raw score this close to k + 1/2 could round either way in the other precision: bfloat16 moved
# raw scores of 102 public adapters by at most 0.038 points, see docs/experiments.md.
NEAR_BOUNDARY = 0.04


@dataclass(frozen=True)
class Figure:
    """One statistic with its 95% bootstrap interval; NaN where it is not defined.

    Attributes:
        value: the statistic.
        low, high: ends of its interval.
        n: responses it rests on.
    """

    value: float
    low: float
    high: float
    n: int


NOT_KNOWN = Figure(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class SubgroupFigure:
    """One level of one attribute, such as a first language, among the rated responses.

    Attributes:
        attribute, level: as the export names them.
        dsm: difference of standardized means; above 0 the machine is milder with this level than
            with the others.
        mean_human, mean_machine: mean scores of the level's responses.
    """

    attribute: str
    level: str
    dsm: Figure
    mean_human: float
    mean_machine: float


@dataclass(frozen=True)
class FairnessFigure:
    """How much of the scoring error one attribute explains (Loukina, Madnani and Zechner 2019).

    Attributes:
        attribute: as the export names it.
        reference: its largest level, which the others are compared with.
        n: rated responses of which it is known.
        osa_r2, osa_p: overall score accuracy: squared error by level, adjusted R2 and p.
        osd_r2, osd_p: overall score difference: error by level.
        csd_r2, csd_p: conditional score difference: error by level beyond the human score.
    """

    attribute: str
    reference: str
    n: int
    osa_r2: float
    osa_p: float
    osd_r2: float
    osd_p: float
    csd_r2: float
    csd_p: float


@dataclass(frozen=True)
class ItemEvaluation:
    """One item's (item and trait's) scores, and their agreement with people.

    What is not defined is NaN: all agreement without rated responses, latency where all scores are
    copied. Agreement shares lie between 0 and 1, as do distributions, from score_min to score_max.

    Attributes:
        item_id: the item.
        trait: the trait.
        adapter_versions: the versions that gave these scores, ascending.
        reported: which score is reported, ``rounded`` or ``scaled``; ``mixed`` where both occur.
        score_min: lowest score point.
        score_max: highest score point.
        n_scored: responses with a machine score.
        n_reused: those of them whose score was copied from an earlier run.
        n_coded: responses with a condition code instead.
        n_seen: scored responses that the adapter was trained or validated on.
        n_rated: scored, not seen, and scored by the first human rater as well.
        n_double: those of them that the second rater has scored, too.
        figures: first rater and machine. On the reported score: ``qwk``, ``kappa``, ``exact``,
            ``adjacent``, ``smd``. On the trimmed raw score: ``qwk_trimmed``, ``smd_trimmed``,
            ``pearson_r``, ``r2``, ``rmse``. Beyond the two raters: ``degradation_qwk``,
            ``degradation_r``, ``degradation_exact``, ``degradation_smd`` (human-machine minus
            human-human), ``disattenuated_r``, ``prmse``, ``calibration_error``.
        human_human: both raters on the n_double responses: ``qwk``, ``kappa``, ``exact``,
            ``adjacent``, ``pearson_r``, ``smd``.
        subgroups: levels of all attributes with small_cell rated responses or more.
        fairness: one entry per attribute with two levels or more of small_cell responses.
        calibration: rated responses by tenths of their confidence.
        coverage: what routing the least confident to people would bring.
        mean_confidence: of all scored responses.
        mean_human: mean of the first rater's scores.
        mean_machine: mean reported score of the same responses.
        latency_ms_p50: median time per computed score, in milliseconds.
        latency_ms_p95: its 95th percentile.
        scoring_s: the time of all computed scores together, in seconds.
        confusion: [K][K] rated responses, rows human, columns machine. Human halves count as the
            point above, here and in the distributions only.
        human_distribution: share of rated responses at each score point.
        machine_distribution: share of scored responses at each score point, rated or not.
        n_truncated: scored responses longer than the model reads.
        n_by_student: scored responses whose score a distilled student gave.
        near_boundary: scored responses with a raw score within NEAR_BOUNDARY of a boundary.
        n_far_apart: rated responses whose score is two points or more from the first rater's.
        small_cell: tables of counts over fewer responses than this are not shown.
        enough_to_judge: with fewer rated responses the item is not judged.
    """

    item_id: str
    trait: str
    adapter_versions: tuple[int, ...]
    reported: str
    score_min: int
    score_max: int
    n_scored: int
    n_reused: int
    n_coded: int
    n_seen: int
    n_rated: int
    n_double: int
    figures: Mapping[str, Figure]
    human_human: Mapping[str, Figure]
    subgroups: tuple[SubgroupFigure, ...]
    fairness: tuple[FairnessFigure, ...]
    calibration: tuple[ConfidenceBin, ...]
    coverage: tuple[Kept, ...]
    mean_confidence: float
    mean_human: float
    mean_machine: float
    latency_ms_p50: float
    latency_ms_p95: float
    scoring_s: float
    confusion: tuple[tuple[int, ...], ...]
    human_distribution: tuple[float, ...]
    machine_distribution: tuple[float, ...]
    n_truncated: int
    n_by_student: int
    near_boundary: int
    n_far_apart: int
    small_cell: int = SMALL_CELL
    enough_to_judge: int = ENOUGH_RATED

    @property
    def qwk(self) -> Figure:
        """Quadratic weighted kappa of the first rater and the reported score: the headline."""
        return self.figures["qwk"]

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
        if self.n_rated >= self.small_cell:
            machine = tuple(
                sum(column) / self.n_rated for column in zip(*self.confusion, strict=True)
            )
            return {"human": self.human_distribution, "machine": machine}
        if self.n_scored >= self.small_cell:
            return {"machine, all scored": self.machine_distribution}
        return {}

    @property
    def enough_rated(self) -> bool:
        """Whether its agreement rests on enough responses to judge the item by."""
        return self.n_rated >= self.enough_to_judge

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


@dataclass(frozen=True)
class ValidityFigure:
    """Validity responses of one item and trait: known scores, scored again in every night.

    Attributes:
        n: validity responses that were scored.
        exact: share whose reported score is the known one.
        qwk: quadratic weighted kappa of known and reported scores.
        exact_before: the same share in the night before; NaN where that did not score all of them.
        n_changed: responses whose reported score is not that of the night before.
        same_adapter: whether the adapter is that of the night before.
        loss: how much lower the share is than the night before, on the responses that both nights
            scored; none in the first night.
    """

    item_id: str
    trait: str
    n: int
    exact: Figure
    qwk: Figure
    exact_before: float
    n_changed: int
    same_adapter: bool
    loss: Figure = NOT_KNOWN


def by_qwk(evaluations: Iterable[ItemEvaluation]) -> list[ItemEvaluation]:
    """Those whose QWK is defined, highest first."""
    defined = [item for item in evaluations if not math.isnan(item.qwk.value)]
    return sorted(defined, key=lambda item: (-item.qwk.value, item.item_id, item.trait))
