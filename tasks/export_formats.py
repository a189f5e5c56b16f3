"""Exports as rows of strings, whatever their format; memory does not grow with the file."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

from tasks.columns import ColumnMap, map_columns
from tasks.delimited import RecordReader, Row, physical_lines
from tasks.encodings import check_encoding, detect_encoding, open_text, sniff_format
from tasks.mapping_file import MappingFile, known_layout
from tasks.parquet_rows import NESTED, parquet_header, parquet_rows
from tasks.reasons import ExportRefusedError, Fault, Reason
from tasks.workbooks import sheet_rows

DELIMITERS = (",", "\t", ";", "|")
DELIMITER_WORDS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "pipe"}
MOST_COLUMNS = 16_384  # as many as a sheet can have


@dataclass(frozen=True)
class Export:
    """An opened export.

    Attributes:
        format: ``csv``, ``jsonl``, ``parquet`` or ``xlsx``.
        encoding: of a text file, else None.
        delimiter: its name, of a delimited file, else None.
        layout: the built-in layout that its header is, if any.
        header: the column names in order.
        columns: which column is which.
        rows: yields a row's cells in the header's order, or a fault; to be read once.
    """

    format: str
    encoding: str | None
    delimiter: str | None
    layout: str | None
    header: tuple[str, ...]
    columns: ColumnMap
    rows: Callable[[], Iterator[Row]]


def open_export(path: Path, mapping: MappingFile | None, line_limit: int) -> Export:
    """Find out how to read a file, and which column is which.

    Args:
        path: the file.
        mapping: what a person says about it, if anything.
        line_limit: characters that a row may have before it counts as broken.

    Raises:
        ExportRefusedError: it is absent, empty, or in no format that can be read.
    """
    try:
        kind = sniff_format(path)
        if kind == "delimited":
            return _open_delimited(path, mapping or MappingFile(), mapping is None, line_limit)
        if kind == "jsonl":
            return _open_jsonl(path, mapping, line_limit)
        return _open_parquet(path, mapping) if kind == "parquet" else _open_xlsx(path, mapping)
    except OSError as error:
        raise ExportRefusedError(f"the file cannot be read: {error.strerror or error}") from error


def _export(
    kind: str,
    header: Sequence[str],
    mapping: MappingFile | None,
    rows: Callable[[], Iterator[Row]],
    encoding: str | None = None,
    delimiter: str | None = None,
) -> Export:
    _check_width(len(header))
    layout = None if mapping else known_layout(header)
    return Export(
        kind,
        encoding,
        DELIMITER_WORDS.get(delimiter, delimiter) if delimiter else None,
        layout[0] if layout else None,
        tuple(header),
        map_columns(header, mapping),
        rows,
    )


def _check_width(columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise ExportRefusedError(
            f"the file has over {MOST_COLUMNS} columns: name the ones to read in a file of its own"
        )


def _open_delimited(path: Path, given: MappingFile, detect: bool, limit: int) -> Export:
    encoding = given.encoding or detect_encoding(path)
    check_encoding(path, encoding)
    literal = given.quoting == "literal"
    delimiter = given.delimiter or _sniff_delimiter(path, encoding, limit, literal)
    header = _header(path, encoding, delimiter, limit, literal)
    _check_width(len(header))
    layout = known_layout(header) if detect else None
    if layout:  # saved anew with commas, such a file has its texts in quotes like any other
        literal = layout[1].quoting == "literal" and delimiter == "\t"

    def rows() -> Iterator[Row]:
        with open_text(path, encoding) as handle:
            lines = _without_separator_line(physical_lines(handle, limit))
            reader = RecordReader(lines, delimiter, limit, literal_quotes=literal)
            reader.header()
            yield from reader.rows(len(header))

    return _export("csv", header, None if detect else given, rows, encoding, delimiter)


def _header(path: Path, encoding: str, delimiter: str, limit: int, literal: bool) -> list[str]:
    with open_text(path, encoding) as handle:
        lines = _without_separator_line(physical_lines(handle, limit))
        return RecordReader(lines, delimiter, limit, literal_quotes=literal).header()


def _without_separator_line(lines: Iterator[str | None]) -> Iterator[str | None]:
    """Leave out the first line ``sep=;`` that Excel writes."""
    for number, line in enumerate(lines):
        if number == 0 and line is not None and _separator(line):
            continue
        yield line


def _separator(line: str) -> str | None:
    words = line.rstrip("\r\n")
    return words[4] if len(words) == 5 and words.lower().startswith("sep=") else None


def _sniff_delimiter(path: Path, encoding: str, limit: int, literal: bool) -> str:
    """The one that gives the header most known columns, then most columns."""
    with open_text(path, encoding) as handle:
        named = _separator(next(physical_lines(handle, limit), None) or "")
    if named:
        return named

    def columns(delimiter: str) -> tuple[int, int]:
        header = _header(path, encoding, delimiter, limit, literal)
        if len(header) > MOST_COLUMNS:
            return 0, len(header)
        return len(map_columns(header, None).names), len(header)

    return max(DELIMITERS, key=columns)


def _open_jsonl(path: Path, mapping: MappingFile | None, limit: int) -> Export:
    encoding = (mapping.encoding if mapping else None) or detect_encoding(path)
    check_encoding(path, encoding)

    def objects() -> Iterator[dict[str, Any] | Fault]:
        with open_text(path, encoding) as handle:
            for line in physical_lines(handle, 8 * limit):  # \u0041 is one character of text
                if line is None:
                    yield Fault(Reason.ROW_TOO_LONG, f"a line of over {8 * limit} characters")
                elif line.strip():
                    yield _json_object(line)

    # A key may be absent from most objects, so the header is every key of the file.
    places: dict[str, int] = {}
    for found in objects():
        for key in found if isinstance(found, dict) else ():
            places.setdefault(key, len(places))
        _check_width(len(places))
    header = list(places)

    def rows() -> Iterator[Row]:
        for found in objects():
            if isinstance(found, Fault):
                yield found
                continue
            cells = [""] * len(header)
            for key, value in found.items():
                cells[places[key]] = _json_cell(value)
            yield cells

    return _export("jsonl", header, mapping, rows, encoding)


def _json_object(line: str) -> dict[str, Any] | Fault:
    try:
        found = json.loads(line, parse_int=str, parse_float=str)  # ids keep every digit
    except (ValueError, RecursionError):
        return Fault(Reason.BAD_JSON)
    return found if isinstance(found, dict) else Fault(Reason.BAD_JSON, "no object")


def _json_cell(value: object) -> str:
    return NESTED if isinstance(value, list | dict) else _plain(value)


def _open_parquet(path: Path, mapping: MappingFile | None) -> Export:
    header = parquet_header(path)

    def rows() -> Iterator[Row]:
        yield from parquet_rows(path, used, _plain)

    opened = _export("parquet", header, mapping, rows)
    used = opened.columns.places
    return opened


def _open_xlsx(path: Path, mapping: MappingFile | None) -> Export:
    values = sheet_rows(path, _plain)
    header = next((row for row in values if any(row)), [])
    while header and not header[-1]:
        header.pop()

    def rows() -> Iterator[Row]:
        for row in values:
            if any(row):
                yield _fitted(row, len(header))

    return _export("xlsx", header, mapping, rows)


def _fitted(row: list[str], width: int) -> Row:
    """A sheet's rows are all as wide as its widest; what stands beyond the header is a fault."""
    if any(row[width:]):
        filled = max(at for at, cell in enumerate(row, 1) if cell)
        return Fault(Reason.ROW_TOO_LONG, f"{filled} cells, the header has {width}")
    return row[:width] + [""] * (width - len(row))


def _plain(value: object) -> str:
    """A typed cell as people would write it: whole floats without .0, dates as ISO 8601."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN is how many tools write an empty number
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value.isoformat() if isinstance(value, date | datetime | time) else str(value)
