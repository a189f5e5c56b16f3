"""XLSX workbooks as rows of strings; what they would unpack to is looked at before."""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import python_calamine

from tasks.reasons import ExportRefusedError

UNPACKED_BYTES = 250_000_000  # all of a sheet, and of its strings, is in memory at once
MOST_CELLS = 20_000_000  # of the rectangle from A1: the library holds every one, empty ones too
CHUNK_BYTES = 1 << 20
LONGEST_TAG = 1 << 16
DAMAGED = "the workbook is damaged: save it again as .xlsx"
ROW = re.compile(rb"<(?:\w+:)?row\b")
FAR_COLUMN = re.compile(rb"""\br\s*=\s*["']([T-Zt-z]|[A-Za-z]{2,4})\d""")  # of r="XFD1048576"
ROW_NUMBER = re.compile(rb"""\br\s*=\s*["'][A-Za-z]{0,4}(\d{1,9})""")
NEAR_COLUMNS = 19  # A to S: with these a sheet of all possible rows is within the limit


def sheet_rows(path: Path, plain: Callable[[object], str]) -> Iterator[list[str]]:
    """Rows of the first sheet, as strings.

    Args:
        path: the workbook.
        plain: makes a string of a typed cell.

    Raises:
        ExportRefusedError: it is damaged, no workbook, or too large to be held in memory.
    """
    _check(path)
    try:
        with python_calamine.CalamineWorkbook.from_path(path) as book:
            for row in book.get_sheet_by_index(0).iter_rows():
                yield [plain(value) for value in row]
    except (python_calamine.CalamineError, OSError) as error:
        raise ExportRefusedError("the workbook cannot be read: save it again as .xlsx") from error


def _check(path: Path) -> None:
    """Look into the archive before the library unpacks it.

    Its directory may lie about sizes, so every part is read through once: what does not have the
    length and the checksum that the directory says is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if not any(entry.filename.startswith("xl/") for entry in entries):
                raise ExportRefusedError(
                    "the file is a zip archive, not a workbook: unpack it first"
                )
            size = sum(entry.file_size for entry in entries)
            if size > UNPACKED_BYTES:
                raise ExportRefusedError(
                    f"the workbook unpacks to {size // 1_000_000} MB, "
                    f"over the limit of {UNPACKED_BYTES // 1_000_000} MB: save it as CSV"
                )
            for entry in entries:
                _check_extent(archive, entry)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ExportRefusedError(DAMAGED) from error


def _check_extent(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuse a sheet whose cells lie so far apart that the library could not hold those between.

    The library holds the rectangle from A1 to the last row and column, and ends the whole program
    where there is no room for it. Looking at the place of every cell takes seconds, and is done
    only where one lies beyond the near columns.
    """
    with archive.open(entry) as stream:
        columns = _columns(stream)
    if columns <= NEAR_COLUMNS:
        return
    with archive.open(entry) as stream:
        rows = _rows(stream)
    if rows * columns > MOST_CELLS:
        raise ExportRefusedError(
            f"a sheet reaches to row {rows} and column {columns}: delete the cells that stand far "
            "from the table, or save it as CSV"
        )


def _columns(stream: IO[bytes]) -> int:
    """The last column of a sheet's XML; cells that name no place follow one another."""
    columns = in_row = 0
    for data in _pieces(stream):
        prefixed = b":row" in data
        for number, row in enumerate(ROW.split(data)):
            cells = row.count(b"<c") + (row.count(b":c") if prefixed else 0)
            in_row = cells if number else in_row + cells
            columns = max(columns, in_row)
        columns = max([columns, *map(_column, set(FAR_COLUMN.findall(data)))])
    return columns


def _rows(stream: IO[bytes]) -> int:
    """The last row of a sheet's XML; rows that name no place follow one another."""
    followed = named = 0
    for data in _pieces(stream):
        followed += len(ROW.findall(data))
        named = max([named, *map(int, set(ROW_NUMBER.findall(data)))])
    return max(followed, named)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """What a stream holds, cut where tags begin."""
    unread = b""
    while chunk := stream.read(CHUNK_BYTES):
        data = unread + chunk
        cut = max(data.rfind(b"<"), len(data) - LONGEST_TAG)
        yield data[:cut]
        unread = data[cut:]
    yield unread


def _column(letters: bytes) -> int:
    """A column's number: A is 1, XFD is 16,384."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + letter - 64
    return number
