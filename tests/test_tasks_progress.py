"""Progress of long work, told where there is no terminal."""

import logging

import pytest

from tasks import progress as module
from tasks.progress import progress


def told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, found: int, *steps: int
) -> list[str]:
    """What the log says of work that advances so far every 40 seconds."""
    seconds = iter(range(0, 4000, 40))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    with caplog.at_level(logging.INFO), progress("scoring", 1000, found) as advance:
        for one in steps:
            advance(one)
    return [record.getMessage() for record in caplog.records]


def test_the_time_left_follows_from_the_pace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(caplog, monkeypatch, 0, 100, 100) == [
        "scoring: 100 of 1000, about 360 s left",
        "scoring: 200 of 1000, about 320 s left",
    ]


def test_what_a_killed_run_had_done_says_nothing_of_the_pace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(caplog, monkeypatch, 800, 800, 50, 50) == [
        "scoring: 850 of 1000, about 240 s left",  # 50 in 80 seconds
        "scoring: 900 of 1000, about 120 s left",
    ]
