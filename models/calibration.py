"""Confidence that keeps its word: of the scores given with 80%, people agree with four in five.

A head trained on a hundred answers says how likely each score point is, but what it says is too
sure or not sure enough. One number mends that, the temperature T: p^(1/T), scaled to sum to 1,
fitted to the human scores of the validation responses by maximum likelihood (Guo, Pleiss, Sun and
Weinberger 2017, "On calibration of modern neural networks"). Scores do not change.

One number, for there are few validation responses: an isotonic curve from confidence to agreement
was tried on public items with 34 of them each. It removed about as much of the calibration error,
but agreed less with people where the least confident answers were left out, for its steps tell
fewer answers apart. And a temperature serves every score point, whichever is reported.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement import expected_calibration_error, risk_coverage
from models.scores import Scale

Floats = NDArray[np.float64]

# On fewer responses a temperature would be chance.
FEWEST_ROWS = 30
# An ordinal head may give a point between two others no probability at all.
LEAST_PROBABILITY = 1e-6
# In tenths of 34 responses there would be three each: chance alone would look like an error.
ROWS_PER_BIN, MOST_BINS = 15, 10
COLDEST, HOTTEST = 0.2, 10.0
HALVINGS = 50


@dataclass(frozen=True)
class Kept:
    """Agreement of the validation responses where only the most confident share is kept.

    Attributes:
        kept: the share, 0 to 1.
        n: how many these are.
        exact: share whose score is the human one.
        qwk: quadratic weighted kappa; None where it is not defined.
        least_confidence: the lowest confidence among them.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for its settings
    kept: float
    n: int
    exact: float
    qwk: float | None
    least_confidence: float


@dataclass(frozen=True)
class Calibration:
    """How an adapter's probabilities become a confidence that can be relied on.

    The errors and the table are of the responses that the temperature was fitted to: of one
    number, so they flatter little.

    Attributes:
        temperature: above 1 makes less sure, below 1 surer; 1 where there were too few responses.
        n: validation responses it rests on.
        ece_before: their expected calibration error without it; None if they are too few.
        ece_after: the same with it.
        coverage: what routing the least confident to people brings; empty if they are too few.

    Raises:
        ValueError: the temperature is out of its range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - as above
    temperature: float
    n: int
    ece_before: float | None
    ece_after: float | None
    coverage: tuple[Kept, ...]

    def __post_init__(self) -> None:
        if not COLDEST <= self.temperature <= HOTTEST:
            raise ValueError(
                f"the temperature is {self.temperature}, expected {COLDEST} to {HOTTEST}"
            )

    @property
    def figures(self) -> dict[str, float]:
        """What to record of it; empty where there were too few responses to fit anything."""
        if self.ece_before is None or self.ece_after is None:
            return {}
        return {
            "temperature": self.temperature,
            "error_before": self.ece_before,
            "error_after": self.ece_after,
        }


def confidences(
    probabilities: ArrayLike, points: NDArray[np.integer], temperature: float
) -> Floats:
    """Calibrated probability of a score point per response, float64 [n].

    Args:
        probabilities: [n, K] as the head gives them.
        points: [n] from 0, the point in question of each response.
        temperature: see Calibration; 1 leaves them as they are.
    """
    log_p = _log(probabilities)
    return np.asarray(_tempered(log_p, temperature)[np.arange(len(log_p)), points])


def fitted_calibration(
    probabilities: ArrayLike, scores: ArrayLike, human_scores: ArrayLike, scale: Scale
) -> Calibration:
    """The calibration of an adapter, by responses that it was not fitted to.

    Args:
        probabilities: [n, K] as the head gives them.
        scores: [n] what is reported.
        human_scores: [n] on the item's scale; a half point is half a vote for each neighbour.
        scale: the item's.
    """
    log_p, human = _log(probabilities), np.asarray(human_scores, dtype=np.float64)
    n = len(human)
    if n < FEWEST_ROWS:
        return Calibration(1.0, n, None, None, ())
    temperature = _fitted_temperature(log_p, _votes(human, scale))
    points = np.asarray(scores) - scale.score_min
    correct = _votes(human, scale)[np.arange(n), points]
    confidence = confidences(probabilities, points, temperature)
    plain, bins = confidences(probabilities, points, 1.0), min(n // ROWS_PER_BIN, MOST_BINS)
    return Calibration(
        temperature=temperature,
        n=n,
        ece_before=expected_calibration_error(correct, plain, bins),
        ece_after=expected_calibration_error(correct, confidence, bins),
        coverage=_coverage(human, np.asarray(scores, dtype=np.float64), confidence),
    )


def _coverage(human: Floats, scores: Floats, confidence: Floats) -> tuple[Kept, ...]:
    return tuple(
        Kept(
            kept=row.kept,
            n=row.n,
            exact=row.exact,
            qwk=None if np.isnan(row.qwk) else row.qwk,
            least_confidence=row.least_confidence,
        )
        for row in risk_coverage(human, scores, confidence)
    )


def _log(probabilities: ArrayLike) -> Floats:
    given: Floats = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(np.log(np.maximum(given, LEAST_PROBABILITY)))


def _tempered(log_p: Floats, temperature: float) -> Floats:
    """p^(1/T), each row scaled to sum to 1, [n, K]."""
    powers = np.exp((log_p - log_p.max(axis=1, keepdims=True)) / temperature)
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _votes(human: Floats, scale: Scale) -> Floats:
    """What people said, [n, K]: 1 at a whole score, a half each at the neighbours of a half."""
    points = np.arange(scale.score_min, scale.score_max + 1)
    votes: Floats = np.maximum(1 - np.abs(human[:, None] - points[None, :]), 0.0)
    return votes


def _fitted_temperature(log_p: Floats, votes: Floats) -> float:
    """The temperature of least negative log likelihood, by halving.

    As a function of 1/T the likelihood has one valley; its slope there is the mean difference
    between the log probabilities that are expected and those that people chose.
    """
    low, high = np.log(COLDEST), np.log(HOTTEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        expected = _tempered(log_p, float(np.exp(middle)))
        if ((expected - votes) * log_p).sum() > 0:  # too sure: warmer
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2).clip(COLDEST, HOTTEST))
