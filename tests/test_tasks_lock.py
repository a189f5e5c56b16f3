"""One command at a time changes a workspace; the others wait, and say for whom."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks import lock
from tasks.lock import WorkspaceBusyError, holder, is_locked, locked

HOLD = """
import sys, time
from pathlib import Path
from tasks.lock import locked
with locked(Path(sys.argv[1]), "backfill"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[float], "subprocess.Popen[str]"]]:
    """Another process that holds the workspace for some seconds."""
    started: list[subprocess.Popen[str]] = []

    def begin(seconds: float) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLD, str(tmp_path), str(seconds)]
        root = Path(__file__).resolve().parent.parent
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_whoever_finds_it_held_waits_and_says_for_whom(
    hold: Callable[[float], "subprocess.Popen[str]"],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "SAY_EVERY_S", 0.6)
    process = hold(2.0)
    with caplog.at_level(logging.INFO, "tasks.lock"), locked(tmp_path, "nightly", wait_s=60):
        assert process.wait(10) == 0
        mine = holder(tmp_path)
        assert mine is not None
        assert mine.doing == "nightly"
    said = [record.getMessage() for record in caplog.records]
    assert said[0].startswith(f"waiting for process {process.pid} (backfill, since 20")
    assert len([line for line in said if line.startswith("waiting")]) >= 2  # again and again
    assert said[-1].startswith("waited ")


def test_it_gives_up_after_the_time_that_was_set(
    hold: Callable[[float], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = hold(60)
    began = time.monotonic()
    with (
        pytest.raises(WorkspaceBusyError, match=rf"process {process.pid} \(backfill.* 1 s were"),
        locked(tmp_path, wait_s=1.0),
    ):
        pytest.fail("it is held")
    assert 1 <= time.monotonic() - began < 5
    with pytest.raises(WorkspaceBusyError, match="in use by process"), locked(tmp_path, wait_s=0):
        pytest.fail("it is held")


def test_a_killed_process_lets_go(
    hold: Callable[[float], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = hold(60)
    assert is_locked(tmp_path)
    process.kill()
    process.wait()
    assert not is_locked(tmp_path)
    left = holder(tmp_path)
    assert left is not None
    assert left.pid == process.pid  # whom the doctor names
    with locked(tmp_path, wait_s=0):
        assert is_locked(tmp_path)
    assert holder(tmp_path) is None


def test_nobody_waits_for_himself(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(WorkspaceBusyError, match="a command"),
        locked(tmp_path, wait_s=3600),
    ):
        pytest.fail("it is held")


def test_looking_makes_nothing(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert list(tmp_path.iterdir()) == []
