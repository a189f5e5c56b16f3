"""Child processes that serve: started, started again when they die, stopped whatever they do."""

import json
import os
import socket
import sys
import time
from pathlib import Path
from threading import Event, Timer

import psutil
import pytest

from flows import cli, servers
from flows.servers import Program, Server, ServingError, watch
from flows.serving import _end_leftovers
from flows.settings import SERVING

READY = "import sys, time; print('started!', flush=True); "


def server(folder: Path, code: str, **options: object) -> Server:
    program = Program("Example", (sys.executable, "-c", code), sign=b"started!", **options)  # type: ignore[arg-type]
    return Server(program, folder / "logs" / "example.log", dict(os.environ))


def test_one_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    example = server(tmp_path, "raise SystemExit(3)")
    example.start()
    with pytest.raises(ServingError, match=r"Example ended with code 3: see .*example\.log"):
        example.wait_until_ready(Event())


def test_a_port_that_is_taken_is_told_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        example = server(tmp_path, READY, port=port, option="--example-port")
        with pytest.raises(ServingError, match=rf"port {port}.*--example-port"):
            example.start()
    assert example.pid is None


def test_one_that_dies_is_started_again_and_said_so(tmp_path: Path) -> None:
    example = server(tmp_path, READY + "time.sleep(60)")
    example.start()
    example.wait_until_ready(Event())
    first = example.pid
    assert first is not None
    psutil.Process(first).kill()
    stopping, said = Event(), []

    def say(words: str) -> None:
        said.append(words)
        stopping.set()

    watch([example], stopping, say)
    assert example.pid not in (None, first)
    assert not example.has_ended
    assert "was killed by signal 9" in said[0]
    assert said[0].endswith("started again (1 of 5)")
    assert example.stop()


def test_one_that_dies_again_and_again_ends_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "MOST_RESTARTS", 1)
    example = server(tmp_path, "raise SystemExit(3)")
    example.start()
    with pytest.raises(ServingError, match="2 times in 10 minutes"):
        watch([example], Event(), lambda _: None)


def test_one_that_will_not_end_is_killed_with_its_children(tmp_path: Path) -> None:
    deaf = "import signal, subprocess; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    child = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    example = server(tmp_path, READY.replace("print", deaf + child + "print") + "time.sleep(60)")
    example.start()
    example.wait_until_ready(Event())
    assert example.pid is not None
    family = psutil.Process(example.pid).children()
    assert len(family) == 1
    assert not example.stop(wait_s=0.5)
    psutil.wait_procs(family, timeout=10)
    assert [one for one in family if one.is_running() and one.status() != "zombie"] == []


def test_told_to_stop_it_waits_no_longer(tmp_path: Path) -> None:
    example, stopping = server(tmp_path, "import time; time.sleep(60)"), Event()
    example.start()
    Timer(0.3, stopping.set).start()
    began = time.monotonic()
    example.wait_until_ready(stopping)
    assert time.monotonic() - began < 10
    assert example.stop()


def test_a_long_log_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LONGEST_LOG", 10)
    example = server(tmp_path, READY + "time.sleep(60)")
    example.log.parent.mkdir()
    example.log.write_text("started! long ago", "utf-8")
    example.start()
    example.wait_until_ready(Event())  # by what it says now
    example.stop()
    assert (example.log.parent / "example.1.log").read_text("utf-8") == "started! long ago"
    assert example.log.read_text("utf-8") == "started!\n"


@pytest.mark.parametrize(("cron", "zone"), [("every night", "UTC"), ("0 2 * * *", "Europe/Lundon")])
def test_a_mistyped_schedule_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cron: str, zone: str
) -> None:
    home = tmp_path / "home"
    assert cli.main(["--home", str(home), "serve", "--cron", cron, "--timezone", zone]) == 1
    assert "is no schedule" in capsys.readouterr().err
    assert not home.exists()


def test_what_a_killed_serve_left_behind_is_ended(tmp_path: Path) -> None:
    left = server(tmp_path, READY + "time.sleep(60)")
    left.start()
    left.wait_until_ready(Event())
    assert left.pid is not None
    process = psutil.Process(left.pid)
    stranger = psutil.Process(os.getpid())
    record = {
        "pid": 2**22 + 1,  # beyond any process id
        "children": [[process.pid, process.create_time()], [stranger.pid, 1.0]],  # an id used again
    }
    (tmp_path / SERVING).write_text(json.dumps(record), "utf-8")
    _end_leftovers(tmp_path)
    assert left.stop(wait_s=5)
    assert not process.is_running()


def test_a_workspace_that_is_served_is_left_alone(tmp_path: Path) -> None:
    mine = server(tmp_path, READY + "time.sleep(60)")
    mine.start()
    mine.wait_until_ready(Event())
    assert mine.pid is not None
    record = {"pid": os.getpid(), "children": [[mine.pid, psutil.Process(mine.pid).create_time()]]}
    (tmp_path / SERVING).write_text(json.dumps(record), "utf-8")
    with pytest.raises(ServingError, match=f"by process {os.getpid()}"):
        _end_leftovers(tmp_path)
    assert not mine.has_ended
    mine.stop()
