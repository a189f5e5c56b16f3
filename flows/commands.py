"""What each sub-command does: call its flow, print the answer, give the exit code."""

import argparse
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.settings import Settings, load_settings, prepare_libraries

DONE, ERROR, HELD = 0, 1, 2
# Errors whose message says what to do; by name, since importing them all takes seconds.
TOLD = {
    "tasks.reasons.ExportRefusedError": HELD,
    "tasks.item_bank.BankError": HELD,
    "tasks.workspace.WorkspaceBusyError": HELD,
    "tasks.workspace.RunFailedError": ERROR,
    "warehouse.items.ItemConflictError": HELD,
    "flows.backfill.UnknownVersionError": HELD,
    "flows.import_adapter.UnknownItemError": HELD,
    "flows.scoring.NothingSelectedError": HELD,
    "tasks.training.NothingToTrainError": HELD,
    "flows.settings.StudentKeyError": ERROR,
    "pydantic_core._pydantic_core.ValidationError": ERROR,
    "models.adapter_files.AdapterError": HELD,
    "models.backbone.BackboneError": ERROR,
    "models.devices.DeviceError": ERROR,
    "tasks.tracking.TrackingError": ERROR,
    "warehouse.db.WarehouseLockedError": ERROR,
    "warehouse.db.WarehouseTooNewError": ERROR,
    "warehouse.texts.MissingResponsesError": ERROR,
    "builtins.FileNotFoundError": ERROR,
}
console = Console()


def run(options: argparse.Namespace) -> int:
    """Carry out one command; errors that a user can mend are told in a sentence."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for ours in ("flows", "tasks", "models", "warehouse"):
        logging.getLogger(ours).setLevel(logging.INFO)
    try:
        settings = load_settings(options.home)
        if not _only_reads(options):
            prepare_libraries(settings)
        return COMMANDS[options.command](settings, options)
    except KeyboardInterrupt:
        _complain("stopped; what was committed stays, run again to go on")
        return ERROR
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _complain(str(error))
        return code


def _only_reads(options: argparse.Namespace) -> bool:
    """Whether a command runs no flow and leaves the workspace as it is."""
    verb = getattr(options, "verb", None)
    explains = getattr(options, "explain", False)
    return options.command == "status" or verb in {"list", "infer"} or explains


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error whose message says what to do; None for any other."""
    codes = (TOLD.get(f"{kind.__module__}.{kind.__name__}") for kind in type(error).__mro__)
    return next((code for code in codes if code is not None), None)


def _items(settings: Settings, options: argparse.Namespace) -> int:
    from tasks import item_bank
    from tasks.workspace import locked
    from warehouse import db, items

    if options.verb == "infer":
        bank = item_bank.infer_bank(options.file, options.mapping)
        sys.stdout.write(item_bank.bank_yaml(bank))
        return DONE
    if options.verb == "add":
        bank = item_bank.read_bank(options.bank)
        with locked(settings.home), db.connect(settings.warehouse) as connection:
            counts = items.add_items(connection, item_bank.item_rows(bank))
        return _answer(options, counts, f"items: {_words(counts)}")
    with db.connect(settings.warehouse, read_only=True) as connection:
        known = items.list_items(connection)
    return _answer(options, known, _table(known, ("item_id", "trait", "score_min", "score_max")))


def _ingest(settings: Settings, options: argparse.Namespace) -> int:
    if options.explain:
        from tasks.exports import explain_export

        explanations = [explain_export(file, options.mapping) for file in options.files]
        return _answer(options, explanations, "\n".join(map(_explained, explanations)))
    from flows.ingest import ingest

    result = ingest(
        [file.resolve() for file in options.files],
        season=options.season,
        mapping=options.mapping,
        infer_items=options.infer_items,
        administration_date=options.administration_date,
        home=settings.home,
    )
    for refusal in result.report.refusals:
        _complain(f"{refusal.file} was refused: {refusal.reason}")
    _answer(options, result, _export_table(result.report.exports))
    return DONE if result.status == "done" else HELD


