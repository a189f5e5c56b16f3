"""Validity responses: known scores beside what the machine made of them, tonight and before."""

from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from warehouse import db
from warehouse.ratings import Scale, filled, scales_with_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ValidityScores:
    """The validity responses of one item and trait that a run has scored, an entry each.

    Attributes:
        item_id: the item.
        trait: the trait.
        score_min: lowest score point.
        score_max: highest score point.
        known: their known scores.
        score: the reported scores of this run.
        before: those of the run before it that scored validity responses of the item; NaN where
            it did not score this one, or there was none.
        same_adapter: the run before, if there was one, used the same adapter.
    """

    item_id: str
    trait: str
    score_min: int
    score_max: int
    known: Floats
    score: Floats
    before: Floats
    same_adapter: bool


def validity_results(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[ValidityScores]:
    """What a run made of the validity responses, an entry per item and trait, by their ids."""
    columns = db.execute(connection, "validity_scores", {"run_id": run_id}).fetchnumpy()
    known, score, before = (filled(columns[name]) for name in ("known", "score", "before"))
    same = np.asarray(columns["same_adapter"], dtype=bool)

    def of_item(scale: Scale, rows: slice) -> ValidityScores:
        return ValidityScores(
            **vars(scale),
            known=known[rows],
            score=score[rows],
            before=before[rows],
            same_adapter=bool(same[rows].all()),
        )

    return [of_item(scale, rows) for scale, rows in scales_with_rows(connection, columns["scale"])]
