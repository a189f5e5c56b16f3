"""Agreement per item and per day, computed from a small warehouse written row by row."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from models.agreement import quadratic_weighted_kappa
from tasks.evaluation import ItemEvaluation, by_qwk, evaluate_by_day, evaluate_scores
from warehouse import db

NIGHT = datetime(2026, 3, 12, 2, tzinfo=UTC)


class Ledger:
    """Writes what ingest, training and scoring would have left in the warehouse."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def insert(self, table: str, **values: object) -> None:
        names = ", ".join(values)
        places = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608 -- test data
        self.connection.execute(statement, list(values.values()))

    def item(self, item_id: str, score_min: int, score_max: int, trait: str = "overall") -> None:
        self.insert(
            "items",
            item_id=item_id,
            trait=trait,
            score_min=score_min,
            score_max=score_max,
            added_at=NIGHT,
        )

    def response(
        self,
        response_id: str,
        item_id: str,
        season: str = "2026-spring",
        submitted_at: datetime | None = NIGHT,
    ) -> None:
        self.insert(
            "responses",
            response_id=response_id,
            item_id=item_id,
            season=season,
            submitted_at=submitted_at,
            text_sha256=response_id,
            characters=9,
            export_sha256="e",
            ingested_at=NIGHT,
        )

    def human(
        self, response_id: str, item_id: str, score: float, rater: int = 1, trait: str = "overall"
    ) -> None:
        self.insert(
            "human_scores",
            response_id=response_id,
            item_id=item_id,
            trait=trait,
            rater=rater,
            human_score=score,
            export_sha256="e",
            recorded_at=NIGHT,
        )

    def score(
        self,
        response_id: str,
        item_id: str,
        raw_score: float | None,
        *,
        run_id: str = "night",
        trait: str = "overall",
        version: int = 1,
        latency_ms: float = 2.0,
        reused_from: str | None = None,
        truncated: bool = False,
        scored_at: datetime = NIGHT,
    ) -> None:
        coded = raw_score is None
        self.insert(
            "scores",
            run_id=run_id,
            shard="s",
            response_id=response_id,
            item_id=item_id,
            trait=trait,
            status="coded" if coded else "scored",
            condition_code="B" if coded else None,
            raw_score=raw_score,
            score=None if raw_score is None else math.floor(raw_score + 0.5),
            truncated=None if coded else truncated,
            adapter_version=None if coded else version,
            adapter_sha256=None if coded else f"{item_id}-{trait}-v{version}",
            latency_ms=None if coded or reused_from else latency_ms,
            reused_from=reused_from,
            scored_at=scored_at,
        )


@contextmanager
def writing(path: Path) -> Iterator[Ledger]:
    with db.connect(path) as connection:
        yield Ledger(connection)


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """Two items; the first has six scored responses and one blank, of which five are rated."""
    path = tmp_path / "warehouse.duckdb"
    human = {"a": 0, "b": 1, "c": 2, "d": 2.5, "e": 3}
    raw = {"a": 0.2, "b": 1.9, "c": 2.1, "d": 2.496, "e": 2.7, "f": 1.505, "g": None}
    with writing(path) as ledger:
        ledger.item("plants", 0, 3)
        ledger.item("maps", 1, 4)
        ledger.item("never scored", 0, 1)
        for place, (name, value) in enumerate(raw.items()):
            ledger.response(name, "plants")
            ledger.score(name, "plants", value, latency_ms=1.0 + place, truncated=name == "f")
        for name, value in human.items():
            ledger.human(name, "plants", value)
        ledger.human("g", "plants", 0)  # people may rate what got a code
        for name, value in {"b": 1, "c": 1, "e": 3}.items():
            ledger.human(name, "plants", value, rater=2)
        ledger.response("m", "maps")
        ledger.score("m", "maps", 3.2)
    return path


def only(evaluations: list[ItemEvaluation], item_id: str) -> ItemEvaluation:
    (found,) = [evaluation for evaluation in evaluations if evaluation.item_id == item_id]
    return found


