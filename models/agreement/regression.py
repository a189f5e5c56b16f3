"""Ordinary least squares where few rows of the design are distinct, and tests of nested models."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.agreement.pairs import Floats
from models.agreement.tails import f_tail, t_quantile, t_tail

# Less than this share of the squares is the rounding noise of an exact fit.
_NOISE = 1e-24


@dataclass(frozen=True)
class Estimate:
    """A regression coefficient.

    Attributes:
        value: in units of the target per unit of the predictor.
        standard_error: of the value.
        df: residual degrees of freedom.
    """

    value: float
    standard_error: float
    df: int

    @property
    def p(self) -> float:
        """Two-sided probability of a value this far from 0, were it 0 in truth."""
        if self.standard_error == 0:
            return 0.0 if self.value else math.nan
        return t_tail(self.value / self.standard_error, self.df)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """(low, high) of the confidence interval."""
        reach = t_quantile(level, self.df) * self.standard_error
        return self.value - reach, self.value + reach


@dataclass(frozen=True)
class Regression:
    """A fitted model.

    Attributes:
        estimates: one for each column of the design.
        residual: sum of squares not explained.
        df: residual degrees of freedom.
        r2_adjusted: share explained, adjusted for the number of columns; NaN where there is
            nothing to explain, or no degree of freedom is left.
    """

    estimates: tuple[Estimate, ...]
    residual: float
    df: int
    r2_adjusted: float


def least_squares(target: Floats, design: Floats, cell: NDArray[np.int64]) -> Regression:
    """Fit a target by ordinary least squares.

    Responses with the same predictors count as one weighted row, so that the cost hardly grows
    with their number. Columns that depend on each other share their effect (pseudo-inverse).

    Args:
        target: [N] what to explain.
        design: [C, K] distinct rows of predictors, the first column all 1.
        cell: [N] which row of the design each target has; every row occurs.
    """
    n = np.bincount(cell, minlength=design.shape[0]).astype(np.float64)
    mean = np.bincount(cell, weights=target, minlength=design.shape[0]) / n
    weight = np.sqrt(n)
    # The target about its mean: exact where it is constant, and the first column takes it back.
    centre = target.mean()
    left, sizes, right = np.linalg.svd(design * weight[:, None], full_matrices=False)
    used = sizes > sizes[0] * max(design.shape) * np.finfo(np.float64).eps
    left, sizes, right = left[:, used], sizes[used], right[used]
    goal = (mean - centre) * weight
    coefficients = right.T @ ((left.T @ goal) / sizes)
    missed = goal - design @ coefficients * weight
    residual = float((missed**2).sum() + ((target - mean[cell]) ** 2).sum())
    total = float(((target - centre) ** 2).sum())
    noise = _NOISE * float((target**2).sum())
    residual, total = (0.0 if squares <= noise else squares for squares in (residual, total))
    coefficients[0] += centre
    df = target.size - int(used.sum())
    variance = residual / df if df > 0 else math.nan
    errors = np.sqrt(variance * ((right / sizes[:, None]) ** 2).sum(axis=0))
    defined = df > 0 and total > 0
    r2 = 1 - variance * (target.size - 1) / total if defined else math.nan
    estimates = tuple(
        Estimate(float(value), float(error), df)
        for value, error in zip(coefficients, errors, strict=True)
    )
    return Regression(estimates, residual, df, r2)


def nested_test(plain: Regression, full: Regression) -> tuple[float, float]:
    """(F, p) of the columns that the full model has beyond the plain one.

    NaN where these add nothing to tell apart, no degree of freedom is left, or the plain model
    leaves nothing to explain.
    """
    added = plain.df - full.df
    if added < 1 or full.df < 1 or plain.residual == 0:
        return math.nan, math.nan
    gain = max(plain.residual - full.residual, 0.0) / added
    f = gain / (full.residual / full.df) if full.residual else math.inf
    return f, f_tail(f, added, full.df)
