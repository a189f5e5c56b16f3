"""The command line: help, exit codes, and answers a script can read."""

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows import answers, cli, commands
from flows.settings import load_settings

ROOT = Path(__file__).resolve().parent.parent
BANK = "items:\n  - {item_id: '01', score_min: 0, score_max: 2, traits: [ideas, form]}\n"


def subcommands() -> dict[str, argparse.ArgumentParser]:
    (found,) = [
        action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction)
    ]
    return dict(found.choices)


def gradeline(home: Path, *arguments: str) -> int:
    return cli.main(["--home", str(home), *arguments])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "bank.yaml").write_text(BANK, "utf-8")
    return tmp_path


def test_every_command_is_carried_out_and_shows_an_example() -> None:
    assert set(subcommands()) == set(commands.COMMANDS)
    for name, parser in subcommands().items():
        text = parser.format_help()
        assert f"gradeline {name}" in text or f"demo-workspace {name}" in text
        assert "Exit codes" in text


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [name for name in subcommands() if f"gradeline {name}" not in readme] == []


def test_every_setting_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    names = [f"GRADELINE_{name.upper()}" for name in type(load_settings()).model_fields]
    names[names.index("GRADELINE_MLFLOW_TRACKING_URI")] = "MLFLOW_TRACKING_URI"
    assert [name for name in names if name not in readme] == []


def test_items_are_added_once_and_listed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gradeline(home, "items", "add", str(home / "bank.yaml"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["added"] == 2
    assert gradeline(home, "items", "add", str(home / "bank.yaml"), "--json") == 0
    assert json.loads(capsys.readouterr().out)["unchanged"] == 2
    assert gradeline(home, "items", "list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(item["item_id"], item["trait"]) for item in listed] == [
        ("01", "form"),
        ("01", "ideas"),
    ]


def test_a_bank_with_a_misspelt_key_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "bank.yaml").write_text(BANK.replace("score_max", "score_maxx"), "utf-8")
    assert gradeline(home, "items", "add", str(home / "bank.yaml")) == 2
    assert "score_max" in capsys.readouterr().err
    assert gradeline(home, "items", "list") == 1  # nothing was made


def test_explain_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = home / "export.csv"
    export.write_text("id,question_id,answer\n007,01,because\n", "utf-8")
    before = sorted(home.rglob("*"))
    assert gradeline(home, "ingest", str(export), "--explain", "--json") == 0
    (explained,) = json.loads(capsys.readouterr().out)
    assert explained["columns"] == {"response_id": "id", "item_id": "question_id", "text": "answer"}
    assert sorted(home.rglob("*")) == before


def test_status_without_a_warehouse_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gradeline(tmp_path / "empty", "status") == 1
    assert "ingest" in capsys.readouterr().err
    assert not (tmp_path / "empty" / "warehouse.duckdb").exists()


def test_a_date_that_is_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["nightly", "--date", "12.03.2026"])
    assert ended.value.code == 1
    assert "12.03.2026" in capsys.readouterr().err


def test_home_may_stand_before_or_after_the_command() -> None:
    before = cli.parser().parse_args(["--home", "a", "status"])
    after = cli.parser().parse_args(["status", "--home", "a"])
    assert before.home == after.home == Path("a")
    assert cli.parser().parse_args(["status"]).home is None


def test_a_setting_that_is_none_is_an_error_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRADELINE_WORKERS", "abc")
    assert gradeline(tmp_path, "status") == 1
    assert "workers" in capsys.readouterr().err


def test_a_path_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/far" * 60
    answers.answer(argparse.Namespace(json=False), {}, path)
    assert capsys.readouterr().out == f"{path}\n"


def test_demo_leaves_a_workspace_in_use_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    assert gradeline(tmp_path, "demo") == 2
    assert (tmp_path / "notes.txt").exists()
    assert "something else than a demo" in capsys.readouterr().err


def test_the_program_runs_as_a_module() -> None:
    code = "import sys; from flows.cli import main; sys.exit(main(['--help']))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "backfill" in found.stdout


def test_the_student_key_is_made_once_and_private(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    key = settings.student_key()
    assert len(key) == 64
    assert settings.student_key() == key
    assert (tmp_path / "student.key").stat().st_mode & 0o777 == 0o600


def test_a_short_student_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "student.key").write_text("short\n", "ascii")
    with pytest.raises(ValueError, match="32 or more"):
        load_settings(tmp_path).student_key()


@pytest.mark.parametrize("name", commands.TOLD)
def test_every_error_that_is_told_exists(name: str) -> None:
    module, _, kind = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), kind), Exception)
