"""The report of a run: one HTML file that opens anywhere, prints, and asks nothing of a network.

It holds counts, shares and agreement: no response's text, no response id, no student. What rests on
fewer responses than ``small_cell`` is left out of every table and picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from models.agreement import over_items
from tasks import report_text
from tasks.charts import GUIDE, bar_chart, qwk_charts
from tasks.comparison import ScoreComparison
from tasks.evaluation import (
    ENOUGH_RATED,
    NEAR_BOUNDARY,
    SMALL_CELL,
    ItemEvaluation,
    ValidityFigure,
)
from tasks.report_charts import (
    TrendChart,
    calibration_chart,
    coverage_chart,
    point_colours,
    shown_coverage,
    trend_chart,
)
from tasks.report_comparison import replaced, versions
from tasks.report_items import BETWEEN_PEOPLE, ItemView, item_views
from tasks.report_rules import findings, item_name, matrix, usual_limit
from tasks.report_status import ANCHORS, SCORING, checks, verdict
from tasks.report_subgroups import (
    MOST_LEVELS,
    fairness_rows,
    heat_maps,
    left_out,
    told_results,
)
from tasks.rules import RuleResult, is_drift
from tasks.thresholds import ThresholdChange
from tasks.time_split import MODEL, TOTAL, stages, without_model
from tasks.trend import of_items
from warehouse.breakdown import Breakdown
from warehouse.parts import whole_file
from warehouse.release import ReleaseDecision
from warehouse.reports import RejectCount, Run
from warehouse.trends import Administration

# With more items than this, tables and pictures of single items begin folded.
OPEN_ITEMS = 40
# So many pictures of single items are open at once; the rest is folded.
OPEN_PICTURES = 12
NOTHING_MORE = Breakdown()
# Limits where no rule was judged.
SMD_LIMIT, DSM_LIMIT = 0.15, 0.10


@dataclass(frozen=True)
class RunReport:
    """What there is to tell about one run.

    Attributes:
        run: the run as the warehouse has it.
        evaluations: agreement, latency and distributions by item and trait.
        rejects: refused and repeated rows, by file and reason.
        settings: configuration and hashes to print; nothing secret.
        warnings: sentences that a reader should not miss.
        rules: what every rule says of every item and of the run.
        decisions: all that was decided about the run, oldest first; the last one counts.
        threshold_changes: limits that are not those of the run before.
        trend: the items' administrations up to this one.
        validity: responses of known scores, scored again.
        breakdown: what stands behind its counts.
        comparison: its scores beside those that they replace; None where it replaces none.
        small_cell: figures over fewer responses than this are not shown.
        enough_rated: items with fewer rated responses are not judged.
    """

    run: Run
    evaluations: tuple[ItemEvaluation, ...]
    rejects: tuple[RejectCount, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    rules: tuple[RuleResult, ...] = ()
    decisions: tuple[ReleaseDecision, ...] = ()
    threshold_changes: tuple[ThresholdChange, ...] = ()
    trend: tuple[Administration, ...] = ()
    validity: tuple[ValidityFigure, ...] = ()
    breakdown: Breakdown = NOTHING_MORE
    comparison: ScoreComparison | None = None
    small_cell: int = SMALL_CELL
    enough_rated: int = ENOUGH_RATED


class Trend(NamedTuple):
    """An item's history, and what drift rules say of it."""

    view: ItemView
    chart: TrendChart
    findings: tuple[tuple[str, str], ...]


