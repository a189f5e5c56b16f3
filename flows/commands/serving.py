"""Keep everything running."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.answers import DONE, HELD, answer, console
from flows.settings import Settings

if TYPE_CHECKING:
    from flows.serving import Served
    from tasks.checkup import Check


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from flows.serving import Served, Wanted, serve

    wanted = Wanted(
        prefect_port=options.prefect_port,
        mlflow_port=options.mlflow_port,
        at_once=options.at_once,
        deploy=options.deploy,
        cron=options.cron,
        timezone=options.timezone,
    )
    errors = Console(stderr=True)

    def say(sentence: str) -> None:
        errors.print(f"[dim]{escape(sentence)}[/dim]", soft_wrap=True)

    def tell_ready(served: Served) -> None:
        if options.json:
            sys.stdout.write(json.dumps(asdict(served)) + "\n")
            sys.stdout.flush()
        else:
            console.print(_ready(settings, served, wanted.deploy))

    serve(settings, wanted, say, tell_ready)
    return DONE


def _ready(settings: Settings, served: "Served", deployed: bool) -> Table:
    table = Table(show_header=False, box=None, title="serving", title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("workspace", escape(str(settings.home)))
    table.add_row("Prefect", f"{served.prefect}   runs, schedules, forms, artifacts")
    table.add_row("MLflow", f"{served.mlflow}/#/experiments?workflowType=machine_learning")
    if deployed:
        table.add_row("start a run", f"{served.prefect}/deployments, or `gradeline backfill ...`")
    table.add_row("inbox", escape(str(settings.inbox)))
    table.add_row("logs", escape(served.logs))
    table.add_row("stop", "Ctrl-C; scoring that is stopped goes on where it was")
    return table


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    from flows.doctor import examine

    checks = examine(settings)
    faults = sum(check.status == "fault" for check in checks)
    answer(options, {"faults": faults, "checks": checks}, _checked(checks))
    return HELD if faults else DONE


def _checked(checks: "list[Check]") -> Group:
    """A line per check, the remedy below where something is to be done; the sum at the end."""
    from tasks.report_text import counted

    marks = {"ok": ("ok", "green"), "note": ("note", "yellow"), "fault": ("FAULT", "bold red")}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        word, style = marks[check.status]
        found = Text(check.found)
        if check.remedy:
            found.append(f"\n→ {check.remedy}", style="bold" if check.status == "fault" else "dim")
        table.add_row(Text(word, style), check.name, found)
    counts = Counter(check.status for check in checks)
    faults, notes = counts["fault"], counts["note"]
    total = f"{counted(faults, 'fault')}, {counted(notes, 'note')}, {len(checks)} checks"
    return Group(table, Text(f"\n{total}", "bold red" if faults else "bold"))


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "serve": _serve,
    "doctor": _doctor,
}
