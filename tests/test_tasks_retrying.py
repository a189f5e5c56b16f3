"""What is tried again: what may pass by itself, and nothing else."""

from pathlib import Path

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from tasks.retrying import patient
from tasks.tracking import Tracking, TrackingError, UnreachableError, list_adapters
from warehouse.db import WarehouseLockedError


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (UnreachableError("MLflow is away"), 4),
        (WarehouseLockedError("somebody reads"), 4),
        (TrackingError("the experiment has been deleted"), 1),
        (OSError("the disk is full"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_only_what_may_pass_is_tried_again(
    prefect_server: None, error: Exception, tries: int
) -> None:
    tried = []

    @task(cache_policy=NO_CACHE)
    def fail() -> None:
        tried.append(1)
        raise error

    @flow
    def run() -> None:
        patient(fail, 0.01)()

    with pytest.raises(type(error)):
        run()
    assert len(tried) == tries


def test_what_passes_is_done(prefect_server: None) -> None:
    tried = []

    @task(cache_policy=NO_CACHE)
    def fail_once() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise UnreachableError("not yet")
        return "done"

    @flow
    def run() -> str:
        return patient(fail_once, 0.01)()

    assert (run(), len(tried)) == ("done", 2)


def test_no_pause_is_no_patience() -> None:
    @task(cache_policy=NO_CACHE)
    def once() -> None: ...

    assert patient(once, 0).retries == 0


def test_a_server_that_does_not_answer_may_do_so_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UnreachableError, match="cannot be used"):
        list_adapters(Tracking("http://127.0.0.1:9", tmp_path, "gradeline"))
