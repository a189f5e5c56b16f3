"""What a run would do, and how long the like of it has taken here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from warehouse.db import rows


@dataclass(frozen=True)
class ItemCounts:
    """What a run would do with the selected responses of one item and trait.

    Attributes:
        item_id, trait: whose they are.
        versions: of the adapters that would score them.
        computed: scores to compute.
        copied: scores that the ledger has for the same text.
        coded: blank responses, which get a condition code.
        routed: responses that no adapter scores.
        kept: responses that the run would leave as they are.
    """

    item_id: str
    trait: str
    versions: tuple[int, ...]
    computed: int
    copied: int
    coded: int
    routed: int
    kept: int


@dataclass(frozen=True)
class Rate:
    """What computing an item's scores took in past runs, in seconds.

    Attributes:
        item_id, trait: whose they are.
        n: scores.
        batches_s: seconds of the batches they were in.
        scoring_s: seconds of all scoring, loading of adapters included, as a run knows it.
    """

    item_id: str
    trait: str
    n: int
    batches_s: float
    scoring_s: float


@dataclass(frozen=True)
class StandingAdapter:
    """An adapter whose scores stand."""

    item_id: str
    trait: str
    version: int
    sha256: str


def counts(
    connection: duckdb.DuckDBPyConnection, planned: pa.Table, selection: Mapping[str, Any]
) -> list[ItemCounts]:
    """Count what a run would do, by item and trait.

    Args:
        connection: the warehouse; reading is enough.
        planned: the rows that it would plan.
        selection: ``seasons``, ``items``, ``from_date`` and ``to_date``, None where not restricted.
    """
    connection.register("to_score", planned)
    found = {(row["item_id"], row["trait"]): row for row in rows(connection, "estimate_counts")}
    connection.unregister("to_score")
    nothing = {"versions": [], "computed": 0, "copied": 0, "coded": 0, "routed": 0}
    counted = []
    for selected in rows(connection, "estimate_selected", selection):
        key = {"item_id": selected["item_id"], "trait": selected["trait"]}
        row = {**nothing, **found.get(tuple(key.values()), {}), **key}
        touched = row["computed"] + row["copied"] + row["coded"] + row["routed"]
        row["versions"] = tuple(row["versions"])
        counted.append(ItemCounts(**row, kept=selected["n"] - touched))
    return counted


def rates(connection: duckdb.DuckDBPyConnection) -> list[Rate]:
    """What scoring took in the last runs, by item and trait; empty where none was timed."""
    return [Rate(**row) for row in rows(connection, "estimate_rates")]


def standing(
    connection: duckdb.DuckDBPyConnection, selection: Mapping[str, Any]
) -> list[StandingAdapter]:
    """The adapters whose scores stand for a selection; several of an item where it had several."""
    return [StandingAdapter(**row) for row in rows(connection, "selection_standing", selection)]


def unknown_names(
    connection: duckdb.DuckDBPyConnection, selection: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """("item" or "season", name) of what a selection names and the warehouse does not know."""
    named = {name: selection[name] for name in ("items", "seasons")}
    return [(row["kind"], row["name"]) for row in rows(connection, "selection_unknown", named)]
