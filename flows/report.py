"""A run's report, made from what the warehouse holds: when the run ends, or at any later time."""

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import duckdb
from prefect import flow

from flows.gate import DECIDED, Judged, judge, judged_before
from flows.settings import Settings, load_settings
from tasks import reporting
from tasks.comparison import kept_comparison
from tasks.reporting import RunReport
from tasks.thresholds import (
    ThresholdChange,
    Thresholds,
    changes,
    read_thresholds,
    thresholds_from_json,
)
from tasks.workspace import locked
from warehouse import db, items, provenance, release, reports, trends
from warehouse.breakdown import breakdown
from warehouse.items import ItemRow


@flow(name="report")
def report(run_id: str, home: Path | None = None) -> Path:
    """Write the report of a run again; human scores that came since then are in it.

    Args:
        run_id: the run.
        home: the workspace; from the settings where not given.

    Returns:
        The HTML file.
    """
    settings = load_settings(home)
    with locked(settings.home, wait_s=settings.lock_wait_s):
        return write_report(settings, run_report(settings, run_id))


def write_report(settings: Settings, summary: RunReport) -> Path:
    """Write a run's report to where reports lie."""
    return reporting.write_report(settings.reports / f"{summary.run.run_id}.html", summary)


def run_report(settings: Settings, run_id: str, judged: Judged | None = None) -> RunReport:
    """All that is known of a run.

    Args:
        settings: the settings.
        run_id: the run.
        judged: what was just found about it. Where not given, it is found again, and what its
            rules said is taken from when it was decided.
    """
    with db.connect(settings.warehouse, read_only=True) as connection:
        run = reports.run(connection, run_id)
        limits = limits_of(settings, connection, run_id)
    if judged is None:
        again = judged_before if run.kind in DECIDED else judge
        judged = again(settings, run, limits)
    with db.connect(settings.warehouse, read_only=True) as connection:
        before = release.previous_thresholds(connection, run_id)
        strange = unknown_items(limits, items.list_items(connection))
        return RunReport(
            run=run,
            evaluations=judged.evaluations,
            rejects=tuple(reports.rejects_summary(connection, run_id)),
            settings={
                "gradeline": version("gradeline"),
                **provenance.computed_with(connection, run_id),
                "thresholds_sha256": limits.sha256,
            },
            rules=judged.results,
            decisions=tuple(release.decisions(connection, run_id)),
            threshold_changes=_changes(before, limits),
            trend=tuple(trends.administrations(connection, until=run_id)),
            validity=judged.validity,
            breakdown=breakdown(
                connection,
                run_id,
                current=run.kind not in DECIDED,
                seasons=run.parameters.get("seasons"),
                items=run.parameters.get("items"),
            ),
            warnings=strange,
            comparison=kept_comparison(connection, run_id),
            small_cell=limits.small_cell,
            enough_rated=limits.enough_rated,
        )


def limits_of(settings: Settings, connection: duckdb.DuckDBPyConnection, run_id: str) -> Thresholds:
    """The limits that a run was judged by; those in force now where it was not."""
    content = provenance.thresholds(connection, run_id)
    return thresholds_from_json(content) if content else read_thresholds(settings.thresholds)


def unknown_items(limits: Thresholds, bank: Iterable[ItemRow]) -> tuple[str, ...]:
    """A sentence if limits are set for items that the bank does not have: a slip, most likely."""
    known = {name for row in bank for name in (row.item_id, f"{row.item_id}/{row.trait}")}
    unknown = sorted(set(limits.items) - known)
    if not unknown:
        return ()
    return (
        f"the limits file names {', '.join(unknown[:5])}"
        f"{' and others' if len(unknown) > 5 else ''}, which no item of the bank is called: what "
        "it says of them holds for nothing",
    )


def _changes(before: str | None, now: Thresholds) -> tuple[ThresholdChange, ...]:
    """What differs from the limits of the run before; from the defaults, where there is none."""
    return changes(thresholds_from_json(before) if before else read_thresholds(None), now)
