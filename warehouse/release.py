"""Which runs' scores may leave the house: what the rules said, and who decided what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import duckdb
import pyarrow as pa

from warehouse.clock import moment
from warehouse.db import execute, rows, transaction
from warehouse.reports import UnknownRunError, no_such_run
from warehouse.validity import ValidityScores, validity_results

__all__ = [
    "GATE",
    "GATE_RESULTS",
    "Decision",
    "NotDecidableError",
    "ReleaseDecision",
    "UnknownRunError",
    "UnsignedDecisionError",
    "ValidityScores",
    "accepted",
    "decide",
    "decisions",
    "gate_results",
    "previous_thresholds",
    "record_gate",
    "validity_results",
]

GATE = "gate"  # who decides where no person does
Decision = Literal["released", "held"]

# One row per item, trait, rule and subject; NaN where something is not defined.
GATE_RESULTS = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("trait", pa.string(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("limit", pa.float64()),
        pa.field("n", pa.int64(), nullable=False),
    ]
)


class NotDecidableError(ValueError):
    """A run was to be released or held that has committed no scores."""


class UnsignedDecisionError(ValueError):
    """A person's decision came without a name or a reason."""


@dataclass(frozen=True)
class ReleaseDecision:
    """One decision about a run; of several, the last one counts.

    Attributes:
        decision: ``released`` or ``held``.
        decided_by: a person's name, or ``gate``.
        reason: why; empty where the gate found nothing against it.
        decided_at: when (UTC).
    """

    decision: Decision
    decided_by: str
    reason: str
    decided_at: datetime


def record_gate(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    results: pa.Table | Sequence[Mapping[str, Any]],
    decision: Decision,
    reasons: Sequence[str],
    thresholds_sha256: str,
    thresholds_json: str,
) -> Decision:
    """Record what the rules said of a run and what follows, in one transaction.

    Results that are there are replaced. Repeating it adds no second decision, and a person's
    decision stays, whatever the rules say later.

    Args:
        connection: the warehouse, open for writing.
        run_id: a nightly run or a backfill whose scores are committed.
        results: columns or keys of ``GATE_RESULTS``.
        decision: the gate's.
        reasons: what speaks against its release, a sentence each.
        thresholds_sha256: of the limits.
        thresholds_json: the limits, whole.

    Returns:
        The decision that stands.

    Raises:
        UnknownRunError: there is no such run.
        NotDecidableError: it has committed no scores.
    """
    message, now = "; ".join(reasons), moment(connection)
    with transaction(connection):
        run = _decidable(connection, run_id)
        _replace_results(connection, run_id, results)
        limits = {"sha256": thresholds_sha256, "content": thresholds_json, "now": now}
        execute(connection, "release_keep_thresholds", limits)
        judged = {"run_id": run_id, "sha256": thresholds_sha256, "message": message}
        execute(connection, "release_judged", judged)
        by_person = run["decided_by"] not in (None, GATE)
        if not by_person and (run["decision"], run["reason"]) != (decision, message):
            _decide(connection, run_id, decision, GATE, message, now)
        standing: Decision = run["decision"] if by_person else decision
        execute(connection, "release_set_status", {"run_id": run_id, "status": standing})
    return standing


def decide(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    decision: Decision,
    decided_by: str,
    reason: str,
) -> None:
    """Record a person's decision about a run; it holds until the next person's.

    Raises:
        UnknownRunError: there is no such run.
        NotDecidableError: it has committed no scores.
        UnsignedDecisionError: no name, no reason, or the gate's name.
    """
    name, why = decided_by.strip(), reason.strip()
    if not name or not why:
        missing = "the name of who decides" if not name else "the reason"
        raise UnsignedDecisionError(f"{run_id}: {missing} is missing; both are recorded")
    if name.casefold() == GATE:
        raise UnsignedDecisionError(f"{run_id}: {name!r} is what rules sign with: give your name")
    with transaction(connection):
        _decidable(connection, run_id)
        _decide(connection, run_id, decision, name, why, moment(connection))
        execute(connection, "release_set_status", {"run_id": run_id, "status": decision})


def decisions(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[ReleaseDecision]:
    """Every decision about a run, in order; the last one counts."""
    found = rows(connection, "release_decisions", {"run_id": run_id})
    return [ReleaseDecision(**row) for row in found]


def gate_results(connection: duckdb.DuckDBPyConnection, run_id: str) -> list[dict[str, Any]]:
    """What the rules said of a run: keys of ``GATE_RESULTS``, NaN where something is not defined.

    By item, trait, rule and subject. Empty where the run was not judged.
    """
    return rows(connection, "release_results", {"run_id": run_id})


def accepted(
    connection: duckdb.DuckDBPyConnection, run_id: str, rules: Sequence[str]
) -> dict[tuple[str, str], str]:
    """Which run a person last released although one of these rules had failed for an item.

    Returns:
        (item_id, trait) to the run's id, where there was such a run other than this one.
    """
    found = rows(connection, "release_accepted", {"run_id": run_id, "rules": list(rules)})
    return {(row["item_id"], row["trait"]): row["run_id"] for row in found}


def previous_thresholds(connection: duckdb.DuckDBPyConnection, run_id: str) -> str | None:
    """The limits, as JSON, that the last judged run before this one was judged by."""
    found = rows(connection, "release_previous_thresholds", {"run_id": run_id})
    return str(found[0]["content"]) if found else None


def _decidable(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, Any]:
    """The run with its standing decision."""
    found = rows(connection, "release_run", {"run_id": run_id})
    if not found:
        raise no_such_run(run_id)
    run = found[0]
    committed = run["status"] in ("done", "held", "released")
    if run["kind"] not in ("nightly", "backfill") or not committed:
        raise NotDecidableError(
            f"{run_id} is a run of kind {run['kind']} with status {run['status']}: only nightly "
            "runs and backfills that have committed their scores are released or held"
        )
    return run


def _decide(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    decision: Decision,
    decided_by: str,
    reason: str,
    now: datetime,
) -> None:
    signed = {"decision": decision, "decided_by": decided_by, "reason": reason}
    execute(connection, "release_decide", {"run_id": run_id, "now": now, **signed})


def _replace_results(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    results: pa.Table | Sequence[Mapping[str, Any]],
) -> None:
    if not isinstance(results, pa.Table):
        results = pa.Table.from_pylist([dict(result) for result in results], GATE_RESULTS)
    connection.register("judged", results.select(GATE_RESULTS.names).cast(GATE_RESULTS))
    execute(connection, "release_drop_results", {"run_id": run_id})
    execute(connection, "release_insert_results", {"run_id": run_id})
    connection.unregister("judged")
