"""Rows about a response leave the tables of MLflow, those of deleted runs as well."""

from pathlib import Path

import pytest

from tasks.tracking import Tracking, erase_rows, start_run
from tasks.tracking.erasing import without

GONE = frozenset({"r1", "=r2"})
CSV = 'item_id,response_id,note\r\n007,r1,"a, b"\r\n007,\'=r2,x\r\n007,r3,"two\r\nlines"\r\n'


@pytest.fixture
def where(tmp_path: Path) -> Tracking:
    return Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, "gradeline")


def test_rows_leave_tables_and_all_else_stays() -> None:
    table = '{"columns":["response_id","v"],"data":[["r1",1.5],["r3",null]]}'
    assert without("eval/a.json", table, GONE) == (
        '{"columns": ["response_id", "v"], "data": [["r3", null]]}',
        1,
    )
    rest, count = without("csv/a.csv", CSV, GONE)
    assert (count, rest) == (2, 'item_id,response_id,note\r\n007,r3,"two\r\nlines"\r\n')
    for path, content in (
        ("a.json", '{"columns":["n"],"data":[["r1"]]}'),
        ("a.json", "[1]"),
        ("a.json", "no json"),
        ("a.csv", "n\r\nr1\r\n"),
        ("a.csv", ""),
    ):
        assert without(path, content, GONE) == (content, 0)


def test_deleted_runs_are_looked_through_and_other_programmes_are_not(where: Tracking) -> None:
    client = where.client()
    other = Tracking(where.uri, where.home, "other")
    logged = [start_run(one, "scoring", "night", {}) for one in (where, where, other)]
    for run_id in logged:
        client.log_text(run_id, CSV, "csv/far_apart.csv")
        client.log_text(run_id, '{"columns":["response_id"],"data":[["r1"]]}', "eval/deep/f.json")
    client.delete_run(logged[0])
    assert erase_rows(where, "scoring", GONE) == 2 * 3
    assert erase_rows(where, "scoring", GONE) == 0
    held = [path.read_text("utf-8") for path in where.home.rglob("f*.*") if path.is_file()]
    assert sum("r1" in content for content in held) == 2  # those of the other programme
    assert erase_rows(where, "no such subject", GONE) == 0


def test_where_nothing_was_logged_no_store_is_made(where: Tracking) -> None:
    assert erase_rows(where, "scoring", GONE) == 0
    assert list(where.home.iterdir()) == []
