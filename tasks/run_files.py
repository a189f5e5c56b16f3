"""What a run keeps beside its tables: the same as CSV, what was in force, what computed it."""

import csv
import io
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import PurePosixPath
from typing import Any

from tasks.reporting import RunReport
from tasks.run_tables import Table
from tasks.thresholds import Thresholds

REPORT = "report.html"
LIMITS = "effective_thresholds.json"
CONFIGURATION = "effective_config.json"
ENVIRONMENT = "environment.txt"
# What a spreadsheet would take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_files(tables: Mapping[str, Table]) -> dict[str, str]:
    """Every table with rows as CSV, ``csv/<its name>.csv``; what is not known is empty."""
    return {
        f"csv/{PurePosixPath(path).stem}.csv": _csv(columns)
        for path, columns in tables.items()
        if any(columns.values())
    }


def configuration_files(report: RunReport, thresholds: Thresholds | None) -> dict[str, str]:
    """What was in force: settings whole, where a parameter would be cut; limits; libraries."""
    limits = thresholds.as_json() if thresholds else "null"
    known = {
        "run_id": report.run.run_id,
        "kind": report.run.kind,
        "parameters": report.run.parameters,
        "settings": dict(report.settings),
        "thresholds": json.loads(limits),
    }
    found = {CONFIGURATION: json.dumps(known, indent=2, default=str), ENVIRONMENT: environment()}
    return {**found, LIMITS: limits} if thresholds else found


@cache
def environment() -> str:
    """Python, the platform and every installed distribution, a line each, as ``name==version``."""
    installed = {f"{one.metadata['Name']}=={one.version}" for one in distributions()}
    system = f"# Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    return "\n".join([system, *sorted(installed, key=str.casefold)]) + "\n"


def _csv(columns: Table) -> str:
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(columns)
    writer.writerows(map(_cell, row) for row in zip(*columns.values(), strict=True))
    return written.getvalue()


def _cell(value: Any) -> Any:
    """A value as a spreadsheet may open it; an apostrophe makes text of a formula."""
    if value is None or value != value:
        return ""
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, str) and value.startswith(FORMULA):
        return f"'{value}"
    return value
