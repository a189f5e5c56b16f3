"""The sample exports, ingested: every count and every faulty row is as examples/README.md says."""

import re
from pathlib import Path

import pytest

from tasks import item_bank
from tasks.exports import IngestCounts, IngestOptions, ingest_export
from warehouse import db, items

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
OPTIONS = IngestOptions(season="2026-spring", mapping_file=None, student_key=b"k" * 32)
CELL = r"\s*([^|]+?)\s*"
COUNTS = re.compile(rf"^\|{CELL}\|" + r"\s*(\d+)\s*\|" * 5 + "$", re.MULTILINE)
FAULTS = re.compile(rf"^\|{CELL}\|\s*(\d+)\s*\|\s*([a-z_]+)\s*\|", re.MULTILINE)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    bank = item_bank.item_rows(item_bank.read_bank(EXAMPLES / "bank.yaml"))
    with db.connect(folder / "warehouse.duckdb") as connection:
        items.add_items(connection, bank)
    return folder


@pytest.fixture(scope="module")
def ingested(home: Path) -> dict[str, IngestCounts]:
    found = {}
    for folder in ("training", "inbox"):
        for path in sorted((EXAMPLES / folder).iterdir()):
            found[f"{folder}/{path.name}"] = ingest_export(
                home / "warehouse.duckdb", home / "responses", path, "run", OPTIONS
            )
    return found


def test_counts_are_those_of_the_readme(ingested: dict[str, IngestCounts]) -> None:
    expected = {
        match[1]: tuple(map(int, match.groups()[1:]))
        for match in COUNTS.finditer((EXAMPLES / "README.md").read_text("utf-8"))
    }
    assert len(expected) == 12
    assert {
        name: (one.received, one.accepted, one.rated, one.duplicate, one.rejected)
        for name, one in ingested.items()
    } == expected


def test_every_faulty_row_is_kept_with_its_reason(
    home: Path, ingested: dict[str, IngestCounts]
) -> None:
    expected = {
        (Path(match[1]).name, int(match[2]), match[3])
        for match in FAULTS.finditer((EXAMPLES / "README.md").read_text("utf-8"))
        if match[3] != "accepted"
    }
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        kept = connection.execute("SELECT file, row, reason FROM rejects").fetchall()
    assert len(kept) == 14
    assert set(kept) == expected


def test_ingesting_all_again_changes_nothing(home: Path, ingested: dict[str, IngestCounts]) -> None:
    for name in ingested:
        path = EXAMPLES / name
        again = ingest_export(home / "warehouse.duckdb", home / "responses", path, "again", OPTIONS)
        assert (again.status, again.received) == ("unchanged", 0)
