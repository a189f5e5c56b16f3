"""Everything that runs by itself on this machine: Prefect's server, a worker, MLflow's server.

The servers listen on loopback only. What is elsewhere already is not started: with
``PREFECT_API_URL`` set, the worker works for that server; with ``MLFLOW_TRACKING_URI`` set, pages
are those of that server. Nothing that matters lives in these processes: scores are in the
warehouse and in parts, so that any of them may die at any moment.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from types import FrameType

import psutil

from flows.servers import LOOK_EVERY_S, Program, Server, ServingError, answers, watch
from flows.settings import SERVING, Settings, server_environment
from warehouse.parts import whole_file

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
POOL, SHARDS_POOL = "gradeline", "gradeline-shards"


@dataclass(frozen=True)
class Wanted:
    """What to serve.

    Attributes:
        prefect_port, mlflow_port: on loopback.
        at_once: flow runs that the worker starts at once; one changes the workspace, others wait.
        deploy: put the flows of ``prefect.yaml`` on the server.
        cron: when the night runs; as in ``prefect.yaml`` where not given.
        timezone: of the cron, such as Europe/London.
    """

    prefect_port: int = 4200
    mlflow_port: int = 5000
    at_once: int = 2
    deploy: bool = True
    cron: str | None = None
    timezone: str = "UTC"


@dataclass(frozen=True)
class Served:
    """Where everything answers; kept in ``<home>/serving.json`` while it does.

    Attributes:
        pid: of ``gradeline serve``.
        prefect_api: for programs.
        prefect, mlflow: for browsers.
        logs: the folder with the servers' logs.
        children: process id and time of creation of every server, to know leftovers by.
    """

    pid: int
    prefect_api: str
    prefect: str
    mlflow: str
    logs: str
    children: tuple[tuple[int, float], ...]


def serve(
    settings: Settings,
    wanted: Wanted,
    say: Callable[[str], None],
    tell_ready: Callable[[Served], None],
) -> None:
    """Start everything, wait until it answers, keep it up, and stop it at SIGINT or SIGTERM.

    Args:
        settings: the settings; flows that the worker starts get them too.
        wanted: what to serve.
        say: tells a person what happens.
        tell_ready: told once, when everything answers.

    Raises:
        ServingError: it is served already, a port is taken, or a server does not stay up.
    """
    home = settings.home
    _require_schedule(wanted)
    _end_leftovers(home)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    prefect, mlflow = f"http://{HOST}:{wanted.prefect_port}", f"http://{HOST}:{wanted.mlflow_port}"
    environment = server_environment(settings, f"{prefect}/api", mlflow)
    logs = home / "logs"
    first, worker = (
        [Server(one, logs / f"{one.name.lower()}.log", environment) for one in programs]
        for programs in (_servers(settings, wanted, environment), [_worker(wanted)])
    )
    servers = [*first, *worker]

    def restarted(words: str) -> None:
        _keep(home, environment, logs, servers)
        say(words)

    with _told_to_stop() as stopping:
        try:
            for together in (first, worker):  # the worker looks for its server once
                _start(together, stopping, say)
                _keep(home, environment, logs, servers)
            if wanted.deploy:
                say("deploying the flows of prefect.yaml")
                _deploy(wanted, environment, logs / "deploy.log", stopping)
            if not stopping.is_set():
                tell_ready(_keep(home, environment, logs, servers))
            watch(servers, stopping, restarted)
        finally:
            _stop([*worker, *reversed(first)], say)
            (home / SERVING).unlink(missing_ok=True)


def _require_schedule(wanted: Wanted) -> None:
    """Find a mistyped schedule now, and not when all servers are up."""
    if wanted.cron is None:
        return
    from prefect.client.schemas.schedules import CronSchedule  # takes seconds, so only here

    try:
        CronSchedule(cron=wanted.cron, timezone=wanted.timezone)
    except ValueError as error:
        raise ServingError(
            f"{wanted.cron!r} in {wanted.timezone!r} is no schedule: five fields are wanted, as in "
            "'30 1 * * *', and a zone such as Europe/London"
        ) from error


def _servers(
    settings: Settings, wanted: Wanted, environment: Mapping[str, str]
) -> Iterator[Program]:
    """Those that are not elsewhere already."""
    if environment["PREFECT_API_URL"] == f"http://{HOST}:{wanted.prefect_port}/api":
        port = str(wanted.prefect_port)
        yield Program(
            name="Prefect",
            command=_module("prefect", "server", "start", "--host", HOST, "--port", port),
            port=wanted.prefect_port,
            option="--prefect-port",
            health=f"{environment['PREFECT_API_URL']}/health",
        )
    if settings.tracking_uri.startswith("sqlite:"):
        store = ("--backend-store-uri", settings.tracking_uri)
        artifacts = ("--artifacts-destination", (settings.home / "mlartifacts").as_uri())
        listen = ("--host", HOST, "--port", str(wanted.mlflow_port), "--workers", "1")
        yield Program(
            name="MLflow",
            command=_module("mlflow", "server", *store, *artifacts, *listen),
            port=wanted.mlflow_port,
            option="--mlflow-port",
            health=f"http://{HOST}:{wanted.mlflow_port}/health",
        )


def _worker(wanted: Wanted) -> Program:
    pool = ("--pool", POOL, "--type", "process", "--limit", str(wanted.at_once))
    name = ("--name", f"{POOL} on {socket.gethostname()}")
    return Program(
        name="worker",
        command=_module("prefect", "worker", "start", *pool, *name, "--install-policy", "never"),
        sign=b"started!",
    )


def _module(*words: str) -> tuple[str, ...]:
    """A command line of a module that lies beside this program's own."""
    return (sys.executable, "-m", *words)


