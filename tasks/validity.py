"""Validity responses: whether what was scored right is still scored right.

Their scores are known. They are mixed into every night's work and scored like all others, so a
fault of the program, the machine or an adapter shows on them before it shows on students.
"""

import math
from collections.abc import Iterable

import numpy as np

from models.agreement import (
    Floats,
    Statistic,
    bootstrap,
    exact_agreement,
    percentile_interval,
    quadratic_weighted_kappa,
    sample_values,
)
from tasks.evaluation import Figure, ValidityFigure
from warehouse.validity import ValidityScores

SAMPLES, SEED = 1_000, 0


def validity_figures(found: Iterable[ValidityScores]) -> list[ValidityFigure]:
    """Agreement of known and reported scores, tonight and in the night before."""
    return [_figure(scores) for scores in found]


def _figure(scores: ValidityScores) -> ValidityFigure:
    again = ~np.isnan(scores.before)
    known_again = np.where(again, scores.known, np.nan)
    pairs: dict[str, tuple[Statistic, Floats, Floats]] = {
        "exact": (exact_agreement, scores.known, scores.score),
        "qwk": (quadratic_weighted_kappa, scores.known, scores.score),
        "now": (exact_agreement, known_again, scores.score),
        "before": (exact_agreement, known_again, scores.before),
    }
    formulas = {
        name: statistic.resampled(known, score) for name, (statistic, known, score) in pairs.items()
    }
    n, n_again = len(scores.known), int(again.sum())
    values = sample_values(formulas, n)
    drawn = bootstrap(formulas, n, seed=SEED, samples=SAMPLES)
    loss = percentile_interval(drawn["before"] - drawn["now"])
    return ValidityFigure(
        item_id=scores.item_id,
        trait=scores.trait,
        n=n,
        exact=Figure(values["exact"], *percentile_interval(drawn["exact"]), n),
        qwk=Figure(values["qwk"], *percentile_interval(drawn["qwk"]), n),
        exact_before=values["before"] if n_again == n else math.nan,
        n_changed=int((scores.before[again] != scores.score[again]).sum()),
        same_adapter=scores.same_adapter,
        loss=Figure(values["before"] - values["now"], *loss, n_again),
    )
