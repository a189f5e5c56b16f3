"""A run's tables for MLflow: columns by name; what rests on too few responses is left empty."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tasks.comparison import ScoreComparison
from tasks.comparison_tables import comparison_rows, old_by_new_rows, old_run_rows
from tasks.evaluation import (
    Figure,
    ItemEvaluation,
    ValidityFigure,
)
from tasks.metric_names import slug, subgroup_metric
from tasks.report_charts import TREND_LONGEST, merged_bins
from tasks.report_items import ItemView, item_views
from tasks.report_rules import SEVERITY
from tasks.report_subgroups import DIGITS, DSM, shown_groups, told_results
from tasks.reporting import RunReport
from tasks.rules import RuleResult
from tasks.trend import of_items
from warehouse.trends import Administration

Row = Mapping[str, Any]
Table = dict[str, list[Any]]


def run_tables(report: RunReport) -> dict[str, Table]:
    """Every table of a run, by artifact path; in the order in which a reviewer wants them."""
    items, small_cell = report.evaluations, report.small_cell
    return {
        "eval/decisions.json": _decisions(report),
        "eval/rules.json": as_columns(
            _rule(result, small_cell)
            for result in sorted(told_results(report.rules, small_cell), key=_gravest_first)
        ),
        "eval/threshold_changes.json": as_columns(map(asdict, report.threshold_changes)),
        "eval/items.json": as_columns(item_rows(report)),
        "eval/figures.json": as_columns(row for item in items for row in _figures(item)),
        "eval/subgroups.json": as_columns(row for item in items for row in _subgroups(item)),
        "eval/fairness.json": as_columns(row for item in items for row in _fairness(item)),
        "eval/confusion.json": as_columns(row for item in items for row in _confusion(item)),
        "eval/calibration.json": as_columns(row for item in items for row in _calibration(item)),
        "eval/risk_coverage.json": as_columns(row for item in items for row in _coverage(item)),
        **_replaced(report.comparison, small_cell),
        "eval/far_apart.json": as_columns(map(asdict, report.breakdown.far_apart)),
        "eval/trend.json": trend_table(_latest(report.trend), small_cell),
        "eval/validity.json": as_columns(_validity(row, small_cell) for row in report.validity),
        "eval/metric_names.json": as_columns(_metric_names(items)),
        "run/exports.json": as_columns(map(asdict, report.breakdown.exports)),
        "run/rejects.json": as_columns(map(asdict, report.rejects)),
        "run/without_score.json": as_columns(map(asdict, report.breakdown.without_score)),
    }


def trend_table(points: Iterable[Administration], small_cell: int) -> Table:
    """Administration by administration; without means and shares where few were scored."""
    return as_columns(_trend(point, small_cell) for point in points)


def as_columns(rows: Iterable[Row]) -> Table:
    """Rows of equal keys as columns."""
    found = list(rows)
    return {name: [row[name] for row in found] for name in found[0]} if found else {}


def item_rows(report: RunReport) -> list[Row]:
    """Every item's headline figures; nothing that rests on fewer than small_cell responses."""
    return [_item(view) for view in item_views(report.evaluations, report.rules)]


def _replaced(found: ScoreComparison | None, small_cell: int) -> dict[str, Table]:
    """What a backfill changes of released scores; no table where it was not compared."""
    if found is None:
        return {}
    return {
        "eval/replaced.json": as_columns(comparison_rows(found, small_cell)),
        "eval/old_by_new.json": as_columns(old_by_new_rows(found, small_cell)),
        "run/old_runs.json": as_columns(old_run_rows(found)),
    }


def _key(item: ItemEvaluation) -> dict[str, Any]:
    return {"item_id": item.item_id, "trait": item.trait}


def _decisions(report: RunReport) -> Table:
    return as_columns(
        {
            "decision": entry.decision,
            "decided_by": entry.decided_by,
            "reason": entry.reason,
            "decided_at": entry.decided_at.isoformat(),
        }
        for entry in report.decisions
    )


def _gravest_first(result: RuleResult) -> int:
    """MLflow shows a few rows at a time, and a few columns: what matters comes first in both."""
    return -SEVERITY[result.status]


def _rule(result: RuleResult, small_cell: int) -> Row:
    """Status, value with interval, limit, n."""
    row = {"status": result.status, **asdict(result)}
    found = ("value", "low", "high")
    if 0 < result.n < small_cell:
        return row | dict.fromkeys(found)
    if result.rule == DSM:  # more digits would tell of the groups that are left out
        return row | {name: round(row[name], DIGITS) for name in found}
    return row


