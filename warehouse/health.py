"""What can be told of a warehouse without changing it, whatever version it is of."""

from datetime import datetime
from pathlib import Path

from warehouse import db

WAIT_S = 1.0


def migrations(path: Path) -> tuple[int, int]:
    """The newest migration of a warehouse, and the newest that this program knows.

    Raises:
        WarehouseLockedError: another process holds it.
    """
    return db.versions(path, WAIT_S)


def newest_time(path: Path) -> datetime | None:
    """The newest time in a warehouse of this program's version; None where nothing has happened.

    Raises:
        WarehouseLockedError: another process holds it.
    """
    with db.connect(path, read_only=True, wait_s=WAIT_S) as connection:
        (found,) = db.rows(connection, "health_newest_time")
    newest: datetime | None = found["newest"]
    return newest
