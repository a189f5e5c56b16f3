"""Rows about some responses leave the tables that were logged to MLflow."""

import csv
import io
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from tasks.tracking.store import Tracking, pages, told

COLUMN = "response_id"


@told
def erase_rows(tracking: Tracking, subject: str, response_ids: frozenset[str]) -> int:
    """Take the rows about some responses out of every table of an experiment's runs.

    A table is JSON or CSV with a column ``response_id``; nothing else that is logged names a
    response. Runs that were deleted are looked through, too, since MLflow keeps them until it is
    told to collect its garbage.

    Args:
        tracking: where.
        subject: of the experiment; where there is none, there is nothing to do.
        response_ids: the responses.

    Returns:
        how many rows there were.
    """
    if not response_ids or _has_no_store(tracking):
        return 0
    client = tracking.client()
    experiment = client.get_experiment_by_name(f"{tracking.programme} {subject}")
    if experiment is None:
        return 0
    search = partial(client.search_runs, [experiment.experiment_id], "", ViewType.ALL)
    return sum(_erase_in(client, run, response_ids) for run in pages(search))


def _has_no_store(tracking: Tracking) -> bool:
    """Whether nothing was ever logged: a client would make the store, which takes seconds."""
    is_file = tracking.uri.startswith("sqlite:///")
    return is_file and not Path(tracking.uri.removeprefix("sqlite:///")).exists()


def _erase_in(client: MlflowClient, run: Run, response_ids: frozenset[str]) -> int:
    run_id, erased = str(run.info.run_id), 0
    if "mlflow.parentRunId" in run.data.tags:  # an item's run has figures and pictures alone
        return 0
    for path in list(_tables(client, run_id)):
        with tempfile.TemporaryDirectory(prefix="gradeline-") as folder:
            content = Path(client.download_artifacts(run_id, path, folder)).read_bytes().decode()
        rest, count = without(path, content, response_ids)
        if count:
            client.log_text(run_id, rest, path)
            erased += count
    return erased


def _tables(client: MlflowClient, run_id: str, folder: str | None = None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            # Adapters' and pictures' folders hold no table, and may hold many files.
            if entry.path not in ("adapter", "figures"):
                yield from _tables(client, run_id, entry.path)
        elif entry.path.endswith((".json", ".csv")):
            yield entry.path


def without(path: str, content: str, response_ids: frozenset[str]) -> tuple[str, int]:
    """A table without the rows about some responses, and how many there were."""
    return (_json if path.endswith(".json") else _csv)(content, response_ids)


def _json(content: str, response_ids: frozenset[str]) -> tuple[str, int]:
    try:
        table = json.loads(content)
    except ValueError:  # a file that somebody has put there
        return content, 0
    columns = table.get("columns", []) if isinstance(table, dict) else []
    if COLUMN not in columns:
        return content, 0
    place, rows = columns.index(COLUMN), table["data"]
    rest = [row for row in rows if row[place] not in response_ids]
    return json.dumps({**table, "data": rest}), len(rows) - len(rest)


def _csv(content: str, response_ids: frozenset[str]) -> tuple[str, int]:
    header, *rows = list(csv.reader(io.StringIO(content, newline=""))) or [[]]
    if COLUMN not in header:
        return content, 0
    place = header.index(COLUMN)
    # An apostrophe makes text of what a spreadsheet would take for a formula.
    rest = [row for row in rows if row[place].removeprefix("'") not in response_ids]
    written = io.StringIO()
    csv.writer(written).writerows([header, *rest])
    return written.getvalue(), len(rows) - len(rest)
