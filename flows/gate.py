"""From committed scores to a decision: evaluate, judge by the limits, release or hold."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flows.settings import Settings
from tasks import drift, gate, rules, validity
from tasks.evaluating import evaluate_scores
from tasks.evaluation import ItemEvaluation, ValidityFigure
from tasks.rules import RuleResult
from tasks.thresholds import Thresholds, read_thresholds
from warehouse import db, history, release, reports
from warehouse.reports import Run

# Runs of these kinds bring scores, which are released or held; others only look at them.
DECIDED = ("nightly", "backfill")


@dataclass(frozen=True)
class Judged:
    """What was found about a run, and what the limits say of it."""

    evaluations: tuple[ItemEvaluation, ...]
    validity: tuple[ValidityFigure, ...]
    results: tuple[RuleResult, ...]


def judge_run(settings: Settings, run_id: str) -> Judged:
    """Evaluate a run whose scores are committed, judge it, and record results and decision.

    A person's decision, once made, stays. A run that only looks at scores is judged, and nothing
    is decided.

    Raises:
        ThresholdsError: the workspace's limits cannot be used.
    """
    thresholds = read_thresholds(settings.thresholds)
    with db.connect(settings.warehouse, read_only=True) as connection:
        run = reports.run(connection, run_id)
    judged = judge(settings, run, thresholds)
    if run.kind in DECIDED:
        _record(settings, run, judged.results, thresholds)
    return judged


def judge(settings: Settings, run: Run, thresholds: Thresholds) -> Judged:
    """Evaluate a run and hold it against the limits; nothing is written."""
    evaluations = evaluations_of(settings, run, thresholds)
    with db.connect(settings.warehouse, read_only=True) as connection:
        tonight = history.samples_of_run(connection, run.run_id)
        before = history.samples_before(connection, run.run_id)
        accepted = release.accepted(connection, run.run_id, rules.DRIFT_RULES)
        known = release.validity_results(connection, run.run_id)
    figures = validity.validity_figures(known)
    results = (
        *rules.judge(_to_date(settings, run, evaluations, thresholds), thresholds),
        *drift.judge_drift(tonight, drift.since_accepted(before, accepted), thresholds),
        *rules.judge_validity(figures, thresholds),
        *(gate.judge_run(run, thresholds) if run.kind in DECIDED else ()),
    )
    return Judged(tuple(evaluations), tuple(figures), results)


def evaluations_of(settings: Settings, run: Run, thresholds: Thresholds) -> list[ItemEvaluation]:
    """Agreement of what a run scored; of all current scores, where it only looks at them."""
    looks = run.kind not in DECIDED
    return evaluate_scores(
        settings.warehouse,
        None if looks else run.run_id,
        seasons=run.parameters.get("seasons") if looks else None,
        items=run.parameters.get("items") if looks else None,
        small_cell=thresholds.small_cell,
        enough_rated=thresholds.enough_rated,
    )


def _to_date(
    settings: Settings, run: Run, evaluations: Sequence[ItemEvaluation], thresholds: Thresholds
) -> list[ItemEvaluation]:
    """What agreement is judged on: all that the run's adapters have scored and people have rated.

    One night brings an item few ratings, and none may be judged on its own.
    """
    if run.kind not in DECIDED:
        return list(evaluations)
    known = evaluate_scores(
        settings.warehouse,
        None,
        adapters_of=run.run_id,
        small_cell=thresholds.small_cell,
        enough_rated=thresholds.enough_rated,
    )
    names = {(item.item_id, item.trait) for item in known}
    only_coded = (item for item in evaluations if (item.item_id, item.trait) not in names)
    return [*known, *only_coded]


def _record(
    settings: Settings, run: Run, results: Sequence[RuleResult], thresholds: Thresholds
) -> None:
    decided = gate.decide(run, results, run.held_reasons, thresholds)
    rows = [asdict(result) for result in results]
    for row in rows:
        row["limit"] = row["limit"] if math.isfinite(row["limit"]) else None
    with db.connect(settings.warehouse) as connection:
        release.record_gate(
            connection,
            run.run_id,
            rows,
            decided.decision,
            decided.reasons,
            thresholds.sha256,
            thresholds.as_json(),
        )
