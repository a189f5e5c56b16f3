"""A season in one MLflow run: agreement, drift, decisions and cost over all its nights."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from models.agreement import over_items
from tasks.report_rules import by_item, item_name
from tasks.report_text import counted
from tasks.rules import RuleResult, is_drift
from tasks.run_tables import Table, as_columns, trend_table
from tasks.trend import of_items
from warehouse import db, release, reports, trends
from warehouse.breakdown import seasons_of
from warehouse.release import ReleaseDecision
from warehouse.reports import Run
from warehouse.trends import Administration

Key = tuple[str, str]

# Rules whose values are told night by night.
TOLD = ("qwk", "smd", "validity_exact")


class UnknownSeasonError(LookupError):
    """No run has scored a response of a season."""


@dataclass(frozen=True)
class SeasonRun:
    """One run of a season.

    Attributes:
        run: as the warehouse has it.
        decisions: about it, oldest first; the last one counts.
        rules: what the rules said of it.
        scored: responses of the season that it scored; the run's own counts are of all seasons.
        alone: whether it scored no other season.
    """

    run: Run
    decisions: tuple[ReleaseDecision, ...]
    rules: tuple[RuleResult, ...]
    scored: int
    alone: bool

    @property
    def status(self) -> str:
        """The decision that counts; the run's own status where nothing was decided."""
        return self.decisions[-1].decision if self.decisions else self.run.status


@dataclass(frozen=True)
class Season:
    """All that was scored of one season.

    Attributes:
        name: the season.
        runs: by administration date, then by start.
        trend: each item and trait in each run, held ones too.
    """

    name: str
    runs: tuple[SeasonRun, ...]
    trend: tuple[Administration, ...]

    @property
    def last_day(self) -> date:
        """The last administration date."""
        return self.runs[-1].run.administration_date


def read_season(warehouse: Path, season: str) -> Season:
    """Collect a season's runs from the warehouse.

    Raises:
        UnknownSeasonError: nothing of that season has been scored.
    """
    with db.connect(warehouse, read_only=True) as connection:
        found = trends.administrations(connection, seasons=[season])
        scored = _scored(found)
        runs = [
            SeasonRun(
                run=reports.run(connection, run_id),
                decisions=tuple(release.decisions(connection, run_id)),
                rules=tuple(RuleResult(**row) for row in release.gate_results(connection, run_id)),
                scored=n,
                alone=seasons_of(connection, run_id) == (season,),
            )
            for run_id, n in scored.items()
        ]
    if not runs:
        raise UnknownSeasonError(
            f"no response of season {season!r} has been scored: see that it is spelt as in the "
            "inbox, and that a night or a backfill has scored it"
        )
    runs.sort(key=lambda one: (one.run.administration_date, one.run.started_at))
    return Season(season, tuple(runs), tuple(found))


def _scored(found: Iterable[Administration]) -> dict[str, int]:
    """Responses that each run scored; one with several traits counts once."""
    of_item: dict[tuple[str, str], int] = defaultdict(int)
    for one in found:
        key = one.run_id, one.item_id
        of_item[key] = max(of_item[key], one.n)
    scored: dict[str, int] = defaultdict(int)
    for (run_id, _), n in of_item.items():
        scored[run_id] += n
    return scored


def season_sentences(season: Season) -> list[str]:
    """What a season was, for its page and for the terminal."""
    first = season.runs[0].run.administration_date
    statuses = Counter(one.status for one in season.runs)
    scored = sum(one.scored for one in season.runs)
    items = len({(point.item_id, point.trait) for point in season.trend})
    mixed = sum(not one.alone for one in season.runs)
    decided = ", ".join(f"{n} {status}" for status, n in sorted(statuses.items()))
    by_hand = sum(
        bool(one.decisions) and one.decisions[-1].decided_by != release.GATE for one in season.runs
    )
    failed = Counter(
        (r.item_id, r.trait) for one in season.runs for r in one.rules if r.status == "FAIL"
    )
    often = ", ".join(f"{item_name(*key)} ({n})" for key, n in failed.most_common(5) if key[0])
    return [
        f"Season {season.name}: {counted(len(season.runs), 'run')} from {first} to "
        f"{season.last_day}, {counted(scored, 'response')} scored, {counted(items, 'item')}.",
        f"{decided}; a person decided on {by_hand} of them.",
        f"Items with the most failed rules: {often}." if often else "No rule failed.",
        *(
            [
                f"{mixed} of the runs scored other seasons, too: their rules and all counts but "
                "the scored responses are of everything they scored."
            ]
            if mixed
            else []
        ),
    ]


def by_administration(season: Season) -> dict[date, dict[str, float | None]]:
    """Figures of each administration date: counts of its runs together, agreement of its last.

    Agreement is over items, never of all rows together.
    """
    of_day: dict[date, list[SeasonRun]] = defaultdict(list)
    for one in season.runs:
        of_day[one.run.administration_date].append(one)
    return {day: _figures(runs) for day, runs in sorted(of_day.items())}


