"""Workspaces on the eve of an ingest, a training, a night and a backfill, always at one place.

MLflow keeps absolute paths, so a workspace that is to be used many times is put back where it was
made. Shards are made small, so that a few responses fill several.
"""

import csv
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import forking
from faults.forking import Outcome, gradeline

ROOT = Path(__file__).resolve().parent.parent.parent
NIGHT = "2026-03-12"
SHARD_ROWS = 16
BANK = """
items:
  - {item_id: "007", score_min: 0, score_max: 2, prompt: "Why does the lamp glow?"}
  - item_id: essay/1
    score_min: 1
    score_max: 3
    traits: [ideas, form]
  - {item_id: unrated, score_min: 0, score_max: 1}
"""
WORDS = ("cold dark nothing heavy", "wire lamp maybe air", "current flows closed circuit path")


@dataclass(frozen=True)
class Scene:
    """A command, and the workspace it is given.

    Attributes:
        name: of the command.
        arguments: of the command line.
        eve: the workspace before it, as a folder to copy.
        environment: what is set for it.
    """

    name: str
    arguments: tuple[str, ...]
    eve: Path
    environment: dict[str, str]


class Stage:
    """Where workspaces are put up, and the Prefect server that all of them use.

    Attributes:
        folder: everything lies here.
        home: where the workspace of the moment stands.
        log: what the last child said.
    """

    def __init__(self, folder: Path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder, self.home, self.log = folder, folder / "home", folder / "child.log"
        self.port = free_port()

    def prepare(self) -> None:
        """Set what the libraries read, and load them; they are silent about anything else."""
        os.environ.update(
            HF_HUB_OFFLINE="1",
            OMP_NUM_THREADS="1",
            GRADELINE_WORKERS="1",
            GRADELINE_BACKBONE=str(self.folder / "backbone"),
            GRADELINE_MAX_TOKENS="64",
            PREFECT_API_URL=f"http://127.0.0.1:{self.port}/api",
            PREFECT_HOME=str(self.folder / "prefect"),
        )
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        from flows.settings import load_settings, prepare_libraries

        prepare_libraries(load_settings(self.home))
        forking.import_everything()
        from tasks import planning

        planning.SHARD_ROWS, planning.SPLIT_ROWS = SHARD_ROWS, 2 * SHARD_ROWS
        made = forking.run(self._save_backbone, self.log)
        assert made.code == 0, made.said

    def _save_backbone(self) -> None:
        sys.path.insert(0, str(ROOT / "tests"))
        from conftest import save_tiny_encoder

        save_tiny_encoder(self.folder / "backbone")

    def run(self, *arguments: str, **options: Any) -> Outcome:
        """One command in the workspace of the moment."""
        return forking.run(gradeline(self.home, *arguments), self.log, **options)

    def play(self, scene: Scene, **options: Any) -> Outcome:
        """A scene's command."""
        return self.run(*scene.arguments, environment=scene.environment, **options)

    def put_up(self, eve: Path) -> None:
        """The workspace as it was on an eve."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.copytree(eve, self.home, symlinks=True)

    def keep(self, name: str) -> Path:
        """Keep the workspace of the moment as an eve."""
        shutil.copytree(self.home, self.folder / name, symlinks=True)
        return self.folder / name

    @contextmanager
    def prefect(self) -> Iterator[subprocess.Popen[bytes]]:
        """A Prefect server on loopback, stopped at the end."""
        server = self.start_prefect()
        try:
            yield server
        finally:
            stop(server)

    def start_prefect(self) -> subprocess.Popen[bytes]:
        """Start the Prefect server and wait until it answers."""
        command = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port")
        server = started(command, str(self.port), log=self.folder / "prefect.log")
        await_answer(f"http://127.0.0.1:{self.port}/api/health", server)
        return server

    def scenes(self, *, until: str = "backfill") -> dict[str, Scene]:
        """Play one season, and keep the workspace before each command that matters.

        Args:
            until: of the ingest, the training, the night and the backfill, the last one needed.
        """
        self.home.mkdir(mode=0o700)
        (self.home / "student.key").write_text("5ea1" * 16 + "\n")  # made anew, ids would differ
        (self.home / "bank.yaml").write_text(BANK, "utf-8")
        self._done("items", "add", str(self.home / "bank.yaml"))
        exports = self._exports()
        ingest = ("ingest", *map(str, exports), "--season", "2025-fall")
        scenes = {"ingest": self._scene("ingest", (*ingest, "--date", NIGHT))}
        self._done(*scenes["ingest"].arguments, code=2)  # one of the exports is refused
        self._done("status", code=0)
        self._make_store()
        scenes["train"] = self._scene("train", ("train", "--date", NIGHT))
        self._done(*scenes["train"].arguments)
        known = [*rows_of("007", "overall", "v", 6, first=400)]
        write_export(self.home / "known.csv", known)
        self._done("ingest", str(self.home / "known.csv"), "--season", "2026-spring", "--validity")
        inbox = self.home / "inbox" / "2026-spring"
        write_export(inbox / "first.csv", rows_of("007", "overall", "a", 12, first=100))
        self._done("nightly", "--date", "2026-03-11")
        self._fill(inbox)
        scenes["nightly"] = self._scene("nightly", ("nightly", "--date", NIGHT))
        if until == "nightly":
            return scenes
        self._done(*scenes["nightly"].arguments, code=2)
        again = ("backfill", "--seasons", "2025-fall", "2026-spring", "--date", NIGHT)
        scenes["backfill"] = self._scene("backfill", again, GRADELINE_MAX_TOKENS="48")
        return scenes

    def _scene(self, name: str, arguments: tuple[str, ...], **environment: str) -> Scene:
        return Scene(name, arguments, self.keep(f"eve-of-{name}"), environment)

    def _done(self, *arguments: str, code: int = 0) -> None:
        found = self.run(*arguments)
        assert found.code == code, f"{arguments}: {found.code}, not {code}\n{found.said}"

    def _make_store(self) -> None:
        """MLflow's own store takes seconds to make, which are not what is to be disturbed."""

        def make() -> None:
            from flows.scoring import tracking_of
            from flows.settings import load_settings
            from tasks.tracking import list_adapters

            list_adapters(tracking_of(load_settings(self.home)))

        made = forking.run(make, self.log)
        assert made.code == 0, made.said

    def _exports(self) -> list[Path]:
        """Human-scored responses in three files, of which one cannot be read."""
        waiting = self.home / "exports"
        short = [*rows_of("007", "overall", "t", 36), *rows_of("007", "overall", "t", 2)]
        essays = [*rows_of("essay/1", "ideas", "t", 36), *rows_of("essay/1", "form", "t", 36)]
        odd = [{**rows_of("nowhere", "overall", "x", 1)[0]}, *essays]
        write_export(waiting / "short.csv", short)
        (waiting / "essays.jsonl").write_text("".join(json.dumps(row) + "\n" for row in odd))
        (waiting / "broken.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
        return sorted(waiting.iterdir())

    def _fill(self, inbox: Path) -> None:
        """Tonight's exports: new responses, known texts, blanks, rejects, a refused file."""
        late = [{**row, "human_score": 1} for row in rows_of("007", "overall", "a", 2, first=100)]
        copied = [{**row, "text": response(0, 100)} for row in rows_of("007", "overall", "c", 3)]
        night = [
            *rows_of("007", "overall", "n", 40, first=200),
            *rows_of("essay/1", "ideas", "n", 20, first=200),
            *rows_of("unrated", "overall", "n", 3),
            {**rows_of("007", "overall", "b", 1)[0], "text": " "},
            {**rows_of("nowhere", "overall", "x", 1)[0]},
        ]
        write_export(inbox / "night.csv", night)
        write_export(inbox / "late.csv", [*copied, *late])
        (inbox / "broken.xlsx").write_bytes(b"PK\x03\x04 not a workbook")


def response(points: int, seed: int) -> str:
    """A text of a few words; the number decides which."""
    chosen = random.Random(seed).choices(WORDS[points].split(), k=5 + seed % 4)
    return f"{' '.join(chosen)} {seed}"


def rows_of(item: str, trait: str, prefix: str, n: int, first: int = 0) -> list[dict[str, Any]]:
    """Rows of an export, numbered from ``first``; the number decides text and score."""
    low = 1 if item == "essay/1" else 0
    return [
        {
            "response_id": f"{prefix}{item}{number:03}",
            "item_id": item,
            "trait": trait,
            "text": response(number % 3, number),
            "student_id": f"S-{number % 17}",
            "submitted_at": "2026-03-12T10:00:00Z",
            "human_score": "" if item == "nowhere" else low + number % (2 if item[0] == "u" else 3),
        }
        for number in range(first, first + n)
    ]


def write_export(path: Path, rows: list[dict[str, Any]]) -> Path:
    """A CSV export."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started(arguments: tuple[str, ...], *more: str, log: Path) -> "subprocess.Popen[bytes]":
    """A Python program in a process group of its own."""
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, *arguments, *more],
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stop(server: "subprocess.Popen[bytes]", *, at_once: bool = False) -> None:
    """Stop a server and what it has started."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL if at_once else signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def await_answer(url: str, server: "subprocess.Popen[bytes]", limit_s: float = 120.0) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server for {url} has ended"
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - loopback
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"{url} does not answer")
