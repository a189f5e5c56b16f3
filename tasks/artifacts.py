"""A run on Prefect's Artifacts page, in the words of the report: what was decided, and why.

The keys are the same every night, so that Prefect shows the earlier ones as their history.
"""

from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from tasks.markdown import escaped, table
from tasks.report_rules import findings
from tasks.report_status import checks, verdict
from tasks.reporting import RunReport
from tasks.summary import counts_sentences

SUMMARY = "run-summary"
RESULTS = "gate-results"
LONGEST_TABLE = 500


@task(cache_policy=NO_CACHE)
def publish(report: RunReport) -> None:
    """Put a run's summary and its failed and flagged rules on Prefect's Artifacts page."""
    run = report.run
    create_markdown_artifact(
        run_summary(report), key=SUMMARY, description=f"{run.run_id}: decision, reasons and counts"
    )
    create_table_artifact(
        gate_table(report),
        key=RESULTS,
        description=f"{run.run_id}: failed and flagged rules, failed ones first",
    )


def run_summary(report: RunReport) -> str:
    """The decision with its reasons, what was checked, and the counts, as Markdown."""
    run = report.run
    found = verdict(run, report.decisions, report.warnings)
    suspicious = sum(change.suspicious for change in report.threshold_changes)
    changed = len(report.threshold_changes)
    checked = checks(run, report.rules, suspicious, changed, report.rejects)
    lines = [
        f"# {found.word}",
        f"`{run.run_id}`, administration of {run.administration_date} {found.decided}".rstrip(),
        found.meaning,
        "\n".join(f"- {escaped(reason)}" for reason in found.reasons),
        table(["checked", "found"], [(check.title, check.finding) for check in checked]),
        *(f"{sentence}." for sentence in counts_sentences(run)),
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


def _only_words(words: str) -> dict[str, Any]:
    return {"status": "", "item": words, "rule": "", "value": "", "limit": "", "n": ""}
