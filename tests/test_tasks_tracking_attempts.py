"""A training that was killed goes on under the same run in MLflow."""

from datetime import date
from pathlib import Path

from tasks.tracking import NewAdapter, Tracking, list_adapters, register_adapter, take_up_run
from tasks.tracking.runs import Child, log_child

DAY = date(2026, 3, 12)
TAGS = {"run_kind": "train"}


def adapter(folder: Path) -> NewAdapter:
    folder.mkdir()
    (folder / "head.safetensors").write_bytes(b"weights")
    return NewAdapter("007", "overall", folder, "a" * 64, "d" * 64, "r" * 64, "b" * 64, {})


def test_what_was_registered_stays_and_the_rest_is_done_again(tmp_path: Path) -> None:
    tracking = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, "gradeline")
    parent = take_up_run(tracking, "training", "train-20260312-020001-3f9c", TAGS)
    registered = register_adapter(tracking, parent, adapter(tmp_path / "adapter"), DAY)
    client = tracking.client()
    half, _ = log_child(client, parent, Child(name="essay/1 ideas", tags={}))

    again = take_up_run(tracking, "training", "train-20260312-020001-3f9c", TAGS)
    assert again == parent
    assert client.get_run(half).info.lifecycle_stage == "deleted"
    (kept,) = client.search_runs(
        [client.get_run(parent).info.experiment_id],
        f"tags.`mlflow.parentRunId` = '{parent}'",
    )
    assert kept.info.run_name == "007 overall"
    assert list_adapters(tracking) == [registered]
    assert take_up_run(tracking, "training", "train-20260313-020001-77aa", TAGS) != parent