def test_every_item_with_outcomes_is_counted(warehouse: Path) -> None:
    evaluations = evaluate_scores(warehouse, "night")
    assert [(item.item_id, item.trait) for item in evaluations] == [
        ("maps", "overall"),
        ("plants", "overall"),
    ]
    plants = only(evaluations, "plants")
    assert (plants.n_scored, plants.n_coded, plants.n_rated, plants.n_double) == (6, 1, 5, 3)
    assert (plants.score_min, plants.score_max) == (0, 3)
    assert plants.adapter_versions == (1,)
    assert plants.n_truncated == 1


def test_agreement_is_between_the_first_rater_and_the_reported_score(warehouse: Path) -> None:
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    human, reported, raw = [0, 1, 2, 2.5, 3], [0, 2, 2, 2, 3], [0.2, 1.9, 2.1, 2.496, 2.7]
    assert plants.qwk == pytest.approx(quadratic_weighted_kappa(human, reported))
    assert plants.qwk_raw == pytest.approx(quadratic_weighted_kappa(human, raw))
    assert plants.r == pytest.approx(np.corrcoef(human, raw)[0, 1])
    assert plants.exact == pytest.approx(3 / 5)
    assert plants.adjacent == 1
    assert plants.mean_human == pytest.approx(1.7)
    assert plants.mean_machine == pytest.approx(1.8)
    assert plants.smd == pytest.approx(0.1 / 1.2041594578792296)
    squares = [0.2**2, 0.9**2, 0.1**2, 0.004**2, 0.3**2]
    assert plants.rmse == pytest.approx(math.sqrt(sum(squares) / 5))
    assert plants.qwk_low <= plants.qwk <= plants.qwk_high


def test_people_are_compared_where_both_have_read(warehouse: Path) -> None:
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    assert plants.exact_human_human == pytest.approx(2 / 3)
    assert plants.qwk_human_human == pytest.approx(quadratic_weighted_kappa([1, 2, 3], [1, 1, 3]))


def test_latency_and_speed_leave_out_codes(warehouse: Path) -> None:
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    assert plants.latency_ms_p50 == pytest.approx(3.5)
    assert plants.latency_ms_p95 == pytest.approx(5.75)
    assert plants.scoring_s == pytest.approx(0.021)
    assert plants.responses_per_s == pytest.approx(6 / 0.021)


