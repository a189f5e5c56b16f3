"""A person's word on a run: its scores go out, or they stay."""

import logging
from pathlib import Path
from typing import Annotated, Literal

from prefect import flow

from flows.forms import By, Home, Reason, RunId, titled
from flows.gate import compared_again
from flows.report import run_report, write_report
from flows.scoring import RunResult, tracking_of
from flows.settings import Settings, load_settings
from tasks import artifacts, run_log
from tasks.reporting import RunReport
from tasks.tracking import TrackingError
from tasks.workspace import locked
from warehouse import db, release

logger = logging.getLogger(__name__)


class UnseenChangesError(RuntimeError):
    """What a run would change has itself changed since anybody was told of it."""


@flow(name="decide")
def decide(
    run_id: RunId,
    decision: Annotated[Literal["released", "held"], titled("Decision")],
    by: By,
    reason: Reason,
    home: Home = None,
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
        UnseenChangesError: a backfill would change other released scores than its report says.
    """
    settings = load_settings(home)
    with locked(settings.home, wait_s=settings.lock_wait_s):
        if decision == "released":
            _refuse_unseen(settings, run_id)
        with db.connect(settings.warehouse) as connection:
            release.decide(connection, run_id, decision, by, reason)
        report = run_report(settings, run_id)
        html = write_report(settings, report)
        artifacts.publish(report)
        _tell_mlflow(settings, report, html)
    return RunResult(report, html)


def _refuse_unseen(settings: Settings, run_id: str) -> None:
    """Nobody signs for a change that no report has shown: it is written again, to be read first."""
    if compared_again(settings, run_id):
        html = write_report(settings, run_report(settings, run_id))
        raise UnseenChangesError(
            f"since {run_id} was compared, other scores were released, and what it would change is "
            f"not what its report said: the report was written again ({html}), read it and sign "
            "once more"
        )


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
