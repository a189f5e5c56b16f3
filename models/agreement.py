"""How well machine scores agree with human ones (numpy only).

A statistic is called with two aligned arrays of scores, ``human`` and ``machine``, both of shape
[N]: integers, halves or continuous. Whatever cannot be computed (no rows, no variance to compare
with) is NaN, never a made-up number. Shares lie between 0 and 1; tables turn them into per cent.

The definitions are those of RSMTool (github.com/EducationalTestingService/rsmtool), which reports
the same numbers on its published evaluation experiments: population moments for kappa, sample
standard deviations for the standardized mean difference.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import update_wrapper

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# A variance below this is rounding noise of a constant: scores are of the order of 1 to 100.
_NO_VARIANCE = 1e-12
# Resamples are drawn in blocks of at most this many counts, 64 MB.
_BLOCK = 8_000_000


@dataclass(frozen=True)
class Pairs:
    """Distinct pairs of scores and how often each one occurs, in one sample or in many.

    Attributes:
        human: [C] the human's score of each pair.
        machine: [C] the machine's.
        counts: [..., C] occurrences; leading axes are resamples.
    """

    human: Floats
    machine: Floats
    counts: Floats

    @property
    def n(self) -> Floats:
        """[...] the number of responses."""
        return np.asarray(self.counts.sum(axis=-1))

    def mean(self, values: ArrayLike) -> Floats:
        """[...] the mean over responses of a value given per pair, [C]."""
        return _ratio(self.counts @ np.asarray(values, dtype=np.float64), self.n)

    def moments(self) -> tuple[Floats, Floats, Floats, Floats]:
        """[...] mean machine minus mean human, both population variances, the covariance."""
        # Moments do not change when both are shifted alike. Shifting to the first score keeps the
        # squares small, and makes the moments of a constant rater exactly 0.
        origin = self.human[0] if self.human.size else 0.0
        human, machine = self.human - origin, self.machine - origin
        mean_human, mean_machine = self.mean(human), self.mean(machine)
        return (
            mean_machine - mean_human,
            self.mean(human**2) - mean_human**2,
            self.mean(machine**2) - mean_machine**2,
            self.mean(human * machine) - mean_human * mean_machine,
        )


class Statistic:
    """One agreement statistic: called with two arrays of scores, [N] each, it gives a float.

    Written as a function of ``Pairs``, so that the same formula serves one sample and the
    thousand resamples of its bootstrap at once.
    """

    def __init__(self, formula: Callable[[Pairs], Floats]) -> None:
        self.of = formula
        update_wrapper(self, formula)

    def __call__(self, human: ArrayLike, machine: ArrayLike) -> float:
        """The statistic of one sample; NaN where it is not defined.

        Raises:
            ValueError: the arrays are not of one length, or hold NaN or infinite scores.
        """
        first, second = _aligned(human, machine)
        return float(self.of(Pairs(first, second, np.ones(first.size))))


@Statistic
def quadratic_weighted_kappa(pairs: Pairs) -> Floats:
    """Quadratic weighted kappa (QWK), for whole and for continuous scores.

    2 Cov(H, M) / (Var H + Var M + (mean H - mean M)^2), population moments: Haberman's form for
    continuous scores, as in RSMTool. For whole numbers this is Cohen's weighted kappa over the
    item's full range of scores, also of those nobody gave. NaN where both are the same constant.
    """
    gap, var_human, var_machine, covariance = pairs.moments()
    return _ratio(2 * covariance, var_human + var_machine + gap**2)


@Statistic
def exact_agreement(pairs: Pairs) -> Floats:
    """The share of responses, 0 to 1, that both gave the very same score."""
    return pairs.mean(pairs.human == pairs.machine)


@Statistic
def adjacent_agreement(pairs: Pairs) -> Floats:
    """The share of responses, 0 to 1, whose two scores are at most one point apart."""
    return pairs.mean(np.abs(pairs.human - pairs.machine) <= 1)


@Statistic
def pearson_r(pairs: Pairs) -> Floats:
    """Pearson's product-moment correlation; NaN where either is constant."""
    _, var_human, var_machine, covariance = pairs.moments()
    constant = np.minimum(var_human, var_machine) <= _NO_VARIANCE
    r = _ratio(covariance, np.where(constant, 0.0, np.sqrt(np.maximum(var_human * var_machine, 0))))
    return np.clip(r, -1, 1)


