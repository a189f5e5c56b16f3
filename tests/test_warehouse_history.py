"""Administrations in sums: what a run scored, what came before it, and how they went on."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from warehouse import db
from warehouse.history import samples_before, samples_of_run
from warehouse.trends import administrations

START = datetime(2026, 3, 1, 2, tzinfo=UTC)


class Ledger:
    """Writes what ingest, scoring and the gate would have left; a day is a number."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self.connection = connection
        for item_id, low, high in (("maps", 1, 3), ("plants", 0, 3)):
            self.insert("items", item_id=item_id, trait="overall", score_min=low,
                        score_max=high, added_at=START)  # fmt: skip

    def insert(self, table: str, **values: Any) -> None:
        names, places = ", ".join(values), ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 -- test data
        self.connection.execute(statement, list(values.values()))

    def run(
        self,
        run_id: str,
        day: int,
        decision: str | None = "released",
        *,
        kind: str = "nightly",
        hours: int = 0,
        status: str = "done",
    ) -> None:
        started = START + timedelta(days=day, hours=hours)
        self.insert("runs", run_id=run_id, kind=kind, status=status, parameters="{}",
                    administration_date=started.date(), started_at=started)  # fmt: skip
        if decision:
            self.decide(run_id, decision)

    def decide(self, run_id: str, decision: str, at: datetime = START) -> None:
        self.insert("release_decisions", run_id=run_id, decision=decision, decided_by="gate",
                    reason="", decided_at=at)  # fmt: skip

    def response(self, response_id: str, item_id: str, **values: Any) -> None:
        self.insert("responses", **{
            "response_id": response_id, "item_id": item_id, "season": "2026-spring",
            "text_sha256": response_id, "characters": 9, "export_sha256": "e",
            "ingested_at": START, **values,
        })  # fmt: skip

    def score(self, run_id: str, response_id: str, score: int | None, **values: Any) -> None:
        """A scored row, or without a score a coded one."""
        item_id = values.get("item_id", "plants")
        if score is None:
            made: dict[str, Any] = {"status": "coded", "condition_code": "B"}
        else:
            made = {
                "status": "scored", "raw_score": score + 0.25, "trimmed_score": score + 0.25,
                "score": score, "reported": "rounded", "confidence": 0.5, "tokens": 8,
                "unknown_tokens": 2, "language": "en", "adapter_version": 1,
                "adapter_sha256": "adapter",
            }  # fmt: skip
        self.insert("scores", **{
            "run_id": run_id, "shard": "s", "response_id": response_id, "item_id": item_id,
            "trait": "overall", "scored_at": START, **made, **values,
        })  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        yield Ledger(connection)


def test_a_run_in_sums(ledger: Ledger) -> None:
    ledger.run("n1", 1)
    ledger.score("n1", "a", 0)
    ledger.score("n1", "b", 2, confidence=0.75, tokens=16, unknown_tokens=0, language="es")
    ledger.score("n1", "c", 2, tokens=None, unknown_tokens=None, language=None)
    ledger.score("n1", "d", None)
    ledger.score("n1", "e", 1, item_id="maps")
    maps, plants = samples_of_run(ledger.connection, "n1")
    assert (maps.item_id, maps.score_min, maps.counts, maps.coded) == ("maps", 1, (1, 0, 0), 0)
    assert plants.administration_date == date(2026, 3, 2)
    assert (plants.run_id, plants.n, plants.counts, plants.coded) == ("n1", 3, (1, 0, 2, 0), 1)
    assert (plants.score_sum, plants.score_squares) == (4.0, 8.0)
    assert (plants.confidence_sum, plants.confidence_squares) == (1.75, 1.0625)
    assert plants.measured == 2
    assert plants.length_sum == pytest.approx(math.log(8) + math.log(16))
    assert plants.length_squares == pytest.approx(math.log(8) ** 2 + math.log(16) ** 2)
    assert (plants.unknown_sum, plants.unknown_squares) == (0.25, 0.0625)
    assert plants.languages == {"en": 1, "es": 1}


def test_a_run_that_only_coded_has_no_scores(ledger: Ledger) -> None:
    ledger.run("n1", 1)
    ledger.score("n1", "a", None)
    (plants,) = samples_of_run(ledger.connection, "n1")
    assert (plants.n, plants.counts, plants.coded, plants.score_sum) == (0, (0, 0, 0, 0), 1, 0)
    (point,) = administrations(ledger.connection)
    assert math.isnan(point.mean_score)
    assert point.coded_share == 1


def test_before_are_released_runs_of_earlier_days(ledger: Ledger) -> None:
    ledger.run("tonight", 5, None)
    ledger.run("late", 9)
    ledger.run("same day", 5, hours=-1)
    ledger.run("later that day", 5, hours=1)
    ledger.run("held", 3, "held")
    ledger.run("undecided", 3, None)
    ledger.run("released again", 2, "held")
    ledger.decide("released again", "released", START + timedelta(hours=1))
    ledger.run("looked at", 1, kind="evaluate")
    for number, (run_id,) in enumerate(
        ledger.connection.execute("SELECT run_id FROM runs").fetchall()
    ):
        ledger.score(run_id, f"a{number}", 1)
    found = samples_before(ledger.connection, "tonight")
    assert [one.run_id for one in found] == ["released again", "same day"]


def test_before_are_only_the_items_of_the_run(ledger: Ledger) -> None:
    ledger.run("n1", 1)
    ledger.run("n2", 2, None)
    ledger.score("n1", "a", 1, item_id="maps")
    ledger.score("n1", "b", 1)
    ledger.score("n2", "c", None)
    assert [one.item_id for one in samples_before(ledger.connection, "n2")] == ["plants"]


def test_a_response_scored_again_counts_once_and_in_the_trend_twice(ledger: Ledger) -> None:
    ledger.run("n1", 1)
    ledger.run("again", 2, kind="backfill")
    ledger.run("n3", 3, None)
    later = START + timedelta(days=2)
    for name in ("a", "b"):
        ledger.score("n1", name, 1)
    ledger.score("again", "a", 3, scored_at=later)
    ledger.score("n3", "c", 2, scored_at=later)
    found = samples_before(ledger.connection, "n3")
    assert [(one.run_id, one.counts) for one in found] == [
        ("n1", (0, 1, 0, 0)), ("again", (0, 0, 0, 1))
    ]  # fmt: skip
    trend = administrations(ledger.connection, until="n3")
    assert [(one.run_id, one.n, one.decision) for one in trend] == [
        ("n1", 2, "released"), ("again", 1, "released"), ("n3", 1, "")
    ]  # fmt: skip
    ledger.decide("again", "held", START + timedelta(hours=1))
    assert [one.n for one in samples_before(ledger.connection, "n3")] == [2]


def test_a_trend_by_season_and_item(ledger: Ledger) -> None:
    ledger.run("n1", 1, "held", status="held")
    ledger.run("dead", 2, None, status="failed")
    for response_id, item_id, season in (("a", "plants", "s1"), ("b", "maps", "s1"),
                                         ("c", "plants", "s2")):  # fmt: skip
        ledger.response(response_id, item_id, season=season)
        ledger.score("n1", response_id, 3, item_id=item_id)
        ledger.score("dead", response_id, 3, item_id=item_id)
    (point,) = administrations(ledger.connection, seasons=["s1"], items=["plants"])
    assert (point.item_id, point.n, point.decision, point.kind) == ("plants", 1, "held", "nightly")
    assert (point.mean_score, point.shares, point.mean_confidence) == (3, (0, 0, 0, 1), 0.5)
    assert len(administrations(ledger.connection)) == 2
