"""What stands behind a run's counts: its files, what is left without a score, gross misses."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from warehouse import db, runs
from warehouse.breakdown import Breakdown, ExportFile, FarApart, WithoutScore, breakdown, seasons_of
from warehouse.items import ItemRow, add_items

DAY = date(2026, 3, 12)
BEFORE = datetime(2026, 3, 11, tzinfo=UTC)


def response(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    item_id: str,
    *,
    at: datetime = BEFORE,
    season: str = "2026-spring",
    purpose: str = "operational",
) -> None:
    connection.execute(
        "INSERT INTO responses (response_id, item_id, season, text_sha256, characters, "
        "export_sha256, ingested_at, purpose) VALUES (?, ?, ?, 't', 9, 'e', ?, ?)",
        [name, item_id, season, at, purpose],
    )


def scored(
    connection: duckdb.DuckDBPyConnection, run_id: str, name: str, score: int, adapter: str = "ad"
) -> None:
    connection.execute(
        "INSERT INTO scores (run_id, shard, response_id, item_id, trait, status, raw_score, score, "
        "confidence, adapter_version, adapter_sha256, scored_at) "
        "SELECT ?, 's', response_id, item_id, 'overall', 'scored', ?, ?, 0.7, 1, ?, ? "
        "FROM responses WHERE response_id = ?",
        [run_id, score, score, adapter, BEFORE, name],
    )


def rated(connection: duckdb.DuckDBPyConnection, name: str, score: float, rater: int = 1) -> None:
    connection.execute(
        "INSERT INTO human_scores VALUES (?, 'plants', 'overall', ?, ?, 'e', ?)",
        [name, rater, score, BEFORE],
    )


def learned(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    connection.execute("INSERT INTO training_rows VALUES ('ad', ?, 'overall', 'training')", [name])


@pytest.fixture
def night(tmp_path: Path) -> tuple[Path, str]:
    """A run that scored plants; maps has no adapter."""
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        scale = {"score_min": 0, "score_max": 4}
        add_items(connection, [ItemRow(name, "overall", **scale) for name in ("plants", "maps")])
        run_id = runs.start_run(connection, "nightly", DAY, {})
        connection.execute(
            "INSERT INTO exports VALUES ('ab', ?, 'a.csv', '{}', 9, 6, 1, 1, 1, ?)",
            [run_id, BEFORE],
        )
        for name, score in (("far", 4), ("near", 1), ("half", 3), ("second", 1), ("seen", 4)):
            response(connection, name, "plants")
            scored(connection, run_id, name, score)
        for name, given in (("far", 1), ("near", 1), ("half", 1.5), ("second", 1), ("seen", 0)):
            rated(connection, name, given)
        rated(connection, "second", 4, rater=2)
        learned(connection, "seen")
        for name in ("m1", "m2"):
            response(connection, name, "maps")
        response(connection, "fall", "maps", season="2025-fall")
        response(connection, "known", "maps", purpose="validity")
        response(connection, "later", "maps", at=datetime.now(UTC) + timedelta(days=1))
        response(connection, "taught", "maps")
        learned(connection, "taught")
        runs.finish_run(connection, run_id, "done", runs.RunCounts())
    return path, run_id


def test_files_items_without_a_score_and_gross_misses_are_named(night: tuple[Path, str]) -> None:
    path, run_id = night
    with db.connect(path, read_only=True) as connection:
        found = breakdown(connection, run_id)
        assert seasons_of(connection, run_id) == ("2026-spring",)
    assert found == Breakdown(
        seasons=("2026-spring",),
        exports=(ExportFile("a.csv", "ab", 9, 6, 1, 1, 1),),
        without_score=(WithoutScore("maps", "overall", 3),),
        far_apart=(FarApart("plants", "overall", "far"),),
    )


def test_a_selection_is_kept_to(night: tuple[Path, str]) -> None:
    path, run_id = night
    with db.connect(path, read_only=True) as connection:
        spring = breakdown(connection, run_id, seasons=["2026-spring"])
        plants = breakdown(connection, run_id, items=["plants"])
    assert spring.without_score == (WithoutScore("maps", "overall", 2),)
    assert plants.without_score == ()
    assert plants.far_apart == (FarApart("plants", "overall", "far"),)


def test_a_rating_that_comes_later_is_told_by_the_next_night(night: tuple[Path, str]) -> None:
    """And what another adapter has scored since is not."""
    path, _ = night
    with db.connect(path) as connection:
        response(connection, "tonight", "plants")
        second = runs.start_run(connection, "nightly", DAY, {})
        scored(connection, second, "tonight", 1)
        connection.execute("DELETE FROM human_scores WHERE response_id = 'near'")
        rated(connection, "near", 4)
        found = breakdown(connection, second)
        other = runs.start_run(connection, "backfill", DAY, {})
        scored(connection, other, "near", 0, adapter="other")
        connection.execute("UPDATE scores SET scored_at = now() WHERE run_id = ?", [other])
        later = breakdown(connection, second)
    assert [entry.response_id for entry in found.far_apart] == ["far", "near"]
    assert [entry.response_id for entry in later.far_apart] == ["far"]


def test_an_evaluation_looks_at_the_scores_of_every_adapter(night: tuple[Path, str]) -> None:
    path, run_id = night
    with db.connect(path) as connection:
        again = runs.start_run(connection, "backfill", DAY, {})
        scored(connection, again, "near", 4, adapter="other")
        connection.execute("UPDATE scores SET scored_at = now() WHERE run_id = ?", [again])
        looked = runs.start_run(connection, "evaluate", DAY, {})
        runs.finish_run(connection, looked, "done", runs.RunCounts())
        found = breakdown(connection, looked, current=True)
        (first,) = breakdown(connection, run_id).far_apart
    assert [entry.response_id for entry in found.far_apart] == ["far", "near"]
    assert found.exports == ()
    assert first.response_id == "far"
