"""The sample bank and exports are what their README says, and can be made again."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import python_calamine
import yaml

EXAMPLES = Path(__file__).parents[1] / "examples"
TEXT_FORMATS = {".csv", ".tsv", ".jsonl"}


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    generate("--out", str(folder))
    return folder


def generate(*arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / "generate.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def exports() -> list[Path]:
    return sorted(
        path for folder in ("training", "inbox") for path in (EXAMPLES / folder).iterdir()
    )


def table(first_column: str, second_column: str) -> list[list[str]]:
    """The rows of README.md's table whose header starts with these two columns."""
    lines = (EXAMPLES / "README.md").read_text("utf-8").splitlines()
    start = next(
        at
        for at, line in enumerate(lines)
        if line.startswith(f"| {first_column} | {second_column}")
    )
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def cells(path: Path) -> list[list[object]]:
    if path.suffix == ".xlsx":
        book = python_calamine.CalamineWorkbook.from_path(path)
        return book.get_sheet_by_index(0).to_python()
    return [list(row.values()) for row in pq.read_table(path).to_pylist()]


def test_text_files_are_made_again_byte_for_byte(remade):
    names = [path.relative_to(EXAMPLES) for path in exports() if path.suffix in TEXT_FORMATS]
    assert len(names) == 10
    assert [n for n in names if (remade / n).read_bytes() != (EXAMPLES / n).read_bytes()] == []


def test_the_other_files_hold_the_same_cells(remade):
    names = [path.relative_to(EXAMPLES) for path in exports() if path.suffix not in TEXT_FORMATS]
    assert len(names) == 2
    assert [n for n in names if cells(remade / n) != cells(EXAMPLES / n)] == []


def test_nothing_else_lies_in_the_folders(remade):
    made = {p.relative_to(remade) for p in remade.rglob("*") if p.is_file()}
    assert {path.relative_to(EXAMPLES) for path in exports()} == made


def test_readme_holds_the_tables_of_the_generator():
    assert generate("--tables") in (EXAMPLES / "README.md").read_text("utf-8")


def test_readme_lists_every_file_once_in_each_table():
    names = sorted(str(path.relative_to(EXAMPLES)) for path in exports())
    assert sorted(row[0] for row in table("file", "format")) == names
    assert sorted(row[0] for row in table("file", "received")) == names


def test_readme_counts_reconcile():
    outcomes = Counter(
        (name, "duplicate" if outcome == "duplicate" else "rejected")
        for name, _, outcome, _ in table("file", "row")
        if outcome != "accepted"
    )
    for name, received, accepted, rated, duplicate, rejected in table("file", "received"):
        assert int(received) == int(accepted) + int(rated) + int(duplicate) + int(rejected), name
        assert int(duplicate) == outcomes[name, "duplicate"], name
        assert int(rejected) == outcomes[name, "rejected"], name


def test_every_item_has_idea_units_and_a_step_for_each_score():
    for item in yaml.safe_load((EXAMPLES / "bank.yaml").read_text("utf-8"))["items"]:
        ideas = yaml.safe_load((EXAMPLES / "ideas" / f"{item['item_id']}.yaml").read_text("utf-8"))
        assert ideas["item_id"] == item["item_id"]
        assert len(ideas["steps"]) == item["score_max"] - item["score_min"]
        known = set(ideas["ideas"])
        for name, idea in ideas["ideas"].items():
            assert set(idea.get("cancels", [])) <= known - {name}
            assert len(set(idea["says"].splitlines())) == len(idea["says"].splitlines()) >= 5


def test_the_sample_stays_small():
    sources = [*EXAMPLES.glob("*.*"), *(EXAMPLES / "ideas").iterdir()]
    assert sum(path.stat().st_size for path in [*sources, *exports()]) < 1_500_000
