"""A season summed up: from a small warehouse with three nights and a person's decision."""

import json
import logging
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from tasks.season import (
    Season,
    UnknownSeasonError,
    by_administration,
    read_season,
    season_sentences,
    season_tables,
)
from tasks.season_log import log_season
from tasks.thresholds import read_thresholds
from tasks.tracking import Tracking
from warehouse import db, release, runs
from warehouse.items import ItemRow, add_items

FIRST = date(2026, 3, 10)
N = 20  # responses of an item in a night
# Share of zeros of plants by night; maps has nothing on the last one.
ZEROS = (0.3, 0.35, 0.6)


def score(
    connection: duckdb.DuckDBPyConnection,
    run_id: str,
    item: str,
    n: int,
    zeros: float,
    day: date,
) -> None:
    """Responses of one night with their scores, 0 and 2."""
    at = datetime(day.year, day.month, day.day, 3, tzinfo=UTC)
    for number in range(n):
        response = f"{run_id}-{item}-{number}"
        points = 0 if number < zeros * n else 2
        connection.execute(
            "INSERT INTO responses (response_id, item_id, season, text_sha256, characters, "
            "export_sha256, ingested_at) VALUES (?, ?, '2026-spring', 't', 9, 'e', ?)",
            [response, item, at],
        )
        connection.execute(
            "INSERT INTO scores (run_id, shard, response_id, item_id, trait, status, raw_score, "
            "score, confidence, adapter_version, adapter_sha256, latency_ms, scored_at) "
            "VALUES (?, 's', ?, ?, 'overall', 'scored', ?, ?, 0.7, 1, 'a', 2.0, ?)",
            [run_id, response, item, points, points, at],
        )


def night(connection: duckdb.DuckDBPyConnection, number: int) -> str:
    """A night with its gate; the last one drifts and is held."""
    day = FIRST + timedelta(days=number)
    run_id = runs.start_run(connection, "nightly", day, {})
    score(connection, run_id, "plants", N, ZEROS[number], day)
    if number < 2:
        score(connection, run_id, "maps", 5, 0.5, day)
    runs.finish_run(
        connection, run_id, "done", runs.RunCounts(scored=N + 5, waiting=N + 5), peak_rss_mb=800.0
    )
    held = number == 2
    qwk = {"low": 0.6, "high": 0.9, "limit": 0.7, "n": 120, "trait": "overall", "subject": ""}
    results = [
        {**qwk, "item_id": "plants", "rule": "qwk", "status": "PASS", "value": 0.8 - number / 100},
        {**qwk, "item_id": "maps", "rule": "qwk", "status": "INSUFFICIENT_N", "value": 0.1, "n": 5},
        {
            **qwk,
            "item_id": "plants",
            "rule": "score_point_shift",
            "subject": "0",
            "status": "FAIL" if held else "PASS",
            "value": 0.25,
        },
    ]
    reasons = ["item plants: share of 0 moved by .25"] if held else []
    release.record_gate(
        connection, run_id, results, "held" if held else "released", reasons, "5ha", "{}"
    )
    return run_id


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("season") / "warehouse.duckdb"
    with db.connect(path) as connection:
        scale = {"score_min": 0, "score_max": 2}
        add_items(connection, [ItemRow(name, "overall", **scale) for name in ("plants", "maps")])
        ids = [night(connection, number) for number in range(3)]
        release.decide(connection, ids[-1], "released", "A. Rater", "a hard form, memo 7")
    return path


@pytest.fixture(scope="module")
def season(warehouse: Path) -> Season:
    return read_season(warehouse, "2026-spring")


def test_a_season_has_its_nights_in_order(season: Season) -> None:
    days = [one.run.administration_date for one in season.runs]
    assert days == [FIRST, FIRST + timedelta(days=1), FIRST + timedelta(days=2)]
    assert [one.status for one in season.runs] == ["released"] * 3  # a person has decided
    assert len(season.trend) == 5
    shares = [point.shares[0] for point in season.trend if point.item_id == "plants"]
    assert shares == pytest.approx(ZEROS)


