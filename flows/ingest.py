"""Exports go in: accepted rows to Parquet, refused rows to ``rejects``, counts to the run."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from prefect import flow

from flows.forms import AdministrationDate, Home, Mapping, Season, titled
from flows.settings import Settings, load_settings
from tasks.exports import IngestOptions
from tasks.workspace import Export, IngestReport, ingest_exports, locked, recorded_run
from warehouse import db, runs, scores


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did: its run, its status and what became of each file."""

    run_id: str
    status: str
    report: IngestReport


@flow(name="ingest")
def ingest(
    files: Annotated[list[Path], titled("Exports")],
    season: Season = None,
    mapping: Mapping = None,
    infer_items: Annotated[bool, titled("Add items that are not in the bank")] = False,
    validity: Annotated[bool, titled("These are validity responses")] = False,
    administration_date: AdministrationDate = None,
    home: Home = None,
) -> IngestResult:
    """Ingest exports.

    Args:
        files: the exports.
        season: the season of rows that name none.
        mapping: a YAML file that says which column is which.
        infer_items: add items that are not in the bank, with the scale their human scores span.
        validity: these are validity responses, whose human scores are known to be right.
        administration_date: the day the run counts for; today where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    day = administration_date or datetime.now(UTC).date()
    options = ingest_options(settings, season, mapping, infer_items=infer_items, validity=validity)
    parameters = {"files": [file.name for file in files], "season": options.season}
    exports = [Export(file, None) for file in files]
    with (
        locked(settings.home, wait_s=settings.lock_wait_s),
        recorded_run(settings.warehouse, "ingest", day, parameters) as run_id,
    ):
        report = ingest_exports(settings.warehouse, settings.responses, exports, run_id, options)
        status = _finish(settings.warehouse, run_id, report)
    return IngestResult(run_id, status, report)


def ingest_options(
    settings: Settings,
    season: str | None,
    mapping: Path | None,
    *,
    infer_items: bool = False,
    validity: bool = False,
) -> IngestOptions:
    """How exports are read, from the settings and what the user asked for."""
    return IngestOptions(
        season=season or settings.season,
        mapping_file=mapping,
        student_key=settings.student_key(),
        max_characters=settings.max_characters,
        infer_items=infer_items,
        validity=validity,
    )


def files_of(report: IngestReport) -> scores.Files:
    """The files of a report by outcome, as a run keeps them."""
    return scores.Files(report.accepted, len(report.refusals), report.unchanged)


def refusal_reasons(report: IngestReport) -> list[str]:
    """One sentence per refused file."""
    return [f"{refusal.file} was refused: {refusal.reason}" for refusal in report.refusals]


def _finish(warehouse: Path, run_id: str, report: IngestReport) -> str:
    status = "refused" if report.refusals else "done"
    files = files_of(report)
    with db.connect(warehouse) as connection, db.transaction(connection):
        counts = scores.ingested(connection, run_id)
        runs.finish_run(
            connection,
            run_id,
            status,
            counts,
            files_accepted=files.accepted,
            files_refused=files.refused,
            files_unchanged=files.unchanged,
            message="; ".join(refusal_reasons(report)),
        )
    return status
