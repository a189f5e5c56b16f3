"""The release gate: a run's scores go out, or they are held, with reasons a person can check.

A run is held when rows are not accounted for, when too few of the responses that could be scored
were, when any rule failed on any item (agreement, subgroups, drift, validity), or for a reason
known when its scores were committed. Flags and rules with too few responses hold nothing: they are
for a person to look at. A person may release what the gate holds, and hold what it releases.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.evaluation import Figure
from tasks.report_text import against, limit_text
from tasks.rules import RULES, RuleResult, judge_figure
from tasks.thresholds import Thresholds
from warehouse.reports import Run

# More failed rules than this are counted, not named: the report has them all.
NAMED = 10


@dataclass(frozen=True)
class Decision:
    """What becomes of a run's scores, and why; a released run has no reasons."""

    decision: Literal["released", "held"]
    reasons: tuple[str, ...]


def judge_run(run: Run, thresholds: Thresholds) -> list[RuleResult]:
    """The rules about the run as a whole: how much of what could be scored was scored.

    Scorable are the responses that were scored and those that failed; codes and responses without
    an adapter are not. Nothing is estimated here, so the interval is the share itself.
    """
    scorable = run.scored + run.failed
    share = run.scored / scorable if scorable else float("nan")
    return [
        judge_figure("", "", "scored_share", "", Figure(share, share, share, scorable), thresholds)
    ]


def decide(
    run: Run, results: Sequence[RuleResult], held_reasons: Sequence[str], thresholds: Thresholds
) -> Decision:
    """Release a run, or hold it.

    Args:
        run: its counts.
        results: what the rules said of its items; those about the run may be among them.
        held_reasons: why it was held before anything was judged.
        thresholds: the limits in force.
    """
    failed = [result for result in results if result.status == "FAIL" and result.item_id]
    whole = [result for result in judge_run(run, thresholds) if result.status == "FAIL"]
    reasons = [*held_reasons, *_unaccounted(run, held_reasons)]
    reasons += [_of_run(run, result) for result in whole]
    reasons += [_sentence(result) for result in failed[:NAMED]]
    if failed[NAMED:]:
        reasons.append(_counted(failed[NAMED:]))
    return Decision("held" if reasons else "released", tuple(reasons))


def _unaccounted(run: Run, held_reasons: Sequence[str]) -> list[str]:
    """What the counts lack, unless it has been said already."""
    if run.reconciled or any("do not reconcile" in reason for reason in held_reasons):
        return []
    kept = run.accepted + run.rejected + run.duplicate + run.rated
    outcomes = run.scored + run.coded + run.routed + run.failed
    return [
        f"the counts do not reconcile: {run.received:,} rows received, of which {kept:,} were "
        f"accepted, rejected, duplicate or rated, and {run.accepted + run.waiting:,} responses "
        f"accepted or waiting, of which {outcomes:,} were scored, coded, routed or failed"
    ]


def _of_run(run: Run, result: RuleResult) -> str:
    return (
        f"only {against(result.value, result.limit)} of the responses that could be scored were "
        f"({run.scored:,} of {result.n:,}), below scored_share {limit_text(result.limit)}"
    )


def _sentence(result: RuleResult) -> str:
    """One failed rule of one item: what was found, against what, on how many responses."""
    rule = RULES[result.rule]
    name = result.item_id if result.trait == "overall" else f"{result.item_id} · {result.trait}"
    subject = f" ({result.subject})" if result.subject else ""
    value = against(result.value, result.limit)
    if result.low < result.high:
        low, high = (against(end, result.limit) for end in (result.low, result.high))
        value = f"{value} [{low}, {high}]"
    side = "below" if rule.direction == "at_least" else "above"
    limit = f"{side} {limit_text(result.limit)}"
    if rule.either_way:
        limit = f"beyond ±{limit_text(result.limit)}"
    return f"item {name}: {result.rule}{subject} {value} is {limit}, n = {result.n:,}"


def _counted(failed: Sequence[RuleResult]) -> str:
    """What is not named: how many rules of how many items, and which."""
    items = len({(result.item_id, result.trait) for result in failed})
    rules = Counter(result.rule for result in failed).most_common()
    counts = ", ".join(f"{rule} {count}" for rule, count in rules)
    return f"and {len(failed)} more failed rules on {items} items: {counts}"
