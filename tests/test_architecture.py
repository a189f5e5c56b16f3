"""The rules of the house that a machine can check."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path for package in ("flows", "tasks", "models", "warehouse")
    for path in (ROOT / package).rglob("*.py")
)  # fmt: skip
STATEMENTS = sorted((ROOT / "warehouse" / "sql").glob("*.sql"))


def imports(path: Path, library: str) -> bool:
    text = path.read_text("utf-8")
    return bool(re.search(rf"^\s*(import|from) {library}\b", text, re.MULTILINE))


def test_mlflow_only_in_tracking() -> None:
    users = {path.parent.name for path in SOURCES if imports(path, "mlflow")}
    assert users == {"tracking"}


def test_prefect_only_in_flows_and_tasks() -> None:
    users = {path.parent.name for path in SOURCES if imports(path, "prefect")}
    assert users <= {"flows", "tasks"}


def test_environment_read_in_settings_only() -> None:
    users = [path.name for path in SOURCES if "os.environ" in path.read_text("utf-8")]
    assert users == ["settings.py"]


def test_nothing_is_unpickled() -> None:
    unsafe = re.compile(r"\b(pickle|joblib|dill)\b|torch\.load\(|allow_pickle=True|yaml\.load\(")
    offenders = [path.name for path in SOURCES if unsafe.search(path.read_text("utf-8"))]
    assert offenders == []


@pytest.mark.parametrize("path", STATEMENTS, ids=lambda path: path.stem)
def test_sql_file_has_a_header_and_one_statement(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith("-- ")
    body = re.sub(r"--[^\n]*", "", text).strip().rstrip(";")
    assert ";" not in body


def test_every_sql_file_is_used() -> None:
    sources = "".join(path.read_text("utf-8") for path in SOURCES)
    assert [path.stem for path in STATEMENTS if f'"{path.stem}"' not in sources] == []


def loaded_by(module: str) -> set[str]:
    """Top-level packages in memory after importing a module in a fresh interpreter."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(found.stdout.split())


@pytest.mark.parametrize("flow", ["ingest", "report"])
def test_ingest_and_report_do_not_load_torch(flow: str) -> None:
    assert "torch" not in loaded_by(f"flows.{flow}")


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "prefect", "mlflow", "duckdb", "pyarrow", "pydantic", "rich", "numpy"}
    assert not heavy & loaded_by("flows.cli")
