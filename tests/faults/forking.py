"""The command line in a child process, forked from one that has imported everything.

A forked child starts in milliseconds, so hundreds of runs can be killed. The parent must have no
threads and no open connections: it imports, forks and waits, and all work is done in children.
"""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 0.002
CRASHED = 70  # the exit code of a child that ended with a traceback
DURABLE = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "sqlite3.connect"}


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    Attributes:
        code: its exit code, or minus the signal that killed it.
        seconds: how long it lived.
        peak_mb: its largest resident memory, in MB (10^6 bytes).
        said: what it wrote to its two output streams.
    """

    code: int
    seconds: float
    peak_mb: float
    said: str

    @property
    def killed(self) -> bool:
        """Whether it ended by a signal."""
        return self.code < 0


def import_everything() -> None:
    """Load what the flows load, once, and start no thread."""
    import mlflow.artifacts
    import peft
    import transformers

    import flows.backfill
    import flows.commands
    import flows.evaluate
    import flows.ingest
    import flows.nightly
    import flows.train  # noqa: F401

    assert mlflow and peft and transformers


def run(
    work: Callable[[], int | None],
    log: Path,
    *,
    kill_after_s: float | None = None,
    limit_s: float = 300.0,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Do some work in a child and wait for its end.

    Args:
        work: done in the child; gives the exit code, None is 0.
        log: takes what the child says.
        kill_after_s: kill it, and whatever it started, after so long.
        limit_s: a child that takes longer hangs; it is killed and told as such.
        environment: variables that are set in the child alone.
    """
    began = time.monotonic()
    pid = start(work, log, environment)
    deadline = began + (limit_s if kill_after_s is None else kill_after_s)
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        left = deadline - time.monotonic()
        if left <= 0:
            kill_group(pid)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(min(GRACE_S, left) if kill_after_s is not None else min(0.02, left))
    kill_group(pid)  # what it left running
    return Outcome(
        os.waitstatus_to_exitcode(status),
        time.monotonic() - began,
        usage.ru_maxrss * 1024 / 1e6,
        log.read_text("utf-8", errors="replace"),
    )


def start(
    work: Callable[[], int | None], log: Path, environment: Mapping[str, str] | None = None
) -> int:
    """Begin some work in a child that leads a process group of its own; gives its id."""
    assert threading.active_count() == 1, "a process with threads must not fork"
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        with suppress(PermissionError, ProcessLookupError):  # both set it: who comes first is open
            os.setpgid(pid, pid)
        return pid
    os.setpgid(0, 0)
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.environ.update(environment or {})
    code: object = CRASHED
    try:
        code = work() or 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def wait(pid: int, log: Path, limit_s: float = 300.0) -> Outcome:
    """Wait for a child that was started; one that takes longer than the limit is killed."""
    began = time.monotonic()
    while True:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        if ended:
            break
        if time.monotonic() - began > limit_s:
            kill_group(pid)
            _, status, usage = os.wait4(pid, 0)
            break
        time.sleep(0.02)
    kill_group(pid)
    said = log.read_text("utf-8", errors="replace")
    seconds = time.monotonic() - began
    return Outcome(os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss * 1024 / 1e6, said)


def kill_group(pid: int) -> None:
    """Kill a child and everything in its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def gradeline(home: Path, *arguments: str) -> Callable[[], int]:
    """The command line as work for a child."""

    def work() -> int:
        from flows import cli

        return cli.main(["--home", str(home), *arguments])

    return work


def kill_itself() -> None:
    """kill -9, from inside."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupted(
    work: Callable[[], int | None],
    chosen: Callable[[str, Sequence[object]], bool],
    *,
    at: int = 1,
    act: Callable[[], None] = kill_itself,
) -> Callable[[], int | None]:
    """The same work, in which something happens just before the ``at``-th thing of a kind.

    Args:
        work: what the child does.
        chosen: is told of durable steps (see Python's table of audit events) and their arguments,
            and says whether one is of the kind.
        at: the first is 1.
        act: what happens, in the child.
    """

    def disturbed() -> int | None:
        seen = 0

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal seen
            if event in DURABLE and chosen(event, arguments):
                seen += 1
                if seen == at:
                    act()

        sys.addaudithook(hook)
        return work()

    return disturbed
