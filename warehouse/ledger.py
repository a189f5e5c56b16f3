"""The ledger read back: the past as it stood on a day, a run as it was scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import pyarrow as pa

from warehouse.db import execute, rows, table


@dataclass(frozen=True)
class PastItem:
    """What stood of an item and trait.

    Attributes:
        responses: with an outcome or a human score.
        released: of these, with a released outcome of the machine's.
        held: whose last outcome was not released.
        human: that people had scored; their score is the final one.
        mean_final: mean of the final scores; None where there was none.
        adapters: versions that gave the released scores.
    """

    item_id: str
    trait: str
    responses: int
    released: int
    held: int
    human: int
    mean_final: float | None
    adapters: tuple[int, ...]


@dataclass(frozen=True)
class PastRun:
    """A run, with the decision about it that stood; that is None where there was none yet."""

    run_id: str
    kind: str
    administration_date: date
    decision: str | None
    decided_by: str | None
    reason: str | None
    decided_at: datetime | None


def look_back(
    connection: duckdb.DuckDBPyConnection,
    day: date,
    *,
    items: Sequence[str] | None = None,
    seasons: Sequence[str] | None = None,
    responses: Sequence[str] | None = None,
) -> tuple[list[PastItem], list[PastRun]]:
    """The past at the end of a day (UTC); ``past_rows`` then reads it response by response.

    What was erased since is not in it.

    Args:
        connection: the warehouse.
        day: all that was committed, decided and recorded on it or before counts.
        items: only these; None is all.
        seasons: only these; None is all.
        responses: only these; None is all.
    """
    until = {"until": datetime.combine(day + timedelta(days=1), time(), UTC)}
    chosen = {"items": items, "seasons": seasons, "responses": responses}
    bound = {name: None if values is None else list(values) for name, values in chosen.items()}
    execute(connection, "past_scores", {**until, **bound})
    found = rows(connection, "past_items")
    past = [PastItem(**{**row, "adapters": tuple(row["adapters"])}) for row in found]
    return past, [PastRun(**row) for row in rows(connection, "past_runs", until)]


def past_rows(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """The past that was looked back on, a row per response and trait.

    Columns: response_id, item_id, trait, season; final_score and source (human, machine, null where
    nothing counted); human_score (the mean of those given), raters; released_ and current_ score,
    code, raw_score, run, adapter (version) and adapter_sha256.
    """
    return table(connection, "past_rows")


def run_rows(connection: duckdb.DuckDBPyConnection, run_id: str) -> pa.Table:
    """What a run has scored, validity responses too, by item, trait and response.

    Columns: those of a plan, ``retired`` (the text is gone), engine and backbone_sha256, and what
    the ledger has of each score.
    """
    return table(connection, "replay_rows", {"run_id": run_id})


def wrongly_coded(connection: duckdb.DuckDBPyConnection, run_id: str) -> tuple[int, int]:
    """How many responses a run has given a condition code, and how many of them are not blank."""
    (row,) = rows(connection, "replay_coded", {"run_id": run_id})
    return row["coded"], row["not_blank"]
