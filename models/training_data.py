"""What an item is trained on: human-scored responses, some of them held out."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.fitting import Examples
from models.text import encode

FEWEST_RESPONSES = 10


class TooFewResponsesError(ValueError):
    """An item has too few human scores to train on, or they are all the same."""


@dataclass(frozen=True)
class TrainingSet:
    """Human-scored responses of one item.

    Attributes:
        texts: n texts, none of them blank.
        human_scores: float64 [n], whole or half points on the item's scale.
    """

    texts: Sequence[str]
    human_scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.human_scores):
            raise ValueError(f"{len(self.texts)} texts but {len(self.human_scores)} scores")


def split_validation(
    response_ids: Sequence[str],
    human_scores: NDArray[np.float64],
    fraction: float = 0.15,
    seed: int = 20,
) -> NDArray[np.bool_]:
    """Choose the held-out responses: by a hash of their ids, alike for every score point.

    A response keeps its rank under the hash whatever else is in the set. Every score point
    gives ``fraction`` of its responses, the parts of responses left over going to the points
    in turn, and never its last one.

    Args:
        response_ids: n ids.
        human_scores: float64 [n].
        fraction: share to hold out, in 0..1.
        seed: changes the choice.

    Returns:
        bool [n], true where held out.
    """
    ranks = [hashlib.sha256(f"{seed}\n{name}".encode()).digest() for name in response_ids]
    points = np.floor(np.asarray(human_scores, dtype=np.float64) + 0.5)
    held_out = np.zeros(len(response_ids), dtype=np.bool_)
    owed = 0.5
    for point in np.unique(points):
        members = sorted(np.flatnonzero(points == point), key=lambda member: ranks[member])
        owed += fraction * len(members)
        taken = min(math.floor(owed), len(members) - 1)
        held_out[members[:taken]] = True
        owed -= taken
    return held_out


def check_enough(training: TrainingSet) -> None:
    """Refuse what nothing can be learned from.

    Raises:
        TooFewResponsesError: fewer than FEWEST_RESPONSES, or all of one score.
    """
    n, kinds = len(training.texts), len(np.unique(training.human_scores))
    if n < FEWEST_RESPONSES or kinds < 2:
        raise TooFewResponsesError(
            f"found {n} human-scored responses with {kinds} different scores; training needs "
            f"{FEWEST_RESPONSES} and 2 at least: score more responses by hand"
        )


def examples_of(responses: TrainingSet, tokenizer: Tokenizer) -> Examples:
    """The responses as the training loop takes them; the tokeniser cuts what is too long."""
    scores = np.asarray(responses.human_scores, dtype=np.float64)
    return Examples(encode(tokenizer, responses.texts).token_ids, scores)
