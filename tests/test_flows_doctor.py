"""Every fault that the doctor knows, made and found, with what to do about it."""

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from flows import cli, doctor
from flows.doctor import examine
from flows.settings import SERVING, Settings, load_settings
from tasks import checkup
from tasks.checkup import Check
from tasks.lock import locked
from tasks.tracking import RegisteredAdapter
from warehouse import db, items, runs
from warehouse.items import ItemRow

Usage = namedtuple("Usage", "total used free")
Memory = namedtuple("Memory", "available")
BACKBONE = "b" * 64


@pytest.fixture
def settings(
    tmp_path: Path, tiny_backbone_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """A workspace in which nothing is wrong."""
    monkeypatch.setenv("GRADELINE_BACKBONE", str(tiny_backbone_folder))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    found = load_settings(tmp_path / "home")
    found.home.mkdir()
    found.student_key()
    with db.connect(found.warehouse) as connection:
        items.add_items(connection, [ItemRow("007", "overall", 0, 2)])
    return found


def faults(settings: Settings) -> list[Check]:
    return [check for check in examine(settings) if check.status == "fault"]


def the_fault(settings: Settings) -> Check:
    (found,) = faults(settings)
    assert found.remedy
    return found


def notes(settings: Settings, name: str) -> list[str]:
    return [c.found for c in examine(settings) if c.status == "note" and c.name == name]


def test_a_sound_workspace_has_no_fault_and_stays_as_it_is(settings: Settings) -> None:
    before = {path: path.stat().st_mtime_ns for path in settings.home.rglob("*")}
    assert faults(settings) == []
    assert {path: path.stat().st_mtime_ns for path in settings.home.rglob("*")} == before


def test_the_exit_code_says_whether_there_is_a_fault(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--home", str(settings.home), "doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"] == 0
    (settings.home / "student.key").chmod(0o644)
    assert cli.main(["--home", str(settings.home), "doctor"]) == 2
    shown = capsys.readouterr().out
    assert "FAULT" in shown
    assert "chmod 600" in shown
    assert "1 fault," in shown


def test_an_empty_workspace_is_no_fault(tmp_path: Path, tiny_backbone_folder: Path) -> None:
    found = load_settings(tmp_path / "none").model_copy(
        update={"backbone": str(tiny_backbone_folder)}
    )
    assert faults(found) == []
    assert not found.home.exists()


def test_a_full_disk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100e9, 99e9, 1e9))
    assert "1.0 GB free" in the_fault(settings).found
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(100e9, 97e9, 3e9))
    assert notes(settings, "disk") == [f"3.0 GB free of 100.0 GB at {settings.home}"]


def test_too_little_memory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: Memory(400e6))
    found = the_fault(settings)
    assert (found.name, "400 MB free" in found.found) == ("memory", True)


def test_a_library_that_breaks_the_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(doctor.TOO_NEW, "sqlalchemy", "1.0")
    found = the_fault(settings)
    assert "sqlalchemy 2" in found.found
    assert "constraints" in found.remedy


def test_a_lock_that_is_held_is_told_and_one_held_too_long_is_a_fault(settings: Settings) -> None:
    with locked(settings.home, "backfill"):
        (note,) = notes(settings, "lock")
        assert "(backfill, since" in note
        holder = settings.home / ".lock.holder"
        long_ago = f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%d %H:%M:%S} UTC"
        holder.write_text(json.dumps({"pid": 7, "doing": "train", "since": long_ago}), "utf-8")
        found = the_fault(settings)
    assert "48 h" in found.found
    assert "process 7" in found.remedy


def test_a_lock_whose_holder_was_killed(settings: Settings) -> None:
    note = {"pid": 7, "doing": "train", "since": "2026-03-12 02:00:00 UTC"}
    (settings.home / ".lock").touch()
    (settings.home / ".lock.holder").write_text(json.dumps(note), "utf-8")
    assert notes(settings, "lock") == [
        "process 7 (train, since 2026-03-12 02:00:00 UTC) was killed holding it"
    ]


def test_a_key_that_is_short_or_open_to_others(settings: Settings) -> None:
    key = settings.home / "student.key"
    key.chmod(0o640)
    assert the_fault(settings).remedy == f"chmod 600 {key}"
    key.write_text("short\n", "ascii")
    assert "5 characters" in the_fault(settings).found
    key.unlink()
    assert notes(settings, "student key") == [f"none at {key} yet"]


def test_limits_that_cannot_be_read(settings: Settings) -> None:
    settings.thresholds.write_text("rules: {qwkk: {at_least: 1}}\n", "utf-8")
    assert "qwkk" in the_fault(settings).found


def test_a_warehouse_of_a_later_version(settings: Settings) -> None:
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("INSERT INTO migrations VALUES (999, 'later', now())")
    found = faults(settings)
    assert "migration 999" in found[0].found  # memory and champions cannot be looked at either
    assert all(check.remedy for check in found)


