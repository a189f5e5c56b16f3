"""What nightly and backfill have in common: plan, score, commit, evaluate, log, report."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from flows.settings import Settings
from models.backbone import resolve_backbone
from models.devices import device_named
from models.kernels import Precision, engine_of, resolved
from tasks import evaluation, inference, reporting, run_log
from tasks.inference import ShardResult
from tasks.planning import Plan, Selection, last_day, plan_scoring
from tasks.progress import progress
from tasks.reporting import RunReport
from tasks.tracking import RegisteredAdapter, Tracking, TrackingError, fetch_adapters
from warehouse import db, reports, runs
from warehouse.scores import Files
from warehouse.training import known_adapters

NO_FILES = Files()

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
        """``done`` or ``held``."""
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
    return tell(settings, run_id, Selection(), load_ms)


def tell(
    settings: Settings,
    run_id: str,
    selection: Selection,
    load_ms: Mapping[str, float],
    *,
    all_scores: bool = False,
) -> RunResult:
    """Compute agreement, write the HTML report and log the run to MLflow.

    Args:
        settings: the settings.
        run_id: the run; the scores it made are evaluated.
        selection: with ``all_scores``, which of them.
        load_ms: milliseconds it took to apply each adapter, by "<item_id> <trait>".
        all_scores: evaluate the current scores of all runs, not only of this one.
    """
    scope = None if all_scores else run_id
    evaluations = evaluation.evaluate_scores(
        settings.warehouse, scope, seasons=selection.seasons, items=selection.items
    )
    by_day = evaluation.evaluate_by_day(
        settings.warehouse, scope, seasons=selection.seasons, items=selection.items
    )
    with db.connect(settings.warehouse, read_only=True) as connection:
        report = RunReport(
            run=reports.run(connection, run_id),
            evaluations=tuple(evaluations),
            rejects=tuple(reports.rejects_summary(connection, run_id)),
            settings=_shown(settings),
        )
    html = reporting.write_report(settings.reports / f"{run_id}.html", report)
    try:
        mlflow_run_id = run_log.log_scoring_run(
            tracking_of(settings), report, by_day, load_ms, html
        )
    except TrackingError as error:
        logger.warning("the scores are committed, but not logged: %s", error)
        with db.connect(settings.warehouse) as connection:
            runs.note(connection, run_id, "not logged to MLflow yet: the next run tries again")
    else:
        with db.connect(settings.warehouse) as connection:
            runs.set_mlflow_run(connection, run_id, mlflow_run_id)
    return RunResult(report, html)


def _catch_up(settings: Settings) -> None:
    """Report and log the runs that were killed, or could not reach MLflow, after their commit."""
    with db.connect(settings.warehouse) as connection:
        untold = runs.untold(connection)
    for run_id in untold:
        tell(settings, run_id, Selection(), {})


def _score(settings: Settings, plan: Plan, precision: Precision) -> list[ShardResult]:
    with progress("scoring", plan.rows) as advance:
        return [
            inference.score_shard(
                plan.path,
                shard,
                settings.responses,
                settings.adapters,
                settings.backbone,
                settings.max_tokens,
                precision,
                settings.device,
                advance,
            )
            for shard in plan.shards
        ]


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


def _shown(settings: Settings) -> dict[str, str]:
    """The settings that explain a score; no path, no address."""
    backbone = resolve_backbone(settings.backbone)
    return {
        "gradeline": version("gradeline"),
        "backbone": backbone.name,
        "backbone_sha256": backbone.sha256,
        "max_tokens": str(settings.max_tokens),
        "precision": resolved(settings.precision, device_named(settings.device)),
        "device": settings.device,
    }
