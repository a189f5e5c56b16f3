"""Agreement day by day, as pages that draw a series want it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from models.agreement import exact_agreement, quadratic_weighted_kappa
from tasks.evaluating import rated_rows
from tasks.evaluation import DayEvaluation
from warehouse import db
from warehouse.ratings import RatedScores, Scale, rated_scores


def evaluate_by_day(
    warehouse: Path,
    run_id: str | None,
    *,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> list[DayEvaluation]:
    """Compare machine scores with the first rater's, item by item and date by date.

    The arguments are those of ``evaluate_scores``. Agreement on one date rests on few responses:
    it is for drawing a series, not for judging an item.

    Returns:
        One evaluation for each item, trait and date with scored responses, in that order.
    """
    with db.connect(warehouse, read_only=True) as connection:
        found = rated_scores(connection, run_id, seasons=seasons, items=items)
        return [of_day for scale, rows in found for of_day in _by_day(scale, rows[rows.scored])]


def _by_day(scale: Scale, scored: RatedScores) -> Iterator[DayEvaluation]:
    for day in np.unique(scored.day):
        of_day = scored[scored.day == day]
        rated = rated_rows(of_day)
        yield DayEvaluation(
            item_id=scale.item_id,
            trait=scale.trait,
            day=day.item(),
            n_scored=len(of_day),
            n_rated=len(rated),
            qwk=quadratic_weighted_kappa(rated.human_score, rated.score),
            exact=exact_agreement(rated.human_score, rated.score),
        )
