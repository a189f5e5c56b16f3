"""The commands on the ledger, as they are typed: the past, copies, erasing and retiring."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from flows.ingest import ingest_options
from flows.settings import load_settings
from tasks import item_bank
from tasks.export_rows import pseudonym
from tasks.student_rows import hash_of
from tasks.workspace import Export, ingest_exports
from warehouse import db, items

BANK = "items:\n  - {item_id: lamp, score_min: 0, score_max: 2}\n"
EXPORT = """response_id,item_id,student_id,text,human_score
a1,lamp,S-1,it glows,1
a2,lamp,S-2,it is warm,2
a3,lamp,S-1,,
"""
TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A workspace into which an export was taken, without a run and without a server."""
    (tmp_path / "bank.yaml").write_text(BANK, "utf-8")
    (tmp_path / "export.csv").write_text(EXPORT, "utf-8")
    home = tmp_path / "home"
    home.mkdir()
    ingested(home)
    return home


def ingested(home: Path) -> None:
    bank, export = home.parent / "bank.yaml", home.parent / "export.csv"
    settings = load_settings(home)
    with db.connect(settings.warehouse) as connection:
        items.add_items(connection, item_bank.item_rows(item_bank.read_bank(bank)))
    options = ingest_options(settings, "2026-spring", None)
    ingest_exports.fn(
        settings.warehouse, settings.responses, [Export(export, None)], "run", options
    )


def run(home: Path, *words: str) -> int:
    return main([*words, "--home", str(home)])


def responses(home: Path) -> list[str]:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = connection.execute("SELECT response_id FROM responses ORDER BY ALL").fetchall()
    return [name for (name,) in found]


SIGNED = ("--by", "A. Rater", "--reason", "request 12")


def test_the_past_is_shown_and_written(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("past.csv", "past.parquet"):
        assert run(home, "as-of", TODAY, "--out", str(tmp_path / name), "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["rows"], found["items"][0]["human"]) == (2, 2)
    rows = pq.read_table(tmp_path / "past.parquet").to_pylist()
    assert [(row["response_id"], row["final_score"], row["source"]) for row in rows] == [
        ("a1", 1, "human"), ("a2", 2, "human")
    ]  # fmt: skip
    assert len(pyarrow.csv.read_csv(tmp_path / "past.csv")) == 2
    assert run(home, "as-of", TODAY, "--responses", "a2") == 0
    assert "a2" in capsys.readouterr().out
    assert run(home, "as-of", "2020-01-01", "--json") == 0
    assert json.loads(capsys.readouterr().out)["items"] == []


def test_the_past_never_takes_the_place_of_a_file(home: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("mine", "utf-8")
    assert run(home, "as-of", TODAY, "--out", str(there)) == 1
    assert there.read_text("utf-8") == "mine"
    assert run(home, "as-of", TODAY, "--out", str(tmp_path / "past.xlsx")) == 2


def test_a_backup_is_restored_by_copying_it_back(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "elsewhere" / "copy.duckdb"
    assert run(home, "backup", str(copy), "--json") == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == copy.stat().st_size
    assert run(home, "backup", str(copy)) == 2
    assert run(home, "erase", "S-1", *SIGNED) == 0
    assert "copies were made outside of the workspace" in capsys.readouterr().out
    assert responses(home) == ["a2"]
    copy.replace(home / "warehouse.duckdb")
    assert responses(home) == ["a1", "a2", "a3"]
    assert run(home, "erase", "--unfinished") == 0
    assert responses(home) == ["a2"]
    assert run(home, "erase", "--unfinished") == 0
    assert "no erasure is unfinished" in capsys.readouterr().out


def test_a_warehouse_from_before_the_student_learns_of_the_erasure(home: Path) -> None:
    assert run(home, "erase", "S-1", *SIGNED) == 0
    (home / "warehouse.duckdb").unlink()
    ingested(home)
    assert responses(home) == ["a1", "a2", "a3"]
    assert run(home, "erase", "--unfinished") == 0
    (home / "warehouse.duckdb").unlink()
    with db.connect(home / "warehouse.duckdb"):
        pass
    assert run(home, "erase", "--unfinished") == 0
    ingested(home)
    assert responses(home) == ["a2"]


@pytest.mark.parametrize("way", ["argument", "stdin", "file", "pseudonym"])
def test_a_student_is_named_in_any_of_four_ways(
    home: Path, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "id.txt"
    named.write_text(" S-1 \nnot this\n", "utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("S-1\n"))
    hidden = pseudonym("S-1", load_settings(home).student_key()) or ""
    words = {
        "argument": ["S-1"],
        "stdin": [],
        "file": ["--student-file", str(named)],
        "pseudonym": ["--pseudonym", hidden],
    }[way]
    assert run(home, "erase", *words, *SIGNED) == 0
    assert responses(home) == ["a2"]
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = connection.execute("SELECT pseudo_sha256, erased_by FROM erasures").fetchall()
    assert found == [(hash_of(hidden), "A. Rater")]


def test_an_erasure_that_names_nobody_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert run(home, "erase", *SIGNED) == 2
    assert run(home, "erase", "--pseudonym", "S-1", *SIGNED) == 2
    assert run(home, "erase", "S-1", "--by", "A. Rater") == 2
    assert run(home, "erase", "S-9", *SIGNED) == 2
    told = capsys.readouterr().err
    assert "needs the name" in told
    assert "S-9" not in told and "S-1" not in told
    (home / "student.key").unlink()
    assert run(home, "erase", "S-1", *SIGNED) == 1
    assert not (home / "student.key").exists()
    assert responses(home) == ["a1", "a2", "a3"]


def test_a_file_that_waits_is_exit_code_two(home: Path) -> None:
    inbox = home / "inbox"
    inbox.mkdir()
    (inbox / "late.csv").write_text(EXPORT.replace("a1", "b1"), "utf-8")
    assert run(home, "erase", "S-1", *SIGNED) == 2
    (inbox / "late.csv").unlink()
    assert run(home, "erase", "S-1", *SIGNED) == 0


def test_a_season_is_retired(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "retire", "2026-spring", "--dry-run", *SIGNED, "--json") == 0
    assert json.loads(capsys.readouterr().out)["responses"] == 3
    assert list((home / "responses").rglob("*.parquet"))
    assert run(home, "retire", "2026-spring", *SIGNED) == 0
    assert not list((home / "responses").rglob("*.parquet"))
    assert responses(home) == ["a1", "a2", "a3"]
    assert run(home, "retire", "2026-spring", *SIGNED) == 0  # again changes nothing
    assert run(home, "retire", "2031-spring", *SIGNED) == 2
    assert run(home, "retire", "2026-spring") == 2
