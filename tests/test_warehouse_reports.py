"""Runs and rejects, read back as people ask for them."""

from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pytest

from warehouse import db, reports


def add_run(
    connection: duckdb.DuckDBPyConnection, run_id: str, kind: str, started: datetime, **more: object
) -> None:
    values = {
        "run_id": run_id,
        "kind": kind,
        "status": "running",
        "administration_date": date(2026, 3, 12),
        "started_at": started,
        "parameters": '{"season": "2026-spring"}',
        **more,
    }
    names, places = ", ".join(values), ", ".join("?" * len(values))
    statement = f"INSERT INTO runs ({names}) VALUES ({places})"  # noqa: S608 -- test data
    connection.execute(statement, list(values.values()))


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        add_run(
            connection,
            "n1",
            "nightly",
            datetime(2026, 3, 11, 2, tzinfo=UTC),
            status="done",
            finished_at=datetime(2026, 3, 11, 2, 1, 5, tzinfo=UTC),
            received=12,
            accepted=9,
            rejected=2,
            duplicate=1,
            waiting=3,
            scored=11,
            reused=4,
            coded=1,
        )
        add_run(connection, "n2", "nightly", datetime(2026, 3, 12, 2, tzinfo=UTC), received=1)
        add_run(connection, "t1", "train", datetime(2026, 3, 13, 2, tzinfo=UTC))
        for place, (file, reason) in enumerate(
            [("a.csv", "duplicate"), ("b.csv", "empty_id"), ("a.csv", "off"), ("a.csv", "off")]
        ):
            connection.execute(
                "INSERT INTO rejects VALUES ('n1', 'e', ?, ?, ?, '', NULL, NULL, now())",
                [file, place, reason],
            )
    return path


def test_a_run_comes_back_whole(warehouse: Path) -> None:
    with db.connect(warehouse, read_only=True) as connection:
        run = reports.run(connection, "n1")
    assert (run.kind, run.status, run.received, run.waiting) == ("nightly", "done", 12, 3)
    assert (run.scored, run.reused) == (11, 4)
    assert run.started_at == datetime(2026, 3, 11, 2, tzinfo=UTC)
    assert run.parameters == {"season": "2026-spring"}
    assert run.wall_s == 65
    assert run.reconciled


def test_a_run_that_lost_a_row_does_not_reconcile(warehouse: Path) -> None:
    with db.connect(warehouse, read_only=True) as connection:
        run = reports.run(connection, "n2")
    assert not run.reconciled
    assert run.wall_s is None


def test_an_unknown_run_is_named(warehouse: Path) -> None:
    with (
        db.connect(warehouse, read_only=True) as connection,
        pytest.raises(LookupError, match="no run n9 in this warehouse"),
    ):
        reports.run(connection, "n9")


def test_the_last_run_is_the_one_started_last(warehouse: Path) -> None:
    with db.connect(warehouse, read_only=True) as connection:
        found = [reports.last_run(connection, kind) for kind in (None, "nightly", "backfill")]
    assert [run and run.run_id for run in found] == ["t1", "n2", None]


def test_rejects_are_counted_by_file_and_reason(warehouse: Path) -> None:
    with db.connect(warehouse, read_only=True) as connection:
        counts = reports.rejects_summary(connection, "n1")
        assert reports.rejects_summary(connection, "n2") == []
    assert [(row.file, row.reason, row.count) for row in counts] == [
        ("a.csv", "off", 2),
        ("a.csv", "duplicate", 1),
        ("b.csv", "empty_id", 1),
    ]
