"""A clock that was set back changes neither what is current nor what comes first."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tasks.exports import IngestOptions, ingest_export
from warehouse import db, runs
from warehouse.clock import moment
from warehouse.items import ItemRow, add_items

DAY = date(2026, 3, 12)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A warehouse whose last run began two years from now."""
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        add_items(connection, [ItemRow("A", "overall", 0, 3)])
        runs.start_run(connection, "nightly", DAY, {})
        connection.execute("UPDATE runs SET started_at = started_at + INTERVAL 730 DAY")
    return path


def test_the_moment_is_now_where_the_clock_goes_right(tmp_path: Path) -> None:
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        before = datetime.now(UTC)
        assert before <= moment(connection) <= datetime.now(UTC)


def test_a_later_run_has_a_later_time_though_the_clock_says_otherwise(warehouse: Path) -> None:
    with db.connect(warehouse) as connection:
        first = moment(connection)
        assert first > datetime.now(UTC) + timedelta(days=700)
        later = runs.start_run(connection, "backfill", DAY, {})
        runs.finish_run(connection, later, "done", runs.RunCounts())
        rows = connection.execute(
            "SELECT kind, started_at <= finished_at FROM runs ORDER BY started_at"
        ).fetchall()
        assert rows == [("nightly", True), ("backfill", True)]
        assert moment(connection) > first


def test_responses_of_the_days_that_the_clock_forgot_are_taken_in(
    warehouse: Path, tmp_path: Path
) -> None:
    export = tmp_path / "export.csv"
    tomorrow = datetime.now(UTC) + timedelta(days=300)
    cells = f"1,A,x,{tomorrow.isoformat()}\n2,A,x,{(tomorrow + timedelta(days=700)).isoformat()}\n"
    export.write_text("response_id,item_id,text,submitted_at\n" + cells)
    options = IngestOptions(season="2026-spring", mapping_file=None, student_key=b"k" * 32)
    counts = ingest_export(warehouse, tmp_path / "responses", export, "run", options)
    assert (counts.accepted, counts.reasons) == (1, {"bad_submitted_at": 1})
