"""From committed scores to a decision: evaluate, judge by the limits, release or hold."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from flows.settings import Settings
from tasks import drift, gate, rules, validity
from tasks.comparison import changes_in, held_reason, kept_comparison
from tasks.evaluating import evaluate_scores
from tasks.evaluation import ItemEvaluation, ValidityFigure
from tasks.rules import RuleResult
from tasks.thresholds import Thresholds, read_thresholds
from warehouse import comparison, db, history, release, reports
from warehouse.reports import Run

# Runs of these kinds bring scores, which are released or held; others only look at them.
DECIDED = ("nightly", "backfill")
# Runs of this kind may bring other scores for responses whose scores are released.
COMPARED = "backfill"


@dataclass(frozen=True)
class Scope:
    """Which scores a run is about: its own; where ``run_id`` is None, the current ones selected."""

    run_id: str | None
    seasons: Sequence[str] | None = None
    items: Sequence[str] | None = None


@dataclass(frozen=True)
class Judged:
    """What was found about a run, and what the limits say of it."""

    evaluations: tuple[ItemEvaluation, ...]
    validity: tuple[ValidityFigure, ...]
    results: tuple[RuleResult, ...]


def scope_of(run: Run) -> Scope:
    """What a run is about; one that brings no scores looks at those that count now."""
    if run.kind in DECIDED:
        return Scope(run.run_id)
    return Scope(None, run.parameters.get("seasons"), run.parameters.get("items"))


def compare_run(settings: Settings, run: Run) -> None:
    """Hold a backfill's scores beside those that are released now, and keep what would change."""
    if run.kind == COMPARED:
        with db.connect(settings.warehouse) as connection:
            comparison.compare(connection, run.run_id)


def compared_again(settings: Settings, run_id: str) -> bool:
    """Compare a backfill that is not released with what is released now.

    Returns:
        Whether it would change other released scores than it was kept to.
    """
    with db.connect(settings.warehouse) as connection:
        run = reports.run(connection, run_id)
        if run.kind != COMPARED or run.status not in ("done", "held"):
            return False
        kept = changes_in(comparison.counts(connection, run_id))
        return changes_in(comparison.compare(connection, run_id)) != kept


def judge_run(settings: Settings, run_id: str) -> Judged:
    """Evaluate a run whose scores are committed, judge it, and record results and decision.

    A backfill that would change a score that is released is held, whatever the rules say. A
    person's decision, once made, stays. A run that only looks at scores is judged, and nothing is
    decided.

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
    found = _found(settings, run, thresholds)
    with db.connect(settings.warehouse, read_only=True) as connection:
        tonight = history.samples_of_run(connection, run.run_id)
        before = history.samples_before(connection, run.run_id)
        accepted = release.accepted(connection, run.run_id, rules.DRIFT_RULES)
    results = (
        *rules.judge(_to_date(settings, run, found.evaluations, thresholds), thresholds),
        *drift.judge_drift(tonight, drift.since_accepted(before, accepted), thresholds),
        *rules.judge_validity(found.validity, thresholds),
        *(gate.judge_run(run, thresholds) if run.kind in DECIDED else ()),
    )
    return replace(found, results=results)


def judged_before(settings: Settings, run: Run, thresholds: Thresholds) -> Judged:
    """What is found about a run now, and what its rules said when it was decided."""
    with db.connect(settings.warehouse, read_only=True) as connection:
        results = [RuleResult(**row) for row in release.gate_results(connection, run.run_id)]
    return replace(_found(settings, run, thresholds), results=tuple(results))


def _found(settings: Settings, run: Run, thresholds: Thresholds) -> Judged:
    """Evaluations and validity responses of a run, not yet held against anything."""
    scope = scope_of(run)
    evaluations = evaluate_scores(
        settings.warehouse,
        scope.run_id,
        seasons=scope.seasons,
        items=scope.items,
        small_cell=thresholds.small_cell,
        enough_rated=thresholds.enough_rated,
    )
    with db.connect(settings.warehouse, read_only=True) as connection:
        known = release.validity_results(connection, run.run_id)
    return Judged(tuple(evaluations), tuple(validity.validity_figures(known)), ())


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
    with db.connect(settings.warehouse, read_only=True) as connection:
        replaced = kept_comparison(connection, run.run_id)
    change = held_reason(replaced) if replaced else None
    reasons = [*run.held_reasons, *([change] if change else [])]
    decided = gate.decide(run, results, reasons, thresholds)
    with db.connect(settings.warehouse) as connection:
        release.record_gate(
            connection,
            run.run_id,
            [asdict(result) for result in results],
            decided.decision,
            decided.reasons,
            thresholds.sha256,
            thresholds.as_json(),
        )
