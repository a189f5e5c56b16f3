"""Validity responses: whether what was scored right is still scored right.

Their scores are known. They are mixed into every night's work and scored like all others, so a
fault of the program, the machine or an adapter shows on them before it shows on students.
"""

import math
from collections.abc import Iterable

import numpy as np

from models.agreement import (
    bootstrap,
    exact_agreement,
    percentile_interval,
    quadratic_weighted_kappa,
)
from tasks.evaluation import Figure, ValidityFigure
from warehouse.validity import ValidityScores

SAMPLES, SEED = 1_000, 0


def validity_figures(found: Iterable[ValidityScores]) -> list[ValidityFigure]:
    """Agreement of known and reported scores, tonight and in the night before."""
    return [_figure(scores) for scores in found]


def _figure(scores: ValidityScores) -> ValidityFigure:
    statistics = {"exact": exact_agreement, "qwk": quadratic_weighted_kappa}
    formulas = {
        name: statistic.resampled(scores.known, scores.score)
        for name, statistic in statistics.items()
    }
    n = len(scores.known)
    drawn = bootstrap(formulas, n, seed=SEED, samples=SAMPLES)
    exact, qwk = (
        Figure(statistics[name](scores.known, scores.score), *percentile_interval(drawn[name]), n)
        for name in statistics
    )
    earlier = ~np.isnan(scores.before)
    same_ones = bool(earlier.all())  # else tonight's share and the night before's do not compare
    return ValidityFigure(
        item_id=scores.item_id,
        trait=scores.trait,
        n=n,
        exact=exact,
        qwk=qwk,
        exact_before=exact_agreement(scores.known, scores.before) if same_ones else math.nan,
        n_changed=int((scores.before[earlier] != scores.score[earlier]).sum()),
        same_adapter=scores.same_adapter,
    )
