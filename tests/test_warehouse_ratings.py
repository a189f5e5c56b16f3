"""Scores beside human ratings and subgroups: every value stays with its response."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_warehouse_history import START, Ledger

from warehouse import db
from warehouse.ratings import RatedScores, rated_scores


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """Two items, of which one response is blank, one of no known student, one without groups."""
    path = tmp_path / "warehouse.duckdb"
    with db.connect(path) as connection:
        ledger = Ledger(connection)
        ledger.run("n1", 1, None)
        for number, (name, student) in enumerate(
            [("d", "pseudo-2"), ("c", None), ("b", "pseudo-1"), ("a", "pseudo-2")]
        ):
            item_id = "maps" if name == "d" else "plants"
            ledger.response(name, item_id, student_pseudo=student)
            score = None if name == "c" else number
            scaled = (
                {"reported": "scaled", "scaled_score": 1.5, "by_student": True}
                if name == "a"
                else {}
            )
            ledger.score("n1", name, score, item_id=item_id, **scaled)
            ledger.insert("human_scores", response_id=name, item_id=item_id, trait="overall",
                          rater=1, human_score=number / 2, export_sha256="e",
                          recorded_at=START)  # fmt: skip
        for name, attribute, level in [("a", "L1", "Navi"), ("b", "L1", "Esperanto"),
                                       ("a", "school", "x"), ("d", "school", "y")]:  # fmt: skip
            ledger.insert("subgroups", response_id=name, attribute=attribute, level=level,
                          export_sha256="e")  # fmt: skip
    return path


def read(path: Path, run_id: str | None = "n1", **chosen: Any) -> dict[str, RatedScores]:
    with db.connect(path, read_only=True) as connection:
        return {scale.item_id: rows for scale, rows in rated_scores(connection, run_id, **chosen)}


def test_columns_of_an_item(warehouse: Path) -> None:
    plants = read(warehouse)["plants"]
    by_human = plants[np.argsort(plants.human_score)]  # c, b, a
    assert by_human.scored.tolist() == [False, True, True]
    assert by_human.reported.tolist() == ["", "rounded", "scaled"]
    np.testing.assert_equal(by_human.confidence, [np.nan, 0.5, 0.5])
    np.testing.assert_equal(by_human.trimmed_score, [np.nan, 2.25, 3.25])
    assert by_human.by_student.tolist() == [False, False, True]
    assert by_human.groups["L1"].tolist() == [None, "Esperanto", "Navi"]
    assert by_human.groups["school"].tolist() == [None, None, "x"]


def test_students_are_numbers_and_never_pseudonyms(warehouse: Path) -> None:
    found = read(warehouse)
    plants = found["plants"][np.argsort(found["plants"].human_score)]
    assert plants.student.dtype == np.int64
    c, b, a = plants.student.tolist()
    assert c == -1
    assert a != b
    assert found["maps"].student.tolist() == [a]
    assert "pseudo" not in repr(found)


@pytest.mark.parametrize("chosen", [{"items": ["plants"]}, {"seasons": ["2026-spring"]}, {}])
@pytest.mark.parametrize("run_id", ["n1", None])
def test_a_selection_has_the_same_groups(warehouse: Path, run_id: str | None, chosen: Any) -> None:
    plants = read(warehouse, run_id, **chosen)["plants"]
    both = dict(zip(plants.human_score.tolist(), plants.groups["L1"].tolist(), strict=True))
    assert both == {0.5: None, 1.0: "Esperanto", 1.5: "Navi"}


def test_a_slice_takes_the_groups_along(warehouse: Path) -> None:
    plants = read(warehouse)["plants"]
    known = np.array([level is not None for level in plants.groups["L1"]])
    chosen = plants[known & plants.scored]
    assert len(chosen) == 2
    assert sorted(chosen.groups["L1"]) == ["Esperanto", "Navi"]
    assert {len(levels) for levels in chosen[:1].groups.values()} == {1}
    assert len(chosen[:0]) == 0


def test_without_subgroups_there_are_none(warehouse: Path) -> None:
    with db.connect(warehouse) as connection:
        connection.execute("DELETE FROM subgroups")
    assert read(warehouse)["plants"].groups == {}


LEVELS = st.lists(
    st.tuples(st.sampled_from("ABC"), st.none() | st.text("xyzä ", min_size=1, max_size=2)),
    min_size=1,
    max_size=30,
)


@given(LEVELS, st.randoms())
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_level_stays_with_its_response(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str | None]], random: Any
) -> None:
    path = tmp_path_factory.mktemp("ratings") / "warehouse.duckdb"
    order = list(range(len(rows)))
    random.shuffle(order)
    with db.connect(path) as connection:
        ledger = Ledger(connection)
        for number in order:
            ledger.response(f"r{number}", "plants")
        for number, (attribute, level) in enumerate(rows):
            ledger.score("n1", f"r{number}", number % 4, confidence=number)
            if level is not None:
                ledger.insert("subgroups", response_id=f"r{number}", attribute=attribute,
                              level=level, export_sha256="e")  # fmt: skip
    plants = read(path)["plants"]
    found = {
        (int(number), attribute): level
        for attribute, levels in plants.groups.items()
        for number, level in zip(plants.confidence, levels, strict=True)
        if level is not None
    }
    assert found == {
        (number, attribute): level
        for number, (attribute, level) in enumerate(rows)
        if level is not None
    }
