"""What an item's responses looked like in one administration, as sums: for drift and for trends.

Sums, not rows: administrations are pooled by adding them up, and means, variances and shares of
any pool follow from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb

from warehouse import db


@dataclass(frozen=True)
class ItemSample:
    """The scored responses of one item and trait in one run.

    Attributes:
        item_id: the item.
        trait: the trait.
        score_min: lowest score point.
        run_id: the run that scored them.
        administration_date: its day.
        counts: scored responses at each score point, from score_min up.
        n: scored responses.
        score_sum, score_squares: of their reported scores.
        confidence_sum, confidence_squares: of their confidence.
        measured: those whose tokens were counted; scores from before that was done have none.
        length_sum, length_squares: of the natural logarithm of the tokens of the measured ones.
        unknown_sum, unknown_squares: of the share of unknown tokens in each measured one.
        languages: responses by language, an ISO code; those of unknown language are left out.
        coded: responses with a condition code instead of a score.
    """

    item_id: str
    trait: str
    score_min: int
    run_id: str
    administration_date: date
    counts: tuple[int, ...]
    n: int
    score_sum: float
    score_squares: float
    confidence_sum: float
    confidence_squares: float
    measured: int
    length_sum: float
    length_squares: float
    unknown_sum: float
    unknown_squares: float
    languages: Mapping[str, int]
    coded: int


def samples_of_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[ItemSample]:
    """What a run scored, an entry per item and trait, by their ids."""
    return samples(connection, [run_id])


def samples_before(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[ItemSample]:
    """What released runs before this one scored of its items, by item, trait and then by day.

    Before means on an earlier administration date, or on the same one but started earlier. What a
    held run scored is no measure for others, so it is left out. A response that a backfill has
    scored again counts once, there: with the adapters of today.
    """
    runs = db.rows(connection, "history_runs", {"run_id": run_id})
    repeats = any(run["kind"] == "backfill" for run in runs)  # nights score a response once
    names = [run["run_id"] for run in runs]
    return samples(connection, names, items_of=run_id, latest_only=repeats)


def samples(
    connection: duckdb.DuckDBPyConnection,
    runs: Sequence[str],
    *,
    items_of: str | None = None,
    latest_only: bool = False,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> list[ItemSample]:
    """What these runs scored, an entry per item, trait and run; by item, trait, day and start.

    Args:
        connection: the warehouse.
        runs: their ids.
        items_of: only items and traits that this run has scored or coded, too.
        latest_only: a response counts in the run that scored it last, not in every one.
        seasons: only responses of these; None is all.
        items: only these item ids; None is all.
    """
    chosen = {
        "runs": list(runs),
        "items_of": items_of,
        "latest_only": latest_only,
        "seasons": None if seasons is None else list(seasons),
        "items": None if items is None else list(items),
    }
    return [_sample(row) for row in db.rows(connection, "history_samples", chosen)]


def _sample(row: dict[str, Any]) -> ItemSample:
    points, score_max = row.pop("points") or {}, row.pop("score_max")
    counts = tuple(points.get(p, 0) for p in range(row["score_min"], score_max + 1))
    return ItemSample(**row, counts=counts)
