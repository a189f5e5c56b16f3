"""Whether confidence keeps its promise, and what it is worth to send doubtful scores to people."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement.pairs import Floats, Resampled, paired, ratio
from models.agreement.statistics import exact_agreement, quadratic_weighted_kappa

KEPT = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class ConfidenceBin:
    """Responses of like confidence.

    Attributes:
        low, high: least and greatest confidence among them.
        n: responses.
        confidence: mean confidence: the share promised to be correct.
        exact: the share that is.
    """

    low: float
    high: float
    n: int
    confidence: float
    exact: float


@dataclass(frozen=True)
class Kept:
    """Agreement where only the most confident responses are kept.

    Attributes:
        kept: the share of responses asked for, 0 to 1.
        n: how many are kept; more than asked for where confidence ties.
        least_confidence: the lowest confidence among them, the threshold that keeps these.
        exact: their exact agreement.
        qwk: their quadratic weighted kappa.
    """

    kept: float
    n: int
    least_confidence: float
    exact: float
    qwk: float


def calibration_table(
    correct: ArrayLike, confidence: ArrayLike, bins: int = 10
) -> tuple[ConfidenceBin, ...]:
    """Responses by tenths (deciles) of their confidence, from least to most confident.

    Equal confidence is never split between bins: there are fewer of them where it ties.

    Args:
        correct: [N] 1 where the machine gave the human's score, else 0; NaN where not known.
        confidence: [N] the probability that the machine stated, 0 to 1; NaN where not known.
        bins: how many there are to be.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite numbers.
    """
    right, stated, place = _binned(correct, confidence, bins)
    inside = [place == number for number in range(int(place.max(initial=-1)) + 1)]
    return tuple(
        ConfidenceBin(
            low=float(stated[chosen].min()),
            high=float(stated[chosen].max()),
            n=int(chosen.sum()),
            confidence=float(stated[chosen].mean()),
            exact=float(right[chosen].mean()),
        )
        for chosen in inside
    )


def expected_calibration_error(correct: ArrayLike, confidence: ArrayLike, bins: int = 10) -> float:
    """ECE: how far confidence is from the share correct, over bins weighted by responses.

    Naeini, Cooper and Hauskrecht (2015), with deciles in place of equal widths. Chance alone adds
    to it: of 200 responses with perfect confidence about .08. NaN without responses.

    Args:
        correct: [N] 1 where the machine gave the human's score, else 0; NaN where not known.
        confidence: [N] the probability that the machine stated, 0 to 1; NaN where not known.
        bins: how many there are to be.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite numbers.
    """
    right, stated, place = _binned(correct, confidence, bins)
    return float(ratio(np.abs(np.bincount(place, weights=right - stated)).sum(), right.size))


def calibration_error_resampled(
    correct: ArrayLike, confidence: ArrayLike, bins: int = 10
) -> Resampled:
    """ECE as a function of counts [B, N], for ``bootstrap``; bins are those of the sample.

    Resampling adds chance of its own to that of the sample: the interval lies rather high.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite numbers.
    """
    first, second = paired(correct, confidence)
    known = ~(np.isnan(first) | np.isnan(second))
    right, stated, place = _binned(correct, confidence, bins)
    columns = np.zeros((known.size, int(place.max(initial=-1)) + 2))
    columns[known, place] = right - stated
    columns[known, -1] = 1

    def error(counts: Floats) -> Floats:
        sums = counts @ columns
        return ratio(np.abs(sums[..., :-1]).sum(axis=-1), sums[..., -1])

    return error


def risk_coverage(
    human: ArrayLike,
    machine: ArrayLike,
    confidence: ArrayLike,
    kept: Sequence[float] = KEPT,
) -> tuple[Kept, ...]:
    """Agreement of what stays where the least confident responses go to people.

    The risk-coverage curve of selective prediction (El-Yaniv and Wiener 2010).

    Args:
        human: [N] scores; NaN where there is none.
        machine: [N] reported scores; NaN where there is none.
        confidence: [N] 0 to 1; NaN where there is none. Rows without any of the three are left out.
        kept: shares to keep, 0 to 1. A response ties with the threshold or is above it to be kept.

    Returns:
        One row per share, in their order; n = 0 and NaN figures without responses.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite numbers.
    """
    first, second = paired(human, machine)
    _, sureness = paired(human, confidence)
    known = ~(np.isnan(first) | np.isnan(second) | np.isnan(sureness))
    first, second, sureness = first[known], second[known], sureness[known]
    descending = np.sort(sureness)[::-1]

    def row(share: float) -> Kept:
        wanted = min(max(round(share * sureness.size), 1), sureness.size)
        least = float(descending[wanted - 1]) if wanted else math.nan
        inside = sureness >= least
        return Kept(
            kept=share,
            n=int(inside.sum()),
            least_confidence=least,
            exact=exact_agreement(first[inside], second[inside]),
            qwk=quadratic_weighted_kappa(first[inside], second[inside]),
        )

    return tuple(row(share) for share in kept)


def _binned(
    correct: ArrayLike, confidence: ArrayLike, bins: int
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Known correctness and confidence, and the bin of each, 0 for the least confident."""
    right, stated = paired(correct, confidence)
    known = ~(np.isnan(right) | np.isnan(stated))
    right, stated = right[known], stated[known]
    if not right.size:
        return right, stated, np.zeros(0, dtype=np.int64)
    ascending = np.sort(stated)
    last = np.ceil(np.arange(1, bins) * right.size / bins).astype(np.int64) - 1
    edges = np.unique(ascending[np.maximum(last, 0)])
    _, place = np.unique(np.searchsorted(edges, stated), return_inverse=True)
    return right, stated, place
