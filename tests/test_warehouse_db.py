"""The warehouse opens for seconds, migrates itself, and keeps all of a transaction or nothing."""

import multiprocessing
from multiprocessing.synchronize import Event
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse import db, items, parts, reports


def test_a_new_warehouse_has_every_table_of_the_contract(tmp_path: Path) -> None:
    with db.connect(tmp_path / "new" / "warehouse.duckdb") as connection:
        found = connection.execute("SELECT table_name FROM information_schema.tables").fetchall()
    names = {name for (name,) in found}
    assert {"items", "responses", "rejects", "human_scores", "runs", "scores"} <= names
    assert "current_scores" in names


def test_opening_again_migrates_once(tmp_path: Path) -> None:
    for _ in range(2):
        with db.connect(tmp_path / "warehouse.duckdb") as connection:
            versions = connection.execute("SELECT version FROM migrations").fetchall()
    assert len(versions) == len(set(versions)) > 0


def test_a_warehouse_with_scores_from_before_the_cache_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    (_, name, script), *_ = db._migrations()
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)"
        )
        connection.execute(script)
        connection.execute("INSERT INTO migrations VALUES (1, ?, now())", [name])
        connection.execute(
            "INSERT INTO runs (run_id, kind, status, administration_date, started_at, parameters) "
            "VALUES ('old', 'nightly', 'done', '2026-03-12', now(), '{}')"
        )
        connection.execute(
            "INSERT INTO scores VALUES ('old', 's', 'r', 'i', 'overall', 'scored', NULL, 1.25, 1, "
            "0.75, [0.25, 0.75], false, 3, 'adapter', 'backbone', 2.5, now())"
        )
    for _ in range(2):  # the second time it is opened as it was left
        with db.connect(path) as connection:
            assert reports.run(connection, "old").reused == 0
            found = connection.execute(
                "SELECT raw_score, adapter_version, engine, reused_from FROM current_scores"
            )
            assert found.fetchall() == [(1.25, 3, None, None)]


def test_a_warehouse_from_before_the_evaluation_is_migrated_with_its_data(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)"
        )
        for version, name, script in db._migrations()[:2]:
            connection.execute(script)
            connection.execute("INSERT INTO migrations VALUES (?, ?, now())", [version, name])
        connection.execute("INSERT INTO items VALUES ('i', 't', 0, 2, NULL, NULL, ['x'], now())")
        connection.execute(
            "INSERT INTO responses VALUES ('r1', 'i', 's', NULL, NULL, 'sha', 4, 'e', now()), "
            "('r2', 'i', 's', NULL, NULL, 'sha', 0, 'e', now())"
        )
        connection.execute(
            "INSERT INTO runs (run_id, kind, status, administration_date, started_at, parameters) "
            "VALUES ('old', 'nightly', 'done', '2026-03-12', now(), '{}')"
        )
        connection.execute(
            "INSERT INTO scores (run_id, shard, response_id, item_id, trait, status, raw_score, "
            "score, adapter_version, adapter_sha256, engine, scored_at) VALUES "
            "('old', 's', 'r1', 'i', 't', 'scored', 2.75, 2, 3, 'adapter', 'engine', now())"
        )
        connection.execute(
            "INSERT INTO scores (run_id, shard, response_id, item_id, trait, status, "
            "condition_code, scored_at) VALUES ('old', 's', 'r2', 'i', 't', 'coded', 'B', now())"
        )
    for _ in range(2):  # the second time it is opened as it was left
        with db.connect(path) as connection:
            assert items.list_items(connection) == [
                items.ItemRow("i", "t", 0, 2, None, None, ("x",))
            ]
            assert reports.run(connection, "old").held_reasons == ()
            found = connection.execute(
                "SELECT response_id, score, trimmed_score, reported, tokens "
                "FROM scores ORDER BY response_id"
            )
            assert found.fetchall() == [("r1", 2, 2.4998, "rounded", None), ("r2", *[None] * 4)]
            purposes = connection.execute("SELECT DISTINCT purpose FROM responses").fetchall()
            assert purposes == [("operational",)]
            assert connection.execute("FROM released_scores").fetchall() == []


def of_migration(path: Path, newest: int) -> None:
    """Make a warehouse as an earlier version of the program left it."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)"
        )
        for version, name, script in db._migrations()[:newest]:
            connection.execute(script)
            connection.execute("INSERT INTO migrations VALUES (?, ?, now())", [version, name])


@pytest.mark.parametrize("newest", [0, 1, 2])
def test_reading_migrates_a_warehouse_of_an_earlier_version(tmp_path: Path, newest: int) -> None:
    path = tmp_path / "warehouse.duckdb"
    of_migration(path, newest)
    for _ in range(2):
        with db.connect(path, read_only=True) as connection:
            assert reports.last_run(connection) is None
            assert items.list_items(connection) == []
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                connection.execute("DELETE FROM items")


def test_a_run_held_before_the_evaluation_keeps_what_held_it(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    of_migration(path, 2)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "INSERT INTO runs (run_id, kind, status, administration_date, started_at, parameters, "
            "message) VALUES ('old', 'nightly', 'held', '2026-03-12', now(), '{}', 'a.csv was "
            "refused')"
        )
    with db.connect(path) as connection:
        assert reports.run(connection, "old").held_reasons == ("a.csv was refused",)


def test_a_warehouse_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        connection.execute("INSERT INTO migrations VALUES (9999, 'later', now())")
    with (
        pytest.raises(db.WarehouseTooNewError, match="migration 9999"),
        db.connect(path, read_only=True),
    ):
        pass


def test_reading_needs_a_warehouse(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match="no warehouse"),
        db.connect(tmp_path / "none.duckdb", read_only=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    insert = (
        "INSERT INTO items (item_id, trait, score_min, score_max, added_at) "
        "VALUES ('A', 'overall', 0, 3, now())"
    )
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        with pytest.raises(ZeroDivisionError), db.transaction(connection):
            connection.execute(insert)
            raise ZeroDivisionError
        assert connection.execute("SELECT count(*) FROM items").fetchall() == [(0,)]
        with db.transaction(connection):
            connection.execute(insert)
        assert connection.execute("SELECT count(*) FROM items").fetchall() == [(1,)]


def hold(path: Path, held: Event, let_go: Event) -> None:
    with db.connect(path):
        held.set()
        let_go.wait(30)


def test_a_busy_warehouse_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    spawn = multiprocessing.get_context("spawn")
    held, let_go = spawn.Event(), spawn.Event()
    holder = spawn.Process(target=hold, args=(path, held, let_go))
    holder.start()
    try:
        assert held.wait(30)
        with pytest.raises(db.WarehouseLockedError), db.connect(path, wait_s=0.3):
            pass
    finally:
        let_go.set()
    with db.connect(path, wait_s=30) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(0,)]
    holder.join(30)


def test_a_parquet_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "part.parquet"
    with pytest.raises(ZeroDivisionError), parts.whole_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert list(path.parent.iterdir()) == []


def test_a_parquet_file_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    for number in (1, 2):
        parts.write(path, pa.table({"number": [number]}))
    assert pq.read_table(path).to_pydict() == {"number": [2]}
    assert list(tmp_path.iterdir()) == [path]
