"""Bootstrap (Efron 1979): what a figure might have been, had other responses been drawn.

Resamples are matrices of counts, [B, N]: how often each row was drawn. Figures are computed from
the counts by matrix products, and all figures of an item from the same counts, so that the
differences of any two are paired differences.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement.pairs import Floats, Pairs, Resampled, aligned, paired
from models.agreement.statistics import Statistic, quadratic_weighted_kappa

# Resamples are drawn in blocks of at most this many counts: 32 MB, and 100 MB while being drawn.
_BLOCK = 4_000_000

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """How much better one machine agrees with people than another, on the same responses.

    Attributes:
        value: the challenger's statistic minus the champion's.
        low, high: ends of its percentile bootstrap interval.
        n: responses that all three have scored.
    """

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    statistics: Mapping[str, Resampled],
    n: int,
    *,
    seed: int,
    samples: int = 1000,
    clusters: ArrayLike | None = None,
    order: Sequence[ArrayLike] = (),
) -> dict[str, Floats]:
    """Figures of the same resamples of an item's rows.

    Resample b of every figure is drawn from the same rows: subtract two of the arrays for the
    resamples of their difference, and so on. Blocks bound the memory, whatever n.

    Args:
        statistics: name to a function of counts [B, n] that gives values [B], such as
            ``quadratic_weighted_kappa.resampled(human, machine)``.
        n: rows, the same ones in the same order for all functions.
        seed: the same seed gives the same resamples.
        samples: resamples, B in all.
        clusters: [n] whose response each is; given, whole clusters are drawn, as is right where a
            student has answered several times. A negative whole number is nobody known: such a
            row is a cluster of its own.
        order: arrays [n] of numbers, such as the scores. Rows are drawn in ascending order of
            these, so that the result does not depend on the order they come in; rows that tie in
            all of them are drawn in the order given.

    Returns:
        Name to values [samples]; all NaN with fewer than two rows, or two clusters.

    Raises:
        ValueError: clusters or order are not of length n.
    """
    units, member = _units(n, clusters, order)
    if units < 2:
        return {name: np.full(samples, math.nan) for name in statistics}
    once = np.ones(units, dtype=np.int64)
    values: dict[str, list[Floats]] = {name: [] for name in statistics}
    for counts in _resamples(once, member, samples, seed):
        for name, statistic in statistics.items():
            values[name].append(statistic(counts))
    return {name: _joined(blocks) for name, blocks in values.items()}


def sample_values(statistics: Mapping[str, Resampled], n: int) -> dict[str, float]:
    """The figures of ``bootstrap`` for the sample itself: each of its n rows drawn once."""
    once = np.ones((1, n))
    return {name: float(statistic(once)[0]) for name, statistic in statistics.items()}


def percentile_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled figures.

    Resamples in which a figure is not defined are left out as long as they are fewer than lie
    beyond either end. With more, an end could be anything: where one response of a hundred differs
    from the others, a third of the resamples lack it, and the rest say next to nothing.

    Args:
        values: [B] figures; NaN where they are not defined.
        level: share of resamples inside the interval, 0 to 1.

    Returns:
        (low, high); (NaN, NaN) without values, or with too many undefined ones.
    """
    given = np.asarray(values, dtype=np.float64)
    undefined = np.isnan(given)
    if not given.size or undefined.mean() > (1 - level) / 2:
        return math.nan, math.nan
    given = given[~undefined]
    low, high = np.quantile(given, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
    """Percentile bootstrap interval of one statistic, resampling responses.

    With few responses such an interval is too narrow rather than too wide; where all agree it has
    no width at all. Resamples in which the statistic is not defined: see ``percentile_interval``.

    Args:
        human: [N] scores.
        machine: [N] scores.
        statistic: one of this package's statistics.
        seed: the same seed gives the same interval, in whatever order the responses come.
        samples: number of resamples.
        level: share of resamples inside the interval, 0 to 1.
        clusters: [N] whose response each is, see ``bootstrap``.

    Returns:
        (low, high); (NaN, NaN) with fewer than two responses, or two clusters, or where the
        statistic is not defined in too many resamples.

    Raises:
        ValueError: the arrays are not of one length, or hold NaN or infinite scores.
    """
    (first, second), drawn = _drawn(aligned(human, machine), clusters, samples, seed)
    values = (statistic.of(Pairs(first, second, counts)) for counts in drawn)
    return percentile_interval(_joined(values), level)


def paired_difference(
    human: ArrayLike,
    challenger: ArrayLike,
    champion: ArrayLike,
    statistic: Statistic = quadratic_weighted_kappa,
    *,
    seed: int,
    samples: int = 2000,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> Difference:
    """Whether one machine agrees better than another, both scored in the same resamples.

    Args:
        human: [N] scores; NaN where there is none.
        challenger: [N] scores of the one machine; NaN where there is none.
        champion: [N] scores of the other; NaN where there is none.
        statistic: one of this package's statistics.
        seed: the same seed gives the same interval, in whatever order the responses come.
        samples: number of resamples.
        clusters: [N] whose response each is, see ``bootstrap``.
        level: share of resamples inside the interval, 0 to 1.

    Returns:
        Challenger minus champion, of the responses with all three scores. The interval is
        (NaN, NaN) with fewer than two of these, or of their clusters, or where the statistic is
        not defined in too many resamples.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite scores.
    """
    (first, new), (_, old) = paired(human, challenger), paired(human, champion)
    known = ~(np.isnan(first) | np.isnan(new) | np.isnan(old))
    if clusters is not None:
        clusters = _labels(clusters, first.size)[known]
    first, new, old = first[known], new[known], old[known]
    rows, drawn = _drawn([first, new, old], clusters, samples, seed)

    def gain(counts: Floats) -> Floats:
        better = statistic.of(Pairs(rows[0], rows[1], counts))
        return better - statistic.of(Pairs(rows[0], rows[2], counts))

    low, high = percentile_interval(_joined(map(gain, drawn)), level)
    return Difference(statistic(first, new) - statistic(first, old), low, high, first.size)


def _joined(blocks: Iterable[Floats]) -> Floats:
    return np.concatenate([*blocks, np.empty(0)])


def _drawn(
    rows: Sequence[Floats], clusters: ArrayLike | None, samples: int, seed: int
) -> tuple[Sequence[Floats], Iterator[Floats]]:
    """The rows that counts refer to, and blocks of counts; no block with fewer than two units."""
    if clusters is None:
        # Whole scores have few distinct rows: a million responses cost no more than a hundred.
        distinct, repeats = np.unique(np.stack(rows), axis=1, return_counts=True)
        return list(distinct), _resamples(repeats, None, samples, seed)
    units, member = _units(rows[0].size, clusters, rows)
    return rows, _resamples(np.ones(units, dtype=np.int64), member, samples, seed)


def _units(
    n: int, clusters: ArrayLike | None, order: Sequence[ArrayLike]
) -> tuple[int, Integers | None]:
    """How many units there are to draw, and the unit of each row; None where row k is unit k."""
    rank = np.arange(n)
    if len(order):
        keys = [_labels(key, n) for key in order]
        # lexsort takes the most important key last.
        rank[np.lexsort(keys[::-1])] = np.arange(n)
    if clusters is None:
        return n, rank if len(order) else None
    labels = _labels(clusters, n)
    alone = np.zeros(n, bool)
    if np.issubdtype(labels.dtype, np.signedinteger):
        alone = labels.astype(np.int64) < 0
    names, member = np.unique(labels[~alone], return_inverse=True)
    unit = np.empty(n, dtype=np.int64)
    unit[~alone] = member
    unit[alone] = names.size + np.argsort(np.argsort(rank[alone]))
    return names.size + int(alone.sum()), unit


def _labels(given: ArrayLike, n: int) -> NDArray[np.generic]:
    labels = np.asarray(given)
    if labels.shape != (n,):
        raise ValueError(f"{n} scores but {labels.size} clusters or keys: give one for each")
    return labels


def _resamples(
    repeats: Integers, member: Integers | None, samples: int, seed: int
) -> Iterator[Floats]:
    """Blocks of counts [b, N]: units drawn as often as there are, each with all of its rows."""
    total = int(repeats.sum())
    if total < 2:
        return
    rng = np.random.default_rng(seed)
    rows = repeats.size if member is None else member.size
    block = max(1, _BLOCK // max(rows, repeats.size))
    for start in range(0, samples, block):
        counts = _draw(repeats, min(block, samples - start), rng)
        yield counts if member is None else np.take(counts, member, axis=1)


def _draw(repeats: Integers, size: int, rng: np.random.Generator) -> Floats:
    units = repeats.size
    if repeats.max() > 1:
        total = repeats.sum()
        return rng.multinomial(total, repeats / total, size=size).astype(np.float64)
    # The same distribution, drawn one by one: five times as fast where every unit is distinct.
    chosen = rng.integers(0, units, size=(size, units))
    chosen += np.arange(size)[:, None] * units
    counts = np.bincount(chosen.ravel(), minlength=size * units)
    return counts.reshape(size, units).astype(np.float64)