def test_a_warehouse_of_an_earlier_version_is_left_as_it_is(settings: Settings) -> None:
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("DELETE FROM migrations WHERE version >= 4")
    check = checkup.warehouse_version(settings.warehouse)
    assert (check.status, check.found[:14]) == ("note", "at migration 3")
    told = notes(settings, "warehouse")
    assert told == [check.found]
    assert checkup.warehouse_version(settings.warehouse) == check


def test_a_warehouse_that_another_program_has_open(settings: Settings) -> None:
    code = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); "
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(settings.warehouse)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        found = faults(settings)
        with locked(settings.home, "nightly"):  # it is the run going on
            assert faults(settings) == []
        other.communicate()
    assert {check.name for check in found} >= {"warehouse", "memory"}
    assert {check.found for check in found} == {"the warehouse is open in another program"}


def test_runs_that_were_killed_or_are_not_in_mlflow(settings: Settings) -> None:
    today = datetime.now(UTC).date()
    with db.connect(settings.warehouse) as connection:
        done = runs.start_run(connection, "nightly", today, {})
        runs.finish_run(connection, done, "released", runs.RunCounts())
        killed = runs.start_run(connection, "train", today, {})
    found = notes(settings, "runs")
    assert found[0].startswith(f"{killed} began and did not end")
    assert found[1] == f"MLflow does not show {done}"


def test_a_clock_that_was_set_back(settings: Settings) -> None:
    with db.connect(settings.warehouse) as connection:
        runs.start_run(connection, "nightly", datetime.now(UTC).date(), {})
        connection.execute("UPDATE runs SET started_at = now() + INTERVAL 1 HOUR")
    found = the_fault(settings)
    assert found.name == "clock"
    assert "in the ledger" in found.found


def test_an_erasure_that_was_stopped(settings: Settings) -> None:
    with db.connect(settings.warehouse) as connection:
        db.execute(
            connection,
            "erase_begin",
            {
                "pseudo_sha256": "a" * 64,
                "erased_by": "A. Person",
                "reason": "x",
                "now": datetime.now(UTC),
            },
        )
    found = the_fault(settings)

    assert (found.name, found.remedy) == ("erasures", "gradeline erase --unfinished")
    assert "1 erasures were stopped" in found.found


def test_a_backbone_that_is_not_there(settings: Settings) -> None:
    lost = settings.model_copy(update={"backbone": str(settings.home / "nowhere")})
    assert "nowhere" in the_fault(lost).found


def adapter(item_id: str, sha256: str, backbone: str = BACKBONE) -> RegisteredAdapter:
    return RegisteredAdapter(item_id, "overall", 1, sha256, "", "", backbone, "")


def test_champions_that_are_absent_damaged_or_foreign(tmp_path: Path) -> None:
    (tmp_path / "aaa").mkdir()
    (tmp_path / "aaa" / "head.safetensors").touch()
    found = [adapter("1", "aaa"), adapter("2", "bbb"), adapter("3", "ccc", "other")]
    bank = [ItemRow(name, "overall", 0, 2) for name in ("1", "2", "3", "4")]
    checks = list(checkup.champions(found, bank, tmp_path, BACKBONE))
    assert [(check.status, check.found.split(" made")[0][:40]) for check in checks] == [
        ("note", "1 of 4 have none: 4 (overall)"),
        ("fault", "3 (overall) v1"),
        ("note", f"2 (overall) v1, 3 (overall) v1 not in {tmp_path}"[:40]),
        ("fault", f"1 (overall) v1 is damaged: {tmp_path}/aaa"[:40]),
    ]
    assert checks[1].remedy.startswith("set GRADELINE_BACKBONE")
    assert str(tmp_path / "aaa") in checks[3].remedy


def test_parts_that_were_left_over(settings: Settings) -> None:
    settings.parts.mkdir()
    (settings.parts / "x.part.parquet").write_bytes(b"0" * 2_000_000)
    assert notes(settings, "parts")[0].startswith("1 files, 2.0 MB")
    with locked(settings.home, "nightly"):
        assert notes(settings, "parts") == []


def test_files_in_the_inbox_that_want_a_person(settings: Settings) -> None:
    for folder in ("refused", "done"):
        (settings.inbox / folder).mkdir(parents=True)
        (settings.inbox / folder / "x.csv").touch()
    assert len(notes(settings, "inbox")) == 2


def test_servers_that_are_set_and_do_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert the_fault(settings).found == "http://127.0.0.1:9/api does not answer"
    monkeypatch.delenv("PREFECT_API_URL")
    (settings.home / SERVING).write_text('{"prefect_api": "http://127.0.0.1:9/api"}', "utf-8")
    assert "gradeline serve" in the_fault(settings).remedy


def test_an_mlflow_server_that_does_not_answer(settings: Settings) -> None:
    lost = settings.model_copy(update={"mlflow_tracking_uri": "http://127.0.0.1:9"})
    assert the_fault(lost).found == "http://127.0.0.1:9 does not answer"
