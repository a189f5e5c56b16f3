"""The workspace's lock: one command at a time changes it, and the others wait for their turn."""

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.context import FlowRunContext

LOCK, HOLDER = ".lock", ".lock.holder"
LOCK_WAIT_S = 6 * 3600.0
SAY_EVERY_S = 30.0
POLL_S = 0.5
logger = logging.getLogger(__name__)


class WorkspaceBusyError(RuntimeError):
    """Another command is changing this workspace."""


@dataclass(frozen=True)
class Holder:
    """Who holds a workspace: process, kind of work, and since when (UTC)."""

    pid: int
    doing: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.doing}, since {self.since})"


@contextmanager
def locked(home: Path, doing: str | None = None, *, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the workspace; whoever finds it held waits, and says for whom.

    The lock is the operating system's, so a killed process lets go of it.

    Args:
        home: the workspace; made where there is none.
        doing: what it is held for, as those who wait are told; the flow's name where not given.
        wait_s: how long to wait, in seconds; 0 refuses at once.

    Raises:
        WorkspaceBusyError: another process held it for all of wait_s, or this one does already.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(home / LOCK)
    _acquire(lock, home, wait_s)
    try:
        me = Holder(
            os.getpid(), doing or _flow_name(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        )
        with suppress(OSError):  # on a full disk others wait all the same, for they know not whom
            (home / HOLDER).write_text(json.dumps(asdict(me)), "utf-8")
        yield
    finally:
        with suppress(OSError):
            (home / HOLDER).unlink(missing_ok=True)
        lock.release()


def holder(home: Path) -> Holder | None:
    """Who holds the workspace, or died holding it; None where nobody does, or it is not known."""
    try:
        return Holder(**json.loads((home / HOLDER).read_text("utf-8")))
    except (OSError, TypeError, ValueError):
        return None


def is_locked(home: Path) -> bool:
    """Whether somebody holds the workspace at this moment; makes nothing."""
    if not (home / LOCK).exists():
        return False
    try:
        with FileLock(home / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def _acquire(lock: FileLock, home: Path, wait_s: float) -> None:
    began = said = time.monotonic()
    waiting = False
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            now, found = time.monotonic(), holder(home)
            own = found is not None and found.pid == os.getpid()
            if own or now - began >= wait_s:
                raise _busy(home, found, now - began) from error
            if not waiting or now - said >= SAY_EVERY_S:
                waiting, said = True, now
                logger.info("waiting for %s to end", found or "another process")
            time.sleep(min(POLL_S, wait_s))
        else:
            if waiting:
                logger.info("waited %.0f s, going on", time.monotonic() - began)
            return


def _busy(home: Path, found: Holder | None, waited_s: float) -> WorkspaceBusyError:
    waited = f" {waited_s:.0f} s were not enough." if waited_s >= 1 else ""
    return WorkspaceBusyError(
        f"{home} is in use by {found or 'another process'}.{waited} Run again when it has "
        "ended, or wait longer with GRADELINE_LOCK_WAIT_S"
    )


def _flow_name() -> str:
    context = FlowRunContext.get()
    return context.flow.name if context and context.flow else "a command"
