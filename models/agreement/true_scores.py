"""Agreement with what people would score without their own errors, and beside that of people.

Two raters of the same response differ by chance. What they have in common estimates the true score
(classical test theory), and a machine is better compared with that than with one rater alone.
"""

import math
from dataclasses import dataclass
from typing import TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike

from models.agreement.pairs import NO_VARIANCE, Floats, Resampled, ratio

# One figure, or the figures of all resamples.
Value = TypeVar("Value", float, Floats)


@dataclass(frozen=True)
class PRMSE:
    """Proportional reduction in mean squared error when predicting true human scores.

    Attributes:
        value: 1 - mse_true / true_variance; 1 is perfect, 0 no better than the mean.
        error_variance: of one rating about its true score, or as given.
        true_variance: of true scores.
        mse_true: mean squared error of the machine as a measure of true scores.
        n: responses with a machine score and at least one rating.
        n_multiple: those of them with two ratings or more.
    """

    value: float
    error_variance: float
    true_variance: float
    mse_true: float
    n: int
    n_multiple: int


def prmse(
    system: ArrayLike, human_ratings: ArrayLike, *, error_variance: float | None = None
) -> PRMSE:
    """PRMSE of machine scores, for any number of raters, some of them missing.

    Loukina, Madnani, Cahill, Yao, Johnson, Riordan and McCaffrey (2020), as in RSMTool. Ratings
    must be single people's own: an average of two, or a resolved score, is none. The value is NaN
    where nobody was rated twice and no error variance is given; and, unlike RSMTool's, where the
    true variance is not above 0, since raters' errors then explain all there is.

    Args:
        system: [N] machine scores; rows with NaN are left out.
        human_ratings: [N, R] a column for each rater, NaN where one has not read a response.
        error_variance: variance of one rating about the true score, known from elsewhere; None to
            estimate it from the responses with several ratings.

    Raises:
        ValueError: system is not flat, or ratings have not one row for each of its scores.
    """
    columns = _columns(system, human_ratings)
    value, error, true, mse = _formula(columns.sum(axis=0), error_variance)
    return PRMSE(
        value=float(value),
        error_variance=float(error),
        true_variance=float(true),
        mse_true=float(mse),
        n=int(columns[:, 0].sum()),
        n_multiple=int(np.count_nonzero(columns[:, 1] > 1)),
    )


def prmse_resampled(
    system: ArrayLike, human_ratings: ArrayLike, *, error_variance: float | None = None
) -> Resampled:
    """PRMSE's value as a function of counts [B, N], for ``bootstrap``; see ``prmse``.

    Raises:
        ValueError: system is not flat, or ratings have not one row for each of its scores.
    """
    columns = _columns(system, human_ratings)
    return lambda counts: _formula(counts @ columns, error_variance)[0]


@overload
def disattenuated_correlation(r_human_machine: float, r_human_human: float) -> float: ...
@overload
def disattenuated_correlation(r_human_machine: Floats, r_human_human: Floats) -> Floats: ...
def disattenuated_correlation(
    r_human_machine: float | Floats, r_human_human: float | Floats
) -> float | Floats:
    """r_HM / sqrt(r_HH): the correlation with people, were people reliable (Spearman 1904).

    Takes floats, or the arrays of the same resamples. NaN where people do not agree at all, that
    is, r_HH is not above 0. It can be above 1.
    """
    reliability = np.asarray(r_human_human, dtype=np.float64)
    root = np.sqrt(np.where(reliability > 0, reliability, math.nan))
    out = ratio(r_human_machine, root)
    return out if out.ndim else float(out)


def degradation(human_machine: Value, human_human: Value) -> Value:
    """A statistic of people and machine minus the same of two people.

    Below 0 the machine agrees less than a second person would. Takes floats, or the arrays of the
    same resamples. Beware: people are compared on the responses read twice only; unless these were
    drawn at random, the two figures speak of different responses.
    """
    return human_machine - human_human


def _columns(system: ArrayLike, human_ratings: ArrayLike) -> Floats:
    """[N, 8] what each response adds to the sums of the formula; 0 where it takes no part."""
    machine = np.asarray(system, dtype=np.float64)
    ratings = np.asarray(human_ratings, dtype=np.float64)
    if machine.ndim != 1 or ratings.ndim != 2 or ratings.shape[0] != machine.size:
        raise ValueError(
            f"system has shape {machine.shape}, ratings {ratings.shape}: "
            "give a flat array of scores, and a row of ratings for each of them"
        )
    given = ~np.isnan(ratings) & ~np.isnan(machine)[:, None]
    count = given.sum(axis=1).astype(np.float64)
    # Moments about the first rating keep the squares small.
    origin = ratings[given][:1].sum()
    total = np.where(given, ratings - origin, 0.0).sum(axis=1)
    mean = total / np.maximum(count, 1)
    within = np.where(given, (ratings - origin - mean[:, None]) ** 2, 0.0).sum(axis=1)
    error = np.where(count > 0, mean - (machine - origin), 0.0)
    used = count > 0
    return np.stack(
        [
            used.astype(np.float64),
            count,
            count**2,
            total,
            count * mean**2,
            within,
            np.where(used, count - 1, 0.0),
            count * error**2,
        ],
        axis=1,
    )


def _formula(sums: Floats, error_variance: float | None) -> tuple[Floats, Floats, Floats, Floats]:
    """PRMSE, error variance, true variance, mean squared error; sums are [..., 8]."""
    n, count, count_squares, total, squares, within, spare, errors = np.moveaxis(sums, -1, 0)
    known = error_variance is not None
    error = np.full(n.shape, error_variance) if known else ratio(within, spare)
    between = squares - ratio(total**2, count)
    true = ratio(between - (n - 1) * error, count - ratio(count_squares, count))
    mse = ratio(errors - n * error, count)
    return 1 - ratio(mse, np.where(true > NO_VARIANCE, true, 0.0)), error, true, mse
