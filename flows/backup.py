"""A copy of the warehouse: all of it or nothing, as one moment left it."""

from dataclasses import dataclass
from pathlib import Path

from flows.settings import Settings, load_settings
from warehouse import backup as copies
from warehouse import db
from warehouse.backup import Backup


@dataclass(frozen=True)
class BackupResult:
    """A copy that was made, and those that had their time and were removed."""

    file: Path
    sha256: str
    bytes: int
    removed: tuple[Path, ...]


def backup(target: Path | None = None, home: Path | None = None) -> BackupResult:
    """Copy the warehouse; nights go on, and wait for the seconds that it takes.

    Restored by copying it back in the place of ``warehouse.duckdb`` while nothing runs. Copies in
    the workspace's ``backups`` are removed when they are older than ``backup_days``, which is how
    long an erased student may still be in one.

    Args:
        target: the copy; named by the time and put into ``backups`` where not given.
        home: the workspace; from the settings where not given.

    Raises:
        FileNotFoundError: there is no warehouse.
        BackupError: the target is there already.
    """
    settings = load_settings(home)
    if not settings.warehouse.exists():
        raise FileNotFoundError(f"no warehouse at {settings.warehouse}: ingest an export first")
    place = copies.free_path(settings.warehouse) if target is None else target.resolve()
    made = take(settings, place)
    return BackupResult(place, made.sha256, made.bytes, _remove_old(settings))


def take(settings: Settings, target: Path) -> Backup:
    """Copy the warehouse and note the copy's hash in it."""
    with db.connect(settings.warehouse) as connection:
        made = copies.take(connection, settings.warehouse, target, "asked")
        db.note_backup(connection, made)
    return made


def _remove_old(settings: Settings) -> tuple[Path, ...]:
    old = copies.expired(settings.warehouse, settings.backup_days)
    for path in old:
        path.unlink()
    return tuple(old)
