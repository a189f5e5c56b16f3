"""Scores as they are reported: what a model says of texts, post-processed and checked.

NumPy only: a student scores without torch.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.adapter_files import AdapterError
from models.calibration import confidences
from models.postprocessing import Reported, rounded, scaled, trimmed
from models.scores import ScoreColumns
from models.scoring_record import Made

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """Scores of n texts, in the order they came.

    Attributes:
        raw_score: float64 [n], the expected score.
        trimmed_score: float64 [n], the raw score trimmed, see ``models.postprocessing``.
        scaled_score: float64 [n], the raw score scaled, then trimmed; NaN without a scaling.
        score: int32 [n], the reported score: what the head says, or the scaled score rounded.
        confidence: float64 [n], calibrated probability of the reported score.
        probabilities: float32 [n, K], per score point from score_min up, as the head gives them.
        by_student: bool [n], a distilled student gave the score.
        truncated: bool [n], the text was longer than the adapter's limit.
        latency_ms: float64 [n], the text's share by tokens of its batch's time on one core and
            of the tokenising; copies of one text share one forward, so the sum is the time spent.
        tokens: int64 [n], tokens of the text, special ones included, up to the limit.
        unknown_tokens: int64 [n], those of them that stand for what the vocabulary lacks.
        load_ms: what it took to read the adapter and make its weights ready.
    """

    raw_score: Floats
    trimmed_score: Floats
    scaled_score: Floats
    score: NDArray[np.int32]
    confidence: Floats
    probabilities: NDArray[np.float32]
    by_student: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    latency_ms: Floats
    tokens: NDArray[np.int64]
    unknown_tokens: NDArray[np.int64]
    load_ms: float

    def with_rows(self, at: NDArray[np.int64], others: "Scored") -> "Scored":
        """The scores with some rows exchanged; what was spent on those before is kept.

        Args:
            at: int64 [m], which rows.
            others: m scores, of another model.
        """
        changed = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in changed.keys() - {"load_ms"}:
            changed[name] = changed[name].copy()
            changed[name][at] = getattr(others, name)
        changed["latency_ms"][at] += self.latency_ms[at]
        changed["load_ms"] += others.load_ms
        return Scored(**changed)


@dataclass(frozen=True)
class Reports:
    """What is reported of n texts: see ``Scored``."""

    trimmed_score: Floats
    scaled_score: Floats
    score: NDArray[np.int32]
    confidence: Floats


def reports(columns: ScoreColumns, record: Made, reported: Reported) -> Reports:
    """Trimmed and scaled scores, what is reported of them, and how sure that is.

    Args:
        columns: what the model says.
        record: of the adapter; with a scaling, if scaled scores are to be reported.
        reported: which score is.
    """
    scale, raw, score = record.scale, columns.raw_score, columns.score
    scaled_score = np.full(len(raw), np.nan)
    if record.scaling is not None:
        scaled_score = trimmed(scaled(raw, record.scaling), scale)
    if reported == "scaled":
        score = rounded(scaled_score, scale)
    temperature = 1.0 if record.calibration is None else record.calibration.temperature
    confidence = confidences(columns.probabilities, score - scale.score_min, temperature)
    return Reports(trimmed(raw, scale), scaled_score, score, confidence)


def check_scaling(record: Made, reported: Reported) -> None:
    """Refuse to report scaled scores without a scaling.

    Raises:
        AdapterError: that is asked for.
    """
    if reported == "scaled" and record.scaling is None:
        raise AdapterError(
            "the item reports scaled scores, but the adapter holds no means and deviations "
            "to scale by: train it again, or have the item report rounded scores"
        )


def require_probes(record: Made) -> None:
    """Refuse an adapter without probe predictions, of which nothing shows that it still works.

    Raises:
        AdapterError: it has none.
    """
    if not record.probes:
        raise AdapterError(
            "the adapter holds no probe predictions, so nothing shows that it scores here "
            "as it did where it was made: train or import it again"
        )


def check_probes(record: Made, raw_score: Floats, most: tuple[float, float]) -> None:
    """Refuse an adapter that does not score its probe texts as it did where it was made.

    Args:
        record: of the adapter.
        raw_score: of its probe texts, as they come out here.
        most: mean and largest difference, as shares of the scale's range.

    Raises:
        AdapterError: they differ by more.
    """
    stored = np.array([probe.raw_score for probe in record.probes])
    difference = np.abs(raw_score - stored)
    mean, worst = float(difference.mean()), float(difference.max())
    span = record.score_max - record.score_min
    if not (mean <= most[0] * span and worst <= most[1] * span):
        raise AdapterError(
            f"the adapter does not reproduce its probe predictions (mean difference {mean:.2g}, "
            f"largest {worst:.2g}): its files or the backbone are not those it was made with; "
            "train it again"
        )
