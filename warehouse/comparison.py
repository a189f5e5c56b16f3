"""What a backfill would replace: each of its scores beside the score that stood there before.

The counts are kept when a run is judged, before anything of it goes out, and again when a person
is asked to sign and other scores have been released since. From the runs that are kept with them
the comparison can be made again score by score, whatever has been released later.
"""

from dataclasses import dataclass
from typing import Literal

import duckdb
import pyarrow as pa

from warehouse.db import execute, rows, table, transaction

Replaces = Literal["nothing", "unreleased", "released", "later"]


@dataclass(frozen=True)
class PairCount:
    """Scores of a run that are alike in what they are and in what they replace.

    Attributes:
        item_id, trait: whose they are.
        score_min, score_max: the item's scale.
        cut_scores: the item's, ascending.
        replaces: ``nothing`` (there was no score), ``unreleased`` (one that was never released),
            ``released`` (a released score, replaced once the run is released), or ``later`` (a
            released score that is later than this one, and stays).
        old_version: of the adapter that gave the old score; None where there was none.
        new_version: of the adapter that gave the new one.
        old_score: None where there was none, or a condition code.
        new_score: the run's.
        human_score: the first rater's; None where nobody has rated the response, or one of the two
            adapters has learned from it.
        n: how many.
    """

    item_id: str
    trait: str
    score_min: int
    score_max: int
    cut_scores: tuple[int, ...]
    replaces: Replaces
    old_version: int | None
    new_version: int
    old_score: int | None
    new_score: int
    human_score: float | None
    n: int


@dataclass(frozen=True)
class OldRun:
    """A run whose scores stood there before: was it released, and how many are they."""

    old_run_id: str
    released: bool
    n: int


def compare(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[PairCount]:
    """Compare a run with what is released now, and keep the counts; those of before are replaced.

    Args:
        connection: the warehouse, open for writing.
        run_id: a run that has committed its scores.
    """
    released = [row["run_id"] for row in rows(connection, "comparison_released", _of(run_id))]
    _pair(connection, run_id, released, None)
    with transaction(connection):
        execute(connection, "comparison_drop_counts", _of(run_id))
        execute(connection, "comparison_drop_runs", _of(run_id))
        execute(connection, "comparison_keep_counts", _of(run_id))
        execute(connection, "comparison_keep_runs", _of(run_id))
    return counts(connection, run_id)


def counts(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[PairCount]:
    """What a run would replace, or has replaced, as it was counted; by item and trait.

    Empty where the run has no scores, or was judged before runs were compared.
    """
    found = rows(connection, "comparison_kept_counts", _of(run_id))
    return [PairCount(**{**row, "cut_scores": tuple(row["cut_scores"])}) for row in found]


def old_runs(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[OldRun]:
    """The runs whose scores a run would replace, or has replaced, by their ids."""
    return [OldRun(**row) for row in rows(connection, "comparison_kept_runs", _of(run_id))]


def changes(connection: duckdb.DuckDBPyConnection, run_id: str) -> pa.Table:
    """Every score that a run changes, with what it was before; released ones first.

    The old scores are those that the run was compared with, whatever was released since.
    """
    kept = old_runs(connection, run_id)
    released = [one.old_run_id for one in kept if one.released]
    others = [one.old_run_id for one in kept if not one.released]
    _pair(connection, run_id, released, others)
    return table(connection, "comparison_changes")


def _pair(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    released: list[str],
    others: list[str] | None,
) -> None:
    bound = {"run_id": run_id, "released": released, "others": others}
    execute(connection, "comparison_pairs", bound)


def _of(run_id: str) -> dict[str, str]:
    return {"run_id": run_id}
