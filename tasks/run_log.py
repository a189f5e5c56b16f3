"""A scoring run as MLflow shows it: a parent with counts and cost, a child per item."""

import logging
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import figures, tracking
from tasks.evaluation import DayEvaluation, ItemEvaluation
from tasks.reporting import RunReport
from tasks.summary import counts_sentences
from tasks.tracking import Tracking
from warehouse.reports import Run

COUNTS = (
    "received", "accepted", "waiting", "scored", "reused", "coded", "routed", "failed", "rejected",
    "duplicate", "rated",
)  # fmt: skip
TABLE_COLUMNS = (
    "item_id", "trait", "adapter_version", "n_scored", "n_reused", "n_coded", "n_rated", "qwk",
    "qwk_low", "qwk_high", "exact", "adjacent", "smd", "r", "rmse", "mean_human", "mean_machine",
    "qwk_human_human", "n_double", "latency_ms_p50", "latency_ms_p95",
)  # fmt: skip

logger = logging.getLogger(__name__)


@task(cache_policy=NO_CACHE)
def log_scoring_run(
    where: Tracking,
    report: RunReport,
    by_day: Sequence[DayEvaluation],
    load_ms: Mapping[str, float],
    html: Path,
) -> str:
    """Log a run that scored or evaluated, and one child per (item, trait).

    Returns:
        MLflow's id of the parent run.
    """
    run = report.run
    parent = tracking.start_run(where, "scoring", run.run_id, _tags(report))
    for item in report.evaluations:
        _log_item(where, parent, run.administration_date, item, by_day, load_ms)
    tracking.log_run(
        where,
        parent,
        metrics=_run_metrics(report),
        params={**run.parameters, **report.settings},
        day=run.administration_date,
        tables={
            "tables/items.json": _item_table(report.evaluations),
            "tables/rejects.json": _reject_table(report),
        },
        figures={"figures/agreement_by_item.png": figures.overview_figure(report.evaluations)},
        files=[html],
    )
    return parent


def _tags(report: RunReport) -> dict[str, str]:
    run = report.run
    return {
        "run_kind": run.kind,
        "administration_date": run.administration_date.isoformat(),
        "release_status": run.status,
        "mlflow.note.content": "\n\n".join(_note(run)),
    }


def _note(run: Run) -> list[str]:
    """What the run's page says under Description."""
    held = [run.message] if run.message else []
    return [f"**{run.status}**", *held, *counts_sentences(run)]


def _run_metrics(report: RunReport) -> dict[str, float | None]:
    run = report.run
    judged = [item.qwk for item in report.evaluations if item.qwk == item.qwk]
    return {
        **{f"n/{name}": getattr(run, name) for name in COUNTS},
        "n/adapters_loaded": run.adapters_loaded,
        "n/files_accepted": run.files_accepted,
        "n/files_refused": run.files_refused,
        "mem_mb/peak_rss": run.peak_rss_mb,
        "responses_per_s": run.responses_per_s,
        "qwk/mean_over_items": sum(judged) / len(judged) if judged else None,
        "qwk/min_over_items": min(judged, default=None),
    }


def _log_item(
    where: Tracking,
    parent: str,
    day: date,
    item: ItemEvaluation,
    by_day: Sequence[DayEvaluation],
    load_ms: Mapping[str, float],
) -> None:
    drawn: dict[str, Any] = {}
    if item.n_rated:
        drawn["figures/confusion.png"] = figures.confusion_figure(item)
    if item.n_scored:
        drawn["figures/distribution.png"] = figures.distribution_figure(item)
    tracking.log_item(
        where,
        parent,
        f"{item.item_id} {item.trait}",
        tags={
            "item_id": item.item_id,
            "trait": item.trait,
            "adapter_version": str(item.adapter_version),
        },
        metrics={
            "n/scored": item.n_scored,
            "n/reused": item.n_reused,
            "n/coded": item.n_coded,
            "n/rated": item.n_rated,
            "n/seen": item.n_seen,
            "qwk": item.qwk,
            "qwk_low": item.qwk_low,
            "qwk_high": item.qwk_high,
            "exact_agreement": item.exact,
            "adjacent_agreement": item.adjacent,
            "smd": item.smd,
            "pearson_r": item.r,
            "qwk_human_human": item.qwk_human_human,
            "latency_ms/p50": item.latency_ms_p50,
            "latency_ms/p95": item.latency_ms_p95,
            "load_ms": load_ms.get(f"{item.item_id} {item.trait}"),
        },
        by_day={
            entry.day: {
                "by_date/n_scored": entry.n_scored,
                "by_date/n_rated": entry.n_rated,
                "by_date/qwk": entry.qwk,
            }
            for entry in by_day
            if (entry.item_id, entry.trait) == (item.item_id, item.trait)
        },
        day=day,
        figures=drawn,
    )


def _item_table(items: Sequence[ItemEvaluation]) -> dict[str, list[Any]]:
    return {name: [getattr(item, name) for item in items] for name in TABLE_COLUMNS}


def _reject_table(report: RunReport) -> dict[str, list[Any]]:
    return {
        "file": [reject.file for reject in report.rejects],
        "reason": [reject.reason for reject in report.rejects],
        "count": [reject.count for reject in report.rejects],
    }
