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
from tasks.evaluating import evaluate_scores
from tasks.evaluating_days import evaluate_by_day
from tasks.evaluation import ItemEvaluation, by_qwk
from tasks.report_subgroups import shown_groups
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
        student: str | None = None,
        **subgroups: str,
    ) -> None:
        self.insert(
            "responses",
            response_id=response_id,
            item_id=item_id,
            season=season,
            student_pseudo=student,
            submitted_at=submitted_at,
            text_sha256=response_id,
            characters=9,
            export_sha256="e",
            ingested_at=NIGHT,
        )
        for attribute, level in subgroups.items():
            self.insert(
                "subgroups",
                response_id=response_id,
                attribute=attribute,
                level=level,
                export_sha256="e",
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
        confidence: float = 0.8,
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
            trimmed_score=raw_score,
            reported=None if coded else "rounded",
            confidence=None if coded else confidence,
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


def exact(item: ItemEvaluation) -> float:
    return item.figures["exact"].value


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
    assert plants.qwk.value == pytest.approx(quadratic_weighted_kappa(human, reported))
    assert plants.figures["qwk_trimmed"].value == pytest.approx(
        quadratic_weighted_kappa(human, raw)
    )
    assert plants.figures["pearson_r"].value == pytest.approx(np.corrcoef(human, raw)[0, 1])
    assert exact(plants) == pytest.approx(3 / 5)
    assert plants.figures["adjacent"].value == 1
    assert plants.mean_human == pytest.approx(1.7)
    assert plants.mean_machine == pytest.approx(1.8)
    assert plants.figures["smd"].value == pytest.approx(0.1 / 1.2041594578792296)
    squares = [0.2**2, 0.9**2, 0.1**2, 0.004**2, 0.3**2]
    assert plants.figures["rmse"].value == pytest.approx(math.sqrt(sum(squares) / 5))
    assert plants.qwk.low <= plants.qwk.value <= plants.qwk.high


def test_people_are_compared_where_both_have_read(warehouse: Path) -> None:
    plants = only(evaluate_scores(warehouse, "night"), "plants")
    people = plants.human_human
    assert people["exact"].value == pytest.approx(2 / 3)
    assert plants.human_human["qwk"].value == pytest.approx(
        quadratic_weighted_kappa([1, 2, 3], [1, 1, 3])
    )


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
    for figure in (*maps.figures.values(), *maps.human_human.values()):
        assert all(map(math.isnan, (figure.value, figure.low, figure.high)))
        assert figure.n == 0
    assert (maps.subgroups, maps.fairness, maps.calibration, maps.coverage) == ((), (), (), ())
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
    assert exact(plants) == pytest.approx(2 / 3)


def test_the_current_scores_are_the_latest_of_all_runs(warehouse: Path) -> None:
    later = NIGHT + timedelta(days=1)
    with writing(warehouse) as ledger:
        ledger.score("b", "plants", 1.1, run_id="next", version=2, scored_at=later)
    plants = only(evaluate_scores(warehouse, None), "plants")
    assert plants.n_scored == 6
    assert exact(plants) == pytest.approx(4 / 5)
    assert plants.adapter_versions == (1, 2)
    assert plants.adapter_version == 2
    assert only(evaluate_scores(warehouse, "next"), "plants").n_scored == 1
    assert exact(only(evaluate_scores(warehouse, "night"), "plants")) == pytest.approx(3 / 5)


def test_all_that_a_runs_adapters_have_scored_so_far(warehouse: Path) -> None:
    def plants() -> ItemEvaluation:
        return only(evaluate_scores(warehouse, None, adapters_of="next"), "plants")

    with writing(warehouse) as ledger:
        ledger.response("n", "plants")
        ledger.human("n", "plants", 1)
        ledger.score("n", "plants", 1.0, run_id="next")  # by the adapter of the night before
        ledger.response("o", "maps")
        ledger.score("o", "maps", 2.0, run_id="next", version=2)  # by another
    assert (plants().n_scored, plants().n_rated) == (1, 1)  # nobody has released the night
    with writing(warehouse) as ledger:
        ledger.insert(
            "release_decisions",
            run_id="night",
            decision="released",
            decided_by="gate",
            reason="",
            decided_at=NIGHT,
        )
    assert (plants().n_scored, plants().n_rated) == (7, 6)
    maps = only(evaluate_scores(warehouse, None, adapters_of="next"), "maps")
    assert (maps.n_scored, maps.adapter_versions) == (1, (2,))
    assert only(evaluate_scores(warehouse, "next"), "plants").n_rated == 1


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
    assert (ideas.name, exact(ideas), ideas.score_max) == ("essay · ideas", 1, 6)
    assert (style.name, exact(style), style.score_max) == ("essay · style", 0, 4)


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


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Forty rated answers by two students each, of two first languages; all read twice."""
    path = tmp_path / "many.duckdb"
    rng = np.random.default_rng(5)
    with writing(path) as ledger:
        ledger.item("lamp", 0, 3)
        for number in range(40):
            name, language = f"r{number}", ("Navi", "Vulcan")[number % 2]
            human = float(rng.integers(0, 4))
            second = float(np.clip(human + rng.integers(-1, 2), 0, 3))
            milder = 0.4 if language == "Navi" else -0.1
            raw = float(np.clip(human + milder + rng.normal(0, 0.4), 0, 3))
            ledger.response(name, "lamp", student=f"s{number % 20}", l1=language)
            ledger.human(name, "lamp", human)
            ledger.human(name, "lamp", second, rater=2)
            ledger.score(name, "lamp", raw, confidence=0.5 + 0.01 * number)
    return path


def test_subgroups_are_compared_and_small_ones_left_out(many: Path) -> None:
    (lamp,) = evaluate_scores(many, "night")
    navi, vulcan = lamp.subgroups
    assert [(entry.attribute, entry.level, entry.dsm.n) for entry in lamp.subgroups] == [
        ("l1", "Navi", 20),
        ("l1", "Vulcan", 20),
    ]
    assert navi.dsm.value > 0 > vulcan.dsm.value
    assert navi.dsm.low < navi.dsm.value < navi.dsm.high
    (fair,) = lamp.fairness
    assert (fair.attribute, fair.reference, fair.n) == ("l1", "Navi", 40)
    assert fair.osd_p < 0.05
    (few,) = evaluate_scores(many, "night", small_cell=21)
    assert few.subgroups == ()


def test_degradation_is_human_machine_minus_human_human(many: Path) -> None:
    (lamp,) = evaluate_scores(many, "night")
    found = lamp.figures["degradation_qwk"]
    assert found.value == pytest.approx(lamp.qwk.value - lamp.human_human["qwk"].value)
    assert found.low < found.value < found.high
    assert lamp.figures["prmse"].n == 40
    assert 0 < lamp.figures["prmse"].value < 1.1


def test_confidence_is_held_against_what_came_true(many: Path) -> None:
    (lamp,) = evaluate_scores(many, "night")
    assert sum(entry.n for entry in lamp.calibration) == lamp.n_rated
    assert 0 <= lamp.figures["calibration_error"].value <= 1
    assert lamp.coverage[0].kept == 1
    assert lamp.coverage[0].exact == pytest.approx(exact(lamp))
    assert [entry.least_confidence for entry in lamp.coverage] == sorted(
        entry.least_confidence for entry in lamp.coverage
    )


def test_answers_of_one_student_are_drawn_together(many: Path) -> None:
    """Two identical answers of each student carry less than forty answers of forty students."""
    with writing(many) as ledger:
        ledger.connection.execute("DELETE FROM human_scores")
        ledger.connection.execute("DELETE FROM scores")
        rng = np.random.default_rng(7)
        of_student = [(int(rng.integers(0, 4)), int(rng.integers(0, 4))) for _ in range(20)]
        for number in range(40):
            human, machine = of_student[number % 20]
            ledger.human(f"r{number}", "lamp", human)
            ledger.score(f"r{number}", "lamp", float(machine))
    (clustered,) = evaluate_scores(many, "night")
    with writing(many) as ledger:
        ledger.connection.execute("UPDATE responses SET student_pseudo = NULL")
    (alone,) = evaluate_scores(many, "night")
    assert clustered.qwk.high - clustered.qwk.low > 1.15 * (alone.qwk.high - alone.qwk.low)


def test_no_group_can_be_worked_out_from_the_others(many: Path) -> None:
    with writing(many) as ledger:
        for number in range(3):  # three of the twenty Vulcans turn out to be of another language
            ledger.connection.execute(
                "UPDATE subgroups SET level = 'Klingon' WHERE response_id = ?",
                [f"r{2 * number + 1}"],
            )
    (lamp,) = evaluate_scores(many, "night")
    assert [entry.level for entry in lamp.subgroups] == ["Navi", "Vulcan"]  # judged
    assert [entry.level for entry in shown_groups(lamp)] == ["Navi"]
    assert [entry.n for entry in lamp.fairness] == [37]  # says nothing of the three
