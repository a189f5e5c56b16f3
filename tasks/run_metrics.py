"""A run's figures under the names that MLflow charts them by.

A figure that rests on fewer responses than may be shown is left out, here as in every table.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np

from models.agreement import over_items
from tasks.comparison_tables import comparison_metrics
from tasks.evaluation import DayEvaluation, Figure, ItemEvaluation, ValidityFigure
from tasks.metric_names import slug, subgroup_metric
from tasks.report_subgroups import shown_groups
from tasks.reporting import RunReport
from tasks.rules import RuleResult, is_drift
from tasks.time_split import without_model
from tasks.tracking import Series
from warehouse.reports import Run

Metrics = dict[str, float | None]

COUNTS = (
    "received", "accepted", "waiting", "scored", "reused", "coded", "routed", "failed", "rejected",
    "duplicate",
)  # fmt: skip
OF_ITEM = (
    "n_scored", "n_reused", "n_coded", "n_seen", "n_rated", "n_double", "n_truncated",
    "n_by_student", "near_boundary",
)  # fmt: skip
# Figures of the reported score carry its kind after the slash: a change of it starts a new line.
ON_REPORTED = ("qwk", "kappa", "exact", "adjacent", "smd")
OTHERS = {
    "qwk_trimmed": "qwk/trimmed",
    "smd_trimmed": "smd/trimmed",
    "pearson_r": "pearson_r/trimmed",
    "r2": "r2/trimmed",
    "rmse": "rmse/trimmed",
    "degradation_qwk": "degradation/qwk",
    "degradation_r": "degradation/pearson_r",
    "degradation_exact": "degradation/exact",
    "degradation_smd": "degradation/smd",
    "disattenuated_r": "disattenuated_r",
    "prmse": "prmse",
    "calibration_error": "calibration_error",
}
# These have their intervals as metrics, too; all others have them in eval/figures.json.
WITH_INTERVAL = ("qwk", "smd", "pearson_r")


def run_metrics(report: RunReport, load_ms: Mapping[str, float]) -> Metrics:
    """What the parent run says: counts, cost, agreement over items (never of all rows together)."""
    run = report.run
    statuses = [result.status for result in report.rules]
    alarms = [r for r in report.rules if r.status == "FAIL" and is_drift(r)]
    scorable = run.scored + run.failed
    return {
        **{f"n/{name}": getattr(run, name) for name in COUNTS},
        "n/ratings_received": run.rated,  # n/rated of an item counts responses
        "n/items": len(report.evaluations),
        "n/adapters_loaded": run.adapters_loaded,
        "n/files_accepted": run.files_accepted,
        "n/files_refused": run.files_refused,
        "scored_share": run.scored / scorable if scorable else None,
        "counts_reconcile": float(run.reconciled),
        "rules/fail": statuses.count("FAIL"),
        "rules/flag": statuses.count("FLAG"),
        "rules/insufficient_n": statuses.count("INSUFFICIENT_N"),
        "rules/pass": statuses.count("PASS"),
        "drift/alarms": len({(alarm.item_id, alarm.trait) for alarm in alarms}),
        **_over_items(report.evaluations),
        **comparison_metrics(report.comparison, report.small_cell),
        **_cost(report.evaluations),
        "load_ms/all_adapters": sum(load_ms.values()) if load_ms else None,
        "mem_mb/peak_rss": run.peak_rss_mb,
        "responses_per_s": run.responses_per_s,
        "wall_s": run.wall_s,
    }


def time_metrics(run: Run) -> Metrics:
    """Where a run's time went, in seconds by stage, and the share that was not the model's."""
    if not run.stage_seconds:
        return {}
    return {
        **{f"stage_s/{name}": value for name, value in run.stage_seconds.items()},
        "stage_share/without_model": without_model(run.stage_seconds),
    }


def item_metrics(
    item: ItemEvaluation, results: Sequence[RuleResult], validity: ValidityFigure | None
) -> Metrics:
    """What one item's child run says."""
    few = item.n_rated < item.small_cell
    found: Metrics = {f"n/{name.removeprefix('n_')}": getattr(item, name) for name in OF_ITEM}
    found["n/far_apart"] = None if few else item.n_far_apart
    for name in (*ON_REPORTED, *OTHERS):
        metric = f"{name}/{item.reported}" if name in ON_REPORTED else OTHERS[name]
        found |= _figure(metric, item.figures[name], item.small_cell, name in WITH_INTERVAL)
    for name, figure in item.human_human.items():
        found |= _figure(f"human_human/{name}", figure, item.small_cell, False)
    found |= {
        "confidence/mean": item.mean_confidence if item.n_scored >= item.small_cell else None,
        "mean_score/human": None if few else item.mean_human,
        "mean_score/machine": None if few else item.mean_machine,
        "share/coded": item.n_coded / total if (total := item.n_scored + item.n_coded) else None,
        "latency_ms/p50": item.latency_ms_p50,
        "latency_ms/p95": item.latency_ms_p95,
        "responses_per_s": item.responses_per_s,
        "rules/fail": sum(result.status == "FAIL" for result in results),
        "rules/flag": sum(result.status == "FLAG" for result in results),
    }
    return {**found, **_subgroups(item), **_validity(validity, item.small_cell)}


