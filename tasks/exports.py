"""Exports go in: read, check, pseudonymise, and hand over to the warehouse whole or not at all."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path

from tasks.columns import ColumnMap
from tasks.delimited import Row
from tasks.encodings import sha256_of
from tasks.export_formats import Export, open_export
from tasks.export_rows import RowRules, StagedFiles, checked_or_fault, stage
from tasks.mapping_file import MappingFile, read_mapping
from tasks.progress import silent
from tasks.reasons import SENTENCES, ExportRefusedError, Fault
from warehouse import db, responses
from warehouse.clock import moment
from warehouse.parts import clear_unfinished
from warehouse.responses import RowCounts, StagedExport, UnusableExportError
from warehouse.storage import Location

__all__ = [
    "Explanation",
    "ExportRefusedError",
    "IngestCounts",
    "IngestOptions",
    "explain_export",
    "ingest_export",
]

SAMPLE_ROWS = 1000
TOLD_ROWS = 1000
SAMPLE_SEASON = "unnamed"
MAX_CHARACTERS = 20_000


@dataclass(frozen=True)
class IngestOptions:
    """How exports are read.

    Attributes:
        season: of rows that name none.
        mapping_file: YAML that says which column is which; none where they are to be found.
        student_key: HMAC key that replaces student ids.
        max_characters: a longer text is refused.
        infer_items: add items that are not in the bank, with the scale their scores span.
        validity: the rows are validity responses: their human scores are known to be right, every
            night scores them again, and no score of theirs is ever reported. For runs that only
            ingest: what a night takes in, it scores.
    """

    season: str | None
    mapping_file: Path | None
    student_key: bytes = field(repr=False)
    max_characters: int = MAX_CHARACTERS
    infer_items: bool = False
    validity: bool = False

    def with_season(self, season: str | None) -> "IngestOptions":
        """The same, for exports of another season."""
        return replace(self, season=season)


@dataclass(frozen=True)
class IngestCounts:
    """What became of an export's rows: received = accepted + rejected + duplicate + rated.

    Attributes:
        file: its name, without folders.
        export_sha256: of its bytes.
        received: rows after the header, empty lines left out.
        accepted: rows that brought a new response.
        rejected: rows that were refused.
        duplicate: rows that brought nothing new.
        rated: rows that brought a human score for a response that was there.
        status: ``accepted``, or ``unchanged`` where the same bytes had been ingested before; then
            all counts are 0.
        reasons: rows by reason code, duplicates included.
    """

    file: str
    export_sha256: str
    received: int
    accepted: int
    rejected: int
    duplicate: int
    rated: int
    status: str
    reasons: dict[str, int]


@dataclass(frozen=True)
class Explanation:
    """How an export would be read; nothing of its rows but counts.

    Attributes:
        file: its name.
        format: csv, jsonl, parquet or xlsx.
        encoding: of a text file.
        delimiter: its name, of a delimited file.
        layout: the built-in layout, if it is one.
        columns: canonical name to header.
        found_by: canonical name to how its column was found.
        constants: values for all rows, from the mapping file.
        ignored: headers that nothing is read from.
        sampled: rows that were looked at, from the start.
        faults: among these, rows by what is wrong; items and scales are not looked up.
        problems: why the export would be refused, with the headers it concerns; none if it would
            not.
        warnings: what is worth a look.
    """

    file: str
    format: str
    encoding: str | None
    delimiter: str | None
    layout: str | None
    columns: dict[str, str]
    found_by: dict[str, str]
    constants: dict[str, str]
    ignored: list[str]
    sampled: int
    faults: dict[str, int]
    problems: list[str]
    warnings: list[str]


def ingest_export(
    warehouse: Path,
    responses_folder: Location,
    export: Path,
    run_id: str,
    options: IngestOptions,
    advance: Callable[[int], None] = silent,
) -> IngestCounts:
    """Ingest one export; the same bytes again change nothing.

    Args:
        warehouse: the DuckDB file.
        responses_folder: where the texts go.
        export: the file.
        run_id: the run that this belongs to.
        options: how it is read.
        advance: told now and then how many more rows have been read.

    Raises:
        ExportRefusedError: the file as a whole cannot be used; nothing of it is kept.
    """
    clear_staging(warehouse.parent)
    clear_unfinished(responses_folder)
    before = _stamp(export)
    export_sha256 = sha256_of(export)
    today, known, taken = _look_up(warehouse, export_sha256, run_id, export.name, options)
    if taken is not None:
        return _counts(export, export_sha256, "accepted", taken)
    if known:
        return _counts(export, export_sha256, "unchanged", RowCounts())
    with _staging_folder(warehouse.parent, export_sha256) as folder:
        staged = _stage(export, export_sha256, run_id, folder, options, today, advance)
        if _stamp(export) != before:
            raise ExportRefusedError(
                "the file is still being written: ingest it again when it is complete"
            )
        with db.connect(warehouse) as connection:
            try:
                counts = responses.ingest(
                    connection,
                    responses_folder,
                    staged,
                    {str(reason): sentence for reason, sentence in SENTENCES.items()},
                    infer_items=options.infer_items,
                )
            except UnusableExportError as error:
                raise ExportRefusedError(str(error)) from error
    return _counts(export, export_sha256, "accepted", counts)


def explain_export(export: Path, mapping_file: Path | None) -> Explanation:
    """Say how an export would be read, and change nothing.

    Raises:
        ExportRefusedError: it is in no format that can be read.
    """
    _stamp(export)
    opened = open_export(export, read_mapping(mapping_file), line_limit(MAX_CHARACTERS))
    columns = opened.columns
    sampled, faults = (0, Counter[str]()) if columns.problems else _sample(opened)
    return Explanation(
        file=export.name,
        format=opened.format,
        encoding=opened.encoding,
        delimiter=opened.delimiter,
        layout=opened.layout,
        columns=columns.names,
        found_by=columns.found_by,
        constants=columns.constants,
        ignored=list(columns.ignored),
        sampled=sampled,
        faults=dict(faults),
        problems=list(columns.shown_problems),
        warnings=_warnings(columns),
    )


def open_for_reading(export: Path, mapping: MappingFile | None, max_characters: int) -> Export:
    """Open an export that has every column it needs.

    Raises:
        ExportRefusedError: it cannot be read, or a column is missing or ambiguous; no header is
            quoted.
    """
    opened = open_export(export, mapping, line_limit(max_characters))
    if opened.columns.problems:
        raise ExportRefusedError(
            f"{'; '.join(opened.columns.problems)}. The file has {len(opened.header)} columns: "
            "`gradeline ingest --explain FILE` shows how they are read"
        )
    return opened


def line_limit(max_characters: int) -> int:
    """How long a row may be: room for a text far over its limit, so it is refused as just that."""
    return 4 * max_characters + 100_000


def _look_up(
    warehouse: Path, export_sha256: str, run_id: str, file: str, options: IngestOptions
) -> tuple[date, bool, RowCounts | None]:
    """Today, whether the bytes are known, and what of them this run took in before it was killed.

    Today is no day before any that the warehouse knows, wherever the clock was set to.
    """
    with db.connect(warehouse) as connection:
        today = moment(connection).date()
        try:
            known = responses.is_ingested(connection, export_sha256, validity=options.validity)
        except UnusableExportError as error:
            raise ExportRefusedError(str(error)) from error
        return today, known, responses.ingested_by(connection, export_sha256, run_id, file)


def _stage(
    export: Path,
    export_sha256: str,
    run_id: str,
    folder: Path,
    options: IngestOptions,
    today: date,
    advance: Callable[[int], None],
) -> StagedExport:
    mapping = read_mapping(options.mapping_file)
    opened = open_for_reading(export, mapping, options.max_characters)
    columns = opened.columns
    if not (options.season or "season" in columns.positions or "season" in columns.constants):
        raise ExportRefusedError(
            "no season: the export has no column for it, so say --season, such as 2026-spring"
        )
    rules = RowRules(columns, options.season, options.student_key, options.max_characters, today)
    files = StagedFiles(*(folder / f"{name}.parquet" for name in StagedFiles._fields))
    stage(_told(opened.rows(), advance), rules, files)
    return StagedExport(
        *files, export_sha256, export.name, run_id, columns.names, validity=options.validity
    )


def _told(rows: Iterable[Row], advance: Callable[[int], None]) -> Iterator[Row]:
    """The rows, with word of them now and then."""
    number = 0
    for number, row in enumerate(rows, start=1):
        if number % TOLD_ROWS == 0:
            advance(TOLD_ROWS)
        yield row
    advance(number % TOLD_ROWS)


def clear_staging(workspace: Path) -> None:
    """Remove what killed processes have staged; the caller holds the workspace's lock."""
    for folder in workspace.glob(".ingest-*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _staging_folder(workspace: Path, export_sha256: str) -> Iterator[Path]:
    """A folder of our own beside the warehouse."""
    folder = workspace / f".ingest-{export_sha256[:12]}"
    folder.mkdir(parents=True, mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stamp(export: Path) -> tuple[int, int, int]:
    """What changes when a file is written to."""
    try:
        found = export.stat()
    except OSError as error:
        raise ExportRefusedError(f"the file cannot be read: {error.strerror}") from error
    if not export.is_file():
        raise ExportRefusedError("this is not a file")
    return found.st_size, found.st_mtime_ns, found.st_ino


def _counts(export: Path, export_sha256: str, status: str, counts: RowCounts) -> IngestCounts:
    return IngestCounts(
        file=export.name,
        export_sha256=export_sha256,
        received=counts.received,
        accepted=counts.accepted,
        rejected=counts.rejected,
        duplicate=counts.duplicate,
        rated=counts.rated,
        status=status,
        reasons=counts.reasons,
    )


def _sample(opened: Export) -> tuple[int, Counter[str]]:
    """Rows looked at, and how many had which fault."""
    today = datetime.now(UTC).date()
    rules = RowRules(opened.columns, SAMPLE_SEASON, b"", MAX_CHARACTERS, today)
    sampled, faults = 0, Counter[str]()
    for row in islice(opened.rows(), SAMPLE_ROWS):
        sampled += 1
        checked = row if isinstance(row, Fault) else checked_or_fault(row, rules)
        if isinstance(checked, Fault):
            faults[str(checked.reason)] += 1
    return sampled, faults


def _warnings(columns: ColumnMap) -> list[str]:
    found = []
    if not columns.ratings:
        found.append("no human scores: nothing can be trained or checked on these rows")
    if "student_id" not in columns.positions:
        found.append("no student id")
    if "submitted_at" not in columns.positions:
        found.append("no submission time: the day of ingest counts instead")
    if "season" not in columns.positions and "season" not in columns.constants:
        found.append("no season: give --season")
    return found
