"""Whether the machine treats subgroups of students as people do."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement.pairs import NO_VARIANCE, Floats, Pairs, Resampled, paired, ratio
from models.agreement.statistics import Statistic


@dataclass(frozen=True)
class Population:
    """Means and sample standard deviations of the responses that a subgroup is a part of."""

    mean_human: float
    sd_human: float
    mean_machine: float
    sd_machine: float

    @classmethod
    def of(cls, human: ArrayLike, machine: ArrayLike) -> "Population":
        """Those of all rows with a score, [N] each; NaN where there is none.

        People and machine are described each by all of their own scores, as in RSMTool.
        """
        first, second = (scores[~np.isnan(scores)] for scores in paired(human, machine))
        return cls(*_mean_and_sd(first), *_mean_and_sd(second))


def difference_of_standardized_means(
    human: ArrayLike,
    machine: ArrayLike,
    groups: ArrayLike,
    population: Population | None = None,
) -> dict[str, float]:
    """DSM of every level: the mean standardized machine score minus the human one.

    Each score is standardized by the mean and standard deviation of all responses, so that a
    difference of people and machine as a whole does not count against any level; above 0 the
    machine is milder with this level than with the others (RSMTool's measure since version 7).

    Args:
        human: [N] scores; NaN where there is none.
        machine: [N] scores; NaN where there is none.
        groups: [N] the level of each response, such as a first language; None where not known.
            Such responses are part of the population, and of no level.
        population: what to standardize with; None for all rows with both scores.

    Returns:
        Level to DSM, levels ascending. All are NaN where people's or the machine's scores in the
        population are constant; one is where its level has no row with both scores.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite scores.
    """
    pairs = _both(human, machine)
    levels, codes = levels_of(groups, pairs.human.size)
    within = pairs.where(pairs.counts > 0)
    standard = population or Population.of(within.human, within.machine)
    difference = _standardized(pairs.machine, standard.mean_machine, standard.sd_machine)
    difference = difference - _standardized(pairs.human, standard.mean_human, standard.sd_human)
    chosen = [difference[(codes == code) & (pairs.counts > 0)] for code in range(len(levels))]
    return {
        level: float(ratio(values.sum(), values.size))
        for level, values in zip(levels, chosen, strict=True)
    }


def dsm_resampled(human: ArrayLike, machine: ArrayLike, groups: ArrayLike, level: str) -> Resampled:
    """One level's DSM as a function of counts [B, N], for ``bootstrap``.

    The population is resampled along with the level; see ``difference_of_standardized_means``.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite scores.
    """
    sample = _both(human, machine)
    levels, codes = levels_of(groups, sample.human.size)
    member = codes == (levels.index(level) if level in levels else len(levels))
    known = sample.counts > 0

    def difference(counts: Floats) -> Floats:
        drawn = Pairs(sample.human, sample.machine, counts)
        everyone, inside = drawn.where(known), drawn.where(known & member)
        _, var_human, var_machine, _ = everyone.moments()
        to_sample = ratio(everyone.n, everyone.n - 1)
        machine = inside.mean(inside.machine) - everyone.mean(everyone.machine)
        human = inside.mean(inside.human) - everyone.mean(everyone.human)
        machine_z = ratio(machine, np.sqrt(var_machine * to_sample))
        return machine_z - ratio(human, np.sqrt(var_human * to_sample))

    return difference


def smd_within(population: Population, *, pooled: bool) -> Statistic:
    """The mean difference of a subgroup in the standard deviations of its population.

    Args:
        population: of all responses.
        pooled: True for Williamson, Xi and Breyer's (2012) deviation, pooled from people's and
            machine's; False for people's alone, RSMTool's "johnson".
    """
    human, machine = population.sd_human, population.sd_machine
    deviation = math.sqrt((human**2 + machine**2) / 2) if pooled else human
    return Statistic(lambda pairs: ratio(pairs.moments()[0], deviation))


def levels_of(groups: ArrayLike, n: int) -> tuple[list[str], NDArray[np.int64]]:
    """The levels that occur, ascending, and the place of each row's among them, -1 for none.

    Raises:
        ValueError: groups do not have n rows.
    """
    named = np.asarray(groups, dtype=object)
    if named.shape != (n,):
        raise ValueError(f"{n} scores but {named.size} levels of a subgroup: give one for each")
    levels = sorted({level for level in named.tolist() if level is not None})
    place: dict[str | None, int] = {level: code for code, level in enumerate(levels)}
    codes = [place.get(level, -1) for level in named.tolist()]
    return levels, np.array(codes, dtype=np.int64)


def _both(human: ArrayLike, machine: ArrayLike) -> Pairs:
    """One row per response, counted where both scores are known; unknown ones are 0."""
    first, second = paired(human, machine)
    known = ~(np.isnan(first) | np.isnan(second))
    return Pairs(np.where(known, first, 0), np.where(known, second, 0), known.astype(np.float64))


def _standardized(scores: Floats, mean: float, deviation: float) -> Floats:
    return ratio(scores - mean, deviation if deviation**2 > NO_VARIANCE else 0.0)


def _mean_and_sd(scores: Floats) -> tuple[float, float]:
    if not scores.size:
        return math.nan, math.nan
    _, variance, _, _ = Pairs(scores, scores, np.ones(scores.size)).moments()
    deviation = np.sqrt(variance * ratio(scores.size, scores.size - 1))
    return float(scores.mean()), float(deviation)
