"""A run on the terminal: one row per item, what its rules say of it, and totals."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tasks.evaluation import NOT_KNOWN, ItemEvaluation, by_qwk
from tasks.report_rules import by_item, findings, urgency
from tasks.report_status import verdict
from tasks.report_text import NOT_DEFINED, counted, figure
from tasks.reporting import RunReport
from tasks.rules import RuleResult
from tasks.time_split import time_sentence
from warehouse.reports import Run

# A longer bank shows the items that need eyes first; the report has all of it.
LONGEST = 40
SHOWN = 20
NAMED_FINDINGS = 10
# The word for an item's rules is that of the first of these that is among them.
RULES = {"FAIL": "FAIL", "FLAG": "flag", "PASS": "ok", "INSUFFICIENT_N": "few"}

Key = tuple[str, str]


def summary_table(report: RunReport) -> Group:
    """Items with n, QWK and its interval, exact agreement and latency; reasons and totals below.

    A bank of more than 40 items shows 20: those with most failed and flagged rules, then those
    with the lowest QWK.

    Returns:
        Something for ``rich.console.Console.print``; 80 columns are enough.
    """
    results = by_item(report.rules)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_footer=True)
    for heading, footer in _columns(report).items():
        if heading == "item":
            # An id that is cut short names no item: fold it instead.
            table.add_column(heading, footer, overflow="fold")
        else:
            table.add_column(heading, footer, justify="right", no_wrap=True)
    for item in _shown(report.evaluations, results):
        # Text, since an item id may hold brackets, which rich would take for markup.
        cells = _cells(item, results.get((item.item_id, item.trait), []))
        table.add_row(*(Text(cell, style) for cell, style in cells))
    return Group(*_head(report), table, *(Text(line) for line in _totals(report)))


def counts_sentences(run: Run) -> tuple[str, str, str]:
    """What came in, what became of it, and whether that is all of it."""
    reused = f" ({run.reused:,} of them reused)" if run.reused else ""
    came = (
        f"{run.received:,} received = {run.accepted:,} accepted + {run.rejected:,} rejected "
        f"+ {run.duplicate:,} duplicate + {run.rated:,} rated"
    )
    went = (
        f"{run.accepted:,} accepted + {run.waiting:,} waiting = {run.scored:,} scored{reused} "
        f"+ {run.coded:,} coded + {run.routed:,} routed + {run.failed:,} failed"
    )
    verdict = "the counts reconcile" if run.reconciled else "THE COUNTS DO NOT RECONCILE"
    return came, went, verdict


def median_qwk(evaluations: Sequence[ItemEvaluation]) -> float:
    """The median over items with enough responses to be shown; never a kappa of all together."""
    defined = [item.qwk.value for item in by_qwk(evaluations) if item.n_rated >= item.small_cell]
    return float(np.median(defined)) if defined else math.nan


def _head(report: RunReport) -> list[Text]:
    """The decision and why, the failed rules by name, and how many are flagged."""
    found = verdict(report.run, report.decisions, report.warnings)
    style = "bold red" if found.tone == "bad" else "bold"
    lines = [Text(f"{report.run.run_id}: {found.word.lower()} {found.decided}".rstrip(), style)]
    lines += [Text(f"  {reason}") for reason in found.reasons]
    told = findings(report.rules, report.small_cell)
    failed = [one for one in told if one.status == "FAIL"]
    flagged = [one for one in told if one.status == "FLAG"]
    lines += [
        Text(f"  FAIL {one.name}: {one.rule} {one.value}, limit {one.limit}, n {one.n:,}")
        for one in failed[:NAMED_FINDINGS]
    ]
    if len(failed) > NAMED_FINDINGS:
        lines.append(Text(f"  … and {len(failed) - NAMED_FINDINGS:,} more in the report"))
    if flagged:
        items = counted(len({one.key for one in flagged}), "item")
        rules = counted(len(flagged), "rule")
        lines.append(Text(f"  {rules} flagged, of {items}: the report names them"))
    return lines


def _columns(report: RunReport) -> dict[str, str]:
    evaluations, run = report.evaluations, report.run
    return {
        "item": counted(len(evaluations), "item"),
        "n": f"{sum(item.n_scored for item in evaluations):,}",
        "rated": f"{sum(item.n_rated for item in evaluations):,}",
        "QWK\n[95% interval]": f"median {figure(median_qwk(evaluations))}",
        "exact": "",
        "rules": "",
        "p50\nms": "",
        "p95\nms": "",
        "resp.\nper s": figure(run.responses_per_s, 1),
    }


def _cells(item: ItemEvaluation, results: Sequence[RuleResult]) -> list[tuple[str, str]]:
    """Texts and their styles."""
    exact = item.figures["exact"].value if item.n_rated >= item.small_cell else math.nan
    statuses = {result.status for result in results}
    rules = next((word for status, word in RULES.items() if status in statuses), NOT_DEFINED)
    return [
        (item.name, ""),
        (f"{item.n_scored:,}", ""),
        (f"{item.n_rated:,}{' ' if item.enough_rated else '*'}", ""),
        (_with_interval(item), ""),
        (NOT_DEFINED if math.isnan(exact) else f"{exact:.0%}", ""),
        (rules, {"FAIL": "bold red", "flag": "yellow"}.get(rules, "")),
        (figure(item.latency_ms_p50, 1), ""),
        (figure(item.latency_ms_p95, 1), ""),
        (figure(item.responses_per_s, 1), ""),
    ]


def _with_interval(item: ItemEvaluation) -> str:
    qwk = item.qwk if item.n_rated >= item.small_cell else NOT_KNOWN
    if math.isnan(qwk.low):
        return f"{figure(qwk.value)}{'':14}"
    interval = f"[{figure(qwk.low)}, {figure(qwk.high)}]"
    return f"{figure(qwk.value)} {interval:>13}"


def _shown(
    evaluations: Sequence[ItemEvaluation], results: Mapping[Key, Sequence[RuleResult]]
) -> list[ItemEvaluation]:
    if len(evaluations) <= LONGEST:
        return list(evaluations)

    def place(item: ItemEvaluation) -> tuple[tuple[int, int], bool, float]:
        qwk = item.qwk.value
        return urgency(results.get((item.item_id, item.trait), [])), qwk != qwk, qwk

    return sorted(evaluations, key=place)[:SHOWN]


def _totals(report: RunReport) -> list[str]:
    evaluations, run = report.evaluations, report.run
    lines = []
    if len(evaluations) > LONGEST:
        lines.append(f"… all {len(evaluations):,} items are in the report")
    if any(not item.enough_rated for item in evaluations):
        enough = report.enough_rated
        lines.append(f"* fewer than {enough} rated responses: too few to judge the item by")
    lines.append(
        f"peak memory {figure(run.peak_rss_mb, 0)} MB, "
        f"{run.adapters_loaded:,} adapters loaded, {figure(run.wall_s, 1)} s"
    )
    if run.stage_seconds:
        lines.append(f"time {time_sentence(run.stage_seconds)}")
    return [*lines, *counts_sentences(run)]
