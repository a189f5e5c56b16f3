"""The ordinal head: from a text's mean hidden state to a score, and back to a loss.

K score points have K-1 thresholds; the head gives one logit per threshold, the log-odds that
the score lies above it (Frank and Hall 2001, "A simple approach to ordinal classification").
The expected score is then ``score_min + sum of sigmoids``.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


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
    """What the head says of n texts, in their order.

    Attributes:
        raw_score: float64 [n], the expected score.
        score: int32 [n], the raw score rounded to the scale, halves upwards.
        confidence: float64 [n], probability of the reported score.
        probabilities: float32 [n, K], per score point from score_min up; each row sums to 1.
    """

    raw_score: NDArray[np.float64]
    score: NDArray[np.int32]
    confidence: NDArray[np.float64]
    probabilities: NDArray[np.float32]


def ordinal_targets(human_scores: NDArray[np.float64], scale: Scale) -> NDArray[np.float32]:
    """Per threshold, how far the human score lies above it: [n, K-1] in 0..1.

    A half point between k and k+1 is a target of one half at the threshold between them.

    Raises:
        ValueError: a score is not finite or lies outside the scale.
    """
    scores = np.asarray(human_scores, dtype=np.float64)
    if not np.all((scores >= scale.score_min) & (scores <= scale.score_max)):
        raise ValueError(
            f"human scores must lie in {scale.score_min}..{scale.score_max}, found "
            f"{np.nanmin(scores)}..{np.nanmax(scores)} or values that are no number"
        )
    thresholds = scale.score_min + np.arange(scale.n_points - 1)
    return np.clip(scores[:, None] - thresholds[None, :], 0.0, 1.0).astype(np.float32)


def ordinal_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over texts of the mean binary cross-entropy over thresholds.

    Args:
        logits: [n, K-1].
        targets: [n, K-1], see ``ordinal_targets``.
        weights: [n], one per text.
    """
    losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses.mean(dim=1) * weights).sum() / weights.sum()


def read_out(logits: Tensor, scale: Scale) -> ScoreColumns:
    """Turn threshold logits [n, K-1] into scores.

    The sigmoids of a text need not fall from one threshold to the next. Sorting them makes
    them do so and keeps their sum, so probabilities and raw score always agree.
    """
    above = np.sort(torch.sigmoid(logits.detach().double()).numpy(), axis=1)[:, ::-1]
    raw = scale.score_min + above.sum(axis=1)
    score = np.floor(raw + 0.5).clip(scale.score_min, scale.score_max).astype(np.int32)
    edges = np.concatenate([np.ones((len(raw), 1)), above, np.zeros((len(raw), 1))], axis=1)
    probabilities = edges[:, :-1] - edges[:, 1:]
    confidence = probabilities[np.arange(len(raw)), score - scale.score_min]
    return ScoreColumns(raw, score, confidence, probabilities.astype(np.float32))
