"""Whether tonight's responses or scores are distributed as earlier ones were."""

import math

import numpy as np
from numpy.typing import ArrayLike

from models.agreement.tails import normal_tail, t_tail

# An empty bin would make the index infinite; this is the share it is taken to hold.
_LEAST_SHARE = 1e-4


def population_stability_index(baseline_counts: ArrayLike, counts: ArrayLike) -> float:
    """PSI, the sum of (q - p) ln(q / p) over bins, of shares p then and q now.

    Below .10 is usually read as stable and above .25 as changed. The index is blind to a rise that
    matters: zeros that grow from 36% to 48% of the scores make .06. Shares below 1e-4 are raised
    to that.

    Args:
        baseline_counts: [K] responses at each score point then.
        counts: [K] now.

    Returns:
        0 or more; NaN where either has no responses.

    Raises:
        ValueError: they are not of one length.
    """
    before, now = np.asarray(baseline_counts, np.float64), np.asarray(counts, np.float64)
    if before.shape != now.shape or before.ndim != 1:
        raise ValueError(f"{before.shape} counts then, {now.shape} now: give the same bins")
    if not (before.sum() > 0 and now.sum() > 0):
        return math.nan
    p = np.maximum(before / before.sum(), _LEAST_SHARE)
    q = np.maximum(now / now.sum(), _LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def two_proportion_z(k1: float, n1: float, k2: float, n2: float) -> tuple[float, float]:
    """The pooled z test of two shares, k1 of n1 and k2 of n2.

    Returns:
        (z, p): z is above 0 where the second share is the larger one, p is two-sided. (0, 1) where
        both shares are 0, or both 1; NaN where either n is 0.
    """
    if not (n1 > 0 and n2 > 0):
        return math.nan, math.nan
    pooled = (k1 + k2) / (n1 + n2)
    variance = pooled * (1 - pooled) * (1 / n1 + 1 / n2)
    if not variance > 0:
        return 0.0, 1.0
    z = (k2 / n2 - k1 / n1) / math.sqrt(variance)
    return z, normal_tail(z)


def two_mean_z(
    mean1: float, variance1: float, n1: float, mean2: float, variance2: float, n2: float
) -> tuple[float, float]:
    """Welch's test of two means with unequal variances.

    The probability is that of Student's t with Welch and Satterthwaite's degrees of freedom: beside
    thirty responses and p near .003 the normal one would be about half as large.

    Args:
        mean1: the one mean.
        variance1: its sample variance, dividing by n1 - 1.
        n1: its responses.
        mean2: the other mean.
        variance2: its sample variance, dividing by n2 - 1.
        n2: its responses.

    Returns:
        (z, p): z is above 0 where the second mean is the larger one, p is two-sided. Without any
        variance (0, 1) where the means are equal, else an infinite z and p = 0; NaN where either n
        is below 2.
    """
    if not (n1 > 1 and n2 > 1):
        return math.nan, math.nan
    first, second = max(variance1, 0.0) / n1, max(variance2, 0.0) / n2
    gap = mean2 - mean1
    if math.isnan(gap) or math.isnan(first + second):
        return math.nan, math.nan
    if first + second == 0:
        return (0.0, 1.0) if gap == 0 else (math.copysign(math.inf, gap), 0.0)
    z = gap / math.sqrt(first + second)
    df = (first + second) ** 2 / (first**2 / (n1 - 1) + second**2 / (n2 - 1))
    return z, t_tail(z, df)
