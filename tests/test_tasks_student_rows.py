"""Which export files hold rows of one student."""

import json
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.export_rows import pseudonym
from tasks.student_rows import Sought, hash_of, search

KEY = b"k" * 32
HEADER = ["response_id", "item_id", "student_id", "text"]
ROWS = [["r1", "i", "S-1", "one"], ["r2", "i", "S-2", "two"], ["r3", "i", " S-1 ", "three"]]
SOUGHT = Sought(hash_of(pseudonym("S-1", KEY) or ""), KEY, frozenset({"r9"}))


def lines(rows: list[list[str]], delimiter: str = ",") -> str:
    return "".join(delimiter.join(row) + "\n" for row in rows)


def written(folder: Path, kind: str) -> Path:
    path = folder / f"export.{kind}"
    table = [HEADER, *ROWS]
    if kind == "csv":
        path.write_text(lines(table), "utf-8")
    elif kind == "tsv":
        path.write_text(lines(table, "\t"), "utf-16")
    elif kind == "jsonl":
        rows = [json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS]
        path.write_text("\n".join(rows), "utf-8")
    elif kind == "parquet":
        columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
        pq.write_table(pa.table(columns), path)
    else:
        book = openpyxl.Workbook()
        for row in table:
            book.active.append(row)
        book.save(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_rows_are_found_in_every_format(tmp_path: Path, kind: str) -> None:
    found = search(written(tmp_path, kind), SOUGHT)
    assert (found.rows, found.unread) == ((1, 3), 0)


def test_a_row_is_found_by_its_response_id_alone(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("response_id,item_id,text,score\nr9,i,x,1\nr8,i,r9,S-1\n", "utf-8")
    # Without a column of students, any cell may be one; the text is no response id.
    assert search(path, SOUGHT).rows == (1, 2)
    path.write_text("response_id,item_id,text,student_id\nr8,i,r9,S-2\n", "utf-8")
    assert search(path, SOUGHT).rows == ()


def test_columns_that_nobody_knows_are_all_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("spalte,wer\nx,S-1\ny,S-3\nr9,S-4\n", "utf-8")
    assert search(path, SOUGHT).rows == (1, 3)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(lines([HEADER, ["r1", "i"], ROWS[1]]), "utf-8")
    assert (search(path, SOUGHT).rows, search(path, SOUGHT).unread) == ((), 1)
    path.write_bytes(b"PK\x03\x04 no zip")
    assert search(path, SOUGHT).unread == -1
    path.write_bytes(b"")
    assert search(path, SOUGHT).unread == 0
