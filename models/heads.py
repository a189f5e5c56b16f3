"""Heads: from a text's pooled hidden state to a score, and from human scores to a loss.

An ordinal head has, for K score points, K-1 thresholds and one logit for each, the log-odds that
the score lies above it (Frank and Hall 2001, "A simple approach to ordinal classification"). The
expected score is then ``score_min + sum of sigmoids``. A classification head has one logit per
score point, as a classifier from elsewhere does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.scores import Scale, ScoreColumns, of_points, of_thresholds
from models.scoring_record import Activation, Kind, Pooling

ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "gelu": nn.functional.gelu,
    "relu": torch.relu,
    "none": lambda states: states,
}


@dataclass(frozen=True)
class Norm:
    """A layer norm: float32 weight [width], bias [width] or None, and what keeps it from 0/0."""

    weight: Tensor
    bias: Tensor | None
    eps: float


@dataclass(frozen=True)
class Dense:
    """The layer that classifiers of most families put between pooled state and logits.

    Attributes:
        weight, bias: float32 [width, hidden_size], and [width] or None.
        activation: after the layer; ``gelu`` is the exact one.
        norm: after the activation, where there is one.
    """

    weight: Tensor
    bias: Tensor | None
    activation: Activation
    norm: Norm | None = None

    def apply(self, pooled: Tensor) -> Tensor:
        """Map [n, hidden_size] to [n, width]."""
        states = nn.functional.linear(pooled, self.weight, self.bias)
        states = ACTIVATIONS[self.activation](states)
        if self.norm is None:
            return states
        width, norm = states.shape[1:], self.norm
        return nn.functional.layer_norm(states, width, norm.weight, norm.bias, norm.eps)


@dataclass(frozen=True)
class Head:
    """What turns a text's pooled hidden state into logits.

    Attributes:
        kind: what the logits mean, see ``read_out``.
        pooling: how the hidden states of a text's tokens become one.
        dense: a layer before the last, or None.
        weight, bias: float32 [outputs, width], and [outputs] or None; outputs is K-1 thresholds
            for an ordinal head and K points for a classification head.
    """

    kind: Kind
    pooling: Pooling
    dense: Dense | None
    weight: Tensor
    bias: Tensor | None

    def logits(self, pooled: Tensor) -> Tensor:
        """Map pooled states, float32 [n, hidden_size], to logits, float32 [n, outputs]."""
        states = pooled if self.dense is None else self.dense.apply(pooled)
        return nn.functional.linear(states, self.weight, self.bias)


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


def outputs_of(kind: Kind, scale: Scale) -> int:
    """Number of logits that a head of this kind has for a scale."""
    return scale.n_points - 1 if kind == "ordinal" else scale.n_points


def read_out(logits: Tensor, scale: Scale, kind: Kind = "ordinal") -> ScoreColumns:
    """Turn logits into scores.

    An ordinal head reports the expected score, rounded; a classification head the most probable
    point, which such a head was trained to report. See ``models.scores``.

    Args:
        logits: [n, K-1] thresholds, or [n, K] points.
        scale: the item's.
        kind: the head's.
    """
    values = logits.detach().double()
    if kind == "ordinal":
        return of_thresholds(torch.sigmoid(values).numpy(), scale)
    return of_points(torch.softmax(values, dim=1).numpy(), scale)
