"""What a run did, read back from the warehouse."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import duckdb

from warehouse import db
from warehouse.runs import RunCounts


class UnknownRunError(LookupError):
    """The warehouse has no run of that id."""


@dataclass(frozen=True, kw_only=True)
class Run(RunCounts):
    """One row of ``runs``; the migration says what each column holds."""

    run_id: str
    kind: str
    status: str
    administration_date: date
    started_at: datetime
    finished_at: datetime | None
    files_accepted: int
    files_refused: int
    files_unchanged: int
    adapters_loaded: int
    peak_rss_mb: float | None
    responses_per_s: float | None
    mlflow_run_id: str | None
    parameters: dict[str, Any]
    message: str
    held_reasons: tuple[str, ...] = ()  # known when its scores were committed
    thresholds_sha256: str | None = None  # None: not judged
    stage_seconds: Mapping[str, float] = field(default_factory=dict)  # empty: not measured

    @property
    def wall_s(self) -> float | None:
        """Seconds from start to finish; None while it runs."""
        if self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()


@dataclass(frozen=True)
class RejectCount:
    """How many rows of one file have one reason in ``rejects``."""

    file: str
    reason: str
    count: int


def run(connection: duckdb.DuckDBPyConnection, run_id: str) -> Run:
    """The run of that id.

    Raises:
        UnknownRunError: there is none.
    """
    found = db.rows(connection, "reports_run", {"run_id": run_id})
    if not found:
        raise no_such_run(run_id)
    return _run(found[0])


def no_such_run(run_id: str) -> UnknownRunError:
    """The error that says so."""
    return UnknownRunError(f"no run {run_id} in this warehouse: `gradeline status` shows the last")


def last_run(connection: duckdb.DuckDBPyConnection, kind: str | None = None) -> Run | None:
    """The run started last, of one kind where given; None where there was none yet."""
    found = db.rows(connection, "reports_last_run", {"kind": kind})
    return _run(found[0]) if found else None


def rejects_summary(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[RejectCount]:
    """The run's refused and repeated rows, counted by file and reason."""
    found = db.rows(connection, "reports_rejects", {"run_id": run_id})
    return [RejectCount(row["file"], row["reason"], row["refused"]) for row in found]


def _run(row: dict[str, Any]) -> Run:
    read = {
        "parameters": json.loads(row["parameters"]),
        "held_reasons": _held_reasons(row),
        "stage_seconds": json.loads(row["stage_seconds"] or "{}"),
    }
    return Run(**{**row, **read})


def _held_reasons(row: dict[str, Any]) -> tuple[str, ...]:
    """Why a run was held when it committed; one from before that was kept says it in its message.

    Else a run that the program of then had held would be released by the gate of today.
    """
    if row["held_reasons"] is not None:
        return tuple(json.loads(row["held_reasons"]))
    return (row["message"],) if row["status"] == "held" else ()
