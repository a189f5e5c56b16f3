"""Open the warehouse for seconds, migrate it, and run the statements kept in ``sql/``."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from warehouse import backup

LOCK_WAIT_S = 60.0


class WarehouseLockedError(RuntimeError):
    """Another process kept the warehouse open for longer than we were willing to wait."""


class WarehouseTooNewError(RuntimeError):
    """The warehouse was written by a later version of gradeline."""


@contextmanager
def connect(
    path: Path, *, read_only: bool = False, wait_s: float = LOCK_WAIT_S
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse and close it again; hold it only for the seconds a step needs.

    One process that writes locks out all others, so a busy warehouse is waited for.
    A warehouse opened for writing is created where there is none. One of an earlier version is
    copied to ``backups`` beside it and migrated, whatever it is opened for.

    Args:
        path: the ``warehouse.duckdb`` file.
        read_only: open without the right to write; the file must exist.
        wait_s: how long to wait for another process to let go, in seconds.

    Raises:
        FileNotFoundError: read_only, and there is no warehouse.
        WarehouseLockedError: another process held it for all of wait_s.
        WarehouseTooNewError: it has migrations that this program does not know.
    """
    if read_only and not path.exists():
        raise FileNotFoundError(f"no warehouse at {path}: ingest an export first")
    if read_only and _is_behind(path, wait_s):
        with connect(path, wait_s=wait_s):
            pass  # migrates it
    connection = _open(path, read_only=read_only, wait_s=wait_s)
    try:
        connection.execute("SET TimeZone = 'UTC'")
        _check_version(connection, path)
        if not read_only:
            _migrate(connection, path)
        yield connection
    finally:
        connection.close()


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Everything inside is kept, or nothing is."""
    connection.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


@cache
def sql(name: str) -> str:
    """The statement in ``warehouse/sql/<name>.sql``."""
    return resources.files("warehouse").joinpath("sql", f"{name}.sql").read_text("utf-8")


def execute(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """Run the named statement with ``$name`` parameters bound."""
    return connection.execute(sql(name), dict(parameters or {}))


def rows(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Run the named statement and return its rows as dictionaries."""
    result = execute(connection, name, parameters)
    columns = [column[0] for column in result.description or []]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def table(
    connection: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, Any] | None = None
) -> pa.Table:
    """Run the named statement and return its rows as an Arrow table."""
    return connection.sql(sql(name), params=dict(parameters or {})).to_arrow_table()


def _open(path: Path, *, read_only: bool, wait_s: float) -> duckdb.DuckDBPyConnection:
    path.parent.mkdir(parents=True, exist_ok=True)
    return let_in(path, lambda: duckdb.connect(str(path), read_only=read_only), wait_s)


def let_in(
    path: Path, opening: Callable[[], duckdb.DuckDBPyConnection], wait_s: float = LOCK_WAIT_S
) -> duckdb.DuckDBPyConnection:
    """Try to open a warehouse until no other process holds it.

    Raises:
        WarehouseLockedError: another process held it for all of wait_s.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return opening()
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise
            if time.monotonic() > deadline:
                raise WarehouseLockedError(
                    f"{path} has been held by another process for {wait_s:.0f} s; "
                    "close programs that have it open for writing and run again"
                ) from error
            time.sleep(0.2)


def _migrations() -> list[tuple[int, str, str]]:
    folder = resources.files("warehouse").joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), name, folder.joinpath(name).read_text("utf-8")) for name in names]


def _applied(connection: duckdb.DuckDBPyConnection) -> int:
    found = connection.execute(
        "SELECT 1 FROM duckdb_tables() WHERE table_name = 'migrations'"
    ).fetchall()
    if not found:
        return 0
    # fetchall, not fetchone: a result that is not read to its end blocks the connection.
    ((newest,),) = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchall()
    return int(newest)


def versions(path: Path, wait_s: float = LOCK_WAIT_S) -> tuple[int, int]:
    """A warehouse's newest migration, and the newest that this program knows; nothing is changed.

    Raises:
        WarehouseLockedError: another process held it for all of wait_s.
    """
    connection = _open(path, read_only=True, wait_s=wait_s)
    try:
        return _applied(connection), _migrations()[-1][0]
    finally:
        connection.close()


def _is_behind(path: Path, wait_s: float) -> bool:
    """Whether a warehouse lacks migrations."""
    applied, known = versions(path, wait_s)
    return applied < known


def _check_version(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    applied, known = _applied(connection), _migrations()[-1][0]
    if applied > known:
        raise WarehouseTooNewError(
            f"{path} is at migration {applied}, this program knows {known}: "
            "use the version of gradeline that wrote it, or a later one"
        )


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    applied = _applied(connection)
    if applied >= _migrations()[-1][0]:
        return
    taken = _before_migration(connection, path, applied) if applied else None
    for version, name, script in _migrations():
        if version <= applied:
            continue
        with transaction(connection):
            connection.execute(
                "CREATE TABLE IF NOT EXISTS migrations "
                "(version INTEGER PRIMARY KEY, name VARCHAR, applied_at TIMESTAMPTZ)"
            )
            connection.execute(script)
            connection.execute("INSERT INTO migrations VALUES (?, ?, now())", [version, name])
    if taken is not None:
        note_backup(connection, taken)


def _before_migration(
    connection: duckdb.DuckDBPyConnection, path: Path, applied: int
) -> backup.Backup:
    """A copy of the warehouse as the earlier version left it, which that version can open."""
    word = f"before-migration-{applied + 1:04}"
    return backup.take(connection, path, backup.free_path(path, word), word)


def note_backup(connection: duckdb.DuckDBPyConnection, taken: backup.Backup) -> None:
    """Enter a copy of this warehouse in its list."""
    kept = asdict(taken)
    now = kept.pop("taken_at")
    execute(connection, "backup_insert", {**kept, "now": now})


def backups(connection: duckdb.DuckDBPyConnection) -> list[backup.Backup]:
    """The copies that were made of this warehouse, oldest first."""
    return [backup.Backup(**row) for row in rows(connection, "backup_list")]
