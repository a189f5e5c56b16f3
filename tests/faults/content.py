"""What a workspace holds, without what differs from one run of the same command to the next."""

import hashlib
import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

RUN_ID = re.compile(r"\b[a-z]+(?:-[a-z]+)?-\d{8}-\d{6}-[0-9a-f]{4,}\b")
MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([+-]\d{2}(:\d{2})?|Z)?")
# Durations, memory, speed, and where MLflow keeps a run: of no two runs the same.
VOLATILE = re.compile(r"(_ms|_mb|_seconds|_per_s)$|^(stage_seconds|mlflow_run_id|adapters_loaded)$")
KEPT_TIMES = {"submitted_at"}
# Other programs' files, and what is only kept to save time.
FOREIGN = {"prefect", "mlartifacts", "cache", "backups"}
FOREIGN_NAMES = re.compile(r"^(mlflow\.db.*|\.lock.*|warehouse\.duckdb(\.wal)?|champions\.json)$")
FLOAT = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
TOLERANCE = 1e-6
MOST_SHOWN, LONGEST = 2, 60

Content = dict[str, list[Any]]


def content(home: Path) -> Content:
    """Tables, texts, files and MLflow's runs of a workspace, each as sorted rows.

    Run ids become the run's place in the order of all runs, since they hold the time.
    """
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute("SELECT run_id, kind FROM runs ORDER BY started_at").fetchall()
        names = {run_id: f"{kind}#{number}" for number, (run_id, kind) in enumerate(found, 1)}
        held: Content = {
            f"table {table}": _rows(connection, table, names) for table in _tables(connection)
        }
    held["texts"] = _texts(home / "responses")
    held["files"] = _files(home, names)
    held["mlflow runs"] = _mlflow_runs(home / "mlflow.db", names)
    held["mlflow registry"] = _registry(home / "mlflow.db")
    return held


def differences(found: Content, expected: Content) -> list[str]:
    """What one workspace has and the other has not, a line each; a few of every kind."""
    told = []
    for name in sorted(found.keys() | expected.keys()):
        have, want = Counter(found.get(name, ())), Counter(expected.get(name, ()))
        lacking, besides = want - have, have - want
        if _alike(sorted(lacking.elements(), key=str), sorted(besides.elements(), key=str)):
            continue
        for word, rows in (("lacks", lacking), ("has besides", besides)):
            shown = list(rows.items())[:MOST_SHOWN]
            told += [f"{name} {word} {count} x {_short(row)}" for row, count in shown]
    return told


def _alike(rows: list[Any], others: list[Any]) -> bool:
    """Whether rows differ in the last digits of raw scores alone: batches may be other ones."""
    if len(rows) != len(others):
        return False
    for row, other in zip(map(str, rows), map(str, others), strict=True):
        if FLOAT.sub("", row) != FLOAT.sub("", other):
            return False
        numbers = zip(FLOAT.findall(row), FLOAT.findall(other), strict=True)
        if any(abs(float(one) - float(two)) > TOLERANCE for one, two in numbers):
            return False
    return True


def _short(row: Any) -> str:
    cells = [str(cell) for cell in row] if isinstance(row, tuple) else [str(row)]
    return ", ".join(cell if len(cell) <= LONGEST else f"{cell[:LONGEST]}..." for cell in cells)


def runs_of(held: Content) -> int:
    """How many runs a workspace has seen."""
    return len(held["table runs"])


def twice(home: Path) -> int:
    """Scores that one run has given twice to the same response and trait."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        (row,) = connection.execute(
            "SELECT count(*) - count(DISTINCT (run_id, response_id, trait)) FROM scores"
        ).fetchall()
    return int(row[0])


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY table_name"
    ).fetchall()
    return [name for (name,) in found if name != "migrations"]


def _rows(
    connection: duckdb.DuckDBPyConnection, table: str, names: dict[str, str]
) -> list[tuple[str, ...]]:
    columns = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() "
        "WHERE table_name = ? ORDER BY column_index",
        [table],
    ).fetchall()
    kept = [
        name
        for name, kind in columns
        if not VOLATILE.search(name) and (name in KEPT_TIMES or not kind.startswith("TIME"))
    ]
    quoted = ", ".join(f'"{name}"' for name in kept)
    found = connection.execute(f'SELECT {quoted} FROM "{table}"').fetchall()  # noqa: S608
    return sorted(
        tuple(f"{name}={_settled(cell, names)}" for name, cell in zip(kept, row, strict=True))
        for row in found
    )


def _settled(cell: object, names: dict[str, str]) -> str:
    """A cell without run ids and moments."""
    words = RUN_ID.sub(lambda match: names.get(match[0], "run"), str(cell))
    return MOMENT.sub("<moment>", words)


def _texts(responses: Path) -> list[tuple[str, ...]]:
    found = []
    for path in responses.rglob("*.parquet"):
        with pq.ParquetFile(path) as file:
            held = file.read(["response_id", "season", "text_sha256", "text"]).to_pylist()
        found += [tuple(map(str, row.values())) for row in held]
    return sorted(found)


def _files(home: Path, names: dict[str, str]) -> list[str]:
    """Every file that is ours, by its name; adapters by what they hold."""
    found = []
    for path in home.rglob("*"):
        place = path.relative_to(home)
        if place.parts[0] in FOREIGN or FOREIGN_NAMES.match(place.parts[0]):
            continue
        name = RUN_ID.sub(lambda match: names.get(match[0], "run"), str(place))
        if path.is_dir():
            found.append(f"{name}/") if not any(path.iterdir()) else None
        elif place.parts[0] == "adapters":
            found.append(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}")
        else:
            found.append(name)
    return sorted(found)


def _mlflow_runs(store: Path, names: dict[str, str]) -> list[tuple[str, ...]]:
    """The runs that MLflow shows: experiment, name, status and how many children."""
    found = _query(
        store,
        "SELECT e.name, r.name, r.status, p.value FROM runs r "
        "JOIN experiments e USING (experiment_id) "
        "LEFT JOIN tags p ON p.run_uuid = r.run_uuid AND p.key = 'mlflow.parentRunId' "
        "WHERE r.lifecycle_stage = 'active'",
    )
    return sorted(
        (experiment, _settled(name, names), status, "child" if parent else "")
        for experiment, name, status, parent in found
    )


def _registry(store: Path) -> list[tuple[str, ...]]:
    versions = _query(
        store,
        "SELECT v.name, v.version, t.value FROM model_versions v "
        "JOIN model_version_tags t ON t.name = v.name AND t.version = v.version "
        "AND t.key = 'adapter_sha256' WHERE v.current_stage <> 'Deleted_Internal'",
    )
    aliases = _query(store, "SELECT name, version, alias FROM registered_model_aliases")
    return sorted(tuple(map(str, row)) for row in (*versions, *aliases))


def _query(store: Path, statement: str) -> list[tuple[Any, ...]]:
    if not store.exists():
        return []
    connection = sqlite3.connect(store)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()
