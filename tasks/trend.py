"""Items from administration to administration, for pictures over time."""

from collections.abc import Iterable

from tasks.evaluation import TrendPoint
from warehouse.trends import Administration


def trend_points(found: Iterable[Administration]) -> tuple[TrendPoint, ...]:
    """Each item's administrations, as pictures want them."""
    return tuple(
        TrendPoint(
            item_id=one.item_id,
            trait=one.trait,
            day=one.administration_date,
            run_id=one.run_id,
            decision=one.decision,
            n=one.n,
            mean_score=one.mean_score,
            shares=one.shares,
            confidence=one.mean_confidence,
            coded_share=one.coded_share,
        )
        for one in found
    )
