"""From a raw score to the one that is reported: trimmed, perhaps scaled, rounded (numpy only).

The steps and their order are RSMTool's (github.com/EducationalTestingService/rsmtool): a raw score
is trimmed to just past the ends of the scale; a scaled one is first given the mean and standard
deviation that people's scores had among the training responses, then trimmed. Scaling moves the
machine's mean and spread to people's, which may mend a standardized mean difference and cost some
kappa: raw, trimmed and scaled scores are therefore all kept, beside the word for which of them
was rounded and reported.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from models.scores import Scale

Reported = Literal["rounded", "scaled"]

# How far past the ends a score may lie. With a whole half, the lowest trimmed score on a scale from
# 1 would be 0.5, which rounds half-to-even to 0: off the scale.
TRIM = 0.4998
# Scores that differ by less are the same but for rounding.
NO_SPREAD = 1e-6


@dataclass(frozen=True)
class Scaling:
    """Means and sample standard deviations of human and raw scores of the training responses.

    Raises:
        ValueError: one is no number, or a standard deviation is not above 0.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for its settings
    human_mean: float
    human_sd: float
    machine_mean: float
    machine_sd: float

    def __post_init__(self) -> None:
        moments = np.array([self.human_mean, self.human_sd, self.machine_mean, self.machine_sd])
        if not (np.isfinite(moments).all() and min(self.human_sd, self.machine_sd) > 0):
            raise ValueError(f"scaling needs finite means and deviations above 0, found {moments}")


def fitted_scaling(human_scores: ArrayLike, raw_scores: ArrayLike) -> Scaling | None:
    """The scaling that gives raw scores the mean and standard deviation of human scores.

    Args:
        human_scores: [n] of the training responses.
        raw_scores: [n] what the trained adapter says of them.

    Returns:
        None where fewer than two responses, or scores that are all the same, allow none.
    """
    human = np.asarray(human_scores, dtype=np.float64)
    machine = np.asarray(raw_scores, dtype=np.float64)
    if len(human) < 2 or min(np.ptp(human), np.ptp(machine)) < NO_SPREAD:
        return None
    return Scaling(
        human_mean=float(human.mean()),
        human_sd=float(human.std(ddof=1)),
        machine_mean=float(machine.mean()),
        machine_sd=float(machine.std(ddof=1)),
    )


def trimmed(scores: ArrayLike, scale: "Scale") -> NDArray[np.float64]:
    """Scores, [n], cut at TRIM below the lowest and above the highest score point."""
    low, high = scale.score_min - TRIM, scale.score_max + TRIM
    return np.clip(np.asarray(scores, dtype=np.float64), low, high)


def scaled(raw_scores: ArrayLike, scaling: Scaling) -> NDArray[np.float64]:
    """Raw scores, [n], with people's mean and spread; may lie off the scale until trimmed."""
    raw = np.asarray(raw_scores, dtype=np.float64)
    standardized = (raw - scaling.machine_mean) / scaling.machine_sd
    return standardized * scaling.human_sd + scaling.human_mean


def rounded(scores: ArrayLike, scale: "Scale") -> NDArray[np.int32]:
    """Scores, [n], rounded to the scale's points, halves upwards."""
    points = np.floor(np.asarray(scores, dtype=np.float64) + 0.5)
    return points.clip(scale.score_min, scale.score_max).astype(np.int32)
