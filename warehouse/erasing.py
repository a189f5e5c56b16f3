"""A person's rows leave the warehouse, and a season's pseudonyms; what was done is kept."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from warehouse.db import execute, rows, table, transaction

REMOVALS = (
    "erase_scores",
    "erase_validity_scores",
    "erase_human_scores",
    "erase_subgroups",
    "erase_training_rows",
    "erase_responses",
)
FOUND = pa.schema([pa.field("export_sha256", pa.string()), pa.field("row", pa.int64())])


class UnsignedErasureError(ValueError):
    """An erasure or a retirement comes without a name or a reason."""


class UnknownSeasonError(LookupError):
    """A season is to be retired of which there is no response."""


@dataclass(frozen=True)
class SeenBy:
    """An adapter that has seen responses of a student: how many, and in which part."""

    item_id: str
    trait: str
    adapter_sha256: str
    training: int
    validation: int


@dataclass(frozen=True)
class Erasure:
    """The last erasure of a student; ``finished_at`` is None while it is not through."""

    begun_at: datetime
    finished_at: datetime | None
    erased_by: str
    counts: dict[str, int]


@dataclass(frozen=True)
class Unreconciled:
    """A run whose rows and erased rows are not as many as it counted."""

    run_id: str
    table_name: str
    counted: int
    found: int


@dataclass(frozen=True)
class Season:
    """What there is of a season to retire."""

    responses: int
    without_outcome: int  # nobody and nothing has scored them, and now nothing can


@dataclass(frozen=True)
class SeasonExport:
    """An export that brought responses of a season; ``whole``: all it brought is retired."""

    export_sha256: str
    file: str
    whole: bool


def responses_of(connection: duckdb.DuckDBPyConnection, pseudo_sha256: str) -> pa.Table:
    """A student's responses: response_id, item_id, season, export_sha256, text_sha256.

    The student is named by the SHA-256 of the pseudonym everywhere here.
    """
    return table(connection, "erase_find", {"pseudo_sha256": pseudo_sha256})


def seen_by(connection: duckdb.DuckDBPyConnection, pseudo_sha256: str) -> list[SeenBy]:
    """The adapters that have seen a student's responses; their files still do what they learned."""
    found = rows(connection, "erase_adapters", {"pseudo_sha256": pseudo_sha256})
    return [SeenBy(**row) for row in found]


def last_erasure(connection: duckdb.DuckDBPyConnection, pseudo_sha256: str) -> Erasure | None:
    """The last erasure of a student; None where there was none."""
    found = rows(connection, "erase_last", {"pseudo_sha256": pseudo_sha256})
    if not found:
        return None
    (row,) = found
    return Erasure(**{**row, "counts": json.loads(row["counts"] or "{}")})


def unfinished(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Students whose erasure was killed on its way."""
    return [row["pseudo_sha256"] for row in rows(connection, "erase_unfinished")]


def known(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """All students who were erased."""
    return {row["pseudo_sha256"] for row in rows(connection, "erase_known")}


def begin(
    connection: duckdb.DuckDBPyConnection, pseudo_sha256: str, erased_by: str, reason: str
) -> None:
    """Put the tombstone up: no row of the student is taken in, planned or trained on any more.

    One that has begun and not ended is gone on with, under its first name and reason.

    Raises:
        UnsignedErasureError: no name, or no reason.
    """
    signed = {"erased_by": erased_by.strip(), "reason": reason.strip()}
    if not all(signed.values()):
        raise UnsignedErasureError("an erasure needs the name of who asks for it, and a reason")
    named = {"pseudo_sha256": pseudo_sha256}
    last = last_erasure(connection, pseudo_sha256)
    now = datetime.now(UTC)
    with transaction(connection):
        if last is None or last.finished_at is not None:
            execute(connection, "erase_begin", {**named, **signed, "now": now})
        execute(connection, "erase_mark", named)
        execute(connection, "erase_withhold", {**named, "now": now})


def forget_rejects(connection: duckdb.DuckDBPyConnection, found: Iterable[tuple[str, int]]) -> None:
    """Rows that were refused stay in ``rejects``, and are told by response id no more.

    Args:
        connection: the warehouse, open for writing.
        found: the student's rows in exports: hash of the file, number of the row.
    """
    named = [{"export_sha256": sha256, "row": row} for sha256, row in found]
    connection.register("found", pa.Table.from_pylist(named, FOUND))
    execute(connection, "erase_reject_rows")
    connection.unregister("found")


def remove(connection: duckdb.DuckDBPyConnection, pseudo_sha256: str) -> dict[str, int]:
    """Remove a student's rows in one transaction; how many of which run stays on record.

    Returns:
        rows removed by all erasures of the student, by table.
    """
    named = {"pseudo_sha256": pseudo_sha256}
    with transaction(connection):
        execute(connection, "erase_gone", named)
        execute(connection, "erase_count", named)
        execute(connection, "erase_rejects")
        for name in REMOVALS:
            execute(connection, name)
    counted = rows(connection, "erase_counted", named)
    return {row["table_name"]: row["n"] for row in counted}


def finish(
    connection: duckdb.DuckDBPyConnection, pseudo_sha256: str, counts: Mapping[str, int]
) -> None:
    """Note that an erasure is through, and what it has removed."""
    kept = {"counts": json.dumps(dict(counts), sort_keys=True), "now": datetime.now(UTC)}
    execute(connection, "erase_finish", {"pseudo_sha256": pseudo_sha256, **kept})


def unreconciled(connection: duckdb.DuckDBPyConnection) -> list[Unreconciled]:
    """Runs whose accepted and refused rows are not those there are and those erased; none if well.

    A run's counts say what happened and are never changed: accepted = its responses that are
    there + those in ``erased_rows``, rejected + duplicate = its rows in ``rejects``.
    """
    return [Unreconciled(**row) for row in rows(connection, "ledger_reconciled")]


def season(connection: duckdb.DuckDBPyConnection, name: str) -> Season:
    """What there is of a season to retire."""
    (row,) = rows(connection, "retire_count", {"season": name})
    return Season(**row)


def season_exports(connection: duckdb.DuckDBPyConnection, name: str) -> list[SeasonExport]:
    """The exports that brought responses of a season."""
    return [SeasonExport(**row) for row in rows(connection, "retire_exports", {"season": name})]


def retire(
    connection: duckdb.DuckDBPyConnection, name: str, retired_by: str, reason: str
) -> Season:
    """Take the pseudonyms of a season away, and let nothing plan or train on it any more.

    Returns:
        what was there to retire; of a retirement that was killed, the rest.

    Raises:
        UnsignedErasureError: no name, or no reason.
        UnknownSeasonError: there is no response of the season, and never was one retired.
    """
    signed = {"retired_by": retired_by.strip(), "reason": reason.strip()}
    if not all(signed.values()):
        raise UnsignedErasureError("a retirement needs the name of who asks for it, and a reason")
    there, last = season(connection, name), rows(connection, "retire_last", {"season": name})
    if not there.responses and not last:
        raise UnknownSeasonError(f"there is no response of season {name}")
    now, unfinished_one = datetime.now(UTC), bool(last) and last[0]["finished_at"] is None
    with transaction(connection):
        if not unfinished_one:
            kept = {**signed, "now": now, "responses": there.responses}
            execute(connection, "retire_begin", {"season": name, **kept})
        execute(connection, "retire_responses", {"season": name, "now": now})
    return there


def finish_retirement(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Note that a retirement is through."""
    execute(connection, "retire_finish", {"season": name, "now": datetime.now(UTC)})
