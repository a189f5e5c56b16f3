"""What nightly and backfill have in common: plan, score, commit, evaluate, log, report."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from flows.gate import DECIDED, judge_run, scope_of
from flows.report import limits_of, run_report, write_report
from flows.settings import Settings
from models.backbone import resolve_backbone
from models.devices import device_named
from models.kernels import Precision, engine_of, resolved
from tasks import artifacts, inference, run_log
from tasks.evaluating_days import evaluate_by_day
from tasks.evaluation import DayEvaluation
from tasks.inference import Engine, ShardResult
from tasks.planning import Plan, Selection, last_day, plan_scoring
from tasks.progress import progress
from tasks.reporting import RunReport
from tasks.thresholds import read_thresholds
from tasks.tracking import (
    RegisteredAdapter,
    Tracking,
    TrackingError,
    fetch_adapters,
    list_adapters,
)
from warehouse import db, provenance, reports, runs
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


def score_and_report(
    settings: Settings,
    run_id: str,
    adapters: Sequence[RegisteredAdapter],
    selection: Selection,
    *,
    files: Files = NO_FILES,
    reasons: Sequence[str] = (),
) -> RunResult:
    """Score what the selection holds, commit it, and tell people about it.

    Args:
        settings: the settings.
        run_id: the run, already begun.
        adapters: the adapter of each (item, trait); what has none is routed to people.
        selection: which responses.
        files: exports ingested by this run, by outcome.
        reasons: what already holds the run, one sentence each.
    """
    read_thresholds(settings.thresholds)  # a faulty file is found before anything is scored
    _catch_up(settings)
    precision = resolved(settings.precision, device_named(settings.device))
    backbone = resolve_backbone(settings.backbone)
    engine = f"{engine_of(precision)} {settings.max_tokens} tokens {backbone.settings_sha256[:12]}"
    plan = plan_scoring(
        settings.warehouse,
        settings.parts,
        run_id,
        adapters,
        selection,
        backbone_sha256=backbone.sha256,
        engine=engine if settings.device == "cpu" else f"{engine} {settings.device}",
    )
    fetch_adapters(tracking_of(settings), _applied(plan, adapters), settings.adapters)
    results = _score(settings, plan, precision)
    used = [adapter for adapter in adapters if adapter.sha256 in plan.adapters]
    held = [*reasons, *_failures(results), *_unknown_past(settings, used)]
    inference.commit_scores(settings.warehouse, run_id, plan, results, files, held)
    load_ms = {name: ms for result in results for name, ms in result.load_ms.items()}
    return tell(settings, run_id, load_ms)


def tell(settings: Settings, run_id: str, load_ms: Mapping[str, float] | None = None) -> RunResult:
    """Judge a run, decide what becomes of its scores, write its report and log it to MLflow.

    A run that has been judged before is told as it was decided then: what came in since, such as
    other limits or human scores, changes no decision behind people's backs.

    Args:
        settings: the settings.
        run_id: the run; its scores are committed.
        load_ms: milliseconds it took to apply each adapter, by "<item_id> <trait>".
    """
    judged = None if _is_judged(settings, run_id) else judge_run(settings, run_id)
    report = run_report(settings, run_id, judged)
    scope = scope_of(report.run)
    by_day = evaluate_by_day(
        settings.warehouse, scope.run_id, seasons=scope.seasons, items=scope.items
    )
    html = write_report(settings, report)
    artifacts.publish(report)
    try:
        mlflow_run_id = _log(settings, report, by_day, load_ms or {}, html)
    except TrackingError as error:
        logger.warning("the scores are committed, but not logged: %s", error)
        with db.connect(settings.warehouse) as connection:
            tried_again = report.run.kind in DECIDED
            runs.note(connection, run_id, runs.NOT_LOGGED_YET if tried_again else NOT_LOGGED)
    else:
        with db.connect(settings.warehouse) as connection:
            runs.set_mlflow_run(connection, run_id, mlflow_run_id)
    return RunResult(report, html)


def _is_judged(settings: Settings, run_id: str) -> bool:
    with db.connect(settings.warehouse, read_only=True) as connection:
        return reports.run(connection, run_id).thresholds_sha256 is not None


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
    return run_log.log_scoring_run(
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
    engine = Engine(
        backbone=settings.backbone,
        max_tokens=settings.max_tokens,
        precision=precision,
        device=settings.device,
        trunk_cache=settings.trunk_cache if settings.trunk_cache_gb else None,
        trunk_cache_bytes=round(settings.trunk_cache_gb * 1e9),
    )
    if engine.cache is None:  # nothing of an earlier setting stays behind
        shutil.rmtree(settings.trunk_cache, ignore_errors=True)
    with progress("scoring", plan.rows) as advance:
        results = [
            inference.score_shard(
                plan.path, shard, settings.responses, settings.adapters, engine, advance
            )
            for shard in plan.shards
        ]
    if engine.cache is not None:
        engine.cache.trim()
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
