"""What a run would replace, found in the ledger: which score stood there, and which is told of."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_warehouse_history import START, Ledger

from warehouse import comparison, db


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Released scores of day 1, a held run of day 2, and a backfill of day 5 with a new adapter."""
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        made = Ledger(connection)
        connection.execute("UPDATE items SET cut_scores = [2]")
        for response_id in "abcde":
            made.response(response_id, "plants")
        made.run("n1", 1)
        made.run("h2", 2, "held")
        made.run("b5", 5, None, kind="backfill")
        for response_id, score in {"a": 1, "b": 1, "c": 3}.items():
            score_on(made, "n1", 1, response_id, score)
        for response_id in "ad":
            score_on(made, "h2", 2, response_id, 2)
        for response_id, score in {"a": 1, "b": 2, "c": 1, "d": 3, "e": 0}.items():
            score_on(made, "b5", 5, response_id, score, adapter_version=2, adapter_sha256="new")
        yield made


def score_on(ledger: Ledger, run_id: str, day: int, response_id: str, score: int, **more: Any):
    ledger.score(run_id, response_id, score, scored_at=START + timedelta(days=day), **more)


def seen(ledger: Ledger, run_id: str = "b5") -> set[tuple[str, int | None, int, int]]:
    found = comparison.compare(ledger.connection, run_id)
    assert comparison.counts(ledger.connection, run_id) == found
    return {(one.replaces, one.old_score, one.new_score, one.n) for one in found}


def test_a_released_score_stands_before_a_later_one_that_was_held(ledger: Ledger) -> None:
    assert seen(ledger) == {
        ("released", 1, 1, 1), ("released", 1, 2, 1), ("released", 3, 1, 1),
        ("unreleased", 2, 3, 1), ("nothing", None, 0, 1),
    }  # fmt: skip
    runs = comparison.old_runs(ledger.connection, "b5")
    assert [(one.old_run_id, one.released, one.n) for one in runs] == [
        ("h2", False, 1), ("n1", True, 3)
    ]  # fmt: skip
    one = comparison.counts(ledger.connection, "b5")[0]
    assert (one.score_min, one.score_max, one.cut_scores, one.new_version) == (0, 3, (2,), 2)


def test_a_later_released_score_stays(ledger: Ledger) -> None:
    ledger.run("n6", 6)
    score_on(ledger, "n6", 6, "a", 0)
    assert ("later", 0, 1, 1) in seen(ledger)


def test_a_later_run_that_is_not_released_is_no_measure(ledger: Ledger) -> None:
    before = seen(ledger)
    ledger.run("b6", 6, "held", kind="backfill")
    score_on(ledger, "b6", 6, "e", 3)
    score_on(ledger, "b6", 6, "a", 3)
    assert seen(ledger) == before


def test_compared_again_counts_are_replaced(ledger: Ledger) -> None:
    seen(ledger)
    ledger.decide("h2", "released", START + timedelta(days=9))
    assert seen(ledger) == {
        ("released", 2, 1, 1), ("released", 1, 2, 1), ("released", 3, 1, 1),
        ("released", 2, 3, 1), ("nothing", None, 0, 1),
    }  # fmt: skip


def test_the_list_stays_what_was_compared_whatever_is_released_since(ledger: Ledger) -> None:
    seen(ledger)
    before = comparison.changes(ledger.connection, "b5").to_pylist()
    ledger.run("n6", 6)
    score_on(ledger, "n6", 6, "b", 0)
    ledger.decide("h2", "released", START + timedelta(days=9))
    ledger.decide("b5", "released", START + timedelta(days=9))
    after = comparison.changes(ledger.connection, "b5").to_pylist()
    assert after == before
    assert [(row["response_id"], row["old_score"], row["new_score"]) for row in after] == [
        ("b", 1, 2), ("c", 3, 1), ("d", 2, 3)
    ]  # fmt: skip
    assert [(row["shift"], row["crossed"]) for row in after] == [(1, "2"), (-2, "2"), (1, "")]
    assert after[0]["old_run_id"] == "n1"
    assert (after[0]["old_adapter_sha256"], after[0]["new_adapter_sha256"]) == ("adapter", "new")


def test_ratings_count_where_neither_adapter_has_learned_from_them(ledger: Ledger) -> None:
    for response_id in "abc":
        ledger.insert("human_scores", response_id=response_id, item_id="plants", trait="overall",
                      rater=1, human_score=2.0, export_sha256="e", recorded_at=START)  # fmt: skip
    for response_id, adapter in (("a", "new"), ("b", "third"), ("c", "adapter")):
        ledger.insert("training_rows", adapter_sha256=adapter, response_id=response_id,
                      trait="overall", part="training")  # fmt: skip
    found = comparison.compare(ledger.connection, "b5")
    assert [(one.old_score, one.new_score) for one in found if one.human_score == 2.0] == [(1, 2)]


def test_a_run_without_scores_has_nothing_to_compare(ledger: Ledger) -> None:
    ledger.run("b6", 6, None, kind="backfill")
    assert comparison.compare(ledger.connection, "b6") == []
    assert comparison.changes(ledger.connection, "b6").num_rows == 0
