"""The item bank: what is asked, and on which scale it is scored."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import duckdb

from warehouse.db import execute, rows, transaction


class ItemConflictError(ValueError):
    """An item's scale was to change although scores on the old one are here."""


@dataclass(frozen=True)
class ItemRow:
    """One item and trait.

    Attributes:
        item_id: the question.
        trait: what is scored about the answer.
        score_min: lowest score point.
        score_max: highest score point.
        prompt: what the student was asked.
        rubric: text, or JSON of score point to text.
        reference_answers: answers that deserve the highest score.
        reported: which score counts: ``rounded``, or ``scaled`` to the people's mean and spread.
        cut_scores: score points that decide something, ascending; a score at or above one has
            crossed it.
    """

    item_id: str
    trait: str
    score_min: int
    score_max: int
    prompt: str | None = None
    rubric: str | None = None
    reference_answers: tuple[str, ...] = ()
    reported: str = "rounded"
    cut_scores: tuple[int, ...] = ()


@dataclass(frozen=True)
class ItemCounts:
    """What adding a bank did, in items and traits."""

    added: int
    changed: int
    unchanged: int


def add_items(connection: duckdb.DuckDBPyConnection, bank: Sequence[ItemRow]) -> ItemCounts:
    """Add items, or change what is said of them and unused scales; all of them or none.

    Raises:
        ItemConflictError: a scale would change that scores or human scores stand on.
    """
    known = {(item.item_id, item.trait): item for item in list_items(connection)}
    new = [item for item in bank if (item.item_id, item.trait) not in known]
    changed = [item for item in bank if known.get((item.item_id, item.trait), item) != item]
    with transaction(connection):
        for item in changed:
            _check_scale(connection, known[item.item_id, item.trait], item)
            execute(connection, "items_update", asdict(item))
        for item in new:
            execute(connection, "items_insert", {**asdict(item), "now": datetime.now(UTC)})
    return ItemCounts(len(new), len(changed), len(bank) - len(new) - len(changed))


def list_items(connection: duckdb.DuckDBPyConnection) -> list[ItemRow]:
    """Every item and trait, by their ids."""
    found = rows(connection, "items_list")
    return [
        ItemRow(
            **{**row, **{name: tuple(row[name]) for name in ("reference_answers", "cut_scores")}}
        )
        for row in found
    ]


def _check_scale(connection: duckdb.DuckDBPyConnection, old: ItemRow, new: ItemRow) -> None:
    if (old.score_min, old.score_max) == (new.score_min, new.score_max):
        return
    key = {"item_id": old.item_id, "trait": old.trait}
    (count,) = rows(connection, "items_scores", key)
    if count["scores"] or count["human_scores"]:
        raise ItemConflictError(
            f"item {old.item_id} ({old.trait}) has {count['scores']} scores and "
            f"{count['human_scores']} human scores on its scale {old.score_min} to "
            f"{old.score_max}; the bank says {new.score_min} to {new.score_max}. "
            "Give the changed item another item_id"
        )
