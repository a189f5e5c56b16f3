"""What adapters are trained on, and what they have seen."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from warehouse.db import execute, rows, table, transaction


def human_scored(
    connection: duckdb.DuckDBPyConnection,
    seasons: Sequence[str] | None,
    items: Sequence[str] | None,
) -> pa.Table:
    """Human-scored responses that are not blank, sorted by item, trait and response.

    Columns: item_id, trait, response_id, human_score (the mean where two people scored),
    season, export_sha256, text_sha256, student_pseudo, score_min, score_max.
    """
    chosen = {
        "seasons": None if seasons is None else list(seasons),
        "items": None if items is None else list(items),
    }
    return table(connection, "training_scores", chosen)


def unscored(
    connection: duckdb.DuckDBPyConnection,
    seasons: Sequence[str] | None,
    items: Sequence[str] | None,
    most: int,
) -> pa.Table:
    """Responses that nobody has scored, sorted by item, trait and response.

    Columns: item_id, trait, response_id, season, export_sha256, text_sha256.

    Args:
        connection: to the warehouse.
        seasons: of these only; None is all.
        items: of these only; None is all.
        most: of each item and trait; which ones depends on their ids alone.
    """
    chosen = {
        "seasons": None if seasons is None else list(seasons),
        "items": None if items is None else list(items),
        "most": most,
    }
    return table(connection, "training_unlabelled", chosen)


def record_seen(
    connection: duckdb.DuckDBPyConnection,
    adapter_sha256: str,
    trait: str,
    training: Sequence[str],
    validation: Sequence[str],
) -> None:
    """Note which responses an adapter was trained and validated on; repeating it adds nothing."""
    parts = ["training"] * len(training) + ["validation"] * len(validation)
    seen = pa.table({"response_id": [*training, *validation], "part": parts})
    connection.register("seen", seen)
    with transaction(connection):
        execute(
            connection, "training_rows_insert", {"adapter_sha256": adapter_sha256, "trait": trait}
        )
    connection.unregister("seen")


def known_adapters(connection: duckdb.DuckDBPyConnection) -> set[str]:
    """Hashes of the adapters of which the warehouse knows what they have seen."""
    return {row["adapter_sha256"] for row in rows(connection, "training_rows_adapters")}


def trained_on(connection: duckdb.DuckDBPyConnection, adapter_sha256: str) -> set[str]:
    """Ids of the responses an adapter was fitted to."""
    found = rows(connection, "training_rows_of", {"adapter_sha256": adapter_sha256})
    return {row["response_id"] for row in found}
