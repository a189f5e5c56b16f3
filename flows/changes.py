"""What a backfill changes of released scores, by item, and response by response in a file."""

from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from flows.settings import Settings
from tasks.comparison import ScoreComparison, kept_comparison
from tasks.run_files import FORMULA
from tasks.thresholds import read_thresholds, thresholds_from_json
from warehouse import comparison, db, provenance, reports
from warehouse.parts import whole_file


class NotComparedError(LookupError):
    """A run has nothing to compare, or was judged before runs were compared."""


@dataclass(frozen=True)
class Changes:
    """What a run changes; figures over fewer than ``small_cell`` scores are not shown."""

    comparison: ScoreComparison
    small_cell: int


def changes_of(settings: Settings, run_id: str) -> Changes:
    """What a run changes of released scores, as it was counted when the run was judged.

    Raises:
        UnknownRunError: there is no such run.
        NotComparedError: it was not compared with anything.
    """
    with db.connect(settings.warehouse, read_only=True) as connection:
        found = _compared(connection, run_id)
        limits = provenance.thresholds(connection, run_id)
    thresholds = thresholds_from_json(limits) if limits else read_thresholds(settings.thresholds)
    return Changes(found, thresholds.small_cell)


def write_changes(settings: Settings, run_id: str, file: Path) -> int:
    """Write every changed score to a file, whole or not at all; returns how many these are.

    Args:
        settings: the settings.
        run_id: a backfill.
        file: ends in ``.parquet`` or in anything else, which is CSV.

    Raises:
        UnknownRunError: there is no such run.
        NotComparedError: it was not compared with anything.
    """
    with db.connect(settings.warehouse, read_only=True) as connection:
        _compared(connection, run_id)
        changes = comparison.changes(connection, run_id)
    with whole_file(file) as temporary:
        if file.suffix == ".parquet":
            pq.write_table(changes, temporary)
        else:
            pa.csv.write_csv(_harmless(changes), temporary)
    return len(changes)


def _compared(connection: duckdb.DuckDBPyConnection, run_id: str) -> ScoreComparison:
    run = reports.run(connection, run_id)
    found = kept_comparison(connection, run_id)
    if found is None:
        raise NotComparedError(
            f"{run_id} is a run of kind {run.kind} with status {run.status} and {run.scored} "
            "scored responses: only backfills that have brought scores are compared with what was "
            "released"
        )
    return found


def _harmless(table: pa.Table) -> pa.Table:
    """The table as a spreadsheet may open it; an apostrophe makes text of a formula."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            column = table.column(place)
            starts = [pc.starts_with(column, mark) for mark in FORMULA]
            formula = starts[0]
            for one in starts[1:]:
                formula = pc.or_(formula, one)
            quoted = pc.binary_join_element_wise("'", column, "")
            table = table.set_column(place, field, pc.if_else(formula, quoted, column))
    return table
