"""A scoring run as MLflow shows it: a parent with all that a reviewer opens, a child per item.

The parent has the decision and its reasons, counts and cost, every table and the pictures of all
items; a child has one item's figures, so that they can be charted over nights, and pictures of its
own only where a rule has failed or is flagged: sixty items to a page are enough for the others.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from models.postprocessing import TRIM
from tasks import figures, tracking
from tasks.evaluation import DayEvaluation, ItemEvaluation
from tasks.markdown import escaped
from tasks.report_rules import by_item, findings, urgency, usual_limit, worst
from tasks.report_status import verdict
from tasks.reporting import RunReport
from tasks.rules import is_drift
from tasks.run_files import REPORT, configuration_files, csv_files
from tasks.run_metrics import item_metrics, metrics_by_day, run_metrics, time_metrics
from tasks.run_tables import Table, as_columns, run_tables
from tasks.summary import counts_sentences
from tasks.thresholds import Thresholds
from tasks.tracking import Child, DataInput, RegisteredAdapter, Tracking
from warehouse.release import GATE
from warehouse.reports import Run

# Items with pictures of their own, the most urgent first.
PICTURED_ITEMS = 40
NOTED_FINDINGS = 10
# 500 items take half a minute; a store that takes this long hangs, and the next run tells it.
LONGEST_LOG_S = 1800
EXPERIMENT = "scoring"
ITEM_PICTURE = "figures/item.png"
# Tables that a later judgement or decision changes.
AMENDED = (
    "eval/decisions.json", "eval/rules.json", "eval/threshold_changes.json",
    "eval/replaced.json", "eval/old_by_new.json", "run/old_runs.json",
)  # fmt: skip
# What an evaluation reads of every response, in the types of MLflow.
COLUMNS = {
    "human_score": "double",
    "human_score_2": "double",
    "raw_score": "double",
    "score": "long",
    "confidence": "double",
}

Key = tuple[str, str]

logger = logging.getLogger(__name__)


@task(cache_policy=NO_CACHE, timeout_seconds=LONGEST_LOG_S)
def log_scoring_run(
    where: Tracking,
    report: RunReport,
    by_day: Sequence[DayEvaluation],
    load_ms: Mapping[str, float],
    html: Path,
    *,
    adapters: Sequence[RegisteredAdapter] = (),
    thresholds: Thresholds | None = None,
    data_sha256: str = "",
) -> str:
    """Log a run that scored or evaluated, and one child per (item, trait).

    Args:
        where: the tracking store.
        report: what there is to tell.
        by_day: agreement by day of handing in.
        load_ms: milliseconds it took to apply each adapter, by "<item_id> <trait>".
        html: the report as written.
        adapters: registered ones; those that gave these scores are named with their hashes.
        thresholds: the limits it was judged by.
        data_sha256: hash of the responses and human scores it looked at; empty if not known.

    Returns:
        MLflow's id of the parent run.
    """
    run = report.run
    if tracking.withdraw_run(where, EXPERIMENT, run.run_id):
        logger.warning("MLflow had an earlier attempt to log %s: it is replaced", run.run_id)
    parent = tracking.start_run(where, EXPERIMENT, run.run_id, _tags(report, data_sha256))
    tables = {**run_tables(report), "run/adapters.json": _adapters(report, adapters)}
    with tracking.failing_with(where, parent):
        tracking.log_children(where, parent, _children(report, by_day, load_ms, adapters))
        tracking.log_run(
            where,
            parent,
            metrics=run_metrics(report, load_ms),
            params={"run_id": run.run_id, **run.parameters, **report.settings},
            day=run.administration_date,
            tables=tables,
            figures=_pictures(report),
            texts={
                REPORT: html.read_text("utf-8"),
                **configuration_files(report, thresholds),
                **csv_files(tables),
            },
            data=_data(report, data_sha256),
        )
    return parent


@task(cache_policy=NO_CACHE)
def log_time_split(where: Tracking, mlflow_run_id: str, run: Run) -> None:
    """Tell the run that was logged where its time went, the logging of it included."""
    tracking.add_metrics(where, mlflow_run_id, time_metrics(run), run.administration_date)


@task(cache_policy=NO_CACHE)
def log_decision(where: Tracking, mlflow_run_id: str, report: RunReport, html: Path) -> None:
    """Tell the run that was logged before what has been decided about it since.

    Its tags, description, report, rules and decisions change; its figures stay as they were.
    """
    found = run_tables(report)
    tables = {path: found[path] for path in AMENDED if found.get(path)}
    there = tracking.amend_run(
        where,
        mlflow_run_id,
        tags=_decision_tags(report),
        tables=tables,
        texts={REPORT: html.read_text("utf-8"), **csv_files(tables)},
    )
    if not there:
        logger.warning("MLflow has no run %s any more: nothing is told there", mlflow_run_id)


def by_urgency(report: RunReport) -> list[ItemEvaluation]:
    """What needs eyes first: most failed rules, most flagged ones, the lowest QWK."""
    results = by_item(report.rules)

    def place(item: ItemEvaluation) -> tuple[tuple[int, int], float, Key]:
        key = (item.item_id, item.trait)
        qwk = item.qwk.value
        return urgency(results.get(key, [])), 2.0 if qwk != qwk else qwk, key

    return sorted(report.evaluations, key=place)


def _tags(report: RunReport, data_sha256: str) -> dict[str, str]:
    run = report.run
    known = {
        **_decision_tags(report),
        "run_kind": run.kind,
        "season": ", ".join(report.breakdown.seasons),
        "administration_date": run.administration_date.isoformat(),
        "code_version": str(report.settings.get("gradeline", "")),
        "backbone_sha": str(report.settings.get("backbone_sha256", "")),
        "config_sha": run.thresholds_sha256 or str(report.settings.get("thresholds_sha256", "")),
        "data_sha": data_sha256,
        "prefect_flow_run_id": str(flow_run.get_id() or ""),
    }
    return {name: value for name, value in known.items() if value}


def _decision_tags(report: RunReport) -> dict[str, str]:
    """The decision that counts, who made it if a person did, and the page's description."""
    last = report.decisions[-1] if report.decisions else None
    by_person = {"operator": last.decided_by} if last and last.decided_by != GATE else {}
    return {
        "release_status": last.decision if last else report.run.status,
        **by_person,
        "mlflow.note.content": "\n\n".join(_note(report)),
    }


