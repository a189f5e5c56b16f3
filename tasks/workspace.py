"""The workspace's inbox and the bookkeeping of runs; its lock is that of ``tasks.lock``."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.exports import ExportRefusedError, IngestCounts, IngestOptions, ingest_export
from tasks.lock import WorkspaceBusyError as WorkspaceBusyError
from tasks.lock import locked as locked
from tasks.progress import progress
from tasks.telling import speaks_safely, told
from tasks.telling_prefect import name_flow_run
from warehouse import db, reports, runs, scores
from warehouse.storage import Location

UNFINISHED_SUFFIXES = {".part", ".partial", ".tmp", ".crdownload", ".filepart"}
logger = logging.getLogger(__name__)


class RunFailedError(RuntimeError):
    """A run came to an error whose message must not be shown."""


@dataclass(frozen=True)
class Export:
    """A file in the inbox, and the season its folder names, if it does."""

    path: Path
    season: str | None


@dataclass(frozen=True)
class Refusal:
    """An export that was refused whole, and why; ``file`` is its name, without folders."""

    file: str
    reason: str
    path: Path


@dataclass(frozen=True)
class IngestReport:
    """What became of a set of exports."""

    exports: tuple[IngestCounts, ...]
    refusals: tuple[Refusal, ...]

    @property
    def accepted(self) -> int:
        """Files that were ingested now."""
        return sum(export.status == "accepted" for export in self.exports)

    @property
    def unchanged(self) -> int:
        """Files whose bytes had been ingested before."""
        return sum(export.status == "unchanged" for export in self.exports)


@contextmanager
def recorded_run(
    warehouse: Path, kind: str, administration_date: date, parameters: Mapping[str, Any]
) -> Iterator[str]:
    """A row in ``runs`` from start to end; yields its id.

    An exception marks the run as failed. A run that has committed by then keeps its status and
    counts.

    Raises:
        RunFailedError: in place of a library's error, whose message may quote a response and
            would reach Prefect's log. Our own errors and the system's pass as they are.
    """
    with db.connect(warehouse) as connection:
        run_id = runs.start_run(connection, kind, administration_date, parameters)
    name_flow_run(run_id)
    try:
        yield run_id
    except Exception as error:
        try:
            _note_failure(warehouse, run_id, type(error).__name__)
        except Exception as failure:  # a full disk, say: the run stays begun, and is taken up
            kind_of_failure = type(failure).__name__
            logger.warning("that %s failed could not be noted (%s)", run_id, kind_of_failure)
        if speaks_safely(error):
            raise
        raise RunFailedError(told(error)) from None


def _note_failure(warehouse: Path, run_id: str, kind_of_error: str) -> None:
    with db.connect(warehouse) as connection, db.transaction(connection):
        if runs.is_running(connection, run_id):
            _finish_failed(connection, run_id, kind_of_error)
        else:
            runs.note(connection, run_id, f"{kind_of_error} after the scores were committed")


def _finish_failed(connection: duckdb.DuckDBPyConnection, run_id: str, kind_of_error: str) -> None:
    held = reports.run(connection, run_id).held_reasons
    failure = f"{kind_of_error}: no score was committed; what was ingested waits"
    runs.finish_run(
        connection,
        run_id,
        "failed",
        scores.ingested(connection, run_id),
        files_accepted=scores.files_ingested(connection, run_id),
        files_refused=len(held),
        held_reasons=held,
        message="; ".join([*held, failure]),
    )


def inbox_exports(inbox: Path) -> list[Export]:
    """The exports that wait in the inbox, by name; ``inbox/<season>/`` names a season.

    Hidden files and folders, and files with the suffix of an unfinished upload, are left alone.
    """
    inbox.mkdir(parents=True, exist_ok=True)
    found = []
    for path in sorted(inbox.glob("*")) + sorted(inbox.glob("*/*")):
        parent = path.parent if path.parent != inbox else None
        hidden = path.name.startswith(".") or (parent and parent.name.startswith("."))
        if not path.is_file() or hidden or _settled_folder(parent):
            continue
        if path.suffix.lower() not in UNFINISHED_SUFFIXES:
            found.append(Export(path, parent.name if parent else None))
    return found


@task(cache_policy=NO_CACHE)
def ingest_exports(
    warehouse: Path,
    responses: Location,
    exports: list[Export],
    run_id: str,
    options: IngestOptions,
) -> IngestReport:
    """Ingest exports one after another; a file that cannot be used does not stop the others."""
    counts: list[IngestCounts] = []
    refusals: list[Refusal] = []
    with progress("reading rows", None) as advance:
        for export in exports:
            chosen = options.with_season(export.season or options.season)
            try:
                counts.append(
                    ingest_export(warehouse, responses, export.path, run_id, chosen, advance)
                )
            except ExportRefusedError as error:
                logger.warning("%s was refused: %s", export.path.name, error)
                refusals.append(Refusal(export.path.name, str(error), export.path))
    return IngestReport(tuple(counts), tuple(refusals))


@task(cache_policy=NO_CACHE)
def clear_inbox(inbox: Path, exports: list[Export], report: IngestReport) -> None:
    """Move what was ingested to ``inbox/done``, and what was refused to ``inbox/refused``."""
    refused = {refusal.path for refusal in report.refusals}  # two seasons may share a file name
    for export in exports:
        folder = inbox / ("refused" if export.path in refused else "done")
        folder.mkdir(parents=True, exist_ok=True)
        export.path.replace(_free_name(folder / export.path.name))


def _settled_folder(folder: Path | None) -> bool:
    return folder is not None and folder.name in {"done", "refused"}


def _free_name(path: Path) -> Path:
    """The path, or the first of ``name.2.ext``, ``name.3.ext`` ... that is not taken."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return candidate
