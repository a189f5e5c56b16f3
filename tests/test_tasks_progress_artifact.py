"""How far a run is, on Prefect's pages."""

import threading
import time
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from tasks import progress_artifact
from tasks.progress import progress
from tasks.progress_artifact import published_progress


def shown(run_id: str) -> tuple[Any, str]:
    """What Prefect shows of the newest bar of a run: percent, and words."""
    client = get_client(sync_client=True)
    body = {"artifacts": {"flow_run_id": {"any_": [run_id]}}}
    (found,) = client.request("POST", "/artifacts/filter", json=body).json()
    assert found["key"] == "scoring-progress"
    return found["data"], found["description"]


def test_a_bar_is_renewed_while_the_work_goes_on(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_artifact, "RENEW_EVERY_S", 0.05)
    seen = []

    @flow
    def work() -> None:
        with progress("scoring", 8) as advance:
            advance(2)
            deadline = time.monotonic() + 30
            while not seen and time.monotonic() < deadline:
                time.sleep(0.1)
                percent, words = shown(str(flow_run.get_id()))
                if percent:
                    seen.append((percent, words))
            advance(6)
        seen.append(shown(str(flow_run.get_id())))

    work()
    (percent, words), (last, last_words) = seen
    assert (percent, last) == (25.0, 100.0)
    assert words.startswith("scoring: 2 of 8 after ")
    assert words.endswith(" left")
    assert last_words.startswith("scoring: 8 of 8 after ")
    assert "left" not in last_words


def test_a_server_that_never_answers_holds_up_nothing(
    prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(progress_artifact, "LAST_WORD_S", 0.1)
    monkeypatch.setattr(
        progress_artifact, "create_progress_artifact", lambda *_, **__: stuck.wait(30)
    )

    @flow
    def work() -> float:
        began = time.monotonic()
        with published_progress("scoring", 1) as advance:
            advance(1)
        return time.monotonic() - began

    assert work() < 5
    stuck.set()


def test_outside_a_flow_nothing_is_published() -> None:
    before = threading.active_count()
    with published_progress("scoring", 10) as advance:
        advance(10)
        assert threading.active_count() == before