def _note(report: RunReport) -> Iterator[str]:
    """What the run's page says under Description, in the words of the report."""
    found = verdict(report.run, report.decisions, report.warnings)
    yield " ".join(filter(None, (f"**{found.word}** {found.decided}.", found.meaning)))
    if found.reasons:
        yield "\n".join(f"- {escaped(reason)}" for reason in found.reasons)
    yield from counts_sentences(report.run)
    failed = findings(report.rules, report.small_cell)
    for one in failed[:NOTED_FINDINGS]:
        words = f"{one.name}: {one.rule}: {one.value} (limit {one.limit}, n {one.n})"
        yield f"{one.status} {escaped(words)}"
    if len(failed) > NOTED_FINDINGS:
        yield f"… and {len(failed) - NOTED_FINDINGS:,} more in eval/rules.json"


def _children(
    report: RunReport,
    by_day: Sequence[DayEvaluation],
    load_ms: Mapping[str, float],
    adapters: Sequence[RegisteredAdapter],
) -> Iterator[Child]:
    results = by_item(report.rules)
    days: dict[Key, list[DayEvaluation]] = {}
    for entry in by_day:
        days.setdefault((entry.item_id, entry.trait), []).append(entry)
    known = _by_version(adapters)
    validity = {(one.item_id, one.trait): one for one in report.validity}
    for place, item in enumerate(by_urgency(report)):
        key = (item.item_id, item.trait)
        of_item = results.get(key, [])
        status = worst(of_item) or ""
        adapter = known.get((*key, item.adapter_version or 0))
        metrics = item_metrics(item, of_item, validity.get(key))
        metrics["load_ms"] = load_ms.get(" ".join(key))
        series = dict(metrics_by_day(days.get(key, []), item.small_cell))
        day = report.run.administration_date
        series[day] = {**series.get(day, {}), **metrics}
        pictured = place < PICTURED_ITEMS and status in ("FAIL", "FLAG")
        yield Child(
            name=" ".join(key),
            tags=_child_tags(report, item, status, adapter),
            params=_child_params(item, adapter),
            metrics=series,
            figures={ITEM_PICTURE: figures.item_figure(item)} if pictured else {},
        )


