"""A person's word on a run: its scores go out, or they stay."""

import logging
from pathlib import Path
from typing import Literal

from prefect import flow

from flows.report import run_report, write_report
from flows.scoring import RunResult, tracking_of
from flows.settings import Settings, load_settings
from tasks import artifacts, run_log
from tasks.reporting import RunReport
from tasks.tracking import TrackingError
from tasks.workspace import locked
from warehouse import db, release

logger = logging.getLogger(__name__)


@flow(name="decide")
def decide(
    run_id: str,
    decision: Literal["released", "held"],
    by: str,
    reason: str,
    home: Path | None = None,
) -> RunResult:
    """Record a decision, and tell it in the run's report, in Prefect and in MLflow.

    Args:
        run_id: a nightly run or a backfill that has committed its scores.
        decision: what becomes of them.
        by: who decides.
        reason: why.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownRunError: there is no such run.
        NotDecidableError: it has committed no scores.
        UnsignedDecisionError: no name, or no reason.
    """
    settings = load_settings(home)
    with locked(settings.home):
        with db.connect(settings.warehouse) as connection:
            release.decide(connection, run_id, decision, by, reason)
        report = run_report(settings, run_id)
        html = write_report(settings, report)
        artifacts.publish(report)
        _tell_mlflow(settings, report, html)
    return RunResult(report, html)


def _tell_mlflow(settings: Settings, report: RunReport, html: Path) -> None:
    """A run that MLflow does not know yet is logged with its decision by the next one."""
    if report.run.mlflow_run_id is None:
        return
    try:
        run_log.log_decision(tracking_of(settings), report.run.mlflow_run_id, report, html)
    except TrackingError as error:
        logger.warning(
            "the decision is recorded, but MLflow does not show it, so decide the same once more "
            "when it can be reached: %s",
            error,
        )
