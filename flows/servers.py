"""Child processes that serve: started until they answer, started again when they die, stopped."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.error import URLError
from urllib.request import urlopen

START_S = 180.0  # a server that does not answer by then has failed
STOP_S = 30.0
LOOK_EVERY_S = 0.5
# A server that ends is started again, this often within this time; then all are stopped.
MOST_RESTARTS, WITHIN_S = 5, 600.0
LONGEST_LOG = 20_000_000  # bytes; a longer log is set aside when its server starts


class ServingError(RuntimeError):
    """A server cannot be started, or does not stay up."""


@dataclass(frozen=True)
class Program:
    """What is served by one child process.

    Attributes:
        name: for people.
        command: what is run.
        port: that it will listen on, on loopback; None: on none.
        option: of the command line that changes the port.
        health: an address that answers when it is ready; where it has none, the end of ``sign``.
        sign: what its log says when it is ready.
    """

    name: str
    command: tuple[str, ...]
    port: int | None = None
    option: str = ""
    health: str = ""
    sign: bytes = b""


class Server:
    """One child process and its log.

    Args:
        program: what it runs.
        log: where its output goes.
        environment: all of it.
    """

    def __init__(self, program: Program, log: Path, environment: Mapping[str, str]) -> None:
        self.program, self.log, self.environment = program, log, dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0
        self._restarts: list[float] = []

    @property
    def pid(self) -> int | None:
        """Of the process, once started."""
        return self._process.pid if self._process else None

    @property
    def has_ended(self) -> bool:
        """Whether it was started and has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start it, in a session of its own: a Ctrl-C is for us, who stop it in order.

        Raises:
            ServingError: its port is taken.
        """
        _require_free(self.program)
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LONGEST_LOG:
            self.log.replace(self.log.with_suffix(".1.log"))
        with self.log.open("ab") as log:
            self._log_began = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 -- our own words, no shell
                self.program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )

    def wait_until_ready(self, stopping: Event) -> float:
        """Wait until it answers; returns the seconds that took.

        Raises:
            ServingError: it has ended, or does not answer in time.
        """
        began = time.monotonic()
        while not stopping.is_set():
            if self.has_ended:
                raise ServingError(f"{self.program.name} {self._how_it_ended()}")
            if self._is_ready():
                break
            if time.monotonic() - began > START_S:
                raise ServingError(
                    f"{self.program.name} does not answer after {START_S:.0f} s: see {self.log}"
                )
            stopping.wait(LOOK_EVERY_S)
        return time.monotonic() - began

    def restart(self, stopping: Event) -> str:
        """Start it once more, a little later each time; returns what there is to say of it.

        Raises:
            ServingError: it ends again and again.
        """
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < WITHIN_S] + [now]
        tried, ended = len(self._restarts), self._how_it_ended()
        if tried > MOST_RESTARTS:
            raise ServingError(
                f"{self.program.name} {ended}, {tried} times in {WITHIN_S / 60:.0f} minutes"
            )
        stopping.wait(2.0 ** (tried - 1))
        self.stop()  # what it may have left of its own children
        if not stopping.is_set():
            self.start()
        return f"{self.program.name} {ended}; started again ({tried} of {MOST_RESTARTS})"

    def stop(self, wait_s: float = STOP_S) -> bool:
        """End it and its children; returns whether it took the polite signal for an answer."""
        process = self._process
        if process is None:
            return True
        polite = True
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(wait_s)
            except subprocess.TimeoutExpired:
                polite = False
        _kill_session(process.pid)
        process.wait()
        return polite

    def _is_ready(self) -> bool:
        if self.program.health:
            return answers(self.program.health)
        with self.log.open("rb") as log:
            log.seek(self._log_began)
            return self.program.sign in log.read()

    def _how_it_ended(self) -> str:
        code = self._process.returncode if self._process else None
        how = f"was killed by signal {-code}" if code and code < 0 else f"ended with code {code}"
        return f"{how}: see {self.log}"


def answers(url: str) -> bool:
    """Whether an address answers with success."""
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 -- an address of ours
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def watch(servers: Sequence[Server], stopping: Event, say: Callable[[str], None]) -> None:
    """Start again what ends, until told to stop.

    Raises:
        ServingError: one of them ends again and again.
    """
    while not stopping.wait(LOOK_EVERY_S):
        for server in servers:
            if server.has_ended and not stopping.is_set():
                say(server.restart(stopping))


def _require_free(program: Program) -> None:
    if program.port is None:
        return
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", program.port))
        except OSError as error:
            raise ServingError(
                f"port {program.port}, which {program.name} would listen on, is taken by another "
                f"program: stop that, or choose another with {program.option}"
            ) from error


def _kill_session(pid: int) -> None:
    """End what is left of a child's session; it leads a process group of its own."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
