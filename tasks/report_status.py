"""The first thing a reader must know of a run: whether it is released, and whether all is well."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.comparison import ScoreComparison
from tasks.report_rules import GROUPED, GROUPS, THE_RUN, by_item, rule_named, worst
from tasks.report_text import against, counted, moment
from tasks.rules import RuleResult
from warehouse.release import GATE, ReleaseDecision
from warehouse.reports import RejectCount, Run

Tone = Literal["good", "look", "bad", "none"]
# Runs of these kinds answer for every row that came in, and are released or held.
SCORING = ("nightly", "backfill")
# By status: the word, its tone, what it means where nobody has to be told more.
STATUSES: dict[str, tuple[str, Tone, str]] = {
    "released": ("Released", "good", "These scores are in released_scores."),
    "done": ("Done", "good", ""),
    "held": (
        "Held",
        "bad",
        "None of these scores is in released_scores. Look into it before they are released.",
    ),
    "refused": ("Refused", "bad", "Nothing was changed."),
    "failed": ("Failed", "bad", "Nothing of this run counts."),
    "running": ("Still running", "look", "These figures are not final."),
}
ANCHORS = {group: f"rules-{place}" for place, group in enumerate(GROUPS)}


@dataclass(frozen=True)
class Verdict:
    """The run's state in a word, why, and by whom.

    Attributes:
        word: such as "Held".
        tone: of the word.
        meaning: what it means for the scores.
        reasons: why, a sentence each.
        overruled: why the gate had held it, where a person has decided since.
        decided: who decided when, where somebody or the gate did.
    """

    word: str
    tone: Tone
    meaning: str
    reasons: tuple[str, ...]
    overruled: tuple[str, ...]
    decided: str


@dataclass(frozen=True)
class Check:
    """One thing that must be well, and what was found."""

    title: str
    tone: Tone
    finding: str
    anchor: str


def verdict(run: Run, decisions: Sequence[ReleaseDecision], warnings: Sequence[str]) -> Verdict:
    """What became of a run: the last decision, or the run's own status where there is none."""
    last = decisions[-1] if decisions else None
    status = last.decision if last else run.status
    word, tone, meaning = STATUSES.get(status, (status, "look", ""))
    if status == "held" and run.kind not in SCORING:
        meaning = "Something needs a person."
    # Reasons of the gate are the run's message, too, with whatever else there is to say.
    spoken = _sentences(run.message)
    if last is None or last.decided_by == GATE:
        reasons, overruled = [*_sentences(last.reason if last else ""), *spoken], []
    else:
        reasons, overruled = [last.reason], _held_since(decisions, spoken)
    return Verdict(
        word=word,
        tone=tone,
        meaning=meaning,
        reasons=tuple(dict.fromkeys([*reasons, *warnings])),
        overruled=tuple(overruled),
        decided=_signed(last) if last else "",
    )


def checks(
    run: Run,
    results: Sequence[RuleResult],
    suspicious: int,
    changed: int,
    rejects: Sequence[RejectCount],
    comparison: ScoreComparison | None = None,
) -> list[Check]:
    """What must be well before scores go out, each with its tone: read by colour, then by words."""
    found = [_limits(suspicious, changed)]
    if run.kind in SCORING:
        came = _exports(run, rejects) if comparison is None else _replaced(run, comparison)
        found = [_counts(run), _scored(run, results), came, *found]
    return [*found, *(_group(group, results) for group in GROUPS)]


def _held_since(decisions: Sequence[ReleaseDecision], spoken: list[str]) -> list[str]:
    """Why the gate held a run; runs from before there was one have it in their message."""
    by_gate = [one for one in decisions if one.decided_by == GATE]
    if not by_gate:
        return spoken
    return _sentences(by_gate[-1].reason) if by_gate[-1].decision == "held" else []


def _signed(decision: ReleaseDecision) -> str:
    by = "the gate" if decision.decided_by == GATE else decision.decided_by
    return f"by {by}, {moment(decision.decided_at)} UTC"


