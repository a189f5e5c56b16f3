"""Fairness as the part of the scoring error that a subgroup explains: three regressions.

Loukina, Madnani and Zechner (2019), "The many dimensions of algorithmic fairness in educational
applications". The figures are RSMTool's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.agreement.pairs import Floats, paired
from models.agreement.regression import Estimate, Regression, least_squares, nested_test
from models.agreement.subgroups import levels_of


@dataclass(frozen=True)
class FairnessTest:
    """How much of a scoring error the subgroup explains.

    Attributes:
        r2_adjusted: the share explained, adjusted for the number of levels; below 0 it is less
            than chance would bring. Conditional on the score: the share beyond the score's own.
        f: the F statistic of all levels together.
        p: its probability, were there no difference between levels.
        reference: the level that others are compared with.
        estimates: level to its difference from the reference; the reference's own entry is the
            intercept.
    """

    r2_adjusted: float
    f: float
    p: float
    reference: str
    estimates: Mapping[str, Estimate]

    @property
    def coefficients(self) -> dict[str, float]:
        """Level to its difference from the reference, which has no entry."""
        found = {level: estimate.value for level, estimate in self.estimates.items()}
        found.pop(self.reference, None)
        return found

    @property
    def intercept(self) -> float:
        """The reference's predicted error; conditional on the score, at the commonest."""
        estimate = self.estimates.get(self.reference)
        return math.nan if estimate is None else estimate.value


@dataclass(frozen=True)
class Fairness:
    """The scoring error, machine minus human, by one attribute's levels.

    Attributes:
        reference: the largest level; of equally large ones the first by name. Empty without any.
        n: responses with both scores and a level.
        osa: overall score accuracy, whether the squared error depends on the level.
        osd: overall score difference, whether the error does.
        csd: conditional score difference, whether it does among responses of equal human score.
    """

    reference: str
    n: int
    osa: FairnessTest
    osd: FairnessTest
    csd: FairnessTest


def fairness(human: ArrayLike, machine: ArrayLike, groups: ArrayLike) -> Fairness:
    """The three fairness regressions of one attribute, on one item's responses.

    Args:
        human: [N] scores; NaN where there is none.
        machine: [N] scores; NaN where there is none.
        groups: [N] level of each response; None where not known. Rows without any of the three
            are left out.

    Returns:
        NaN figures with fewer than two levels, with no more responses than coefficients (as with
        continuous human scores, each a category of its own), or with no error to explain.

    Raises:
        ValueError: the arrays are not of one length, or hold infinite scores.
    """
    first, second = paired(human, machine)
    levels, codes = levels_of(groups, first.size)
    known = ~(np.isnan(first) | np.isnan(second)) & (codes >= 0)
    first, error, codes = first[known], (second - first)[known], codes[known]
    sizes = np.bincount(codes, minlength=len(levels))
    # The first of the largest: levels ascend.
    order = sorted(np.flatnonzero(sizes).tolist(), key=lambda code: -int(sizes[code]))
    names = [levels[code] for code in order]
    if len(names) < 2:
        return _not_tested(names[0] if names else "", first.size)
    cells, cell = np.unique(np.stack([codes, first]), axis=1, return_inverse=True)
    constant = np.ones((cells.shape[1], 1))
    group = (cells[0][:, None] == np.array(order[1:])).astype(np.float64)
    score = (cells[1][:, None] == _others(first)).astype(np.float64)

    def test(target: Floats, *without: Floats) -> FairnessTest:
        plain = least_squares(target, np.hstack([constant, *without]), cell)
        full = least_squares(target, np.hstack([constant, group, *without]), cell)
        return _compared(names, plain, full)

    return Fairness(names[0], first.size, test(error**2), test(error), test(error, score))


def _others(human: Floats) -> Floats:
    """The human scores but for the most frequent one, the lowest of equally frequent ones."""
    points, n = np.unique(human, return_counts=True)
    return np.delete(points, n.argmax())


def _compared(names: list[str], plain: Regression, full: Regression) -> FairnessTest:
    estimates = dict(zip(names, full.estimates, strict=False))
    f, p = nested_test(plain, full)
    return FairnessTest(full.r2_adjusted - plain.r2_adjusted, f, p, names[0], estimates)


def _not_tested(reference: str, n: int) -> Fairness:
    nothing = FairnessTest(math.nan, math.nan, math.nan, reference, {})
    return Fairness(reference, n, nothing, nothing, nothing)