def test_latency_and_speed_leave_out_copied_scores(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        for name in ("h", "i", "j"):
            ledger.response(name, "plants")
            ledger.score(name, "plants", 1.0, reused_from="an earlier night")
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    assert (plants.n_scored, plants.n_reused) == (9, 3)
    assert plants.latency_ms_p50 == pytest.approx(3.5)
    assert plants.responses_per_s == pytest.approx(6 / 0.021)


def test_an_item_of_copied_scores_only_has_no_latency(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        ledger.response("copy", "never scored")
        ledger.score("copy", "never scored", 1.0, reused_from="an earlier night")
    item = only(evaluate_scores(warehouse, "night"), "never scored")
    assert (item.n_scored, item.n_reused) == (1, 1)
    assert math.isnan(item.latency_ms_p50)
    assert math.isnan(item.responses_per_s)


def test_human_halves_count_upwards_in_the_confusion_matrix(warehouse: Path) -> None:
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    assert plants.confusion == ((1, 0, 0, 0), (0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 1, 1))
    assert plants.human_distribution == pytest.approx((0.2, 0.2, 0.2, 0.4))
    assert plants.machine_distribution == pytest.approx((1 / 6, 0, 4 / 6, 1 / 6))


def test_scores_next_to_a_rounding_boundary_are_counted(warehouse: Path) -> None:
    assert only(evaluate_scores(warehouse, "night"), "plants").near_boundary == 2


def test_without_human_scores_agreement_is_not_defined(warehouse: Path) -> None:
    maps = only(evaluate_scores(warehouse, "night"), "maps")
    assert (maps.n_scored, maps.n_rated) == (1, 0)
    undefined = (maps.qwk, maps.qwk_low, maps.exact, maps.smd, maps.r, maps.qwk_human_human)
    assert all(math.isnan(value) for value in undefined)
    assert maps.machine_distribution == (0, 0, 1, 0)
    assert all(math.isnan(share) for share in maps.human_distribution)


def test_an_item_of_blanks_only_has_counts_and_no_version(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        ledger.response("blank", "never scored")
        ledger.score("blank", "never scored", None)
    item = only(evaluate_scores(warehouse, "night"), "never scored")
    assert (item.n_scored, item.n_coded, item.adapter_version) == (0, 1, None)
    assert math.isnan(item.latency_ms_p50)
    assert math.isnan(item.responses_per_s)


def test_what_the_adapter_has_seen_takes_no_part_in_agreement(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        for name, part in (("a", "training"), ("b", "validation")):
            ledger.insert(
                "training_rows",
                adapter_sha256="plants-overall-v1",
                response_id=name,
                trait="overall",
                part=part,
            )
        ledger.insert(  # another adapter's training says nothing about this one's scores
            "training_rows",
            adapter_sha256="plants-overall-v2",
            response_id="c",
            trait="overall",
            part="training",
        )
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    assert (plants.n_scored, plants.n_seen, plants.n_rated) == (6, 2, 3)
    assert plants.exact == pytest.approx(2 / 3)


def test_the_current_scores_are_the_latest_of_all_runs(warehouse: Path) -> None:
    later = NIGHT + timedelta(days=1)
    with writing(warehouse) as ledger:
        ledger.score("b", "plants", 1.1, run_id="next", version=2, scored_at=later)
    plants = only(evaluate_scores(warehouse, None), "plants")
    assert plants.n_scored == 6
    assert plants.exact == pytest.approx(4 / 5)
    assert plants.adapter_versions == (1, 2)
    assert plants.adapter_version == 2
    assert only(evaluate_scores(warehouse, "next"), "plants").n_scored == 1
    assert only(evaluate_scores(warehouse, "night"), "plants").exact == pytest.approx(3 / 5)


def test_seasons_and_items_narrow_the_view(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        ledger.response("old", "plants", season="2025-fall")
        ledger.score("old", "plants", 1.0)
    assert only(evaluate_scores(warehouse, None), "plants").n_scored == 7
    fall = evaluate_scores(warehouse, None, seasons=("2025-fall",))
    assert [(item.item_id, item.n_scored) for item in fall] == [("plants", 1)]
    assert [item.item_id for item in evaluate_scores(warehouse, None, items=["maps"])] == ["maps"]
    assert evaluate_scores(warehouse, None, seasons=[]) == []
    assert evaluate_scores(warehouse, "no such run") == []


def test_traits_of_one_response_are_evaluated_apart(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        ledger.item("essay", 1, 6, trait="ideas")
        ledger.item("essay", 1, 4, trait="style")
        ledger.response("x", "essay")
        for trait, human, raw in (("ideas", 5, 5.2), ("style", 2, 3.3)):
            ledger.score("x", "essay", raw, trait=trait)
            ledger.human("x", "essay", human, trait=trait)
    ideas, style = evaluate_scores(warehouse, "night", items=["essay"])
    assert (ideas.name, ideas.exact, ideas.score_max) == ("essay · ideas", 1, 6)
    assert (style.name, style.exact, style.score_max) == ("essay · style", 0, 4)


def test_days_are_those_of_submission_and_else_of_ingest(warehouse: Path) -> None:
    with writing(warehouse) as ledger:
        early = datetime(2026, 3, 10, 23, 59, tzinfo=UTC)
        ledger.response("h", "maps", submitted_at=early)
        ledger.score("h", "maps", 2.0)
        ledger.human("h", "maps", 2)
        ledger.response("i", "maps", submitted_at=None)
        ledger.score("i", "maps", None)
    days = evaluate_by_day(warehouse, "night")
    assert [(day.item_id, day.day, day.n_scored, day.n_rated) for day in days] == [
        ("maps", date(2026, 3, 10), 1, 1),
        ("maps", date(2026, 3, 12), 1, 0),
        ("plants", date(2026, 3, 12), 6, 5),
    ]
    assert [day.exact for day in days][::2] == [1, pytest.approx(3 / 5)]
    assert math.isnan(days[1].qwk)


def test_the_same_scores_give_the_same_evaluation(warehouse: Path) -> None:
    first, again = evaluate_scores(warehouse, "night"), evaluate_scores(warehouse, "night")
    assert repr(first) == repr(again)


def test_items_are_ranked_by_kappa_and_those_without_are_left_out(warehouse: Path) -> None:
    assert [item.item_id for item in by_qwk(evaluate_scores(warehouse, "night"))] == ["plants"]


def test_a_missing_warehouse_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ingest an export first"):
        evaluate_scores(tmp_path / "none.duckdb", None)
