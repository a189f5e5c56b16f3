"""An estimate in words and tables: on the terminal, and on Prefect's Artifacts page."""

import math
from dataclasses import asdict
from typing import Any

from prefect.artifacts import create_table_artifact
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tasks.estimate import COUNTS, BackfillEstimate, ItemEstimate
from tasks.report_text import counted, duration
from tasks.telling_prefect import told_to_prefect

KEY = "backfill-estimate"
HEADINGS = {
    "computed": "to compute",
    "copied": "copied",
    "coded": "coded",
    "routed": "routed",
    "kept": "as they are",
}


def estimate_table(found: BackfillEstimate) -> Group:
    """A line per item, totals, and the estimate below, for ``rich.console.Console.print``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_footer=True)
    table.add_column("item", counted(len(found.items), "item"), overflow="fold")
    table.add_column("adapter", overflow="fold")
    for name in COUNTS:
        table.add_column(HEADINGS[name], f"{found.totals[name]:,}", justify="right", no_wrap=True)
    table.add_column("time", _time(found.seconds), justify="right", no_wrap=True)
    for item in found.items:
        table.add_row(*(Text(cell) for cell in _cells(item)))
    return Group(table, *(Text(sentence) for sentence in sentences(found)))


def as_data(found: BackfillEstimate) -> dict[str, Any]:
    """All of an estimate, for scripts."""
    return {
        **asdict(found),
        "totals": found.totals,
        "seconds": found.seconds,
        "parts_bytes": found.parts_bytes,
        "ledger_bytes": found.ledger_bytes,
    }


def sentences(found: BackfillEstimate) -> list[str]:
    """The estimate in words; that nothing was done comes last."""
    said = [
        f"computing takes {_rate(found)}"
        if found.totals["computed"]
        else "there is nothing to compute"
    ]
    said.append(
        f"disk: {_size(found.parts_bytes)} of parts until the commit, the warehouse grows by "
        f"{_size(found.ledger_bytes)}, the trunk's cache by {_size(found.trunk_bytes)} at most; "
        f"{_size(found.free_bytes)} are free"
    )
    if found.needed_bytes > found.free_bytes:
        said.append("THE DISK IS TOO SMALL for all of that: make room first")
    said += [
        f"{name} gave scores that stand and is in the registry no more: these would not be scored"
        for name in found.lost
    ]
    return [*said, "nothing was done: without --dry-run it is"]


def publish(found: BackfillEstimate) -> None:
    """Put an estimate on Prefect's Artifacts page."""
    with told_to_prefect("estimate"):
        create_table_artifact(
            estimate_rows(found), key=KEY, description=". ".join(sentences(found)[:-1])
        )


def estimate_rows(found: BackfillEstimate) -> list[dict[str, Any]]:
    """A row per item and one of totals."""
    names = ("item", "adapter", *HEADINGS.values(), "time")
    rows = [dict(zip(names, _cells(item), strict=True)) for item in found.items]
    totals = [f"{found.totals[name]:,}" for name in COUNTS]
    cells = (counted(len(found.items), "item"), "", *totals, _time(found.seconds))
    return [*rows, dict(zip(names, cells, strict=True))]


def _cells(item: ItemEstimate) -> list[str]:
    counts = [f"{getattr(item, name):,}" for name in COUNTS]
    time = _time(item.seconds) if item.computed else "–"
    return [item.name, ", ".join(item.adapters) or "none", *counts, time]


def _rate(found: BackfillEstimate) -> str:
    if math.isnan(found.seconds):
        return "a time that cannot be told: no run here has been timed yet"
    guessed = sum(bool(item.computed) and not item.measured for item in found.items)
    others = f", {counted(guessed, 'item')} taken for average ones" if guessed else ""
    per_s = found.totals["computed"] / found.seconds if found.seconds else 0.0
    return (
        f"about {duration(found.seconds)}, {per_s:,.0f} scores a second, as in the last runs here "
        f"({found.timed:,} scores timed{others})"
    )


def _time(seconds: float) -> str:
    return "not known" if math.isnan(seconds) else duration(seconds)


def _size(n: int) -> str:
    return f"{n / 1e9:,.1f} GB" if n >= 1e9 else f"{n / 1e6:,.1f} MB"
