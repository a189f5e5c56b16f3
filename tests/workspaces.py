"""A trained workspace for tests of the flows, and what they look up in one."""

import csv
import random
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flows.settings import load_settings
from tasks import item_bank
from warehouse import db, items, release, reports

BANK = """
items:
  - {item_id: "007", score_min: 0, score_max: 2, prompt: "Why does the lamp glow?"}
  - item_id: essay/1
    score_min: 1
    score_max: 3
    traits: [ideas, form]
  - {item_id: unrated, score_min: 0, score_max: 1}
"""
MARK = "zyxwvut"  # in every response's text, and to be found nowhere but in responses/
STUDENT = "S-4711"
NIGHT = date(2026, 3, 12)
WORDS = {0: "cold dark nothing", 1: "wire lamp maybe", 2: "current flows closed circuit"}


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def response(points: int, seed: int) -> str:
    chosen = random.Random(seed).choices(WORDS[points].split(), k=5)
    return f"{' '.join(chosen)} {MARK} {seed}"


def write_export(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(
    item_id: str, trait: str, low: int, prefix: str, n: int, first: int = 0
) -> list[dict[str, Any]]:
    """Rows numbered from ``first``; the number decides the text, whatever the prefix."""
    return [
        {
            "response_id": f"{prefix}{item_id}{number:03}",
            "item_id": item_id,
            "trait": trait,
            "text": response(number % 3, number),
            "student_id": STUDENT,
            "submitted_at": "2026-03-12T10:00:00Z",
            "human_score": low + number % 3,
        }
        for number in range(first, first + n)
    ]


@pytest.fixture(scope="module")
def trained(
    prefect_server: None, backbone_setting: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A workspace with items, training responses and adapters, made once for all modules."""
    folder = tmp_path_factory.getbasetemp() / "trained-workspace"
    return folder if folder.exists() else _trained(folder)


def _trained(home: Path) -> Path:
    from flows.ingest import ingest
    from flows.train import train

    home.mkdir()
    bank = home / "bank.yaml"
    bank.write_text(BANK, "utf-8")
    settings = load_settings(home)
    with db.connect(settings.warehouse) as connection:
        items.add_items(connection, item_bank.item_rows(item_bank.read_bank(bank)))
    rows = [
        *rows_of("007", "overall", 0, "t", 36),
        *rows_of("essay/1", "ideas", 1, "t", 36),
        *rows_of("essay/1", "form", 1, "t", 36),
    ]
    export = write_export(home / "training.csv", rows)
    assert ingest([export], season="2025-fall", home=home).status == "done"
    result = train(home=home)
    assert (result.status, len(result.trained), result.unchanged) == ("done", 3, 0)
    assert {row.alias for row in result.trained} == {"champion"}
    assert train(home=home).unchanged == 3
    return home


@pytest.fixture(scope="module")
def backbone_setting(tiny_backbone_folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADELINE_BACKBONE", str(tiny_backbone_folder))
        patch.setenv("GRADELINE_WORKERS", "1")
        patch.setenv("GRADELINE_RETRY_S", "0")  # what fails in a test fails the second time too
        yield


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained workspace, with tonight's export in its inbox.

    MLflow's store stays the trained one's: it holds absolute paths.
    """
    folder = tmp_path / "home"
    shutil.copytree(trained, folder)
    night = [
        *rows_of("007", "overall", 0, "n", 12),
        *rows_of("essay/1", "ideas", 1, "n", 6),
        *rows_of("unrated", "overall", 0, "n", 2),
        {**rows_of("007", "overall", 0, "x", 1)[0], "text": " "},
        {**rows_of("nowhere", "overall", 0, "x", 1)[0]},
        {**rows_of("007", "overall", 0, "n", 1)[0]},
    ]
    write_export(folder / "inbox" / "2026-spring" / "night.csv", night)
    return folder


def outcome(home: Path) -> list[tuple[Any, ...]]:
    """What the ledger says, without what differs from run to run."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute(
            "SELECT response_id, trait, status, round(raw_score, 4), score, adapter_version "
            "FROM current_scores ORDER BY ALL"
        ).fetchall()


class Killed(BaseException):
    """As abrupt as a signal: no `except Exception` sees it."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError


def ledger(home: Path, run_id: str) -> list[tuple[Any, ...]]:
    """Every score of a run and where it comes from; response ids without their prefix."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute(
            "SELECT reused_from, response_id[2:] AS number, trait, raw_score, score, confidence, "
            "probabilities, truncated, engine FROM scores "
            "WHERE run_id = ? AND status = 'scored' ORDER BY number, trait",
            [run_id],
        ).fetchall()


def ingest_only(home: Path) -> None:
    from flows.ingest import ingest

    files = sorted((home / "inbox" / "2026-spring").glob("*.csv"))
    assert ingest(files, season="2026-spring", home=home).status == "done"


def parquet_files(home: Path) -> list[Path]:
    return list((home / "responses").rglob("*.parquet"))


def decision_of(home: Path, run_id: str) -> str:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return reports.run(connection, run_id).status


def released(home: Path) -> int:
    """Rows that people downstream see."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        (row,) = connection.execute("SELECT count(*) FROM released_scores").fetchall()
    return int(row[0])


def decisions_of(home: Path, run_id: str) -> list[tuple[str, str]]:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = release.decisions(connection, run_id)
    return [(one.decision, one.decided_by) for one in found]


def run_of(home: Path, run_id: str) -> reports.Run:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return reports.run(connection, run_id)


def last_night(home: Path) -> reports.Run:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = reports.last_run(connection, "nightly")
    assert found is not None
    return found


def logged_of(home: Path, run_id: str) -> list[Any]:
    """What MLflow shows under a run's name."""
    from flows.scoring import tracking_of

    client = tracking_of(load_settings(home)).client()
    experiment = client.get_experiment_by_name("gradeline scoring")
    return list(
        client.search_runs([experiment.experiment_id], f"tags.`mlflow.runName` = '{run_id}'")
    )


def of_many_students(prefix: str, first: int) -> list[dict[str, Any]]:
    """So many that agreement has an interval: it is drawn by student."""
    rows = rows_of("007", "overall", 0, prefix, 24, first=first)
    return [{**row, "student_id": f"{prefix}{number}"} for number, row in enumerate(rows)]


STRICT = "rules:\n  qwk: {at_least: 0.99, fewest: 10}\n"


def home_of(logged: Any) -> Path:
    """The folder of an MLflow run's artifacts."""
    return Path(logged.info.artifact_uri.removeprefix("file://"))
