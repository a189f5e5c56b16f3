"""Rows of an export checked one by one, and staged in Parquet for the warehouse to take in."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.columns import ColumnMap, Rating
from tasks.delimited import Row
from tasks.mapping_file import is_group_name
from tasks.parquet_rows import NESTED
from tasks.reasons import Fault, Reason
from warehouse.responses import STAGED_RATINGS, STAGED_ROWS, STAGED_SUBGROUPS

BATCH_ROWS = 10_000
BATCH_CHARACTERS = 8_000_000
SEASON_BYTES = 200  # quoted, as a folder's name
LONGEST_ID = 200  # characters; more are no id but, perhaps, somebody's answer
NO_SCORE = {"", "-", "–", ".", "na", "n/a", "nan", "none", "null"}
NUMBER = re.compile(r"[+-]?\d{1,9}([.,]\d{1,9})?")
SURROGATE = re.compile("[\ud800-\udfff]")  # a byte that did not decode, or half a character
CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
ROUNDED_ID = re.compile(r"\d([.,]\d+)?E\+\d+", re.IGNORECASE)
EARLIEST_SUBMISSION = datetime(1990, 1, 1, tzinfo=UTC)
TIME_FORMS = (
    "%Y-%m-%d %H:%M:%S %Z",  # 2026-03-12 14:05:00 UTC
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d",
    "%Y/%m/%d %I:%M:%S %p",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%d %B %Y %I:%M %p",  # 12 March 2026 2:05 PM
    "%d %B %Y %H:%M",
    "%B %d, %Y %I:%M %p",
)


class CheckedRow(NamedTuple):
    """A row whose cells are what they should be, as far as that shows without the warehouse."""

    response_id: str
    item_id: str
    trait: str | None
    season: str
    student_pseudo: str | None
    submitted_at: datetime | None
    text: str
    text_sha256: str
    characters: int
    ratings: list[tuple[str | None, int, float]]  # trait, rater, score
    subgroups: list[tuple[str, str]]  # attribute, level


class StagedFiles(NamedTuple):
    """Where the rows of an export, their scores and their subgroups are staged."""

    rows: Path
    ratings: Path
    subgroups: Path


@dataclass(frozen=True)
class RowRules:
    """What a row is checked against.

    Attributes:
        columns: which column is which.
        season: of rows that name none.
        student_key: HMAC key that replaces student ids.
        max_characters: a longer text is refused.
        today: a text handed in after tomorrow is refused.
    """

    columns: ColumnMap
    season: str | None
    student_key: bytes
    max_characters: int
    today: date = field(default_factory=lambda: datetime.now(UTC).date())


class RowFaultError(Exception):
    """One row cannot be used; carries the fault. Always caught: bad rows are data."""

    def __init__(self, reason: Reason, *details: str):
        super().__init__(reason)
        self.fault = Fault(reason, *details)


def check_row(cells: list[str], rules: RowRules) -> CheckedRow:
    """Read one row's cells.

    Raises:
        RowFaultError: with the first thing that is wrong.
    """
    response_id = _identifier("response_id", cells, rules.columns)
    item_id = _identifier("item_id", cells, rules.columns)
    _check_identifiers(response_id, item_id)
    try:
        return _check_cells(response_id, item_id, cells, rules)
    except RowFaultError as error:
        raise RowFaultError(*error.fault[:2], response_id, item_id) from None


def pseudonym(student_id: str, key: bytes) -> str | None:
    """HMAC-SHA256 of a student id, hex; None where there is none."""
    return hmac.digest(key, student_id.encode(), "sha256").hex() if student_id else None


def human_score(cell: str) -> float | None:
    """A score in whole or half points; None for the usual signs of no score.

    Raises:
        RowFaultError: it is no number, or neither whole nor half.
    """
    words = cell.strip()
    if words.casefold() in NO_SCORE:
        return None
    if not NUMBER.fullmatch(words):
        raise RowFaultError(Reason.SCORE_NOT_A_NUMBER)
    score = float(words.replace(",", "."))
    if not (2 * score).is_integer():
        raise RowFaultError(Reason.SCORE_OFF_SCALE, f"{score:g} is not a whole or half point")
    return score


def submitted_at(cell: str, form: str | None, today: date) -> datetime | None:
    """A submission time in UTC; without a zone it is taken as UTC.

    ISO 8601, and forms that cannot be read in two ways: 3/12/2026 is not among them, and needs
    ``form``, strptime's.

    Raises:
        RowFaultError: it is in no known form, before 1990, or after tomorrow.
    """
    if not cell:
        return None
    found = _parsed(cell, (form,)) if form else _iso(cell) or _parsed(cell, TIME_FORMS)
    if found is None:
        raise RowFaultError(Reason.BAD_SUBMITTED_AT)
    try:
        moment = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        raise RowFaultError(Reason.BAD_SUBMITTED_AT) from None
    # Tomorrow counts: a clock east of Greenwich that names no zone is read as UTC.
    last_day = today + timedelta(days=1)
    if moment < EARLIEST_SUBMISSION or moment.date() > last_day:
        raise RowFaultError(Reason.BAD_SUBMITTED_AT, "before 1990 or after tomorrow")
    return moment


def stage(rows: Iterable[Row], rules: RowRules, files: StagedFiles) -> None:
    """Check every row and write it, or what is wrong with it, to the staging files.

    Args:
        rows: cells or faults, in the export's order.
        rules: what they are checked against.
        files: become Parquet of ``responses.STAGED_ROWS``, numbered from 1, of
            ``STAGED_RATINGS`` and of ``STAGED_SUBGROUPS``.
    """
    characters = 0
    with (
        _writer(files.rows, STAGED_ROWS) as staged,
        _writer(files.ratings, STAGED_RATINGS) as rated,
        _writer(files.subgroups, STAGED_SUBGROUPS) as grouped,
    ):
        for number, row in enumerate(rows, 1):
            checked = row if isinstance(row, Fault) else checked_or_fault(row, rules)
            if isinstance(checked, Fault):
                staged.add((number, *checked, *[None] * (len(STAGED_ROWS) - 5)))
                continue
            staged.add((number, None, None, *checked[:-2]))  # scores and subgroups lie elsewhere
            for trait, rater, score in checked.ratings:
                rated.add((number, trait or checked.trait, rater, score))
            for attribute, level in checked.subgroups:
                grouped.add((number, attribute, level))
            characters += len(checked.text)
            if characters >= BATCH_CHARACTERS:
                staged.flush()
                characters = 0


def checked_or_fault(cells: list[str], rules: RowRules) -> CheckedRow | Fault:
    """The row, or what is wrong with it."""
    try:
        return check_row(cells, rules)
    except RowFaultError as error:
        return error.fault


class _BatchWriter:
    """Collects rows and writes them to Parquet a batch at a time."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._schema, self._rows = schema, list[tuple[Any, ...]]()
        self._file = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)

    def add(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        columns = zip(*self._rows, strict=True)
        arrays = [
            pa.array(column, field.type)
            for column, field in zip(columns, self._schema, strict=True)
        ]
        self._file.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        self._file.close()


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[_BatchWriter]:
    writer = _BatchWriter(path, schema)
    try:
        yield writer
        writer.flush()
    finally:
        writer.close()


def _check_cells(response_id: str, item_id: str, cells: list[str], rules: RowRules) -> CheckedRow:
    columns = rules.columns
    _check_length(cells, columns, rules.max_characters)
    text = _text(_cell("text", cells, columns), rules.max_characters)
    student_id = _cell("student_id", cells, columns).strip()
    handed_in = _cell("submitted_at", cells, columns).strip()
    return CheckedRow(
        response_id=response_id,
        item_id=item_id,
        trait=_identifier("trait", cells, columns) or None,
        season=_season(_identifier("season", cells, columns) or rules.season or ""),
        student_pseudo=pseudonym(student_id, rules.student_key),
        submitted_at=submitted_at(handed_in, columns.submitted_at_format, rules.today),
        text=text,
        text_sha256=hashlib.sha256(text.encode()).hexdigest(),
        characters=len(text.strip()),
        ratings=_ratings(cells, columns.ratings),
        subgroups=_subgroups(cells, columns.subgroups),
    )


def _cell(name: str, cells: list[str], columns: ColumnMap) -> str:
    place = columns.positions.get(name)
    if place is None:
        return ""
    value = cells[place]
    if not (value.isascii() and value.isprintable()):
        _check_characters(value)
    return value


def _identifier(name: str, cells: list[str], columns: ColumnMap) -> str:
    place = columns.positions.get(name)
    length = 0 if place is None else len(cells[place].strip())
    if length > LONGEST_ID:
        raise RowFaultError(Reason.ID_TOO_LONG, f"{length} characters in {name}")
    value = _cell(name, cells, columns).strip() or columns.constants.get(name, "")
    if not value.isprintable():
        raise RowFaultError(Reason.INVALID_CHARACTER, f"in {name}")
    return value


def _check_characters(value: str) -> None:
    if value == NESTED:
        raise RowFaultError(Reason.NESTED_VALUE)
    if SURROGATE.search(value):
        raise RowFaultError(Reason.BAD_ENCODING)
    if CONTROL.search(value):
        raise RowFaultError(Reason.INVALID_CHARACTER)


def _check_identifiers(response_id: str, item_id: str) -> None:
    if not response_id:
        raise RowFaultError(Reason.EMPTY_RESPONSE_ID)
    if not item_id:
        raise RowFaultError(Reason.MISSING_ITEM)
    if ROUNDED_ID.fullmatch(response_id) or ROUNDED_ID.fullmatch(item_id):
        raise RowFaultError(Reason.DAMAGED_ID)


def _check_length(cells: list[str], columns: ColumnMap, limit: int) -> None:
    r"""Refuse a text of megabytes before anything looks through it; of \r\n half may go."""
    place = columns.positions.get("text")
    if place is not None and len(cells[place]) > 2 * limit:
        _refuse_length(len(cells[place]), limit)


def _refuse_length(characters: int, limit: int) -> NoReturn:
    found = f"{characters} characters, the limit is {limit}"
    raise RowFaultError(Reason.TEXT_TOO_LONG, found)


def _text(cell: str, limit: int) -> str:
    text = cell.replace("\r\n", "\n").replace("\r", "\n") if "\r" in cell else cell
    if len(text) > limit:
        _refuse_length(len(text), limit)
    return text


def _season(season: str) -> str:
    if not season or len(quote(season, safe="")) > SEASON_BYTES:
        raise RowFaultError(Reason.BAD_SEASON)
    return season


def _ratings(cells: list[str], columns: tuple[Rating, ...]) -> list[tuple[str | None, int, float]]:
    found = []
    for rating in columns:
        for rater, place in ((1, rating.human_score), (2, rating.human_score_2)):
            score = None if place is None else human_score(cells[place])
            if score is not None:
                found.append((rating.trait, rater, score))
    return found


def _subgroups(cells: list[str], columns: Mapping[str, int]) -> list[tuple[str, str]]:
    found = []
    for attribute, place in columns.items():
        level = cells[place].strip()
        if not level:
            continue
        _check_characters(level)
        if not is_group_name(level):
            raise RowFaultError(Reason.BAD_SUBGROUP, f"subgroup {attribute}")
        found.append((attribute, level))
    return found


def _iso(cell: str) -> datetime | None:
    try:
        return datetime.fromisoformat(cell)
    except ValueError:
        return None


def _parsed(cell: str, forms: Iterable[str]) -> datetime | None:
    for form in forms:
        try:
            return datetime.strptime(cell, form)  # no zone is taken as UTC by the caller
        except ValueError:
            continue
    return None
