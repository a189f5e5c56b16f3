"""Medians, spreads and ratios over rounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Round = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """A figure over rounds: its median, smallest and largest value."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no round was measured, so there is no median")
    return Spread(float(np.median(values)), min(values), max(values))


def rate(of: Round, *, loading: bool = False) -> float:
    """Real tokens per second of one round.

    Args:
        of: the round's figures.
        loading: count the bringing up of each item's model. Where only the first responses of a
            group were scored, the load is set against the whole group at the same rate, or else
            it would weigh too much.
    """
    if not loading:
        return float(of["tokens"] / of["score_s"])
    whole_s = of["score_s"] * of["group_tokens"] / of["tokens"]
    return float(of["group_tokens"] / (of["load_s"] + whole_s))


def ratios(ours: Sequence[Round], theirs: Sequence[Round], *, loading: bool = False) -> Spread:
    """How many times faster, round by round: both ran on the same items under the same load.

    Raises:
        ValueError: they have not the same number of rounds.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds cannot be paired with {len(theirs)}")
    return spread([rate(a) / rate(b, loading=loading) for a, b in zip(ours, theirs, strict=True)])
