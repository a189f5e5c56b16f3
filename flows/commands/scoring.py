"""Score."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.answers import DONE, HELD, answer, complain, console, mlflow_ui
from flows.settings import Settings


def _nightly(settings: Settings, options: argparse.Namespace) -> int:
    from flows.nightly import nightly

    result = nightly(
        season=options.season,
        mapping=options.mapping,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _scored(settings, options, result)


def _backfill(settings: Settings, options: argparse.Namespace) -> int:
    from flows.backfill import backfill, chosen_by, rehearse

    choice = (options.seasons, options.items, options.from_date, options.to_date, options.adapter)
    if options.dry_run:
        from tasks.estimate_told import as_data, estimate_table

        found = rehearse(settings, chosen_by(*choice), options.adapter)
        return answer(options, as_data(found), estimate_table(found))
    result = backfill(*choice, administration_date=options.administration_date, home=settings.home)
    return _scored(settings, options, result)


def _changes(settings: Settings, options: argparse.Namespace) -> int:
    from flows.changes import changes_of, write_changes
    from tasks.comparison_tables import comparison_rows, comparison_totals
    from tasks.comparison_told import comparison_table

    found = changes_of(settings, options.run_id)
    data: dict[str, Any] = {
        **(comparison_totals(found.comparison) or {}),
        "items": comparison_rows(found.comparison, found.small_cell),
    }
    shown = comparison_table(found.comparison, found.small_cell)
    if options.file is None:
        return answer(options, data, shown)
    written = write_changes(settings, options.run_id, options.file)
    answer(options, {**data, "file": options.file, "rows": written}, shown)
    if not options.json:
        console.print(f"{written:,} changed scores   {options.file}", soft_wrap=True)
    return DONE


def _evaluate(settings: Settings, options: argparse.Namespace) -> int:
    from flows.evaluate import evaluate

    result = evaluate(
        options.seasons,
        options.items,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _scored(settings, options, result)


def _demo(settings: Settings, options: argparse.Namespace) -> int:
    from flows.demo import demo

    return _scored(settings, options, demo(settings))


def _scored(settings: Settings, options: argparse.Namespace, result: Any) -> int:
    from tasks.comparison_tables import comparison_totals
    from tasks.comparison_told import comparison_table
    from tasks.run_tables import item_rows
    from tasks.summary import summary_table

    run_ = result.report.run
    answer(
        options,
        {
            "run": run_,
            "items": item_rows(result.report),
            "replaced": comparison_totals(result.report.comparison),
            "report": result.html,
        },
        summary_table(result.report),
    )
    if not options.json:
        if result.report.comparison is not None:
            console.print(comparison_table(result.report.comparison, result.report.small_cell))
        console.print(_where(settings, result.html), soft_wrap=True)
    if run_.message:
        complain(run_.message)
    return HELD if run_.status == "held" else DONE


def _where(settings: Settings, html: Path) -> str:
    return (
        f"\nwarehouse  {settings.warehouse}   (any DuckDB client; the view released_scores)"
        f"\nreport     {html}   (open it in a browser)"
        f"\nMLflow     {mlflow_ui(settings)}"
    )


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "nightly": _nightly,
    "backfill": _backfill,
    "changes": _changes,
    "evaluate": _evaluate,
    "demo": _demo,
}
