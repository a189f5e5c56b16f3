"""What commands print: tables for people, JSON for scripts, complaints on the error stream."""

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import date
from typing import Any

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.settings import Settings

DONE, ERROR, HELD = 0, 1, 2
console = Console()


def answer(options: argparse.Namespace, data: object, shown: object) -> int:
    """Print an answer: as JSON where that was asked for."""
    if options.json:
        json.dump(_plain(data), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        console.print(shown, soft_wrap=isinstance(shown, str))  # a path is one line, however long
    return DONE


def _plain(value: Any) -> Any:
    """The same in what JSON knows; what is not defined (NaN) is null."""
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.isoformat() if isinstance(value, date) else str(value)


def complain(sentence: str) -> None:
    """Say on the error stream what a person should know."""
    Console(stderr=True).print(escape(sentence), style="yellow", soft_wrap=True)


def words(counts: Any) -> str:
    """Counts in words."""
    return ", ".join(f"{value} {name}" for name, value in asdict(counts).items())


def table_of(rows: list[Any], columns: tuple[str, ...]) -> Table:
    """A line per row, a column per field."""
    table = Table(box=None)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(str(getattr(row, column))) for column in columns))
    return table


def export_table(exports: tuple[Any, ...]) -> Table:
    """A line per file, and under it a line per reason for which rows were refused."""
    columns = ("status", "received", "accepted", "rated", "duplicate", "rejected")
    table = Table(box=None)
    table.add_column("file")
    for column in columns:
        table.add_column(column, justify="left" if column == "status" else "right")
    for export in exports:
        table.add_row(escape(export.file), *(str(getattr(export, column)) for column in columns))
        for reason, count in export.reasons.items():
            table.add_row(f"  [dim]{count} {reason}[/dim]")
    return table


def trained_table(result: Any) -> Table:
    """A line per trained adapter."""
    columns = ("item_id", "trait", "version", "alias", "n_training", "n_validation")
    crowned = f", {result.crowned} made champion" if result.crowned else ""
    title = f"{len(result.trained)} trained, {result.unchanged} unchanged{crowned}"
    table = Table(box=None, title=title)
    for column in (*columns, "validation QWK", "exact", "seconds", "verdict"):
        table.add_column(column)
    for row in result.trained:
        values = [escape(str(getattr(row, column))) for column in columns]
        measured = (f"{row.qwk:.3f}", f"{row.exact:.2f}", f"{row.seconds:.0f}")
        table.add_row(*values, *measured, row.verdict)
    return table


def explained(explanation: Any) -> str:
    """How an export would be read, a line each."""
    return "\n".join(f"{name}: {value}" for name, value in asdict(explanation).items())


def limits_table(limits: Any, rules: Sequence[str], changed: Sequence[Any]) -> Group:
    """The limits in force, and below them what the workspace's own file changes."""
    table = Table(box=None, title=f"limits in force; the workspace changes {len(changed)}")
    for column in ("rule", "at least", "at most", "flag", "fewest"):
        table.add_column(column, justify="left" if column == "rule" else "right")
    for name in rules:
        limit = limits.limit_of(name, "", "")
        cells = (limit.at_least, limit.at_most, limit.flag, limit.fewest)
        table.add_row(name, *("–" if cell is None else f"{cell:g}" for cell in cells))
    return Group(table, *(Text(_changed(change)) for change in changed))


def _changed(change: Any) -> str:
    before, after = ("none" if v is None else f"{v:g}" for v in (change.before, change.after))
    slip = "   IS THAT A SLIP?" if change.suspicious else ""
    return f"{change.scope}: {change.rule} {change.setting} is {after}, by default {before}{slip}"


def mlflow_ui(settings: Settings) -> str:
    """How a person opens MLflow: the command that serves a local store, or the server's address."""
    store = settings.tracking_uri
    if settings.mlflow_pages:
        return f"{settings.mlflow_pages}/#/experiments?workflowType=machine_learning"
    if store.startswith("sqlite:"):
        ui = f"mlflow ui --backend-store-uri {store} --port 5000"
        return f"{ui}\n           then http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
    return store
