"""A run on Prefect's Artifacts page, in the words of the report: what was decided, and why.

The keys are the same every night, so that Prefect shows the earlier ones as their history.
"""

from typing import Any

from prefect import task
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.cache_policies import NO_CACHE

from tasks import comparison_told
from tasks.markdown import escaped, table
from tasks.report_rules import findings
from tasks.report_status import checks, verdict
from tasks.reporting import RunReport
from tasks.summary import counts_sentences
from tasks.telling_prefect import told_to_prefect
from tasks.tracking import Tracking, run_page

SUMMARY = "run-summary"
RESULTS = "gate-results"
REJECTS = "rejects"
MLFLOW = "mlflow-run"
LONGEST_TABLE = 500


@task(cache_policy=NO_CACHE)
def publish(report: RunReport) -> None:
    """Put a run's summary, its rules and its refused rows on Prefect's Artifacts page."""
    run_id = report.run.run_id
    with told_to_prefect("artifacts"):
        create_markdown_artifact(
            run_summary(report), key=SUMMARY, description=f"{run_id}: decision, reasons and counts"
        )
        create_table_artifact(
            gate_table(report),
            key=RESULTS,
            description=f"{run_id}: failed and flagged rules, failed ones first",
        )
        create_table_artifact(
            rejects_table(report),
            key=REJECTS,
            description=f"{run_id}: refused and repeated rows, by file and reason",
        )
        if report.comparison is not None:
            comparison_told.publish(report.comparison, run_id, report.small_cell)


@task(cache_policy=NO_CACHE)
def link_mlflow(run_id: str, where: Tracking, mlflow_run_id: str, pages: str) -> None:
    """Put a link to a run's page in MLflow on Prefect's Artifacts page.

    Args:
        run_id: the run.
        where: the tracking store.
        mlflow_run_id: what MLflow calls the run.
        pages: address of MLflow's pages.
    """
    with told_to_prefect("link to MLflow"):
        create_link_artifact(
            run_page(where, mlflow_run_id, pages),
            link_text=f"{run_id} in MLflow",
            key=MLFLOW,
            description=f"{run_id}: figures, tables and pictures in MLflow",
        )


def run_summary(report: RunReport) -> str:
    """The decision with its reasons, what was checked, and the counts, as Markdown."""
    run = report.run
    found = verdict(run, report.decisions, report.warnings)
    suspicious = sum(change.suspicious for change in report.threshold_changes)
    changed = len(report.threshold_changes)
    checked = checks(run, report.rules, suspicious, changed, report.rejects, report.comparison)
    decided = f", decided {found.decided}" if found.decided else ""
    lines = [
        f"# {found.word}",
        f"`{run.run_id}`, administration of {run.administration_date}{decided}",
        found.meaning,
        "\n".join(f"- {escaped(reason)}" for reason in found.reasons),
        table(["checked", "found"], [(check.title, check.finding) for check in checked]),
        *(f"{sentence[0].upper()}{sentence[1:]}." for sentence in counts_sentences(run)),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def gate_table(report: RunReport) -> list[dict[str, Any]]:
    """Failed rules, then flagged ones, a row each.

    Of very many the first 500 are shown and the others counted; one row says so if none is.
    """
    found = findings(report.rules, report.small_cell)
    rows: list[dict[str, Any]] = [
        {
            "status": one.status,
            "item": one.name,
            "rule": one.rule,
            "value": one.value,
            "limit": one.limit,
            "n": one.n,
        }
        for one in found[:LONGEST_TABLE]
    ]
    if len(found) > LONGEST_TABLE:
        rows.append(_only_words(f"… and {len(found) - LONGEST_TABLE:,} more in the report"))
    return rows or [_only_words("no rule failed or was flagged")]


def rejects_table(report: RunReport) -> list[dict[str, Any]]:
    """Refused and repeated rows counted by file and reason, most rows first.

    Of very many the first 500 are shown and the others counted; one row says so if there is none.
    """
    found = sorted(report.rejects, key=lambda one: (-one.count, one.file, one.reason))
    rows = [_reject(one.file, one.reason, one.count) for one in found[:LONGEST_TABLE]]
    if len(found) > LONGEST_TABLE:
        rest = sum(one.count for one in found[LONGEST_TABLE:])
        rows.append(_reject(f"… and {len(found) - LONGEST_TABLE:,} more in the report", "", rest))
    return rows or [_reject("no row was refused or repeated", "", 0)]


def _reject(file: str, reason: str, count: int) -> dict[str, Any]:
    return {"file": file, "reason": reason, "rows": count}


def _only_words(words: str) -> dict[str, Any]:
    return {"status": "", "item": words, "rule": "", "value": "", "limit": "", "n": ""}
