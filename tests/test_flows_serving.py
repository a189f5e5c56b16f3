"""`gradeline serve` for real: servers, a worker, deployments, and what runs by itself on them.

One serve for all tests; ports are free ones of loopback, and everything is stopped by its id.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psutil
import pytest
from workspaces import rows_of, write_export

from flows.settings import SERVING
from tasks.lock import locked
from warehouse import db, reports

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 600  # on a machine that does much else; usually a minute is enough
# The night is due within a minute: the scheduler and the worker look more often than usual.
HASTE = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
    "PREFECT_WORKER_QUERY_SECONDS": "2",
    "GRADELINE_WORKERS": "1",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Served:
    """A workspace that is served."""

    home: Path
    process: "subprocess.Popen[str]"
    addresses: dict[str, Any]

    def api(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 -- our own address
            f"{self.addresses['prefect_api']}{path}", data, {"content-type": "application/json"}
        )
        for tried in count():  # its database is locked for a moment now and then
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                if error.code != 503 or tried == 20:
                    raise
                time.sleep(0.5)
        return None

    def start(self, name: str, **parameters: Any) -> str:
        """Start a run of a deployment; returns Prefect's id of it."""
        deployment = self.api(f"/deployments/name/{name}/{name}")["id"]
        body = {"parameters": parameters}
        return str(self.api(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def pause(self, name: str) -> None:
        deployment = self.api(f"/deployments/name/{name}/{name}")["id"]
        self.api(f"/deployments/{deployment}/pause_deployment", {})

    def run(self, flow_run: str) -> dict[str, Any]:
        """A flow run as Prefect shows it; empty while its server is away."""
        try:
            found: dict[str, Any] = self.api(f"/flow_runs/{flow_run}")
        except (urllib.error.URLError, OSError):
            return {}
        return found

    def ended(self, flow_run: str) -> dict[str, Any]:
        return until(lambda: self._ended(flow_run))

    def _ended(self, flow_run: str) -> dict[str, Any] | None:
        found = self.run(flow_run)
        over = found.get("state_type") in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return found if over else None

    def log(self, flow_run: str) -> str:
        found = self.api("/logs/filter", {"logs": {"flow_run_id": {"any_": [flow_run]}}})
        return "\n".join(entry["message"] for entry in found)

    def artifacts(self, flow_run: str) -> dict[str, dict[str, Any]]:
        wanted = {"flow_run_id": {"any_": [flow_run]}}
        found = self.api("/artifacts/filter", {"artifacts": wanted})
        return {one["key"]: one for one in found}


def until(look: Callable[[], Any]) -> Any:
    """What there is to be seen, once it is."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError("it did not happen in time")


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def begin(home: Path, *options: str) -> "subprocess.Popen[str]":
    ports = ("--prefect-port", str(free_port()), "--mlflow-port", str(free_port()))
    command = [sys.executable, "-c", "from flows.cli import entry; entry()", "--home", str(home)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    with (home / "serve.log").open("a") as log:
        return subprocess.Popen(
            [*command, "serve", "--json", *ports, *options],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            env={**kept, **HASTE},
        )


def workspace(trained: Path, folder: Path) -> Path:
    """A trained workspace with its own registry: what is logged here stays here."""
    shutil.copytree(trained, folder)
    return folder


@pytest.fixture(scope="module")
def served(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = workspace(trained, tmp_path_factory.mktemp("served") / "home")
    process = begin(home, "--cron", "* * * * *")
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (home / "serve.log").read_text("utf-8")
        yield Served(home, process, json.loads(line))
    finally:
        process.terminate()
        try:
            process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def released_nights(home: Path) -> list[str]:
    """Nights that have scored the twelve responses of the export, and that the gate released."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = connection.execute(
            "SELECT run_id FROM runs WHERE kind = 'nightly' AND status = 'released' AND scored = 12"
        )
        return [row[0] for row in found.fetchall()]


def test_a_night_on_its_cron_runs_unattended(served: Served) -> None:
    """Nobody starts anything: an export lies in the inbox, and the clock does the rest."""
    rows = rows_of("007", "overall", 0, "n", 12)
    write_export(served.home / "inbox" / "2026-spring" / "night.csv", rows)
    (run_id,) = until(lambda: released_nights(served.home))
    wanted = {"flow_runs": {"name": {"any_": [run_id]}}}  # Prefect knows it by the same name
    (flow_run,) = until(lambda: served.api("/flow_runs/filter", wanted))
    assert flow_run["auto_scheduled"]
    assert served.ended(flow_run["id"])["state_type"] == "COMPLETED"
    artifacts = served.artifacts(flow_run["id"])
    shown = {"run-summary", "gate-results", "rejects", "scoring-progress", "mlflow-run"}
    assert set(artifacts) == shown
    assert artifacts["run-summary"]["data"].startswith("# Released")
    assert artifacts["scoring-progress"]["data"] == 100
    assert "scoring: 12 of 12" in artifacts["scoring-progress"]["description"]
    assert f"({served.addresses['mlflow']}/#/experiments/" in artifacts["mlflow-run"]["data"]
    served.pause("nightly")  # the machine is needed for the other tests


def test_a_backfill_through_the_api_waits_for_its_turn(served: Served) -> None:
    with locked(served.home, "a test"):
        flow_run = served.start("backfill", seasons=["2025-fall"], items=["007"], from_date=None)
        waiting = f"waiting for process {os.getpid()} (a test, since "
        until(lambda: waiting in served.log(flow_run))
    found = served.ended(flow_run)
    assert found["state_type"] == "COMPLETED"
    assert found["name"].startswith("backfill-2")
    with db.connect(served.home / "warehouse.duckdb", read_only=True) as connection:
        run = reports.run(connection, found["name"])
    assert (run.scored, run.parameters["seasons"]) == (36, ["2025-fall"])


def test_parameters_of_the_wrong_kind_are_refused_at_once(served: Served) -> None:
    with pytest.raises(urllib.error.HTTPError, match="409"):
        served.start("backfill", seasons="2025-fall")


def test_scores_are_committed_though_prefects_server_dies_in_mid_run(served: Served) -> None:
    with db.connect(served.home / "warehouse.duckdb") as connection:
        before = connection.execute("SELECT count(*) FROM scores").fetchall()
    flow_run = served.start("backfill", seasons=["2025-fall"], items=["essay/1"])
    run_id = until(lambda: served.run(flow_run).get("name", "").startswith("backfill-2"))
    assert run_id
    server = server_of(served, "prefect server start")
    server.kill()
    found = served.ended(flow_run)  # of the server that serve has started again
    assert found["state_type"] == "COMPLETED"
    with db.connect(served.home / "warehouse.duckdb", read_only=True) as connection:
        run = reports.run(connection, found["name"])
        after = connection.execute("SELECT count(*) FROM scores").fetchall()
    assert (run.scored, after[0][0] - before[0][0]) == (36, 72)
    assert "Prefect was killed by signal 9" in (served.home / "serve.log").read_text("utf-8")


def server_of(served: Served, words: str) -> psutil.Process:
    children = psutil.Process(served.process.pid).children()
    (found,) = [child for child in children if words in " ".join(child.cmdline())]
    return found


def test_a_workspace_is_served_once(served: Served) -> None:
    second = begin(served.home)
    output, _ = second.communicate(timeout=60)
    assert (second.returncode, output) == (1, "")
    assert served.process.poll() is None


def test_everything_ends_with_it(served: Served) -> None:
    """The last test: it stops what the others use."""
    children = psutil.Process(served.process.pid).children(recursive=True)
    assert len(children) >= 3
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(90) == 0
    assert [child for child in children if child.is_running()] == []
    assert not (served.home / SERVING).exists()
    log = (served.home / "serve.log").read_text("utf-8")
    assert "did not stop" not in log