def _train(settings: Settings, options: argparse.Namespace) -> int:
    from flows.train import train

    result = train(
        options.seasons,
        options.items,
        administration_date=options.administration_date,
        home=settings.home,
    )
    _answer(options, result, _trained_table(result))
    for item in result.untrained:
        _complain(f"{item.item_id} ({item.trait}) has no new adapter: {item.reason}")
    return DONE if result.status == "done" else HELD


def _import_adapter(settings: Settings, options: argparse.Namespace) -> int:
    from flows.import_adapter import import_adapter

    result = import_adapter(
        options.folder.resolve(),
        options.item,
        options.trait,
        administration_date=options.administration_date,
        home=settings.home,
    )
    happened = "imported" if result.is_new else "had been imported before"
    shown = f"{result.item_id} ({result.trait}): {happened}, v{result.version} is {result.alias}"
    return _answer(options, result, escape(shown))


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


def _status(settings: Settings, options: argparse.Namespace) -> int:
    from warehouse import db, reports

    with db.connect(settings.warehouse, read_only=True) as connection:
        last = reports.last_run(connection, options.kind)
    if last is None:
        _complain(f"no run{f' of kind {options.kind}' if options.kind else ''} yet")
        return ERROR
    rows = {name: value for name, value in asdict(last).items() if value not in (None, "")}
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    _answer(options, last, table)
    return DONE


def _demo(settings: Settings, options: argparse.Namespace) -> int:
    from flows.demo import demo

    return _scored(settings, options, demo(settings))


def _scored(settings: Settings, options: argparse.Namespace, result: Any) -> int:
    from tasks.summary import summary_table

    run_ = result.report.run
    _answer(
        options,
        {"run": run_, "items": result.report.evaluations, "report": result.html},
        summary_table(result.report.evaluations, run_),
    )
    if not options.json:
        console.print(_where(settings, result.html), soft_wrap=True)
    if run_.message:
        _complain(run_.message)
    return DONE if run_.status == "done" else HELD


def _where(settings: Settings, html: Path) -> str:
    store = settings.tracking_uri
    opened = (
        f"mlflow ui --backend-store-uri {store} --port 5000   then http://127.0.0.1:5000"
        if store.startswith("sqlite:")
        else store
    )
    return (
        f"\nwarehouse  {settings.warehouse}   (any DuckDB client; the view current_scores)"
        f"\nreport     {html}   (open it in a browser)"
        f"\nMLflow     {opened}"
    )


def _answer(options: argparse.Namespace, data: object, shown: object) -> int:
    if options.json:
        json.dump(_plain(data), sys.stdout, indent=2, allow_nan=False)
        sys.stdout.write("\n")
    else:
        console.print(shown)
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


def _complain(sentence: str) -> None:
    Console(stderr=True).print(escape(sentence), style="yellow", soft_wrap=True)


def _words(counts: Any) -> str:
    return ", ".join(f"{value} {name}" for name, value in asdict(counts).items())


def _table(rows: list[Any], columns: tuple[str, ...]) -> Table:
    table = Table(box=None)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(escape(str(getattr(row, column))) for column in columns))
    return table


def _export_table(exports: tuple[Any, ...]) -> Table:
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


def _trained_table(result: Any) -> Table:
    columns = ("item_id", "trait", "version", "alias", "n_training", "n_validation")
    crowned = f", {result.crowned} made champion" if result.crowned else ""
    title = f"{len(result.trained)} trained, {result.unchanged} unchanged{crowned}"
    table = Table(box=None, title=title)
    for column in (*columns, "validation QWK", "exact", "seconds"):
        table.add_column(column)
    for row in result.trained:
        values = [escape(str(getattr(row, column))) for column in columns]
        table.add_row(*values, f"{row.qwk:.3f}", f"{row.exact:.2f}", f"{row.seconds:.0f}")
    return table


def _explained(explanation: Any) -> str:
    return "\n".join(f"{name}: {value}" for name, value in asdict(explanation).items())


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "items": _items,
    "ingest": _ingest,
    "train": _train,
    "import-adapter": _import_adapter,
    "nightly": _nightly,
    "backfill": _backfill,
    "evaluate": _evaluate,
    "status": _status,
    "demo": _demo,
}