def write_report(path: Path, summary: RunReport) -> Path:
    """Write the report of a run to ``path``, whole or not at all; returns the path."""
    page = _template().render(_context(summary))
    with whole_file(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


def _context(report: RunReport) -> dict[str, Any]:
    """All that the template names."""
    run, rules = report.run, report.rules
    views = item_views(report.evaluations, rules)
    suspicious = [change for change in report.threshold_changes if change.suspicious]
    return {
        "run": run,
        "verdict": verdict(run, report.decisions, report.warnings),
        "checks": checks(
            run,
            rules,
            len(suspicious),
            len(report.threshold_changes),
            report.rejects,
            report.comparison,
        ),
        "suspicious": suspicious,
        "changes": report.threshold_changes,
        "decisions": report.decisions,
        "scoring": run.kind in SCORING,
        "outcomes": _outcomes(run),
        "matrix": matrix(told_results(rules, report.small_cell), report.small_cell),
        "findings": findings(rules, report.small_cell),
        "anchors": {view.key: view.anchor for view in views},
        "group_anchors": ANCHORS,
        "views": views,
        "totals": _totals(report.evaluations),
        "rejects": report.rejects,
        "exports": report.breakdown.exports,
        "without_score": report.breakdown.without_score,
        "far_apart": report.breakdown.far_apart,
        "validity": _validity(report.validity, report.small_cell),
        "settings": {**run.parameters, **report.settings},
        "small_cell": report.small_cell,
        "enough_rated": report.enough_rated,
        "time": _time(run),
        "without_model": without_model(run.stage_seconds),
        "written_at": datetime.now(UTC),
        "replaced": replaced(report.comparison, report.run.status, report.small_cell),
        **_agreement(report),
        **_pictures(views, report),
        **_fixed(),
    }


def _fixed() -> dict[str, Any]:
    return {
        "bar_chart": bar_chart,
        "calibration_chart": calibration_chart,
        "coverage_chart": coverage_chart,
        "shown_coverage": shown_coverage,
        "point_colours": point_colours,
        "item_name": item_name,
        "versions": versions,
        "half": BETWEEN_PEOPLE,
        "boundary_width": NEAR_BOUNDARY,
        "open_items": OPEN_ITEMS,
        "open_pictures": OPEN_PICTURES,
        "most_levels": MOST_LEVELS,
    }


def _agreement(report: RunReport) -> dict[str, Any]:
    statuses = {(r.item_id, r.trait): r.status for r in report.rules if r.rule == "qwk"}
    guide = usual_limit(report.rules, "qwk", GUIDE)
    return {
        "agreement": _agreement_sentence(report.evaluations, report.enough_rated),
        "charts": qwk_charts(report.evaluations, statuses, guide),
        "guide": guide,
        "guided": bool(statuses),
    }


def _pictures(views: Sequence[ItemView], report: RunReport) -> dict[str, Any]:
    smd = usual_limit(report.rules, "smd", SMD_LIMIT)
    dsm = usual_limit(report.rules, "dsm", DSM_LIMIT)
    by_error = [view for view in views if shown_coverage(view.item)]
    by_error.sort(key=lambda view: -_or_zero(view.figure("calibration_error").value))
    trends = _trends(views, report)
    return {
        "cards": _split(views, [view for view in views if view.needs_eyes]),
        "heat_maps": heat_maps(views, smd, dsm),
        "smd_limit": smd,
        "dsm_limit": dsm,
        "left_out": left_out(views),
        "fairness": fairness_rows(views),
        "by_error": by_error,
        "kept": sorted({row.kept for v in by_error for row in v.item.coverage}, reverse=True),
        "trends": _split(trends, [trend for trend in trends if trend.findings]),
        "slowest": sorted(views, key=lambda v: -_or_zero(v.item.latency_ms_p95)),
        "slowest_ms": max((_or_zero(v.item.latency_ms_p95) for v in views), default=0.0),
    }


def _split(everything: Sequence[Any], first: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """What begins open, at most OPEN_PICTURES, and what begins folded, in its order."""
    if len(everything) <= OPEN_PICTURES:
        return list(everything), []
    opened = list(first[:OPEN_PICTURES])
    shown = {id(entry) for entry in opened}
    return opened, [entry for entry in everything if id(entry) not in shown]


def _or_zero(value: float) -> float:
    return value if value == value else 0.0


def _trends(views: Sequence[ItemView], report: RunReport) -> list[Trend]:
    """Histories of the items that have one, those with drift first."""
    points = of_items(report.trend)
    trends = []
    for view in views:
        chart = trend_chart(
            points.get(view.key, ()), report.run.run_id, view.item.score_min, report.small_cell
        )
        if chart is not None:
            trends.append(Trend(view, chart, _drift(view, report.small_cell)))
    return sorted(trends, key=lambda trend: not trend.findings)


def _drift(view: ItemView, small_cell: int) -> tuple[tuple[str, str], ...]:
    """(status, sentence) of failed and flagged drift rules."""
    drift = [result for result in view.results if is_drift(result)]
    return tuple(
        (found.status, f"{found.rule}: {found.value}, limit {found.limit}")
        for found in findings(drift, small_cell)
    )


def _validity(
    figures: Sequence[ValidityFigure], small_cell: int
) -> list[tuple[ValidityFigure, bool, bool]]:
    """(figures, whether they may be shown, whether scores changed that should not have)."""
    rows = [(f, f.n >= small_cell, bool(f.n_changed and f.same_adapter)) for f in figures]
    return sorted(rows, key=lambda row: (not row[2], row[0].exact.value))


def _outcomes(run: Run) -> dict[str, list[tuple[str, int, str]]]:
    """(name, rows, meaning) of all that can become of a row received, and of a response."""
    reused = f"; {run.reused:,} of them reused" if run.reused else ""
    return {
        "received": [
            ("accepted", run.accepted, "a new response"),
            ("rejected", run.rejected, "refused: see below"),
            ("duplicate", run.duplicate, "repeats what is already here"),
            ("rated", run.rated, "a human score for a known response"),
        ],
        "planned": [
            ("scored", run.scored, f"a score for every trait{reused}"),
            ("coded", run.coded, "a condition code instead of a score"),
            ("routed", run.routed, "left to people: the item has no adapter"),
            ("failed", run.failed, "scoring failed; planned again next run"),
        ],
    }


def _time(run: Run) -> list[tuple[str, float, float]]:
    """(stage, seconds, share of all) of what is known when the page is written."""
    seconds = run.stage_seconds
    total = seconds.get(TOTAL, 0.0)
    if not total:
        return []
    found = []
    for name, spent in stages(seconds):
        of_model = seconds.get(MODEL, 0.0) if name == "score" else 0.0
        found += [("score: the model", of_model)] if of_model else []
        found.append(("score: all else" if of_model else name, spent - of_model))
    return [(name, spent, spent / total) for name, spent in found]


def _totals(evaluations: Sequence[ItemEvaluation]) -> dict[str, int]:
    names = (
        *("n_seen", "n_double", "n_reused", "n_truncated", "n_by_student"),
        *("near_boundary", "n_far_apart"),
    )
    return {name: sum(getattr(item, name) for item in evaluations) for name in names}


def _agreement_sentence(evaluations: Sequence[ItemEvaluation], enough_rated: int) -> str:
    """Mean, least and Fisher mean over items; never one figure of all responses together."""
    rated = [item for item in evaluations if item.qwk.n >= item.small_cell]
    rated = [item for item in rated if item.qwk.value == item.qwk.value]
    if not rated:
        return (
            "No item has enough responses with a human score, so agreement is not known."
            if any(item.n_rated for item in evaluations)
            else "None of these responses has a human score yet, so agreement is not known."
        )
    enough = [item for item in rated if item.enough_rated]
    known = f"QWK is known for {len(rated):,} of {report_text.counted(len(evaluations), 'item')}"
    if not enough:
        return (
            f"No item has {enough_rated} or more rated responses: too few to judge any by. {known}."
        )
    over = over_items([item.qwk.value for item in enough])
    lowest = min(enough, key=lambda item: item.qwk.value)
    return (
        f"{known}; {len(enough):,} of them have {enough_rated} or more rated responses. Over these "
        f"items the mean is {report_text.figure(over.mean)} (Fisher mean "
        f"{report_text.figure(over.fisher_mean)}); the lowest is "
        f"{report_text.figure(over.minimum)}, of item {lowest.name}."
    )


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("tasks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=lambda value: f"{value:,}",
        figure=report_text.figure,
        share=report_text.share,
        interval=report_text.interval,
        limit=report_text.limit_text,
        duration=report_text.duration,
        times=report_text.times,
        moment=report_text.moment,
        probability=report_text.probability,
        counted=report_text.counted,
    )
    return environment.get_template("report.html.j2")
