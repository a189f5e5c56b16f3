"""A season in MLflow: one run with its figures over time, and a child per item with its series."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date

from matplotlib.figure import Figure
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import figures, tracking
from tasks.markdown import escaped
from tasks.report_rules import by_item, urgency, usual_limit, worst
from tasks.rules import is_drift
from tasks.season import (
    TOLD,
    Key,
    Season,
    by_administration,
    is_few,
    season_sentences,
    season_tables,
    season_totals,
)
from tasks.thresholds import Thresholds
from tasks.tracking import Child, Tracking
from tasks.trend import of_items

QWK_LIMIT = 0.7  # drawn where no run says another


@task(cache_policy=NO_CACHE)
def log_season(where: Tracking, season: Season, thresholds: Thresholds) -> str:
    """Log a season as a run of kind ``season``, and one child per item with its series.

    Returns:
        MLflow's id of the parent run.
    """
    day, small_cell = season.last_day, thresholds.small_cell
    tags = {
        "run_kind": "season",
        "season": season.name,
        "administration_date": day.isoformat(),
        "mlflow.note.content": "\n\n".join(map(escaped, season_sentences(season))),
    }
    parent = tracking.start_run(where, "seasons", f"season {season.name}", tags)
    with tracking.failing_with(where, parent):
        tracking.log_children(where, parent, _children(season, small_cell))
        tracking.log_run(
            where,
            parent,
            metrics=season_totals(season),
            params={"season": season.name, "small_cell": small_cell},
            day=day,
            series=by_administration(season),
            tables=season_tables(season, small_cell),
            figures=_pictures(season, small_cell),
        )
    return parent


def _children(season: Season, small_cell: int) -> Iterator[Child]:
    """One item's series over the season, so that MLflow can chart items side by side."""
    told: dict[tuple[str, Key], dict[date, float]] = defaultdict(dict)
    for one in season.runs:
        for result in one.rules:
            if result.rule in TOLD and not is_few(result) and result.n >= small_cell:
                series_of = told[result.rule, (result.item_id, result.trait)]
                series_of[one.run.administration_date] = result.value
    for key, points in of_items(season.trend).items():
        series: dict[date, dict[str, float | None]] = {}
        for point in points:
            found: dict[str, float | None] = {"n/scored": point.n}
            if point.n >= small_cell:
                found |= {
                    "mean_score/machine": point.mean_score,
                    "share/lowest_point": point.shares[0],
                    "share/highest_point": point.shares[-1],
                    "share/coded": point.coded_share,
                    "confidence/mean": point.mean_confidence,
                }
            found |= {rule: told[rule, key].get(point.administration_date) for rule in TOLD}
            series[point.administration_date] = found
        tags = {"item_id": key[0], "trait": key[1], "season": season.name}
        yield Child(name=" ".join(key), tags=tags, metrics=series)


def _pictures(season: Season, small_cell: int) -> Iterator[tuple[str, Figure]]:
    days = by_administration(season)
    results = by_item(result for one in season.runs for result in one.rules)
    limit = usual_limit((r for one in season.runs for r in one.rules), "qwk", QWK_LIMIT)

    def line(*names: str) -> Mapping[str, Mapping[date, float]]:
        return {
            name: {day: _number(found.get(name)) for day, found in days.items()} for name in names
        }

    agreement = line("qwk/mean_over_items", "qwk/min_over_items")
    for name, axis, lines, drawn_limit in (
        ("agreement", "QWK, mean and least over items", agreement, limit),
        (
            "validity",
            "exact agreement, least over items",
            line("validity/exact_min_over_items"),
            None,
        ),
        ("rules", "results", line("rules/fail", "rules/flag", "drift/alarms"), None),
        ("counts", "responses", line("n/scored", "n/coded", "n/routed", "n/failed"), None),
        ("memory", "MB", line("mem_mb/peak_rss"), None),
        ("speed", "responses per second", line("responses_per_s"), None),
    ):
        title = f"Season {season.name}, by administration: {name}"
        yield f"figures/{name}.png", figures.season_figure(title, axis, lines, drawn_limit)
    order = sorted(of_items(season.trend), key=lambda key: (urgency(results.get(key, [])), key))
    drift = {
        key: str(worst([r for r in of_item if is_drift(r)]) or "")
        for key, of_item in results.items()
    }
    for number, page in enumerate(figures.drift_pages(season.trend, order, drift, small_cell), 1):
        yield f"figures/drift/page_{number:02}.png", page


def _number(value: float | None) -> float:
    return math.nan if value is None else value