def _adapters(report: RunReport, adapters: Sequence[RegisteredAdapter]) -> Table:
    """The registered adapters that gave these scores: which files, learned from what, and how."""
    known = _by_version(adapters)
    used = (
        known.get((item.item_id, item.trait, version))
        for item in report.evaluations
        for version in item.adapter_versions
    )
    named = ("item_id", "trait", "version", "sha256", "training_data_sha256", "recipe_sha256")
    return as_columns({name: getattr(one, name) for name in named} for one in used if one)


def _by_version(
    adapters: Sequence[RegisteredAdapter],
) -> dict[tuple[str, str, int], RegisteredAdapter]:
    return {(one.item_id, one.trait, one.version): one for one in adapters}


def _child_tags(
    report: RunReport, item: ItemEvaluation, status: str, adapter: RegisteredAdapter | None
) -> dict[str, str]:
    tags = {
        "item_id": item.item_id,
        "trait": item.trait,
        "administration_date": report.run.administration_date.isoformat(),
        "item_status": status,
        "adapter_version": str(item.adapter_version or ""),
        "adapter_sha256": adapter.sha256 if adapter else "",
    }
    return {name: value for name, value in tags.items() if value}


def _child_params(item: ItemEvaluation, adapter: RegisteredAdapter | None) -> dict[str, object]:
    made = (
        {
            "adapter_sha256": adapter.sha256,
            "training_data_sha256": adapter.training_data_sha256,
            "recipe_sha256": adapter.recipe_sha256,
            "backbone_sha256": adapter.backbone_sha256,
        }
        if adapter
        else {}
    )
    versions = ", ".join(map(str, item.adapter_versions))
    return {
        "adapter_versions": versions,
        "reported": item.reported,
        "score_min": item.score_min,
        "score_max": item.score_max,
        "trim": f"{item.score_min - TRIM:g} to {item.score_max + TRIM:g}",
        **made,
    }


def _pictures(report: RunReport) -> Iterator[tuple[str, Figure]]:
    """All items on pages, the urgent ones first; drawn one page at a time."""
    items = by_urgency(report)
    order = [(item.item_id, item.trait) for item in items]
    results = by_item(report.rules)
    statuses = {key: str(worst(of_item) or "") for key, of_item in results.items()}
    drift = {
        key: str(worst([result for result in of_item if is_drift(result)]) or "")
        for key, of_item in results.items()
    }
    limit = usual_limit(report.rules, "qwk", math.nan)
    pages: dict[str, Iterator[Figure]] = {
        "agreement_by_item": figures.agreement_pages(items, report.enough_rated, limit),
        "distributions": figures.distribution_pages(items, statuses),
        "mean_differences": figures.mean_difference_pages(items),
        "confusion_matrices": figures.confusion_pages(items, statuses),
        "calibration": figures.calibration_pages(items, statuses),
        "replaced": figures.replaced_pages(report.comparison, report.small_cell),
        "drift": figures.drift_pages(report.trend, order, drift, report.small_cell),
    }
    for name, drawn in pages.items():
        for number, figure in enumerate(drawn, 1):
            yield f"figures/{name}/page_{number:02}.png", figure
    yield "figures/latency_and_memory.png", figures.cost_figure(items, report.run)


def _data(report: RunReport, data_sha256: str) -> DataInput | None:
    if not data_sha256:
        return None
    run, items = report.run, report.evaluations
    return DataInput(
        name=f"responses of {run.run_id}",
        digest=data_sha256,
        context="evaluation" if run.kind == "evaluate" else "scoring",
        source={"warehouse": "warehouse.duckdb", "run_id": run.run_id},
        columns=COLUMNS,
        profile={
            "items": len(items),
            "responses": sum(item.n_scored for item in items),
            "rated": sum(item.n_rated for item in items),
            "double_rated": sum(item.n_double for item in items),
        },
    )
