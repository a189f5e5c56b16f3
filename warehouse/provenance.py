"""Where a run's figures come from: what computed its scores, from which data, by which limits."""

import duckdb

from warehouse import db


def computed_with(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, str]:
    """What computed a run's scores: ``backbone_sha256`` and ``engine``; empty without a score."""
    found = db.rows(connection, "provenance_engines", {"run_id": run_id})
    columns = ("backbone_sha256", "engine")
    named = {name: sorted({row[name] for row in found if row[name]}) for name in columns}
    return {name: ", ".join(values) for name, values in named.items() if values}


def thresholds(connection: duckdb.DuckDBPyConnection, run_id: str) -> str | None:
    """The limits, as JSON, that a run was judged by; None where it was not judged."""
    found = db.rows(connection, "provenance_thresholds", {"run_id": run_id})
    return str(found[0]["content"]) if found else None


def data_sha256(connection: duckdb.DuckDBPyConnection, run_id: str | None) -> str:
    """Hash of the texts and human scores that a run's scores belong to; in no order of rows.

    Args:
        connection: the warehouse.
        run_id: the run; None: of the current scores of everything.
    """
    (found,) = db.rows(connection, "provenance_data", {"run_id": run_id})
    return str(found["sha256"] or "")
