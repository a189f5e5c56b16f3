"""Write rows of named cells in the formats that districts and vendors send."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl import Workbook

Row = dict[str, str]
Writer = Callable[[Path, list[Row]], None]
Columns = Sequence[str] | Mapping[str, str]  # canonical names, or canonical name -> header


def write_csv(
    columns: Columns, *, delimiter: str = ",", encoding: str = "utf-8", line_end: str = "\n"
) -> Writer:
    """A writer of delimited text with quoting.

    A row's ``cut`` cell leaves out its last column, its ``extra`` cell adds one.
    """
    headers = _headers(columns)

    def write(path: Path, rows: list[Row]) -> None:
        text = StringIO()
        lines = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
        lines.writerow(headers.values())
        lines.writerows(_cells(headers, row) for row in rows)
        path.write_bytes(_encoded(text.getvalue(), encoding))

    return write


def write_asap_sas(path: Path, rows: list[Row]) -> None:
    """Tab-separated, and a quotation mark is a character like any other."""
    headers = {
        "response_id": "Id", "item_id": "EssaySet", "human_score": "Score1",
        "human_score_2": "Score2", "text": "EssayText",
    }  # fmt: skip
    lines = [list(headers.values()), *(_cells(headers, row) for row in rows)]
    path.write_bytes("".join("\t".join(line) + "\n" for line in lines).encode())


def write_jsonl(columns: Columns) -> Writer:
    """A writer of one JSON object per line; scores are numbers, or absent where there are none."""
    headers = _headers(columns)

    def write(path: Path, rows: list[Row]) -> None:
        objects = ({headers[name]: _value(row, name) for name in headers} for row in rows)
        lines = (json.dumps(_present(found), ensure_ascii=False) + "\n" for found in objects)
        path.write_bytes("".join(lines).encode())

    return write


def write_xlsx(columns: Columns) -> Writer:
    """A writer of one sheet; ids are text cells, scores numbers."""
    headers = _headers(columns)

    def write(path: Path, rows: list[Row]) -> None:
        book = Workbook(write_only=True)
        sheet = book.create_sheet("responses")
        sheet.append(list(headers.values()))
        for row in rows:
            sheet.append([_value(row, name) for name in headers])
        book.save(path)

    return write


def write_parquet(columns: Columns) -> Writer:
    """A writer of strings, and of nullable integers for scores."""
    headers = _headers(columns)

    def write(path: Path, rows: list[Row]) -> None:
        table = {headers[name]: [_value(row, name) for row in rows] for name in headers}
        pq.write_table(pa.table(table), path, compression="zstd")

    return write


def _headers(columns: Columns) -> Mapping[str, str]:
    return columns if isinstance(columns, Mapping) else dict(zip(columns, columns, strict=True))


def _cells(headers: Mapping[str, str], row: Row) -> list[str]:
    cells = [row[name] for name in headers]
    if "cut" in row:
        return cells[:-1]
    return [*cells, "?"] if "extra" in row else cells


def _value(row: Row, name: str) -> str | int | None:
    if name.startswith("human_score"):
        return int(row[name]) if row[name] else None
    return row[name]


def _present(cells: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: cell for name, cell in cells.items() if cell is not None}


def _encoded(text: str, encoding: str) -> bytes:
    """UTF-16 always little-endian with its mark, so that every machine writes the same bytes."""
    return b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16" else text.encode(encoding)
