"""Score scales, and scores from probabilities; NumPy only, so that scoring can do without torch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.postprocessing import rounded

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The whole scores an item may get, score_min to score_max, both included."""

    score_min: int
    score_max: int

    def __post_init__(self) -> None:
        if self.score_max <= self.score_min:
            raise ValueError(
                f"a scale needs two score points or more, found {self.score_min}..{self.score_max}"
            )

    @property
    def n_points(self) -> int:
        """Number of score points, K."""
        return self.score_max - self.score_min + 1


@dataclass(frozen=True)
class ScoreColumns:
    """What a model says of n texts, in their order.

    Attributes:
        raw_score: float64 [n], the expected score.
        score: int32 [n], the reported score.
        confidence: float64 [n], probability of the reported score.
        probabilities: float32 [n, K], per score point from score_min up; each row sums to 1.
    """

    raw_score: Floats
    score: NDArray[np.int32]
    confidence: Floats
    probabilities: NDArray[np.float32]


def of_thresholds(above: Floats, scale: Scale) -> ScoreColumns:
    """Scores from the probabilities that a text's score lies above each threshold, [n, K-1].

    The reported score is the expected one rounded to the scale, halves upwards. The probabilities
    need not fall from one threshold to the next: sorting them makes them do so and keeps their
    sum, so probabilities and raw score always agree.
    """
    falling = np.sort(above, axis=1)[:, ::-1]
    raw = scale.score_min + falling.sum(axis=1)
    edges = np.concatenate([np.ones((len(raw), 1)), falling, np.zeros((len(raw), 1))], axis=1)
    return _columns(raw, rounded(raw, scale), edges[:, :-1] - edges[:, 1:], scale)


def of_points(probabilities: Floats, scale: Scale) -> ScoreColumns:
    """Scores from the probability of each score point, [n, K].

    The reported score is the most probable point, the lower one of two alike; the raw score is
    the expected one.
    """
    raw = probabilities @ np.arange(scale.score_min, scale.score_max + 1)
    score = (scale.score_min + probabilities.argmax(axis=1)).astype(np.int32)
    return _columns(raw, score, probabilities, scale)


def _columns(
    raw: Floats, score: NDArray[np.int32], probabilities: Floats, scale: Scale
) -> ScoreColumns:
    confidence = probabilities[np.arange(len(raw)), score - scale.score_min]
    return ScoreColumns(raw, score, confidence, probabilities.astype(np.float32))
