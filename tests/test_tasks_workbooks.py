"""Workbooks and Parquet files that are larger inside than outside are refused in words."""

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faults import bombs

from tasks.export_formats import open_export
from tasks.reasons import ExportRefusedError

LIMIT = 180_000
NAMES = ["response_id", "item_id", "text"]


def taken_in(path: Path) -> int:
    """How many rows a file has."""
    return sum(1 for _ in open_export(path, None, LIMIT).rows())


@pytest.mark.parametrize(
    ("bomb", "said"),
    [
        (bombs.far_cell, "row 1048576 and column 16384"),
        (bombs.far_column, "row 20001 and column 16384"),
        (bombs.laughing_sheet, "cannot be read"),
        (bombs.laughing_strings, "cannot be read"),
        (bombs.external_entity, "cannot be read"),
        (bombs.blank_sheet, "unpacks to 480 MB"),
        (bombs.lying_sizes, "damaged"),
        (bombs.many_keys, "over 16384 columns"),
        (bombs.null_rows, "most are empty"),
    ],
    ids=lambda given: getattr(given, "__name__", None),
)
def test_a_bomb_is_refused(
    tmp_path: Path, bomb: Callable[[Path, random.Random], Path], said: str
) -> None:
    path = bomb(tmp_path, random.Random(1))
    tracemalloc.start()
    with pytest.raises(ExportRefusedError, match=said):
        taken_in(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000


def test_a_sheet_that_only_says_that_it_is_large_is_read(tmp_path: Path) -> None:
    assert taken_in(bombs.false_dimension(tmp_path, random.Random(1))) == 1


def test_a_wide_sheet_with_few_rows_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.append([*NAMES, *(f"c{number}" for number in range(400))])
    for number in range(50):
        book.active.append([f"r{number}", "A", "x", *range(400)])
    book.save(tmp_path / "wide.xlsx")
    assert taken_in(tmp_path / "wide.xlsx") == 50


def test_a_text_that_parquet_says_often_is_held_once(tmp_path: Path) -> None:
    n, path = 300, tmp_path / "often.parquet"
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), ["y" * 1_000_000])
    ids = pa.array([f"r{number}" for number in range(n)])
    pq.write_table(pa.table([ids, pa.array(["A"] * n), text], NAMES), path)
    tracemalloc.start()
    assert taken_in(path) == n
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000


def test_as_many_columns_as_a_sheet_can_have_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    names = [*NAMES, *(f"c{number}" for number in range(16_381))]
    path.write_text(",".join(names) + "\nr1,A,x" + "," * 16_381 + "\n")
    assert taken_in(path) == 1
    path.write_text(",".join([*names, "one more"]) + "\nr1,A,x" + "," * 16_382 + "\n")
    with pytest.raises(ExportRefusedError, match="over 16384 columns"):
        open_export(path, None, LIMIT)


def test_keys_of_json_that_few_rows_have_cost_the_others_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    rows = [{"response_id": f"r{n}", "item_id": "A", "text": "x", f"k{n}": n} for n in range(900)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(open_export(path, None, LIMIT).rows())
    assert [row[:3] for row in found] == [[f"r{n}", "A", "x"] for n in range(900)]
    assert all(isinstance(row, list) and row.count("") == 899 for row in found)


def test_empty_lines_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(",".join(NAMES) + "\nr1,A,x\n" + "\n" * 1_000_000 + "r2,A,x\n")
    assert taken_in(path) == 2
    path.write_text(",".join(NAMES) + "\nr1,A,x\n" + "\n" * 1_000_001 + "r2,A,x\n")
    with pytest.raises(ExportRefusedError, match="empty lines"):
        taken_in(path)
