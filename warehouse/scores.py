"""The ledger: parts become visible here, in one transaction with the counts of their run.

It is the score cache, too: what an earlier run computed for the same text is copied, not computed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow.dataset as ds

from warehouse import schema
from warehouse.clock import moment
from warehouse.db import execute, rows, transaction
from warehouse.runs import RunCounts, finish_run


@dataclass(frozen=True)
class RunCost:
    """What a run consumed."""

    adapters_loaded: int
    peak_rss_mb: float
    responses_per_s: float | None  # scores computed per second of scoring
    stage_seconds: Mapping[str, float] = field(default_factory=dict)  # spent before the commit


@dataclass(frozen=True)
class Files:
    """Exports of a run, by what became of them."""

    accepted: int = 0
    refused: int = 0
    unchanged: int = 0


def ingested(connection: duckdb.DuckDBPyConnection, run_id: str) -> RunCounts:
    """The rows that a run's exports brought; nothing is scored yet."""
    (row,) = rows(connection, "runs_ingested", {"run_id": run_id})
    return RunCounts(
        received=row["received"],
        accepted=row["accepted"],
        rejected=row["rejected"],
        duplicate=row["duplicate"],
        rated=row["rated"],
    )


def files_ingested(connection: duckdb.DuckDBPyConnection, run_id: str) -> int:
    """Exports that a run has taken in, also before it was killed and taken up again."""
    (row,) = rows(connection, "runs_ingested", {"run_id": run_id})
    return int(row["files"])


def commit(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    plan: Path,
    parts: Sequence[Path],
    *,
    cost: RunCost,
    files: Files,
    reasons: Sequence[str],
) -> tuple[str, RunCounts]:
    """Append every part and every copied score to the ledger and end the run, in one transaction.

    Scores of validity responses go to a table of their own and count nowhere.

    Args:
        connection: the warehouse, open for writing.
        run_id: the run.
        plan: the run's plan, a Parquet file.
        parts: the parts of all its shards.
        cost: adapters loaded, memory, speed.
        files: exports by outcome.
        reasons: why the run is held, if it is.

    Returns:
        The status (``done`` or ``held``) and the counts. The counts are read back from the
        ledger, so a row that was lost on the way holds the run.
    """
    connection.register("plan", ds.dataset(plan))
    connection.register("parts", ds.dataset([str(part) for part in parts], schema=schema.PARTS))
    with transaction(connection):
        # One time for all, set here: a part may be older than scores committed since it was made.
        now = {"run_id": run_id, "now": moment(connection)}
        execute(connection, "scores_commit", now)
        execute(connection, "scores_commit_validity", now)
        execute(connection, "scores_commit_reused", now)
        execute(connection, "scores_commit_blank", now)
        (outcome,) = rows(connection, "scores_outcomes", {"run_id": run_id})
        counts = replace(ingested(connection, run_id), **outcome)
        held = [*reasons]
        if counts.failed:
            held.append(f"{counts.failed} responses were not scored: they are planned again")
        if not counts.reconciled:
            held.append("the counts do not reconcile: rows were lost between ingest and ledger")
        (validity,) = rows(connection, "scores_missing_validity", {"run_id": run_id})
        if validity["missing"]:
            held.append(f"{validity['missing']} scores of validity responses are missing")
        status = "held" if held else "done"
        finish_run(
            connection,
            run_id,
            status,
            counts,
            adapters_loaded=cost.adapters_loaded,
            files_accepted=files.accepted,
            files_refused=files.refused,
            files_unchanged=files.unchanged,
            peak_rss_mb=cost.peak_rss_mb,
            responses_per_s=cost.responses_per_s,
            held_reasons=held,
            message="; ".join(held),
            stage_seconds=cost.stage_seconds,
        )
    return status, counts
