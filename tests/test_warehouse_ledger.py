"""The ledger: only ever appended to, read as it stood, and what people gave comes first."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from warehouse import db, ledger, release

ROOT = Path(__file__).resolve().parent.parent
STATEMENTS = sorted((ROOT / "warehouse" / "sql").glob("*.sql"))
MIGRATIONS = sorted((ROOT / "warehouse" / "migrations").glob("*.sql"))
APPENDED = ("scores", "release_decisions", "validity_scores", "threshold_versions")
# What takes something from a table that is only ever appended to, and may.
ALLOWED = {"erase_scores", "erase_validity_scores"}


def changes(text: str, table: str) -> bool:
    """Whether a statement could change or remove rows of a table."""
    bare = re.sub(r"--[^\n]*", "", text)
    verbs = r"UPDATE|DELETE\s+FROM|TRUNCATE(\s+TABLE)?|MERGE\s+INTO|DROP\s+TABLE(\s+IF\s+EXISTS)?"
    replaces = rf"(INSERT\s+OR\s+\w+\s+INTO|CREATE\s+OR\s+REPLACE\s+TABLE)\s+{table}\b"
    upserts = rf"INSERT\s+INTO\s+{table}\b.*\bON\s+CONFLICT\b"
    patterns = (rf"\b({verbs})\s+{table}\b", replaces, upserts)
    return any(re.search(pattern, bare, re.IGNORECASE | re.DOTALL) for pattern in patterns)


@pytest.mark.parametrize("table", APPENDED)
def test_no_statement_but_an_erasure_takes_from_the_ledger(table: str) -> None:
    found = {path.stem for path in STATEMENTS if changes(path.read_text("utf-8"), table)}
    assert found <= ALLOWED
    assert (f"erase_{table}" in found) == (f"erase_{table}" in ALLOWED)


def test_a_migration_fills_only_columns_that_it_adds() -> None:
    for path in MIGRATIONS:
        text = re.sub(r"--[^\n]*", "", path.read_text("utf-8"))
        added = set(re.findall(r"ALTER TABLE scores ADD COLUMN (\w+)", text))
        for update in re.findall(r"UPDATE scores\s+SET (.*?)(?:FROM|WHERE|;)", text, re.DOTALL):
            assert set(re.findall(r"(\w+) = ", update)) <= added, path.name
        assert not re.search(r"DELETE FROM|TRUNCATE|DROP TABLE", text), path.name


def test_no_code_speaks_to_the_ledger_past_the_statements() -> None:
    sources = [path for package in ("flows", "tasks", "warehouse") for path in
               (ROOT / package).rglob("*.py")]  # fmt: skip
    direct = re.compile(r"""["'](UPDATE|DELETE|INSERT|TRUNCATE|MERGE)\s""")
    found = {path.name for path in sources if direct.search(path.read_text("utf-8"))}
    assert found == {"db.py"}  # which enters its migrations


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with db.connect(tmp_path / "warehouse.duckdb") as opened:
        opened.execute(
            "INSERT INTO items (item_id, trait, score_min, score_max, added_at) "
            "VALUES ('i', 'overall', 0, 3, now())"
        )
        yield opened


def respond(connection: duckdb.DuckDBPyConnection, response_id: str, purpose: str) -> None:
    connection.execute(
        "INSERT INTO responses (response_id, item_id, season, text_sha256, characters, "
        "export_sha256, ingested_at, purpose) VALUES (?, 'i', 's', 'x', 3, 'e', now(), ?)",
        [response_id, purpose],
    )


def score(
    connection: duckdb.DuckDBPyConnection, response_id: str, points: int | None, day: int, run: str
) -> None:
    coded = points is None
    connection.execute(
        "INSERT INTO scores (run_id, shard, response_id, item_id, trait, status, condition_code, "
        "raw_score, score, adapter_version, adapter_sha256, scored_at) "
        "VALUES (?, '', ?, 'i', 'overall', ?, ?, ?, ?, ?, ?, ?)",
        [
            run, response_id, "coded" if coded else "scored", "B" if coded else None, points,
            points, None if coded else day, None if coded else f"a{day}", moment(day),
        ],
    )  # fmt: skip


def rate(
    connection: duckdb.DuckDBPyConnection, response_id: str, rater: int, points: float, day: int
) -> None:
    connection.execute(
        "INSERT INTO human_scores VALUES (?, 'i', 'overall', ?, ?, 'e', ?)",
        [response_id, rater, points, moment(day)],
    )


def decide(connection: duckdb.DuckDBPyConnection, run: str, decision: str, day: int) -> None:
    connection.execute(
        "INSERT INTO release_decisions VALUES (?, ?, 'A. Rater', 'memo', ?)",
        [run, decision, moment(day)],
    )


