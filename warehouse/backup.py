"""Copies of the warehouse: made whole, compared by hash, restored by copying back."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from warehouse.parts import whole_file

FOLDER = "backups"


class BackupError(RuntimeError):
    """A backup cannot be made where it was asked for."""


@dataclass(frozen=True)
class Backup:
    """A copy of the warehouse.

    Attributes:
        file: where it lies; one in the workspace by its place there, such as ``backups/...``.
        sha256: of the file.
        bytes: its size.
        reason: ``asked``, or the migration that it was taken before.
        taken_at: when (UTC).
    """

    file: str
    sha256: str
    bytes: int
    reason: str
    taken_at: datetime

    def path(self, workspace: Path) -> Path:
        """The file; joining leaves an absolute path as it is."""
        return workspace / self.file


def free_path(warehouse: Path, word: str = "") -> Path:
    """A new file in ``backups`` beside the warehouse, named by the time in UTC and a word."""
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    name = "-".join(filter(None, (warehouse.stem, stamp, word)))
    path, number = warehouse.parent / FOLDER / f"{name}.duckdb", 1
    while path.exists():
        number += 1
        path = path.with_name(f"{name}.{number}.duckdb")
    return path


def take(
    connection: duckdb.DuckDBPyConnection, warehouse: Path, target: Path, reason: str
) -> Backup:
    """Copy the warehouse file; it is there whole or not at all, readable by its owner alone.

    Args:
        connection: the warehouse, open for writing and in no transaction: as long as it is open,
            no other process can write.
        warehouse: the file that is open.
        target: the copy.
        reason: why it is taken.

    Raises:
        BackupError: the target is there already.
        OSError: it cannot be written.
    """
    if target.exists():
        raise BackupError(f"{target} exists already: a backup never takes the place of a file")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection.execute("CHECKPOINT")  # from now on the file holds everything, the log nothing
    with whole_file(target) as temporary:
        temporary.touch(mode=0o600)
        shutil.copyfile(warehouse, temporary)
        found = sha256_of(temporary)
    return Backup(
        file=_named(target, warehouse.parent),
        sha256=found,
        bytes=target.stat().st_size,
        reason=reason,
        taken_at=datetime.now(UTC),
    )


def expired(warehouse: Path, days: int) -> list[Path]:
    """The copies in ``backups`` that are older than so many days; never the newest one."""
    found = sorted(
        (warehouse.parent / FOLDER).glob("*.duckdb"), key=lambda path: path.stat().st_mtime
    )
    oldest = datetime.now(UTC).timestamp() - days * 86_400
    return [path for path in found[:-1] if path.stat().st_mtime < oldest]


def sha256_of(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _named(target: Path, workspace: Path) -> str:
    resolved, folder = target.resolve(), workspace.resolve()
    inside = resolved.is_relative_to(folder)
    return os.fspath(resolved.relative_to(folder) if inside else resolved)
