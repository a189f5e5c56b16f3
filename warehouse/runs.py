"""Runs: one row per flow run, from its start to its counts."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import duckdb

from warehouse.clock import moment
from warehouse.db import execute, rows, transaction

NOT_LOGGED_YET = "not logged to MLflow yet: the next run tries again"


@dataclass(frozen=True)
class RunCounts:
    """Rows of one run, by what became of them; each is in exactly one place.

    received = accepted + rejected + duplicate + rated, and in a run that scores
    accepted + waiting = scored + coded + routed + failed.
    reused counts the scored responses whose scores were all copied from earlier runs.
    """

    received: int = 0
    accepted: int = 0
    waiting: int = 0
    scored: int = 0
    reused: int = 0
    coded: int = 0
    routed: int = 0
    failed: int = 0
    rejected: int = 0
    duplicate: int = 0
    rated: int = 0

    @property
    def reconciled(self) -> bool:
        """Whether every row of a run that scores is accounted for."""
        kept = self.accepted + self.rejected + self.duplicate + self.rated
        outcomes = self.scored + self.coded + self.routed + self.failed
        return self.received == kept and self.accepted + self.waiting == outcomes


def start_run(
    connection: duckdb.DuckDBPyConnection,
    kind: str,
    administration_date: date,
    parameters: Mapping[str, Any],
) -> str:
    """Begin a run, or take up the one of the same kind, day and parameters that was killed.

    The caller holds the workspace lock, so any run still marked as running is dead. One that
    cannot be taken up is marked as failed: it committed nothing, and what it ingested waits.

    Returns:
        The run id, such as ``nightly-20260312-020001-3f9c``.
    """
    wanted = json.dumps(dict(parameters), sort_keys=True, default=str)
    with transaction(connection):
        for dead in rows(connection, "runs_unfinished"):
            same_day = dead["administration_date"] == administration_date
            if same_day and dead["kind"] == kind and dead["parameters"] == wanted:
                return str(dead["run_id"])
            execute(
                connection,
                "runs_abandon",
                {"run_id": dead["run_id"], "finished_at": moment(connection)},
            )
        now = moment(connection)
        run_id = f"{kind}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        execute(
            connection,
            "runs_insert",
            {
                "run_id": run_id,
                "kind": kind,
                "administration_date": administration_date,
                "started_at": now,
                "parameters": wanted,
            },
        )
    return run_id


def finish_run(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    status: str,
    counts: RunCounts,
    *,
    adapters_loaded: int = 0,
    files_accepted: int = 0,
    files_refused: int = 0,
    files_unchanged: int = 0,
    peak_rss_mb: float | None = None,
    responses_per_s: float | None = None,
    held_reasons: Sequence[str] = (),
    message: str = "",
    stage_seconds: Mapping[str, float] | None = None,
) -> None:
    """Write a run's end: status, counts and cost. Runs inside the caller's transaction."""
    execute(
        connection,
        "runs_finish",
        {
            "run_id": run_id,
            "status": status,
            "finished_at": moment(connection),
            **asdict(counts),
            "adapters_loaded": adapters_loaded,
            "files_accepted": files_accepted,
            "files_refused": files_refused,
            "files_unchanged": files_unchanged,
            "peak_rss_mb": peak_rss_mb,
            "responses_per_s": responses_per_s,
            "held_reasons": json.dumps(list(held_reasons)),
            "message": message,
            "stage_seconds": json.dumps(dict(stage_seconds)) if stage_seconds else None,
        },
    )


def hold(connection: duckdb.DuckDBPyConnection, run_id: str, reasons: Sequence[str]) -> None:
    """Keep what will hold a run before it ends, in case that it is killed before."""
    kept = {"run_id": run_id, "held_reasons": json.dumps(list(reasons))}
    execute(connection, "runs_hold", kept)


def set_seconds(
    connection: duckdb.DuckDBPyConnection, run_id: str, stage_seconds: Mapping[str, float]
) -> None:
    """Keep where a run's time went: seconds by stage."""
    kept = {"run_id": run_id, "stage_seconds": json.dumps(dict(stage_seconds))}
    execute(connection, "runs_set_seconds", kept)


def untold(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Runs that have committed their scores and were not logged to MLflow, oldest first."""
    return [row["run_id"] for row in rows(connection, "runs_untold")]


def is_running(connection: duckdb.DuckDBPyConnection, run_id: str) -> bool:
    """Whether a run has begun and not ended."""
    return any(row["running"] for row in rows(connection, "runs_is_running", {"run_id": run_id}))


def note(connection: duckdb.DuckDBPyConnection, run_id: str, sentence: str) -> None:
    """Add a sentence to a run's message, once; its status and counts stay."""
    execute(connection, "runs_note", {"run_id": run_id, "note": sentence})


def set_mlflow_run(connection: duckdb.DuckDBPyConnection, run_id: str, mlflow_run_id: str) -> None:
    """Note under which MLflow run this run was logged; that it was not logged is said no more."""
    logged = {"run_id": run_id, "mlflow_run_id": mlflow_run_id, "note": NOT_LOGGED_YET}
    execute(connection, "runs_set_mlflow", logged)