def _sentences(joined: str) -> list[str]:
    """Reasons are joined by semicolons, what was noted later by bars."""
    found = (sentence.strip() for sentence in re.split(r"; | \| ", joined))
    return [sentence for sentence in found if sentence]


def _counts(run: Run) -> Check:
    if run.reconciled:
        rows = counted(run.received, "row")
        return Check("Counts", "good", f"reconcile: {rows} received", "rows")
    return Check("Counts", "bad", "do not reconcile", "rows")


def _scored(run: Run, results: Sequence[RuleResult]) -> Check:
    scorable = run.scored + run.failed
    if not scorable:
        return Check("Scored", "none", "nothing to score", "rows")
    judged = worst(r for r in results if rule_named(r.rule).group == THE_RUN)
    tone: Tone = "bad" if judged == "FAIL" else "look" if run.failed else "good"
    if not run.failed:
        return Check("Scored", tone, f"all of {scorable:,} scorable", "rows")
    part = against(100 * run.scored / scorable, 100.0)
    return Check("Scored", tone, f"{part}% of {scorable:,}; {run.failed:,} failed", "rows")


def _exports(run: Run, rejects: Sequence[RejectCount]) -> Check:
    came = counted(run.files_accepted, "file")
    if run.files_refused:
        return Check("Exports", "bad", f"{came} in, {run.files_refused} refused", "rejects")
    if run.rejected:
        rows = counted(run.rejected, "row")
        where = len({reject.file for reject in rejects}) or 1
        finding = f"{came} in; {rows} rejected in {counted(where, 'file')}"
        return Check("Exports", "look", finding, "rejects")
    return Check("Exports", "good", f"{came} in, no row rejected", "rejects")


def _replaced(run: Run, comparison: ScoreComparison) -> Check:
    """A backfill takes in no exports; what it changes of released scores stands there instead."""
    if not comparison.changed:
        kept = counted(comparison.n, "released score")
        return Check("Replaced", "good", f"{kept} replaced, none by another", "replaced")
    words = f"{comparison.changed:,} of {counted(comparison.n, 'released score')} change"
    tone: Tone = "look" if run.status == "released" else "bad"
    return Check("Replaced", tone, words, "replaced")


def _limits(suspicious: int, changed: int) -> Check:
    if suspicious:
        return Check("Limits", "bad", f"{counted(suspicious, 'change')} may be a slip", "limits")
    if changed:
        return Check("Limits", "look", f"{counted(changed, 'setting')} changed", "limits")
    return Check("Limits", "good", "none changed", "configuration")


def _group(group: str, results: Sequence[RuleResult]) -> Check:
    """Items by their worst outcome among the rules of one group."""
    anchor = ANCHORS[group]
    of_group = [r for r in results if r.item_id and rule_named(r.rule).group == group]
    grouped = by_item(of_group)
    counts = Counter(worst(of_item) for of_item in grouped.values())
    judged = counts["PASS"] + counts["FLAG"] + counts["FAIL"]
    few = f"; {counts['INSUFFICIENT_N']:,} with too few" if counts["INSUFFICIENT_N"] else ""
    if group == GROUPED:
        known = [r for r in of_group if r.subject]
        small = sum(r.status == "INSUFFICIENT_N" for r in known)
        few = f"; {small:,} of {counted(len(known), 'group')} too small to judge" if small else ""
        if not known:
            return Check(group, "none", "no groups of students are known", anchor)
    if not grouped:
        return Check(group, "none", "nothing to judge", anchor)
    if not judged:
        return Check(group, "none", "too few responses to judge any item", anchor)
    if counts["FAIL"]:
        flagged = f", {counts['FLAG']:,} flagged" if counts["FLAG"] else ""
        verb = "fails" if counts["FAIL"] == 1 else "fail"
        return Check(group, "bad", f"{counted(counts['FAIL'], 'item')} {verb}{flagged}", anchor)
    if counts["FLAG"]:
        return Check(group, "look", f"{counted(counts['FLAG'], 'item')} flagged{few}", anchor)
    passed = counted(counts["PASS"], "item")
    return Check(group, "good", f"{passed} within the limits{few}", anchor)
