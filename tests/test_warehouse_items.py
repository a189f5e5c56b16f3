"""Items can be added again and described anew; a scale that scores stand on cannot change."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from warehouse import db
from warehouse.items import ItemConflictError, ItemCounts, ItemRow, add_items, list_items

ITEM = ItemRow("007", "overall", 0, 3, "Why?", None, ("Because.", "So."))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with db.connect(tmp_path / "warehouse.duckdb") as opened:
        yield opened


def give_human_score(connection: duckdb.DuckDBPyConnection) -> None:
    row = ["r1", "007", "overall", 1, 2.0, "sha", datetime.now(UTC)]
    connection.execute("INSERT INTO human_scores VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def test_items_are_listed_as_they_were_added(connection) -> None:
    assert add_items(connection, [ITEM]) == ItemCounts(added=1, changed=0, unchanged=0)
    assert list_items(connection) == [ITEM]


def test_the_same_bank_again_changes_nothing(connection) -> None:
    add_items(connection, [ITEM])
    assert add_items(connection, [ITEM]) == ItemCounts(added=0, changed=0, unchanged=1)


def test_a_prompt_may_change_and_an_item_be_added(connection) -> None:
    add_items(connection, [ITEM])
    give_human_score(connection)
    bank = [replace(ITEM, prompt="Why not?"), replace(ITEM, trait="style")]
    assert add_items(connection, bank) == ItemCounts(added=1, changed=1, unchanged=0)
    assert list_items(connection) == bank


def test_what_is_reported_and_where_it_is_cut_is_kept_and_may_change(connection) -> None:
    item = replace(ITEM, reported="scaled", cut_scores=(1, 3))
    add_items(connection, [item])
    give_human_score(connection)
    assert list_items(connection) == [item]
    assert add_items(connection, [ITEM]) == ItemCounts(added=0, changed=1, unchanged=0)
    assert list_items(connection) == [ITEM]


def test_a_scale_without_scores_may_change(connection) -> None:
    add_items(connection, [ITEM])
    add_items(connection, [replace(ITEM, score_max=4)])
    assert list_items(connection)[0].score_max == 4


def test_a_scale_with_scores_stays_and_the_whole_bank_is_refused(connection) -> None:
    add_items(connection, [ITEM])
    give_human_score(connection)
    bank = [replace(ITEM, item_id="008"), replace(ITEM, score_max=4)]
    with pytest.raises(ItemConflictError, match=r"item 007 .* scale 0 to 3; the bank says 0 to 4"):
        add_items(connection, bank)
    assert list_items(connection) == [ITEM]
