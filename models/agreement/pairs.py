"""Two scores of every response, and their moments, in one sample or in a thousand resamples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
# A figure of resamples: counts [B, N], how often each row was drawn, to values [B].
Resampled = Callable[[Floats], Floats]

# A variance below this share of the mean square is the rounding noise of a constant; and so is one
# below this number itself, for scores are of the order of 1 to 100.
NO_VARIANCE = 1e-12


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
        return ratio(self.counts @ np.asarray(values, dtype=np.float64), self.n)

    def where(self, chosen: NDArray[np.bool_]) -> "Pairs":
        """Only the chosen pairs, [C]."""
        if chosen.all():
            return self
        return Pairs(self.human[chosen], self.machine[chosen], self.counts[..., chosen])

    def moments(self) -> tuple[Floats, Floats, Floats, Floats]:
        """[...] mean machine minus mean human, both population variances, the covariance.

        The variance of a constant is exactly 0, and so is its covariance with anything.
        """
        # Moments about the first score keep the squares small; those of a constant vanish at once.
        human = self.human - self.human[:1].sum()
        machine = self.machine - self.machine[:1].sum()
        gap = self.machine - self.human
        columns = np.stack([gap, human, machine, human**2, machine**2, human * machine], axis=-1)
        means = ratio(self.counts @ columns, self.n[..., None])
        var_human = _variance(means[..., 1], means[..., 3])
        var_machine = _variance(means[..., 2], means[..., 4])
        covariance = means[..., 5] - means[..., 1] * means[..., 2]
        constant = (var_human == 0) | (var_machine == 0)
        return means[..., 0], var_human, var_machine, np.where(constant, 0.0, covariance)


def aligned(human: ArrayLike, machine: ArrayLike) -> tuple[Floats, Floats]:
    """Both as flat arrays of one length, every score finite.

    Raises:
        ValueError: they are not of one length, or hold NaN or infinite scores.
    """
    first, second = paired(human, machine)
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("a score is NaN or infinite: leave out responses without both scores")
    return first, second


def paired(human: ArrayLike, machine: ArrayLike) -> tuple[Floats, Floats]:
    """Both as flat arrays of one length, NaN where a score is missing.

    Raises:
        ValueError: they are not of one length, or hold infinite scores.
    """
    first, second = np.asarray(human, dtype=np.float64), np.asarray(machine, dtype=np.float64)
    if first.shape != second.shape or first.ndim != 1:
        raise ValueError(
            f"human has shape {first.shape}, machine {second.shape}: "
            "give two flat arrays, a score each for the same responses in the same order"
        )
    if np.isinf(first).any() or np.isinf(second).any():
        raise ValueError("a score is NaN or infinite: leave out responses without both scores")
    return first, second


def ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    """Their ratio, NaN where the divisor is 0 but for rounding."""
    above, below = np.broadcast_arrays(
        np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    )
    out = np.full(above.shape, np.nan)
    np.divide(above, below, out=out, where=np.abs(below) > NO_VARIANCE)
    return out


def _variance(mean: Floats, mean_square: Floats) -> Floats:
    variance = mean_square - mean**2
    # Not "variance > noise", which would make 0 of a NaN.
    return np.where(variance <= NO_VARIANCE * np.maximum(mean_square, 1), 0.0, variance)
