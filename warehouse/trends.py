"""How an item went from one administration to the next: for pictures and the season's summary."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from warehouse import db
from warehouse.history import ItemSample, samples


@dataclass(frozen=True)
class Administration:
    """One item and trait in one run.

    Attributes:
        item_id: the item.
        trait: the trait.
        score_min: lowest score point.
        run_id: the run that scored it.
        kind: ``nightly`` or ``backfill``.
        administration_date: the run's day.
        decision: ``released`` or ``held``; empty where nothing was decided.
        n: scored responses.
        coded: responses with a condition code.
        mean_score: mean reported score; NaN without one.
        shares: share of the scored responses at each score point, from score_min up.
        mean_confidence: NaN without a score.
    """

    item_id: str
    trait: str
    score_min: int
    run_id: str
    kind: str
    administration_date: date
    decision: str
    n: int
    coded: int
    mean_score: float
    shares: tuple[float, ...]
    mean_confidence: float

    @property
    def coded_share(self) -> float:
        """Responses with a condition code, of all scored or coded."""
        return self.coded / (self.n + self.coded)


def administrations(
    connection: duckdb.DuckDBPyConnection,
    *,
    until: str | None = None,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> list[Administration]:
    """Every run's scores in sums, held ones too, by item, trait, day and start.

    A response that was scored again counts in each run.

    Args:
        connection: the warehouse.
        until: only this run and those before it, and only the items it has scored or coded.
        seasons: only responses of these; None is all.
        items: only these item ids; None is all.
    """
    runs = {row["run_id"]: row for row in db.rows(connection, "trends_runs", {"until": until})}
    found = samples(connection, list(runs), items_of=until, seasons=seasons, items=items)
    return [_administration(sample, **runs[sample.run_id]) for sample in found]


def _administration(sample: ItemSample, *, run_id: str, kind: str, decision: str) -> Administration:
    n = sample.n
    return Administration(
        item_id=sample.item_id,
        trait=sample.trait,
        score_min=sample.score_min,
        run_id=run_id,
        kind=kind,
        administration_date=sample.administration_date,
        decision=decision,
        n=n,
        coded=sample.coded,
        mean_score=sample.score_sum / n if n else math.nan,
        shares=tuple(count / n if n else math.nan for count in sample.counts),
        mean_confidence=sample.confidence_sum / n if n else math.nan,
    )
