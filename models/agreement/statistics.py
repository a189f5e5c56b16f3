"""Agreement between two scores of the same responses: kappas, shares, correlation, differences.

A statistic is called with two aligned arrays of scores of one item, ``human`` and ``machine``, both
of shape [N]: integers, halves or continuous. For two people the second rater stands where the
machine does. Whatever cannot be computed (no rows, no variance to compare with) is NaN, never a
made-up number. Shares lie between 0 and 1; tables turn them into per cent.

The definitions are those of RSMTool (github.com/EducationalTestingService/rsmtool), which publishes
the same numbers for its evaluation experiments: population moments for kappa, sample standard
deviations for the standardized mean difference.
"""

from collections.abc import Callable
from functools import update_wrapper

import numpy as np
from numpy.typing import ArrayLike

from models.agreement.pairs import Floats, Pairs, Resampled, aligned, paired, ratio


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
        first, second = aligned(human, machine)
        return float(self.of(Pairs(first, second, np.ones(first.size))))

    def resampled(self, human: ArrayLike, machine: ArrayLike) -> Resampled:
        """The statistic as a function of how often each row was drawn, for ``bootstrap``.

        Args:
            human: [N] scores; NaN where there is none.
            machine: [N] scores; NaN where there is none.

        Returns:
            A function of counts [B, N] that gives values [B]. Rows without both scores weigh
            nothing: agreement of two people may rest on a part of the rows, drawn together with
            all the others.

        Raises:
            ValueError: the arrays are not of one length, or hold infinite scores.
        """
        first, second = paired(human, machine)
        known = ~(np.isnan(first) | np.isnan(second))
        return lambda counts: self.of(Pairs(first, second, counts).where(known))


@Statistic
def quadratic_weighted_kappa(pairs: Pairs) -> Floats:
    """Quadratic weighted kappa (QWK), for whole and for continuous scores.

    2 Cov(H, M) / (Var H + Var M + (mean H - mean M)^2), population moments: Haberman's form for
    continuous scores, as in RSMTool. For whole numbers this is Cohen's weighted kappa (1968) over
    the item's full range of scores, also of those nobody gave. NaN where both are the same
    constant.
    """
    gap, var_human, var_machine, covariance = pairs.moments()
    return ratio(2 * covariance, var_human + var_machine + gap**2)


@Statistic
def kappa(pairs: Pairs) -> Floats:
    """Cohen's kappa (1960), unweighted: of both scores rounded to whole points, half to even.

    1 minus observed over expected disagreement, as in RSMTool. NaN where both are the same
    constant.
    """
    human, machine = np.rint(pairs.human), np.rint(pairs.machine)
    # A point that nobody gave adds nothing to either sum, so the full scale is not needed.
    points = np.unique(np.concatenate([human, machine]))
    given = np.concatenate([human[:, None] == points, machine[:, None] == points], axis=1)
    shares = ratio(pairs.counts @ given.astype(np.float64), pairs.n[..., None])
    by_chance = (shares[..., : points.size] * shares[..., points.size :]).sum(axis=-1)
    # A sum over no points would be 0; with no rows nothing is known.
    by_chance = np.where(pairs.n > 0, by_chance, np.nan)
    return 1 - ratio(1 - pairs.mean(human == machine), 1 - by_chance)


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
    return np.clip(ratio(covariance, np.sqrt(var_human * var_machine)), -1, 1)


@Statistic
def r_squared(pairs: Pairs) -> Floats:
    """Coefficient of determination: 1 minus squared error over the human scores' variance.

    At most 1, and below 0 where the human mean would have predicted better. NaN where the human
    scores are constant.
    """
    _, var_human, _, _ = pairs.moments()
    return 1 - ratio(pairs.mean((pairs.human - pairs.machine) ** 2), var_human)


@Statistic
def root_mean_squared_error(pairs: Pairs) -> Floats:
    """The root of the mean squared difference, in score points."""
    return np.asarray(np.sqrt(pairs.mean((pairs.human - pairs.machine) ** 2)))


@Statistic
def standardized_mean_difference(pairs: Pairs) -> Floats:
    """Mean machine minus mean human, in sample standard deviations of the human scores.

    RSMTool's "unpooled" SMD, its measure for people and machine: above 0 the machine is the milder
    one. NaN where the human scores are constant, or there is only one.
    """
    gap, var_human, _, _ = pairs.moments()
    return ratio(gap, np.sqrt(_of_sample(var_human, pairs.n)))


@Statistic
def pooled_smd(pairs: Pairs) -> Floats:
    """The mean difference in pooled sample standard deviations, sqrt((s_H^2 + s_M^2) / 2).

    RSMTool's "pooled" SMD, its measure for two people, neither of whom is the standard.
    """
    gap, var_human, var_machine, _ = pairs.moments()
    return ratio(gap, np.sqrt(_of_sample((var_human + var_machine) / 2, pairs.n)))


@Statistic
def williamson_smd(pairs: Pairs) -> Floats:
    """The mean difference in pooled population standard deviations (dividing by N).

    Williamson, Xi and Breyer (2012). The sample stands for its own population; see ``smd_within``
    for a subgroup of a larger one.
    """
    gap, var_human, var_machine, _ = pairs.moments()
    return ratio(gap, np.sqrt((var_human + var_machine) / 2))


@Statistic
def johnson_smd(pairs: Pairs) -> Floats:
    """The mean difference in the population standard deviation of the human scores.

    RSMTool's "johnson" SMD. The sample stands for its own population, dividing by N; see
    ``smd_within`` for a subgroup of a larger one.
    """
    gap, var_human, _, _ = pairs.moments()
    return ratio(gap, np.sqrt(var_human))


def _of_sample(population_variance: Floats, n: Floats) -> Floats:
    return population_variance * ratio(n, n - 1)
