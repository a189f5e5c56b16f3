"""The benchmark of evaluation, on a night of a few items."""

import logging
from pathlib import Path

import pytest

from benchmarks.evaluation import markdown, measure, within_limits
from benchmarks.evaluation_data import DOUBLE, make_warehouse
from tasks.evaluating import evaluate_scores


def test_the_made_up_night_is_one_that_an_evaluation_can_chew_on(tmp_path: Path) -> None:
    run_id = make_warehouse(tmp_path / "warehouse.duckdb", items=6, rows=1_200)
    items = evaluate_scores(tmp_path / "warehouse.duckdb", run_id, samples=20)
    assert [item.n_rated for item in items] == [200] * 6
    assert all(0.5 < item.qwk.value < 0.98 for item in items if item.score_max > 1)
    double = sum(item.n_double for item in items) / 1_200
    assert double == pytest.approx(DOUBLE, abs=0.05)
    assert {group.attribute for item in items for group in item.subgroups} == {
        "first language", "sex"
    }  # fmt: skip


def test_a_small_night_is_measured_and_agrees_with_the_libraries(tmp_path: Path) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)
    found = measure(tmp_path, items=4, rows=400, rival_items=2, rounds=2, samples=60)
    assert within_limits(found)
    assert found["largest_difference"]["value"] < 1e-9
    assert len(found["rounds"]) == len(found["times_faster"]) == 2
    page = markdown(found)
    assert "4 items, 400 human-scored responses" in page
    assert "scikit-learn and scipy" in page
    slow = {**found, "median": {**found["median"], "log_s": 61.0}}
    assert not within_limits(slow)