def _start(servers: Sequence[Server], stopping: Event, say: Callable[[str], None]) -> None:
    for server in servers:
        if not stopping.is_set():
            say(f"starting {server.program.name}")
            server.start()
    for server in servers:
        server.wait_until_ready(stopping)


def _deploy(wanted: Wanted, environment: Mapping[str, str], log: Path, stopping: Event) -> None:
    """Put all of ``prefect.yaml`` on the server; the night at another time if that is wanted.

    Raises:
        ServingError: Prefect refuses it.
    """
    told = (environment, log, stopping)
    if not answers(f"{environment['PREFECT_API_URL']}/work_pools/{SHARDS_POOL}"):
        _run(_module("prefect", "work-pool", "create", SHARDS_POOL, "--type", "process"), *told)
    deploy = _module("prefect", "--no-prompt", "deploy")
    file = ("--prefect-file", str(ROOT / "prefect.yaml"))
    _run((*deploy, "--all", *file), *told)
    if wanted.cron:
        when = ("--cron", wanted.cron, "--timezone", wanted.timezone)
        _run((*deploy, "--name", "nightly", *file, *when), *told)


def _run(
    command: tuple[str, ...], environment: Mapping[str, str], log: Path, stopping: Event
) -> None:
    """Run a command to its end, or until told to stop."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 -- our own words, no shell
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None and not stopping.wait(LOOK_EVERY_S):
        pass
    if stopping.is_set():
        process.kill()
        process.wait()
    elif process.returncode:
        raise ServingError(f"Prefect refused the flows of {ROOT / 'prefect.yaml'}: see {log}")


def _keep(
    home: Path, environment: Mapping[str, str], logs: Path, servers: Sequence[Server]
) -> Served:
    """Write down where everything is, for commands in other terminals."""
    api = environment["PREFECT_API_URL"]
    served = Served(
        pid=os.getpid(),
        prefect_api=api,
        prefect=api.removesuffix("/api"),
        mlflow=environment["GRADELINE_MLFLOW_UI"],
        logs=str(logs),
        children=tuple(_identity(server.pid) for server in servers if server.pid),
    )
    with whole_file(home / SERVING) as path:
        path.write_text(json.dumps(asdict(served)), "utf-8")
    return served


def _identity(pid: int) -> tuple[int, float]:
    with suppress(psutil.NoSuchProcess):
        return pid, psutil.Process(pid).create_time()
    return pid, 0.0


def _end_leftovers(home: Path) -> None:
    """End servers whose ``gradeline serve`` was killed; refuse where one is alive.

    Raises:
        ServingError: this workspace is served already.
    """
    try:
        before = json.loads((home / SERVING).read_text("utf-8"))
    except (OSError, ValueError):
        return
    children = [_same(pid, created) for pid, created in before["children"]]
    parent = before["pid"]
    if psutil.pid_exists(parent) and any(child and child.ppid() == parent for child in children):
        raise ServingError(f"{home} is served already, by process {parent}: stop that first")
    for child in filter(None, children):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _same(pid: int, created: float) -> psutil.Process | None:
    """The process of that id, if it is the one that was meant."""
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(pid)
        return found if abs(found.create_time() - created) < 1 else None
    return None


@contextmanager
def _told_to_stop() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set, in place of what they do else."""
    stopping = Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _stop(servers: Sequence[Server], say: Callable[[str], None]) -> None:
    for server in servers:
        if server.pid is not None:
            ended = "stopped" if server.stop() else "did not stop, and was killed"
            say(f"{server.program.name} {ended}")
