"""What can be wrong with a workspace: each finding with what to do about it. Nothing is changed.

A *fault* keeps a run from its work or from being right; a *note* is what a person should know.
"""

import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from models.adapter_files import AdapterError
from models.adapter_folders import adapter_sha256
from tasks.tracking import RegisteredAdapter
from warehouse import db, health
from warehouse.items import ItemRow

Status = Literal["ok", "note", "fault"]
SHORTEST_KEY = 32
CLOCK_SLACK = timedelta(seconds=60)
NAMED = 5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        status: see above.
        found: what was found.
        remedy: what to do about it; empty where nothing needs to be done.
    """

    name: str
    status: Status
    found: str
    remedy: str = ""


def key_file(path: Path) -> Check:
    """The key for student ids: there, readable by its owner alone, long enough."""
    if not path.exists():
        return Check(
            "student key", "note", f"none at {path} yet", "the first ingest makes one: keep a copy"
        )
    mode = stat.S_IMODE(path.stat().st_mode)
    length = len(path.read_bytes().strip())
    if length < SHORTEST_KEY:
        return Check(
            "student key",
            "fault",
            f"{path} has {length} characters; a key has {SHORTEST_KEY} or more",
            "restore it from its copy: with another key the same student gets another pseudonym",
        )
    if mode & 0o077:
        return Check(
            "student key",
            "fault",
            f"{path} has mode {mode:03o}: others on this machine may read it",
            f"chmod 600 {path}",
        )
    return Check("student key", "ok", f"{length} characters, mode {mode:03o}")


def warehouse_version(path: Path) -> Check:
    """Whether this program knows the warehouse's migrations.

    Raises:
        WarehouseLockedError: another process holds it.
    """
    if not path.exists():
        return Check("warehouse", "note", f"none at {path} yet", "gradeline items add bank.yaml")
    applied, known = health.migrations(path)
    if applied > known:
        return Check(
            "warehouse",
            "fault",
            f"{path} is at migration {applied}, this program knows {known}",
            "install the version of gradeline that wrote it, or a later one",
        )
    if applied < known:
        return Check(
            "warehouse",
            "note",
            f"at migration {applied} of {known}",
            "nothing: the next command takes a backup and migrates it",
        )
    return Check("warehouse", "ok", f"migration {applied}, {path.stat().st_size / 1e6:,.1f} MB")


def runs_left_open(warehouse: Path, is_locked: bool) -> Iterator[Check]:
    """Runs that were killed, and runs that MLflow does not know."""
    with db.connect(warehouse, read_only=True, wait_s=1) as connection:
        unfinished = [row["run_id"] for row in db.rows(connection, "runs_unfinished")]
        untold = [row["run_id"] for row in db.rows(connection, "runs_untold")]
    if unfinished and not is_locked:
        yield Check(
            "runs",
            "note",
            f"{_named(unfinished)} began and did not end: killed, most likely",
            "start the same run again on the same day, and it goes on; else nothing",
        )
    if untold:
        yield Check(
            "runs",
            "note",
            f"MLflow does not show {_named(untold)}",
            "nothing: the next run that scores tells it",
        )
    if not unfinished and not untold:
        yield Check("runs", "ok", "all have ended, and MLflow shows them")


def clock(warehouse: Path, files: Sequence[Path], now: datetime | None = None) -> Check:
    """Whether this machine's clock is behind what has been written already."""
    now = now or datetime.now(UTC)
    newest = [(health.newest_time(warehouse), "the ledger")] if warehouse.exists() else []
    newest += [
        (datetime.fromtimestamp(path.stat().st_mtime, UTC), str(path))
        for path in files
        if path.exists()
    ]
    ahead = [(when - now, where) for when, where in newest if when and when - now > CLOCK_SLACK]
    if ahead:
        most, where = max(ahead)
        return Check(
            "clock",
            "fault",
            f"it says {now:%Y-%m-%d %H:%M:%S} UTC, {most.total_seconds():,.0f} s before the newest "
            f"time in {where}",
            "set the clock (timedatectl set-ntp true) before anything is scored: which score is "
            "current goes by time",
        )
    return Check("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC, not behind the ledger")


def champions(
    found: Sequence[RegisteredAdapter],
    bank: Collection[ItemRow],
    adapters: Path,
    backbone_sha256: str | None,
) -> Iterator[Check]:
    """Whether every item has a champion, whole and made for the backbone in use.

    Args:
        found: the champions.
        bank: the items.
        adapters: the folder with adapters' folders.
        backbone_sha256: of the backbone in use; None if it cannot be read.
    """
    served = {(one.item_id, one.trait) for one in found}
    without = [f"{row.item_id} ({row.trait})" for row in bank]
    without = [
        name
        for name, row in zip(without, bank, strict=True)
        if (row.item_id, row.trait) not in served
    ]
    if without:
        yield Check(
            "champions",
            "note",
            f"{len(without)} of {len(bank)} have none: {_named(without)}",
            "gradeline train; until then their responses are routed to people",
        )
    foreign = [_name(one) for one in found if backbone_sha256 not in (None, one.backbone_sha256)]
    if foreign:
        yield Check(
            "champions",
            "fault",
            f"{_named(foreign)} made for another backbone than the one in use",
            "set GRADELINE_BACKBONE as it was, or gradeline train",
        )
    absent, damaged = _unsound(found, adapters)
    if absent:
        yield Check(
            "champions",
            "note",
            f"{_named(absent)} not in {adapters}",
            "nothing: the next run fetches them from the registry",
        )
    for one, reason in damaged:
        yield Check(
            "champions",
            "fault",
            f"{_name(one)} is damaged: {reason}",
            f"rm -r {adapters / one.sha256}; the next run fetches it from the registry again",
        )
    if not (without or foreign or absent or damaged):
        yield Check("champions", "ok", f"{len(found)}, all whole and made for the backbone in use")


def leftovers(folder: Path, is_locked: bool) -> Check:
    """Plans and parts of runs that did not end."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    if not files or is_locked:
        return Check("parts", "ok", "none is left over" if not files else "of the run going on")
    size = sum(path.stat().st_size for path in files)
    return Check(
        "parts",
        "note",
        f"{len(files)} files, {size / 1e6:,.1f} MB, in {folder} of runs that did not end",
        "nothing: the next run that scores uses what it can and removes the rest",
    )


def _unsound(
    found: Sequence[RegisteredAdapter], adapters: Path
) -> tuple[list[str], list[tuple[RegisteredAdapter, str]]]:
    absent, damaged = [], []
    for one in found:
        folder = adapters / one.sha256
        if not folder.exists():
            absent.append(_name(one))
            continue
        try:
            if adapter_sha256(folder) != one.sha256:
                damaged.append((one, "its files are not those that were registered"))
        except AdapterError as error:
            damaged.append((one, str(error)))
    return absent, damaged


def _name(adapter: RegisteredAdapter) -> str:
    return f"{adapter.item_id} ({adapter.trait}) v{adapter.version}"


def _named(names: Sequence[str]) -> str:
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + rest
