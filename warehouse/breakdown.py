"""What stands behind a run's counts: its seasons and files, and the responses to look at."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from warehouse import db


@dataclass(frozen=True)
class ExportFile:
    """An export that a run took in: its name, the hash of its bytes, what became of its rows."""

    file: str
    export_sha256: str
    received: int
    accepted: int
    rejected: int
    duplicate: int
    rated: int


@dataclass(frozen=True)
class WithoutScore:
    """Responses of an item and trait that have neither a score nor a code."""

    item_id: str
    trait: str
    n: int


@dataclass(frozen=True)
class FarApart:
    """A response whose score is two points or more from the first rater's."""

    item_id: str
    trait: str
    response_id: str


@dataclass(frozen=True)
class Breakdown:
    """What a reader of a run's counts asks next.

    Attributes:
        seasons: of the responses it scored or coded.
        exports: the files it took in; refused ones are among the rejects.
        without_score: what had no outcome when it ended, by item and trait.
        far_apart: responses that a person should read again, of all that its adapters have scored.
    """

    seasons: tuple[str, ...] = ()
    exports: tuple[ExportFile, ...] = ()
    without_score: tuple[WithoutScore, ...] = ()
    far_apart: tuple[FarApart, ...] = ()


def seasons_of(connection: duckdb.DuckDBPyConnection, run_id: str) -> tuple[str, ...]:
    """The seasons of what a run has scored or coded."""
    found = db.rows(connection, "breakdown_seasons", {"run_id": run_id})
    return tuple(row["season"] for row in found)


def breakdown(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    *,
    current: bool = False,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> Breakdown:
    """What stands behind the counts of a run that has ended.

    Args:
        connection: the warehouse.
        run_id: the run.
        current: it only looked at scores, whatever adapter gave them.
        seasons: only responses of these; None is all.
        items: only these item ids; None is all.
    """
    run = {"run_id": run_id}
    only = {"seasons": list(seasons) if seasons else None, "items": list(items) if items else None}
    scope = {"adapters_of": None if current else run_id, **only}
    waiting = db.rows(connection, "breakdown_without_score", {**run, **only})
    far = db.rows(connection, "breakdown_far_apart", scope)
    return Breakdown(
        seasons=seasons_of(connection, run_id),
        exports=tuple(ExportFile(**row) for row in db.rows(connection, "breakdown_exports", run)),
        without_score=tuple(WithoutScore(**row) for row in waiting),
        far_apart=tuple(FarApart(**row) for row in far),
    )
