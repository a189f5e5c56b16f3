"""Decide about runs, and read what they left."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

from rich.markup import escape
from rich.table import Table

from flows.answers import DONE, ERROR, answer, complain, limits_table, mlflow_ui
from flows.settings import Settings


def _release(settings: Settings, options: argparse.Namespace) -> int:
    return _decided(settings, options, "released")


def _hold(settings: Settings, options: argparse.Namespace) -> int:
    return _decided(settings, options, "held")


def _decided(
    settings: Settings, options: argparse.Namespace, decision: Literal["released", "held"]
) -> int:
    """Recording it is what was asked for: holding a run is no failure."""
    from flows.release import decide

    result = decide(options.run_id, decision, options.by, options.reason, home=settings.home)
    shown = f"{options.run_id}: {decision} by {options.by}\nreport     {result.html}"
    return answer(options, {"run": result.report.run, "report": result.html}, escape(shown))


def _report(settings: Settings, options: argparse.Namespace) -> int:
    from flows.report import report

    html = report(options.run_id, home=settings.home)
    return answer(options, {"report": html}, escape(str(html)))


def _season(settings: Settings, options: argparse.Namespace) -> int:
    from flows.season import season

    result = season(options.season, home=settings.home)
    store = f"MLflow     {mlflow_ui(settings)}"
    return answer(options, result, escape("\n".join([*result.sentences, "", store])))


def _thresholds(settings: Settings, options: argparse.Namespace) -> int:
    from tasks.rules import RULES
    from tasks.thresholds import changes, read_thresholds

    limits, defaults = read_thresholds(settings.thresholds), read_thresholds(None)
    changed = changes(defaults, limits)
    shown = limits_table(limits, tuple(RULES), changed)
    return answer(options, {"thresholds": json.loads(limits.as_json()), "changes": changed}, shown)


def _status(settings: Settings, options: argparse.Namespace) -> int:
    from tasks.time_split import time_sentence
    from warehouse import db, reports

    with db.connect(settings.warehouse, read_only=True) as connection:
        last = reports.last_run(connection, options.kind)
    if last is None:
        complain(f"no run{f' of kind {options.kind}' if options.kind else ''} yet")
        return ERROR
    rows = {name: value for name, value in asdict(last).items() if value not in (None, "")}
    if last.stage_seconds:
        rows["stage_seconds"] = time_sentence(last.stage_seconds)
    else:
        rows.pop("stage_seconds", None)
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    answer(options, last, table)
    return DONE


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "release": _release,
    "hold": _hold,
    "report": _report,
    "season": _season,
    "thresholds": _thresholds,
    "status": _status,
}