def _item(view: ItemView) -> Row:
    """One line of the table that most readers open: the headline figures."""
    item = view.item
    few = item.n_rated < item.small_cell
    shown = ("exact", "adjacent", "kappa", "smd", "pearson_r", "rmse", "prmse", "calibration_error")
    return {
        **_key(item),
        "status": view.worst,
        **_with_interval("qwk", item.qwk, item.small_cell),
        "qwk_human_human": _shown(item.human_human["qwk"], item.small_cell),
        "degradation_qwk": _shown(item.figures["degradation_qwk"], item.small_cell),
        "n_rated": item.n_rated,
        **{name: _shown(item.figures[name], item.small_cell) for name in shown},
        "mean_human": None if few else item.mean_human,
        "mean_machine": None if few else item.mean_machine,
        "n_far_apart": None if few else item.n_far_apart,
        "n_scored": item.n_scored,
        "n_reused": item.n_reused,
        "n_coded": item.n_coded,
        "coded_share": _share(item.n_coded, item.n_scored + item.n_coded),
        "n_seen": item.n_seen,
        "n_double": item.n_double,
        "n_truncated": item.n_truncated,
        "n_by_student": item.n_by_student,
        "near_boundary": item.near_boundary,
        "adapter_version": item.adapter_version,
        "reported": item.reported,
        "latency_ms_p50": item.latency_ms_p50,
        "latency_ms_p95": item.latency_ms_p95,
    }


def _figures(item: ItemEvaluation) -> Iterable[Row]:
    """Every figure with its interval, one to a row."""
    for between, figures in (
        ("human-machine", item.figures),
        ("human-human", item.human_human),
    ):
        for name, figure in figures.items():
            values = _with_interval("value", figure, item.small_cell)
            yield {**_key(item), "between": between, "figure": name, **values, "n": figure.n}


def _subgroups(item: ItemEvaluation) -> Iterable[Row]:
    for group in shown_groups(item):
        yield {
            **_key(item),
            "attribute": group.attribute,
            "level": group.level,
            "n": group.dsm.n,
            **_with_interval("dsm", group.dsm, item.small_cell),
            "mean_human": group.mean_human,
            "mean_machine": group.mean_machine,
        }


def _fairness(item: ItemEvaluation) -> Iterable[Row]:
    for found in item.fairness:
        if found.n >= item.small_cell:
            yield {**_key(item), **asdict(found)}


def _confusion(item: ItemEvaluation) -> Iterable[Row]:
    if item.n_rated < item.small_cell:
        return
    for human, counts in enumerate(item.confusion, item.score_min):
        for machine, count in enumerate(counts, item.score_min):
            yield {**_key(item), "human": human, "machine": machine, "count": count}


def _calibration(item: ItemEvaluation) -> Iterable[Row]:
    for found in merged_bins(item.calibration, item.small_cell):
        yield {**_key(item), **asdict(found)}


def _coverage(item: ItemEvaluation) -> Iterable[Row]:
    for found in item.coverage:
        if found.n >= item.small_cell:
            yield {**_key(item), **asdict(found)}


def _latest(points: Iterable[Administration]) -> list[Administration]:
    """As many administrations of each item as are drawn: all would grow with every night."""
    return [point for found in of_items(points).values() for point in found[-TREND_LONGEST:]]


def _trend(point: Administration, small_cell: int) -> Row:
    of_responses = {
        "mean_score": point.mean_score,
        "shares": list(point.shares),
        "confidence": point.mean_confidence,
        "coded_share": point.coded_share,
    }
    return {
        "item_id": point.item_id,
        "trait": point.trait,
        "day": point.administration_date.isoformat(),
        "run_id": point.run_id,
        "decision": point.decision,
        "n": point.n,
        **(of_responses if point.n >= small_cell else dict.fromkeys(of_responses)),
    }


def _validity(found: ValidityFigure, small_cell: int) -> Row:
    few = found.n < small_cell
    return {
        "item_id": found.item_id,
        "trait": found.trait,
        "n": found.n,
        **_with_interval("exact", found.exact, small_cell),
        **_with_interval("qwk", found.qwk, small_cell),
        "exact_before": None if few else found.exact_before,
        "n_changed": None if few else found.n_changed,
        "same_adapter": found.same_adapter,
    }


def _metric_names(items: Sequence[ItemEvaluation]) -> Iterable[Row]:
    """Which attribute and level a metric's name stands for, since MLflow refuses some letters."""
    levels = {(group.attribute, group.level) for item in items for group in item.subgroups}
    attributes = {fair.attribute for item in items for fair in item.fairness}
    for attribute, level in sorted(levels):
        name = subgroup_metric("dsm", attribute, level)
        yield {"metric": name, "attribute": attribute, "level": level}
    for attribute in sorted(attributes):
        name = f"fairness/…__{slug(attribute)}"
        yield {"metric": name, "attribute": attribute, "level": ""}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _with_interval(name: str, figure: Figure, small_cell: int) -> dict[str, float | None]:
    if figure.n < small_cell:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}


def _shown(figure: Figure, small_cell: int) -> float | None:
    return figure.value if figure.n >= small_cell else None