@Statistic
def standardized_mean_difference(pairs: Pairs) -> Floats:
    """Mean machine minus mean human, in sample standard deviations of the human scores.

    RSMTool's "unpooled" human-machine SMD: above 0 the machine is the milder one. NaN where the
    human scores are constant, or there is only one.
    """
    gap, var_human, _, _ = pairs.moments()
    sample_variance = var_human * _ratio(pairs.n, pairs.n - 1)
    constant = ~(var_human > _NO_VARIANCE)
    return _ratio(gap, np.where(constant, 0.0, np.sqrt(np.maximum(sample_variance, 0))))


@Statistic
def root_mean_squared_error(pairs: Pairs) -> Floats:
    """The root of the mean squared difference, in score points."""
    return np.asarray(np.sqrt(pairs.mean((pairs.human - pairs.machine) ** 2)))


def bootstrap_interval(
    human: ArrayLike,
    machine: ArrayLike,
    statistic: Statistic,
    *,
    seed: int,
    samples: int = 1000,
    level: float = 0.95,
    clusters: ArrayLike | None = None,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic (Efron 1979), resampling responses.

    Resamples in which the statistic is not defined are left out. With few responses such an
    interval is too narrow rather than too wide; where all agree it has no width at all.

    Args:
        human: [N] scores.
        machine: [N] scores.
        statistic: one of this module's statistics.
        seed: the same seed gives the same interval, in whatever order the responses come.
        samples: number of resamples.
        level: share of resamples inside the interval, 0 to 1.
        clusters: [N] whose response each is; given, whole clusters are drawn, as is right when
            a student has answered several times.

    Returns:
        (low, high); (NaN, NaN) with fewer than two responses, or two clusters.

    Raises:
        ValueError: the arrays are not of one length, or hold NaN or infinite scores.
    """
    first, second = _aligned(human, machine)
    groups = None if clusters is None else np.asarray(clusters)
    if groups is not None and groups.shape != first.shape:
        raise ValueError(f"{first.size} scores but {groups.size} clusters: give one for each")
    units = first.size if groups is None else np.unique(groups).size
    if units < 2:
        return float("nan"), float("nan")
    drawn = _resamples(first, second, groups, samples, np.random.default_rng(seed))
    values = np.concatenate([statistic.of(pairs) for pairs in drawn])
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def confusion_matrix(human: ArrayLike, machine: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Count every combination of scores.

    Args:
        human: [N] scores, each one of the labels.
        machine: [N] scores, each one of the labels.
        labels: [K] the score points, ascending: the item's whole range.

    Returns:
        [K, K] counts, a row for each human score and a column for each machine score.

    Raises:
        ValueError: a score is none of the labels, or the arrays are not of one length.
    """
    first, second = _aligned(human, machine)
    points = np.asarray(labels, dtype=np.float64)
    for name, scores in (("human", first), ("machine", second)):
        strange = np.setdiff1d(scores, points)
        if strange.size:
            raise ValueError(f"{name} score {strange[0]:g} is not one of the labels {points}")
    cells = np.searchsorted(points, first) * points.size + np.searchsorted(points, second)
    return np.bincount(cells, minlength=points.size**2).reshape(points.size, points.size)


def _aligned(human: ArrayLike, machine: ArrayLike) -> tuple[Floats, Floats]:
    first, second = np.asarray(human, dtype=np.float64), np.asarray(machine, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"human has shape {first.shape}, machine {second.shape}: "
            "give two flat arrays, a score each for the same responses in the same order"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("a score is NaN or infinite: leave out responses without both scores")
    return first, second


def _ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    above, below = np.broadcast_arrays(
        np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    )
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=np.abs(below) > _NO_VARIANCE)
    return out


def _resamples(
    human: Floats,
    machine: Floats,
    groups: NDArray[np.generic] | None,
    samples: int,
    rng: np.random.Generator,
) -> Iterator[Pairs]:
    """Draw blocks of resamples; drawing responses is drawing how often each pair occurs."""
    if groups is None:
        # Whole scores have few distinct pairs: a million responses cost no more than a hundred.
        (human, machine), repeats = np.unique(
            np.stack([human, machine]), axis=1, return_counts=True
        )
        member = None
    else:
        _, member = np.unique(groups, return_inverse=True)
        repeats = np.ones(int(member.max()) + 1, dtype=np.int64)
    total = int(repeats.sum())
    block = max(1, _BLOCK // human.size)
    for start in range(0, samples, block):
        size = min(block, samples - start)
        counts = rng.multinomial(total, repeats / total, size=size).astype(np.float64)
        yield Pairs(human, machine, counts if member is None else counts[:, member])