def begin(connection: duckdb.DuckDBPyConnection, run: str, day: int) -> None:
    connection.execute(
        "INSERT INTO runs (run_id, kind, status, administration_date, started_at, parameters) "
        "VALUES (?, 'nightly', 'done', ?, ?, '{}')",
        [run, date(2026, 3, day), moment(day)],
    )


def moment(day: int) -> datetime:
    return datetime(2026, 3, day, 2, tzinfo=UTC)


def final(connection: duckdb.DuckDBPyConnection) -> dict[str, tuple[Any, ...]]:
    found = connection.execute(
        "SELECT response_id, score, source, condition_code, raters, raters_apart, machine_score "
        "FROM final_scores"
    ).fetchall()
    return {row[0]: row[1:] for row in found}


def test_a_machine_score_never_takes_the_place_of_a_human_one(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    for name in ("machine", "both", "apart", "human", "blank", "held"):
        respond(connection, name, "operational")
    respond(connection, "known", "validity")
    begin(connection, "night", 1)
    decide(connection, "night", "released", 1)
    begin(connection, "other", 2)
    decide(connection, "other", "held", 2)
    for name in ("machine", "both", "apart"):
        score(connection, name, 1, 1, "night")
    score(connection, "blank", None, 1, "night")
    score(connection, "held", 2, 2, "other")
    for name in ("both", "human", "known", "apart"):
        rate(connection, name, 1, 3, 3)
    rate(connection, "apart", 2, 0, 3)
    assert final(connection) == {
        "machine": (1, "machine", None, None, None, 1),
        "both": (3, "human", None, 1, 0, 1),
        "apart": (1.5, "human", None, 2, 3, 1),
        "human": (3, "human", None, 1, 0, None),
        "blank": (None, "machine", "B", None, None, None),
    }


def test_the_past_is_read_as_it_stood(connection: duckdb.DuckDBPyConnection) -> None:
    respond(connection, "r", "operational")
    begin(connection, "first", 1)
    score(connection, "r", 1, 1, "first")
    decide(connection, "first", "held", 1)
    decide(connection, "first", "released", 3)
    begin(connection, "second", 5)
    score(connection, "r", 2, 5, "second")
    decide(connection, "second", "released", 5)
    decide(connection, "second", "held", 7)
    rate(connection, "r", 1, 3, 9)

    def stood(day: int) -> tuple[Any, ...]:
        (item,), _ = ledger.look_back(connection, date(2026, 3, day))
        (row,) = ledger.past_rows(connection).to_pylist()
        assert (row["current_score"] is None) == (day < 1)
        return (row["final_score"], row["source"], row["released_run"], row["current_score"],
                item.held, item.adapters)  # fmt: skip

    assert stood(1) == (None, None, None, 1, 1, ())
    assert stood(3) == (1, "machine", "first", 1, 0, (1,))
    assert stood(5) == (2, "machine", "second", 2, 0, (5,))
    assert stood(7) == (1, "machine", "first", 2, 1, (1,))
    assert stood(9) == (3, "human", "first", 2, 1, (1,))
    items, runs = ledger.look_back(connection, date(2026, 2, 28))
    assert (items, runs) == ([], [])
    _, runs = ledger.look_back(connection, date(2026, 3, 2))
    assert [(one.run_id, one.decision) for one in runs] == [("first", "held")]


def test_the_past_of_today_is_the_present(connection: duckdb.DuckDBPyConnection) -> None:
    for number in range(6):
        respond(connection, f"r{number}", "operational")
        score(connection, f"r{number}", number % 4, 1 + number, f"run{number % 2}")
    begin(connection, "run0", 1)
    begin(connection, "run1", 1)
    rate(connection, "r3", 1, 2, 2)
    release.decide(connection, "run0", "released", "A. Rater", "memo")
    ledger.look_back(connection, datetime.now(UTC).date())
    rows = ledger.past_rows(connection).to_pylist()
    past = {
        row["response_id"]: (row["final_score"], row["source"]) for row in rows if row["source"]
    }
    assert past == {name: (row[0], row[1]) for name, row in final(connection).items()}
    assert len(rows) == 6


def test_the_past_can_be_asked_for_in_part(connection: duckdb.DuckDBPyConnection) -> None:
    for name in ("a", "b"):
        respond(connection, name, "operational")
        score(connection, name, 1, 1, "run")
    day = date(2026, 3, 4)
    assert ledger.look_back(connection, day, items=["other"])[0] == []
    assert ledger.look_back(connection, day, seasons=["other"])[0] == []
    ((item,), _) = ledger.look_back(connection, day, responses=["b"])
    assert item.responses == 1
