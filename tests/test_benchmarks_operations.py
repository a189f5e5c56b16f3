"""The benchmark of what a run costs beside the model: its data, its stand-in and its page."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import operations_data as made
from benchmarks.operations_model import StandIn
from benchmarks.operations_report import draw, failures, markdown
from models.backbone import BackboneFiles
from models.jobs import Group
from tasks.shards import Unit


def run(seconds: float, scored: int) -> dict[str, Any]:
    split = {"plan": seconds, "score": 8.0, "commit": 2.0, "model": 6.0, "total": seconds + 11.0}
    return {
        "scored": scored,
        "reconciled": True,
        "stage_seconds": split,
        "peak_rss_mb": {"plan": 900.0, "score": 950.0},
        "responses_per_s": 300.0,
        "process_s": 40.0,
    }


def found(plan_s: float = 3.0, scored: int = 1_000) -> dict[str, Any]:
    seasons = [
        {
            "rows": rows,
            "load": 0.1,
            "prepare": {"ingest_s": 1.0},
            "first": run(plan_s * rows / 1_000, min(scored, rows)),
            "again": run(plan_s * rows / 1_000, min(scored, rows)),
        }
        for rows in (100, 1_000)
    ]
    return {
        "date": "2026-03-12",
        "machine": {"cores": 2, "processor": "x", "memory_gb": 8},
        "items": 5,
        "exports": made.EXPORTS,
        "backfills": seasons,
        "night": {"rows": 50, "load": 0.2, **run(1.0, 50)},
    }


def test_the_page_says_what_each_stage_costs_and_how_it_grows(tmp_path: Path) -> None:
    page = markdown(found())
    assert "| plan | 0.30 | 3.00 | 10.0 | 3,000.0 | 900 |" in page
    assert "| other | 1.00 | 1.00 | 1.0 | 1,000.0 |  |" in page
    draw(found(), tmp_path / "scale.svg")
    assert "commit" in (tmp_path / "scale.svg").read_text("utf-8")


def test_limits_that_are_not_kept_are_told() -> None:
    assert [problem for problem in failures(found()) if "night" not in problem] == []
    slow = failures(found(plan_s=130.0))
    assert "1,000 responses, first: plan and commit took 132 s" in slow
    assert any("999 scored" in problem for problem in failures(found(scored=999)))
    assert "a night spends 50.0% on other things than the model" in failures(found())


def test_the_exports_hold_every_response_once_with_scores_on_the_scale(tmp_path: Path) -> None:
    paths = made.write_exports(tmp_path, 400, items=6, exports=4)
    rows = [row for path in paths for row in csv.DictReader(path.read_text("utf-8").splitlines())]
    assert len({row["response_id"] for row in rows}) == len(rows) == 400
    assert {row["item_id"] for row in rows} == {made.item_name(number) for number in range(6)}
    rated = [row for row in rows if row["human_score"]]
    assert len(rated) == 40
    for row in rated:
        points = made.POINTS[int(row["item_id"][1:]) % len(made.POINTS)]
        assert 0 <= int(row["human_score"]) < points


def test_the_stand_in_scores_each_text_by_itself_and_on_the_scale() -> None:
    stand_in = StandIn(BackboneFiles("x", Path(), "53aa"))
    unit = Unit("I001", "overall", 0, 3, 1, "a" * 64, "rounded")

    def group(*texts: str) -> Group:
        from functools import partial

        from tasks.inference import _adapter

        return Group(partial(_adapter, Path(), unit, None), list(texts))  # type: ignore[arg-type]

    together, alone = stand_in.score_groups([group("one", "a longer one"), group("a longer one")])
    assert together.raw_score[1] == alone.raw_score[0]
    assert together.probabilities.sum(axis=1) == pytest.approx(1.0)
    assert np.all(together.score >= 0)
    assert together.probabilities.shape == (2, made.POINTS[1])
