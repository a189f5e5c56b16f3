"""What each sub-command does: call its flow, print the answer, give the exit code."""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table

from flows.answers import (
    DONE,
    answer,
    complain,
    console,
    explained,
    export_table,
    limits_table,
    table_of,
    trained_table,
    words,
)
from flows.settings import Settings, load_settings, prepare_libraries

ERROR, HELD = 1, 2
# Errors whose message says what to do; by name, since importing them all takes seconds.
TOLD = {
    "tasks.reasons.ExportRefusedError": HELD,
    "tasks.item_bank.BankError": HELD,
    "tasks.workspace.WorkspaceBusyError": HELD,
    "tasks.workspace.RunFailedError": ERROR,
    "warehouse.items.ItemConflictError": HELD,
    "flows.backfill.UnknownVersionError": HELD,
    "flows.import_adapter.UnknownItemError": HELD,
    "flows.promote.UnsignedPromotionError": HELD,
    "flows.promote.UnusableVersionError": HELD,
    "flows.scoring.NothingSelectedError": HELD,
    "tasks.thresholds.ThresholdsError": HELD,
    "tasks.season.UnknownSeasonError": HELD,
    "warehouse.reports.UnknownRunError": HELD,
    "warehouse.release.NotDecidableError": HELD,
    "warehouse.release.UnsignedDecisionError": HELD,
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
        complain("stopped; what was committed stays, run again to go on")
        return ERROR
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        complain(str(error))
        return code


def _only_reads(options: argparse.Namespace) -> bool:
    """Whether a command runs no flow and leaves the workspace as it is."""
    verb = getattr(options, "verb", None)
    explains = getattr(options, "explain", False)
    return options.command in {"status", "thresholds"} or verb in {"list", "infer"} or explains


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
        return answer(options, counts, f"items: {words(counts)}")
    with db.connect(settings.warehouse, read_only=True) as connection:
        known = items.list_items(connection)
    return answer(options, known, table_of(known, ("item_id", "trait", "score_min", "score_max")))


def _ingest(settings: Settings, options: argparse.Namespace) -> int:
    if options.explain:
        from tasks.exports import explain_export

        explanations = [explain_export(file, options.mapping) for file in options.files]
        return answer(options, explanations, "\n".join(map(explained, explanations)))
    from flows.ingest import ingest

    result = ingest(
        [file.resolve() for file in options.files],
        season=options.season,
        mapping=options.mapping,
        infer_items=options.infer_items,
        validity=options.validity,
        administration_date=options.administration_date,
        home=settings.home,
    )
    for refusal in result.report.refusals:
        complain(f"{refusal.file} was refused: {refusal.reason}")
    answer(options, result, export_table(result.report.exports))
    return DONE if result.status == "done" else HELD


def _train(settings: Settings, options: argparse.Namespace) -> int:
    from flows.train import train

    result = train(
        options.seasons,
        options.items,
        options.method,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _trained(options, result)


def _distill(settings: Settings, options: argparse.Namespace) -> int:
    from flows.distill import distill

    result = distill(
        options.seasons,
        options.items,
        options.method,
        options.most_loss,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _trained(options, result)


def _trained(options: argparse.Namespace, result: Any) -> int:
    answer(options, result, trained_table(result))
    for row in result.trained:
        if row.verdict == "ask":
            complain(
                f"{row.item_id} ({row.trait}) waits for your decision: {row.reason}; to decide for "
                f"it: gradeline promote {row.item_id} v{row.version} --trait {row.trait} --by NAME "
                "--reason WHY"
            )
    for item in result.untrained:
        complain(f"{item.item_id} ({item.trait}) has no new adapter: {item.reason}")
    return DONE if result.status == "done" else HELD


def _promote(settings: Settings, options: argparse.Namespace) -> int:
    from flows.promote import promote

    result = promote(
        options.item,
        options.version,
        options.by,
        options.reason,
        trait=options.trait,
        home=settings.home,
    )
    before = "nobody" if result.before is None else f"v{result.before}"
    item = f"{result.item_id} ({result.trait})"
    told = f"v{result.version} scores item {item} from now on; {before} did so far"
    answer(options, result, told)
    return DONE


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
    return answer(options, result, escape(shown))


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
    store = f"MLflow     {_mlflow(settings)}"
    return answer(options, result, escape("\n".join([*result.sentences, "", store])))


def _thresholds(settings: Settings, options: argparse.Namespace) -> int:
    from tasks.rules import RULES
    from tasks.thresholds import changes, read_thresholds

    limits, defaults = read_thresholds(settings.thresholds), read_thresholds(None)
    changed = changes(defaults, limits)
    shown = limits_table(limits, tuple(RULES), changed)
    return answer(options, {"thresholds": json.loads(limits.as_json()), "changes": changed}, shown)


def _status(settings: Settings, options: argparse.Namespace) -> int:
    from warehouse import db, reports

    with db.connect(settings.warehouse, read_only=True) as connection:
        last = reports.last_run(connection, options.kind)
    if last is None:
        complain(f"no run{f' of kind {options.kind}' if options.kind else ''} yet")
        return ERROR
    rows = {name: value for name, value in asdict(last).items() if value not in (None, "")}
    table = Table(show_header=False, box=None)
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    answer(options, last, table)
    return DONE


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
        f"\nMLflow     {_mlflow(settings)}"
    )


def _mlflow(settings: Settings) -> str:
    store = settings.tracking_uri
    if store.startswith("sqlite:"):
        ui = f"mlflow ui --backend-store-uri {store} --port 5000"
        return f"{ui}\n           then http://127.0.0.1:5000/#/experiments?workflowType=machine_learning"
    return store


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "items": _items,
    "ingest": _ingest,
    "train": _train,
    "distill": _distill,
    "promote": _promote,
    "import-adapter": _import_adapter,
    "nightly": _nightly,
    "backfill": _backfill,
    "evaluate": _evaluate,
    "release": _release,
    "hold": _hold,
    "report": _report,
    "season": _season,
    "thresholds": _thresholds,
    "status": _status,
    "demo": _demo,
}