def season_tables(season: Season, small_cell: int) -> dict[str, Table]:
    """Runs, items, and every item in every administration."""
    return {
        "season/runs.json": as_columns(map(_run_row, season.runs)),
        "season/items.json": as_columns(_item_rows(season, small_cell)),
        "season/trend.json": trend_table(season.trend, small_cell),
        "season/agreement.json": as_columns(
            {
                "item_id": result.item_id,
                "trait": result.trait,
                "administration_date": one.run.administration_date.isoformat(),
                "run_id": one.run.run_id,
                "rule": result.rule,
                "status": result.status,
                "value": result.value,
                "low": result.low,
                "high": result.high,
                "limit": result.limit,
                "n": result.n,
            }
            for one in season.runs
            for result in one.rules
            if result.rule in TOLD and result.n >= small_cell
        ),
    }


def _figures(runs: Sequence[SeasonRun]) -> dict[str, float | None]:
    last = runs[-1]
    results = [result for one in runs for result in one.rules]
    alarms = {(r.item_id, r.trait) for r in results if r.status == "FAIL" and is_drift(r)}
    qwk = over_items([r.value for r in last.rules if r.rule == "qwk" and not is_few(r)])
    smd = [abs(r.value) for r in last.rules if r.rule == "smd" and not is_few(r)]
    known = [r.value for r in last.rules if r.rule == "validity_exact" and not is_few(r)]
    return {
        "n/scored": sum(one.scored for one in runs),
        "n/coded": sum(one.run.coded for one in runs),
        "n/routed": sum(one.run.routed for one in runs),
        "n/failed": sum(one.run.failed for one in runs),
        "n/rejected": sum(one.run.rejected for one in runs),
        "n/runs_held": sum(one.status == "held" for one in runs),
        "qwk/mean_over_items": qwk.mean,
        "qwk/min_over_items": qwk.minimum,
        "qwk/fisher_mean_over_items": qwk.fisher_mean,
        "smd/largest_over_items": max(smd, default=None),
        "validity/exact_min_over_items": min(known, default=None),
        "rules/fail": sum(result.status == "FAIL" for result in results),
        "rules/flag": sum(result.status == "FLAG" for result in results),
        "drift/alarms": len(alarms),
        "mem_mb/peak_rss": max((one.run.peak_rss_mb or 0 for one in runs), default=0) or None,
        "responses_per_s": last.run.responses_per_s,
        "wall_s": sum(one.run.wall_s or 0 for one in runs),
    }


def season_totals(season: Season) -> dict[str, float | None]:
    """Counts of the season as a whole."""
    statuses = Counter(one.status for one in season.runs)
    return {
        "season/runs": len(season.runs),
        "season/released": statuses["released"],
        "season/held": statuses["held"],
        "season/scored": sum(one.scored for one in season.runs),
        "season/items": len({(point.item_id, point.trait) for point in season.trend}),
    }


def is_few(result: RuleResult) -> bool:
    """Whether a result rests on too few responses to be drawn, or is not defined."""
    return result.status == "INSUFFICIENT_N" or math.isnan(result.value)


def _run_row(one: SeasonRun) -> dict[str, Any]:
    run = one.run
    last = one.decisions[-1] if one.decisions else None
    counts = ("received", "scored", "reused", "coded", "routed", "failed", "rejected")
    figures_of = _figures([one])
    shown = ("qwk/mean_over_items", "qwk/min_over_items", "rules/fail", "rules/flag")
    return {
        "administration_date": run.administration_date.isoformat(),
        "run_id": run.run_id,
        "kind": run.kind,
        "status": one.status,
        "decided_by": last.decided_by if last else "",
        "reason": last.reason if last else run.message,
        "scored_of_season": one.scored,
        **{name: getattr(run, name) for name in counts},
        "reconciled": run.reconciled,
        **{name.replace("/", "_"): figures_of[name] for name in shown},
        "drift_alarms": figures_of["drift/alarms"],
        "peak_rss_mb": run.peak_rss_mb,
        "responses_per_s": run.responses_per_s,
        "wall_s": run.wall_s,
        "mlflow_run_id": run.mlflow_run_id or "",
    }


def _item_rows(season: Season, small_cell: int) -> Iterator[dict[str, Any]]:
    """A row per item: what changed over the season, and how often rules failed."""
    results = by_item(result for one in season.runs for result in one.rules)
    for key, points in of_items(season.trend).items():
        shown = [point for point in points if point.n >= small_cell]
        of_item = results.get(key, [])
        qwk = [r.value for r in of_item if r.rule == "qwk" and not is_few(r)]
        yield {
            "item_id": key[0],
            "trait": key[1],
            "administrations": len(points),
            "n_scored": sum(point.n for point in points),
            "mean_first": shown[0].mean_score if shown else None,
            "mean_last": shown[-1].mean_score if shown else None,
            "lowest_share_first": shown[0].shares[0] if shown else None,
            "lowest_share_last": shown[-1].shares[0] if shown else None,
            "qwk_first": qwk[0] if qwk else None,
            "qwk_last": qwk[-1] if qwk else None,
            "qwk_lowest": min(qwk, default=None),
            "fails": sum(result.status == "FAIL" for result in of_item),
            "flags": sum(result.status == "FLAG" for result in of_item),
            "held": sum(point.decision == "held" for point in points),
        }
