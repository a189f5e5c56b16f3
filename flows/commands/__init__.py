"""What each sub-command does: call its flow, print the answer, give the exit code."""

import argparse
import logging

from flows.answers import ERROR, HELD, complain
from flows.commands import adapters, intake, ledger, results, scoring, serving
from flows.settings import load_settings, prepare_libraries
from tasks.telling import is_disk_full

COMMANDS = {
    **intake.COMMANDS,
    **adapters.COMMANDS,
    **scoring.COMMANDS,
    **results.COMMANDS,
    **ledger.COMMANDS,
    **serving.COMMANDS,
}
# Errors whose message says what to do; by name, since importing them all takes seconds.
TOLD = {
    "tasks.reasons.ExportRefusedError": HELD,
    "tasks.item_bank.BankError": HELD,
    "tasks.lock.WorkspaceBusyError": HELD,
    "tasks.workspace.RunFailedError": ERROR,
    "warehouse.items.ItemConflictError": HELD,
    "flows.backfill.UnknownVersionError": HELD,
    "flows.changes.NotComparedError": HELD,
    "flows.release.UnseenChangesError": HELD,
    "flows.import_adapter.UnknownItemError": HELD,
    "flows.promote.UnsignedPromotionError": HELD,
    "flows.promote.UnusableVersionError": HELD,
    "flows.scoring.NothingSelectedError": HELD,
    "flows.spreading.NoDeploymentError": ERROR,
    "tasks.runners.RunnerNotInstalledError": ERROR,
    "tasks.thresholds.ThresholdsError": HELD,
    "tasks.season.UnknownSeasonError": HELD,
    "warehouse.erasing.UnknownSeasonError": HELD,
    "warehouse.erasing.UnsignedErasureError": HELD,
    "flows.as_of.UnknownFormatError": HELD,
    "flows.erase.UnknownStudentError": HELD,
    "flows.erase.UnfinishedErasureError": ERROR,
    "flows.commands.ledger.UnusableStudentError": HELD,
    "tasks.replaying.NotReplayableError": HELD,
    "warehouse.reports.UnknownRunError": HELD,
    "warehouse.release.NotDecidableError": HELD,
    "warehouse.release.UnsignedDecisionError": HELD,
    "tasks.training.NothingToTrainError": HELD,
    "flows.servers.ServingError": ERROR,
    "flows.settings.StudentKeyError": ERROR,
    "pydantic_core._pydantic_core.ValidationError": ERROR,
    "models.adapter_files.AdapterError": HELD,
    "models.backbone.BackboneError": ERROR,
    "models.devices.DeviceError": ERROR,
    "tasks.tracking.store.TrackingError": ERROR,
    "warehouse.backup.BackupError": HELD,
    "warehouse.db.WarehouseLockedError": ERROR,
    "warehouse.db.WarehouseTooNewError": ERROR,
    "warehouse.parts.DamagedFileError": ERROR,
    "warehouse.storage.LocationError": ERROR,
    "warehouse.texts.MissingResponsesError": ERROR,
    "builtins.FileNotFoundError": ERROR,
    "builtins.FileExistsError": ERROR,
}


def run(options: argparse.Namespace) -> int:
    """Carry out one command; errors that a user can mend are told in a sentence."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        settings = load_settings(options.home)
        if not _only_reads(options) and options.command != "serve":  # which prepares its own
            prepare_libraries(settings)
            settings = load_settings(options.home)  # where MLflow's pages are may be known now
        return COMMANDS[options.command](settings, options)
    except KeyboardInterrupt:
        complain("stopped; what was committed stays, run again to go on")
        return ERROR
    except Exception as error:
        if is_disk_full(error):
            complain(f"the disk that holds {settings.home} is full: make room, and run again")
            return ERROR
        code = _exit_code(error)
        if code is None:
            raise
        complain(str(error))
        return code


def _only_reads(options: argparse.Namespace) -> bool:
    """Whether a command runs no flow and leaves the workspace as it is."""
    verb = getattr(options, "verb", None)
    explains = getattr(options, "explain", False)
    reads = options.command in {"status", "thresholds", "changes", "doctor", "as-of"}
    return reads or verb in {"list", "infer"} or explains


def _exit_code(error: Exception) -> int | None:
    """The exit code of an error whose message says what to do; None for any other."""
    codes = (TOLD.get(f"{kind.__module__}.{kind.__name__}") for kind in type(error).__mro__)
    return next((code for code in codes if code is not None), None)