def test_a_season_that_nobody_has_scored_is_an_error(warehouse: Path) -> None:
    with pytest.raises(UnknownSeasonError, match="2026-sprign"):
        read_season(warehouse, "2026-sprign")


def test_sentences_sum_it_up(season: Season) -> None:
    first, decided, failed = season_sentences(season)
    assert first == (
        "Season 2026-spring: 3 runs from 2026-03-10 to 2026-03-12, 70 responses scored, 2 items."
    )
    assert decided == "3 released; a person decided on 1 of them."
    assert failed == "Items with the most failed rules: plants (1)."


def test_responses_of_another_season_are_not_counted_in_this_one(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        scale = {"score_min": 0, "score_max": 2}
        add_items(connection, [ItemRow(name, "overall", **scale) for name in ("plants", "maps")])
        run_id = night(connection, 0)
        connection.execute(
            "UPDATE responses SET season = '2025-fall' WHERE response_id LIKE '%plants-1%'"
        )
    season = read_season(path, "2026-spring")
    sentences = season_sentences(season)
    assert "14 responses scored" in sentences[0]  # of maps 5, of plants 20 less 11
    assert sentences[-1].startswith("1 of the runs scored other seasons, too")
    assert season_tables(season, 10)["season/runs.json"]["scored_of_season"] == [14]
    assert by_administration(season)[FIRST]["n/scored"] == 14
    assert season.runs[0].run.run_id == run_id


def test_agreement_is_over_items_with_enough_responses(season: Season) -> None:
    found = by_administration(season)
    last = found[FIRST + timedelta(days=2)]
    assert last["qwk/mean_over_items"] == pytest.approx(0.78)  # not the .1 of five responses
    assert (last["n/scored"], last["rules/fail"], last["drift/alarms"]) == (20, 1, 1)
    assert found[FIRST]["drift/alarms"] == 0


def test_tables_have_runs_items_and_administrations(season: Season) -> None:
    tables = season_tables(season, small_cell=10)
    assert tables["season/runs.json"]["decided_by"] == ["gate", "gate", "A. Rater"]
    items = tables["season/items.json"]
    assert items["item_id"] == ["maps", "plants"]
    assert items["administrations"] == [2, 3]
    assert items["mean_last"] == [None, pytest.approx(0.8)]  # of maps, five responses a night
    assert items["qwk_lowest"] == [None, pytest.approx(0.78)]
    assert set(tables["season/agreement.json"]["item_id"]) == {"plants"}


def test_the_season_is_one_run_with_a_child_for_each_item(season: Season, tmp_path: Path) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    where = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, "test")
    parent_id = log_season.fn(where, season, read_thresholds(None))
    client = where.client()
    parent = client.get_run(parent_id)
    assert (parent.data.tags["run_kind"], parent.data.tags["season"]) == ("season", "2026-spring")
    assert "a person decided on 1" in parent.data.tags["mlflow.note.content"]
    history = client.get_metric_history(parent_id, "qwk/mean_over_items")
    assert [(entry.step, round(entry.value, 2)) for entry in history] == [
        (20260310, 0.8), (20260311, 0.79), (20260312, 0.78)
    ]  # fmt: skip
    assert parent.data.metrics["season/released"] == 3
    drawn = {file.path for file in client.list_artifacts(parent_id, "figures")}
    assert {"figures/agreement.png", "figures/rules.png", "figures/drift"} <= drawn
    found = Path(client.download_artifacts(parent_id, "season/runs.json"))
    assert len(json.loads(found.read_text("utf-8"))["data"]) == 3
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'"
    )
    by_item = {run.data.tags["item_id"]: run for run in children}
    assert set(by_item) == {"plants", "maps"}
    zeros = client.get_metric_history(by_item["plants"].info.run_id, "share/lowest_point")
    assert [entry.value for entry in zeros] == pytest.approx(ZEROS)
    assert "mean_score/machine" not in by_item["maps"].data.metrics  # five responses a night
    assert math.isfinite(by_item["maps"].data.metrics["n/scored"])