def metrics_by_day(of_item: Sequence[DayEvaluation], small_cell: int) -> Series:
    """One item's agreement by the day on which its responses were handed in."""
    series: dict[date, Metrics] = {}
    for entry in of_item:
        few = entry.n_rated < small_cell
        series[entry.day] = {
            "by_date/n_scored": entry.n_scored,
            "by_date/n_rated": entry.n_rated,
            "by_date/qwk": None if few else entry.qwk,
            "by_date/exact": None if few else entry.exact,
        }
    return series


def _figure(name: str, figure: Figure, small_cell: int, with_interval: bool) -> Metrics:
    if figure.n < small_cell:
        return {}
    ends = {f"{name}_low": figure.low, f"{name}_high": figure.high} if with_interval else {}
    return {name: figure.value, **ends}


def _subgroups(item: ItemEvaluation) -> Metrics:
    found: Metrics = {}
    for group in shown_groups(item):
        found[subgroup_metric("dsm", group.attribute, group.level)] = group.dsm.value
    for fair in item.fairness:
        if fair.n >= item.small_cell:
            attribute = slug(fair.attribute)
            found[f"fairness/osa_r2__{attribute}"] = fair.osa_r2
            found[f"fairness/osd_r2__{attribute}"] = fair.osd_r2
            found[f"fairness/csd_r2__{attribute}"] = fair.csd_r2
    return found


def _validity(found: ValidityFigure | None, small_cell: int) -> Metrics:
    if found is None or found.n < small_cell:
        return {}
    return {
        "validity/n": found.n,
        "validity/exact": found.exact.value,
        "validity/qwk": found.qwk.value,
        "validity/n_changed": found.n_changed,
    }


def _over_items(items: Sequence[ItemEvaluation]) -> Metrics:
    """Of the items with enough responses to judge, as in the report."""
    shown = [item for item in items if item.enough_rated]
    found: Metrics = {
        "n/items_rated": sum(item.n_rated >= item.small_cell for item in items),
        "n/items_enough_rated": len(shown),
    }
    for name in ("qwk", "exact", "smd"):
        values = [item.figures[name].value for item in shown]
        if name == "smd":
            sizes = [abs(value) for value in values if not math.isnan(value)]
            found["smd/largest_over_items"] = max(sizes, default=None)
            continue
        over = over_items(values)
        found[f"{name}/mean_over_items"] = over.mean
        found[f"{name}/min_over_items"] = over.minimum
        if name == "qwk":
            found["qwk/fisher_mean_over_items"] = over.fisher_mean
    return found


def _cost(items: Sequence[ItemEvaluation]) -> Metrics:
    """Latency of the typical and of the slowest item, in milliseconds per score."""
    found: Metrics = {}
    for name in ("p50", "p95"):
        timed = np.array([getattr(item, f"latency_ms_{name}") for item in items])
        timed = timed[~np.isnan(timed)]
        if timed.size:
            found[f"latency_ms/{name}_median_over_items"] = float(np.median(timed))
            found[f"latency_ms/{name}_max_over_items"] = float(timed.max())
    return found
