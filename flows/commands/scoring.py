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
    from flows.backfill import backfill

    result = backfill(
        options.seasons,
        options.items,
        from_date=options.from_date,
        to_date=options.to_date,
        adapter=options.adapter,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _scored(settings, options, result)


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
    from tasks.run_tables import item_rows
    from tasks.summary import summary_table

    run_ = result.report.run
    answer(
        options,
        {"run": run_, "items": item_rows(result.report), "report": result.html},
        summary_table(result.report),
    )
    if not options.json:
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
    "evaluate": _evaluate,
    "demo": _demo,
}
