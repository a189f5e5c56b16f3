"""Copies of the warehouse: whole, restored by copying back, taken before a migration."""

import hashlib
import os
import shutil
import time
from pathlib import Path

import duckdb
import pytest

from warehouse import backup, db


def filled(path: Path, name: str = "r") -> None:
    with db.connect(path) as connection:
        connection.execute(
            "INSERT INTO exports VALUES (?, 'run', 'a.csv', '{}', 0, 0, 0, 0, 0, now())", [name]
        )


def exports(path: Path) -> list[str]:
    with db.connect(path) as connection:
        return [
            name for (name,) in connection.execute("SELECT export_sha256 FROM exports").fetchall()
        ]


def test_a_copy_is_the_warehouse_of_that_moment(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    filled(path, "before")
    with db.connect(path) as connection:
        made = backup.take(connection, path, backup.free_path(path), "asked")
        db.note_backup(connection, made)
    copy = made.path(tmp_path)
    assert (copy.parent.name, copy.stat().st_mode & 0o777) == ("backups", 0o600)
    assert hashlib.sha256(copy.read_bytes()).hexdigest() == made.sha256
    filled(path, "after")
    with db.connect(path) as connection:
        assert [one.sha256 for one in db.backups(connection)] == [made.sha256]
    shutil.copy(copy, path)
    assert exports(path) == ["before"]


def test_a_copy_holds_what_was_written_and_not_yet_checkpointed(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        connection.execute("SET checkpoint_threshold = '1GB'")
        connection.execute(
            "INSERT INTO exports VALUES ('x', 'run', 'a.csv', '{}', 0, 0, 0, 0, 0, now())"
        )
        made = backup.take(connection, path, tmp_path / "copy.duckdb", "asked")
    assert exports(made.path(tmp_path)) == ["x"]


def test_a_backup_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    path, target = tmp_path / "warehouse.duckdb", tmp_path / "there.duckdb"
    target.write_bytes(b"something else")
    with db.connect(path) as connection, pytest.raises(backup.BackupError, match="exists already"):
        backup.take(connection, path, target, "asked")
    assert target.read_bytes() == b"something else"


def test_a_backup_that_fails_leaves_no_half_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "warehouse.duckdb"

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("warehouse.backup.shutil.copyfile", full)
    with db.connect(path) as connection, pytest.raises(OSError, match="No space"):
        backup.take(connection, path, backup.free_path(path), "asked")
    assert list((tmp_path / "backups").iterdir()) == []


def of_migration(path: Path, newest: int) -> None:
    """A warehouse as an earlier version of the program left it."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "CREATE TABLE migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)"
        )
        for version, name, script in db._migrations()[:newest]:
            connection.execute(script)
            connection.execute("INSERT INTO migrations VALUES (?, ?, now())", [version, name])


@pytest.mark.parametrize("read_only", [True, False])
def test_a_backup_is_taken_before_a_migration(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "warehouse.duckdb"
    of_migration(path, 2)
    for _ in range(2):  # the second time there is nothing to migrate
        with db.connect(path, read_only=read_only) as connection:
            (made,) = db.backups(connection)
    (copy,) = (tmp_path / "backups").iterdir()
    assert (made.path(tmp_path), made.reason) == (copy, "before-migration-0003")
    with duckdb.connect(str(copy), read_only=True) as connection:
        assert connection.execute("SELECT max(version) FROM migrations").fetchall() == [(2,)]


def test_a_migration_that_fails_leaves_the_warehouse_and_its_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "warehouse.duckdb"
    filled(path)
    known = db._migrations()
    later = [*known, (known[-1][0] + 1, "9999_broken.sql", "CREATE TABLE t (a INT); SELECT no")]
    monkeypatch.setattr(db, "_migrations", lambda: later)
    with pytest.raises(duckdb.Error), db.connect(path):
        pass
    monkeypatch.undo()
    assert exports(path) == ["r"]
    assert len(list((tmp_path / "backups").iterdir())) == 1


def test_a_new_warehouse_needs_no_backup(tmp_path: Path) -> None:
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        assert db.backups(connection) == []
    assert not (tmp_path / "backups").exists()


def test_copies_have_their_time_and_the_newest_stays(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    (tmp_path / "backups").mkdir()
    for name, days in (("a", 50), ("b", 40), ("c", 20)):
        copy = tmp_path / "backups" / f"{name}.duckdb"
        copy.touch()
        os.utime(copy, (time.time() - days * 86_400,) * 2)
    assert [one.name for one in backup.expired(path, 30)] == ["a.duckdb", "b.duckdb"]
    (tmp_path / "backups" / "c.duckdb").unlink()
    assert [one.name for one in backup.expired(path, 30)] == ["a.duckdb"]
