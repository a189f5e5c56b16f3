"""What nightly and backfill have in common: plan, score, commit, evaluate, log, report."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from flows.engine import engine_name, engine_with
from flows.gate import DECIDED, compare_run, judge_run, scope_of
from flows.report import limits_of, run_report, write_report
from flows.settings import Settings
from flows.spreading import score_plan
from models.backbone import resolve_backbone
from models.devices import device_named
from models.kernels import Precision, resolved
from tasks import artifacts, inference, run_log
from tasks.evaluating_days import evaluate_by_day
from tasks.evaluation import DayEvaluation
from tasks.inference import ShardResult
from tasks.planning import Plan, Selection, last_day, part_path, plan_scoring
from tasks.progress import progress
from tasks.reporting import RunReport
from tasks.retrying import patient
from tasks.thresholds import read_thresholds
from tasks.time_split import TimeSplit
from tasks.tracking import (
    RegisteredAdapter,
    Tracking,
    TrackingError,
    fetch_adapters,
    list_adapters,
)
from warehouse import db, provenance, reports, runs
from warehouse.parts import clear_unfinished
from warehouse.scores import Files
from warehouse.training import known_adapters

NO_FILES = Files()
NOT_LOGGED = "not logged to MLflow: run `gradeline evaluate` again when it can be reached"

logger = logging.getLogger(__name__)


class NothingSelectedError(LookupError):
    """A selection of seasons, items or dates holds no response at all."""


@dataclass(frozen=True)
class RunResult:
    """What a flow run left behind."""

    report: RunReport
    html: Path

    @property
    def status(self) -> str:
        """``released`` or ``held``; ``done`` for a run that brought no scores."""
        return self.report.run.status


def tracking_of(settings: Settings) -> Tracking:
    """Where MLflow keeps its runs, as the settings say."""
    return Tracking(settings.tracking_uri, settings.home, settings.programme)


def last_day_of(settings: Settings, selection: Selection) -> date:
    """The last administration day of a selection.

    Raises:
        NothingSelectedError: it holds no response: a misspelt season, perhaps.
    """
    day = last_day(settings.warehouse, selection)
    if day is None:
        chosen = ", ".join(f"{name} {value}" for name, value in selection.bound().items() if value)
        raise NothingSelectedError(f"there is no response of {chosen or 'any season'}")
    return day


def computed_with(settings: Settings, precision: Precision) -> dict[str, str]:
    """What decides a score beside text and adapter: ``backbone_sha256`` and ``engine``."""
    backbone = resolve_backbone(settings.backbone)
    engine = engine_name(engine_with(settings, precision), backbone.settings_sha256)
    return {"backbone_sha256": backbone.sha256, "engine": engine}


def score_and_report(
    settings: Settings,
    run_id: str,
    adapters: Sequence[RegisteredAdapter],
    selection: Selection,
    *,
    files: Files = NO_FILES,
    reasons: Sequence[str] = (),
    split: TimeSplit | None = None,
) -> RunResult:
    """Score what the selection holds, commit it, and tell people about it.

    Args:
        settings: the settings.
        run_id: the run, already begun.
        adapters: the adapter of each (item, trait); what has none is routed to people.
        selection: which responses.
        files: exports ingested by this run, by outcome.
        reasons: what already holds the run, one sentence each.
        split: what the run has spent its time on so far.
    """
    split = split or TimeSplit()
    read_thresholds(settings.thresholds)  # a faulty file is found before anything is scored
    with split.stage("catch_up"):
        _catch_up(settings)
    precision = resolved(settings.precision, device_named(settings.device))
    clear_unfinished(settings.parts)
    clear_unfinished(settings.adapters)
    clear_unfinished(settings.reports)
    with split.stage("plan"):
        plan = patient(plan_scoring, settings.retry_s)(
            settings.warehouse,
            settings.plans,
            run_id,
            adapters,
            selection,
            **computed_with(settings, precision),
        )
    with split.stage("fetch"):
        fetch_adapters(tracking_of(settings), _applied(plan, adapters), settings.adapters)
    with split.stage("score"):
        results = _score(settings, plan, precision)
    split.model(sum(one.model_s for one in results), sum(one.seconds for one in results))
    used = [adapter for adapter in adapters if adapter.sha256 in plan.adapters]
    held = [*reasons, *_failures(results), *_unknown_past(settings, used)]
    with split.stage("commit"):
        patient(inference.commit_scores, settings.retry_s)(
            settings.warehouse, run_id, plan, results, files, held, split
        )
    load_ms = {name: ms for result in results for name, ms in result.load_ms.items()}
    return tell(settings, run_id, load_ms, split)


def tell(
    settings: Settings,
    run_id: str,
    load_ms: Mapping[str, float] | None = None,
    split: TimeSplit | None = None,
) -> RunResult:
    """Judge a run, decide what becomes of its scores, write its report and log it to MLflow.

    A run that has been judged before is told as it was decided then: what came in since, such as
    other limits or human scores, changes no decision behind people's backs.

    Args:
        settings: the settings.
        run_id: the run; its scores are committed.
        load_ms: milliseconds it took to apply each adapter, by "<item_id> <trait>".
        split: what the run has spent its time on so far; taken from the warehouse if not given.
    """
    with db.connect(settings.warehouse, read_only=True) as connection:
        run = reports.run(connection, run_id)
    split = split or TimeSplit(run.stage_seconds)
    if run.thresholds_sha256 is None:
        with split.stage("compare"):
            compare_run(settings, run)
    with split.stage("judge"):
        judged = None if run.thresholds_sha256 is not None else judge_run(settings, run_id)
    with split.stage("report"):
        report = _timed(run_report(settings, run_id, judged), split)
        scope = scope_of(report.run)
        by_day = evaluate_by_day(
            settings.warehouse, scope.run_id, seasons=scope.seasons, items=scope.items
        )
        html = write_report(settings, report)
        artifacts.publish(report)
    try:
        with split.stage("log"):
            mlflow_run_id = _log(settings, report, by_day, load_ms or {}, html)
    except TrackingError as error:
        logger.warning("the scores are committed, but not logged: %s", error)
        with db.connect(settings.warehouse) as connection:
            tried_again = report.run.kind in DECIDED
            runs.note(connection, run_id, runs.NOT_LOGGED_YET if tried_again else NOT_LOGGED)
    else:
        with db.connect(settings.warehouse) as connection:
            runs.set_mlflow_run(connection, run_id, mlflow_run_id)
        if settings.mlflow_pages:
            where = tracking_of(settings)
            artifacts.link_mlflow(run_id, where, mlflow_run_id, settings.mlflow_pages)
    return RunResult(_keep_split(settings, report, split), html)


def _timed(report: RunReport, split: TimeSplit) -> RunReport:
    """The report with what the run has spent its time on so far."""
    return replace(report, run=replace(report.run, stage_seconds=split.seconds))


def _keep_split(settings: Settings, report: RunReport, split: TimeSplit) -> RunReport:
    """Keep where the time went, the logging too, which neither page nor MLflow could know before.

    MLflow may be out of reach, and that the run was logged has been said already.
    """
    report = _timed(report, split)
    run = report.run
    with db.connect(settings.warehouse) as connection:
        runs.set_seconds(connection, run.run_id, run.stage_seconds)
        mlflow_run_id = reports.run(connection, run.run_id).mlflow_run_id
    if mlflow_run_id is not None:
        try:
            run_log.log_time_split(tracking_of(settings), mlflow_run_id, run)
        except TrackingError as error:
            logger.warning("the time split is not logged: %s", error)
    return report


def _log(
    settings: Settings,
    report: RunReport,
    by_day: Sequence[DayEvaluation],
    load_ms: Mapping[str, float],
    html: Path,
) -> str:
    tracking = tracking_of(settings)
    with db.connect(settings.warehouse, read_only=True) as connection:
        data_sha256 = provenance.data_sha256(connection, scope_of(report.run).run_id)
        limits = limits_of(settings, connection, report.run.run_id)
    return patient(run_log.log_scoring_run, settings.retry_s)(
        tracking,
        report,
        by_day,
        load_ms,
        html,
        adapters=list_adapters(tracking),
        thresholds=limits,
        data_sha256=data_sha256,
    )


def _catch_up(settings: Settings) -> None:
    """Report and log the runs that were killed, or could not reach MLflow, after their commit.

    One that cannot be told, whatever the reason, keeps nobody from scoring tonight.
    """
    with db.connect(settings.warehouse) as connection:
        untold = runs.untold(connection)
    for run_id in untold:
        try:
            told = tell(settings, run_id)
        except Exception as error:  # only its kind is told: a library's words may quote a response
            logger.error("%s still cannot be told (%s)", run_id, type(error).__name__)
        else:
            logger.warning("%s had not been told to its end: it is %s", run_id, told.status)


def _score(settings: Settings, plan: Plan, precision: Precision) -> list[ShardResult]:
    cache = engine_with(settings, precision).cache
    if cache is None:  # nothing of an earlier setting stays behind
        shutil.rmtree(settings.trunk_cache, ignore_errors=True)
    there = {part.name for part in plan.path.parent.glob("*.part.parquet")}
    found = sum(s.rows for s in plan.shards if part_path(plan.path, s).name in there)
    with progress("scoring", plan.rows, found) as advance:
        results = score_plan(settings, plan, precision, advance)
    if cache is not None:
        cache.trim()
    return results


def _applied(plan: Plan, adapters: Sequence[RegisteredAdapter]) -> list[RegisteredAdapter]:
    """Those that have something to compute: where all scores are copied, none is fetched."""
    hashes = {unit.adapter_sha256 for shard in plan.shards for unit in shard.units}
    return [adapter for adapter in adapters if adapter.sha256 in hashes]


def _unknown_past(settings: Settings, used: Sequence[RegisteredAdapter]) -> list[str]:
    """Adapters trained beside another warehouse: what they have seen would flatter them here."""
    with db.connect(settings.warehouse, read_only=True) as connection:
        known = known_adapters(connection)
    items = [adapter.item_id for adapter in used if adapter.sha256 not in known]
    if not items:
        return []
    return [
        f"this warehouse does not know what the adapters of {len(items)} items were trained on "
        f"({', '.join(items[:5])} ...), so their agreement may be too good: train them again"
    ]


def _failures(results: Sequence[ShardResult]) -> list[str]:
    return [
        f"item {failure.item_id} ({failure.trait}) was not scored: {failure.reason}"
        for result in results
        for failure in result.failures
    ]
