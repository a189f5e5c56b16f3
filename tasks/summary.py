"""A run on the terminal: one row per item, and totals."""

import math
from collections.abc import Sequence

import numpy as np
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tasks.evaluation import ENOUGH_RATED, ItemEvaluation, by_qwk
from warehouse.reports import Run

# A longer bank shows its lowest and its highest agreement; the report has all of it.
LONGEST = 40
LOWEST, HIGHEST = 15, 5
NOT_DEFINED = "–"


def summary_table(evaluations: Sequence[ItemEvaluation], run: Run) -> Group:
    """Items with n, QWK and its interval, exact agreement, latency and speed; totals below.

    A bank of more than 40 items shows the 15 with the lowest and the 5 with the highest QWK.

    Returns:
        Something for ``rich.console.Console.print``; 80 columns are enough.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_footer=True)
    for heading, footer in _columns(evaluations, run).items():
        if heading == "item":
            # An id that is cut short names no item: fold it instead.
            table.add_column(heading, footer, overflow="fold")
        else:
            table.add_column(heading, footer, justify="right", no_wrap=True)
    shown = _shown(evaluations)
    for place, item in enumerate(shown):
        if len(shown) < len(evaluations) and place == LOWEST:
            table.add_row("…")
        # Text, since an item id may hold brackets, which rich would take for markup.
        table.add_row(*(Text(cell) for cell in _cells(item)))
    title = Text(f"{run.run_id}: {run.status}", style="bold")
    return Group(title, table, *(Text(line) for line in _totals(evaluations, run)))


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
    """The median over items; never a kappa of all responses together, which flatters."""
    defined = [item.qwk for item in by_qwk(evaluations)]
    return float(np.median(defined)) if defined else math.nan


def _columns(evaluations: Sequence[ItemEvaluation], run: Run) -> dict[str, str]:
    rated = by_qwk(evaluations)
    return {
        "item": f"{len(evaluations):,} items",
        "n": f"{sum(item.n_scored for item in evaluations):,}",
        "rated": f"{sum(item.n_rated for item in evaluations):,}",
        "QWK\n[95% interval]": f"median {_figure(median_qwk(rated))}",
        "exact": "",
        "p50\nms": "",
        "p95\nms": "",
        "resp.\nper s": _figure(run.responses_per_s, 1),
    }


def _cells(item: ItemEvaluation) -> list[str]:
    exact = NOT_DEFINED if math.isnan(item.exact) else f"{item.exact:.0%}"
    return [
        item.name,
        f"{item.n_scored:,}",
        f"{item.n_rated:,}{' ' if item.enough_rated else '*'}",
        _with_interval(item),
        exact,
        _figure(item.latency_ms_p50, 1),
        _figure(item.latency_ms_p95, 1),
        _figure(item.responses_per_s, 1),
    ]


def _with_interval(item: ItemEvaluation) -> str:
    if math.isnan(item.qwk_low):
        return f"{_figure(item.qwk)}{'':14}"
    interval = f"[{_figure(item.qwk_low)}, {_figure(item.qwk_high)}]"
    return f"{_figure(item.qwk)} {interval:>13}"


def _shown(evaluations: Sequence[ItemEvaluation]) -> list[ItemEvaluation]:
    if len(evaluations) <= LONGEST:
        return list(evaluations)
    lowest_first = by_qwk(evaluations)[::-1]
    if len(lowest_first) < LOWEST + HIGHEST:
        return list(evaluations[: LOWEST + HIGHEST])
    return lowest_first[:LOWEST] + lowest_first[-HIGHEST:]


def _totals(evaluations: Sequence[ItemEvaluation], run: Run) -> list[str]:
    lines = []
    if len(_shown(evaluations)) < len(evaluations):
        lines.append(f"… all {len(evaluations):,} items are in the report")
    if any(not item.enough_rated for item in evaluations):
        lines.append(f"* fewer than {ENOUGH_RATED} rated responses: too few to judge the item by")
    lines.append(
        f"peak memory {_figure(run.peak_rss_mb, 0)} MB, "
        f"{run.adapters_loaded:,} adapters loaded, {_figure(run.wall_s, 1)} s"
    )
    return [*lines, *counts_sentences(run)]


def _figure(value: float | None, digits: int = 2) -> str:
    if value is None or math.isnan(value):
        return NOT_DEFINED
    return f"{value:,.{digits}f}"
