"""Where the time of a run goes."""

import time
from collections.abc import Iterator

import pytest

from tasks.time_split import Stopwatch, TimeSplit, stages, time_sentence, without_model

NIGHT = {"ingest": 1.5, "plan": 2.0, "score": 90.0, "commit": 3.0, "model": 80.0, "total": 100.0}


def test_stages_and_the_rest_make_up_the_whole() -> None:
    found = stages(NIGHT)
    assert found == [
        ("ingest", 1.5), ("plan", 2.0), ("score", 90.0), ("commit", 3.0), ("other", 3.5)
    ]  # fmt: skip
    assert sum(seconds for _, seconds in found) == NIGHT["total"]


def test_all_but_the_model_is_told_with_the_stages() -> None:
    assert time_sentence(NIGHT) == (
        "100.0 s: ingest 1.5, plan 2.0, score 90.0 (model 80.0), commit 3.0, other 3.5; "
        "all but the model 20.0%"
    )
    assert without_model(NIGHT) == pytest.approx(0.2)


def test_nothing_is_said_of_a_run_that_was_not_timed() -> None:
    assert time_sentence({}) == ""
    assert without_model({}) is None
    assert without_model({"judge": 1.0, "total": 2.0}) is None


def test_a_stage_that_comes_twice_is_added_up() -> None:
    split = TimeSplit()
    for _ in range(2):
        with split.stage("plan"):
            time.sleep(0.02)
    assert 0.04 <= split.seconds["plan"] <= split.seconds["total"]


def test_a_stage_that_fails_is_timed() -> None:
    split = TimeSplit()
    with pytest.raises(ValueError, match="x"), split.stage("plan"):
        raise ValueError("x")
    assert "plan" in split.seconds


def test_shards_side_by_side_share_the_time_that_went_by() -> None:
    split = TimeSplit({"score": 10.0, "total": 12.0})
    split.model(model_s=36.0, shards_s=40.0)  # four workers of ten seconds each
    assert split.seconds["model"] == pytest.approx(9.0)
    one = TimeSplit({"score": 10.0, "total": 12.0})
    one.model(model_s=8.0, shards_s=9.0)
    assert one.seconds["model"] == 8.0


def test_what_an_earlier_process_has_spent_counts() -> None:
    split = TimeSplit({"score": 10.0, "total": 12.0})
    with split.stage("log"):
        time.sleep(0.01)
    assert split.seconds["score"] == 10.0
    assert 12.0 < split.seconds["total"] < 13.0


def test_waiting_for_entries_is_timed_and_what_is_done_with_them_is_not() -> None:
    def slow() -> Iterator[int]:
        for number in range(2):
            time.sleep(0.03)
            yield number

    watch = Stopwatch()
    for _ in watch.waiting_for(slow()):
        time.sleep(0.2)
    assert 0.06 <= watch.seconds < 0.2
