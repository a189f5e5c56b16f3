"""prefect.yaml: what it deploys exists, and Prefect can show its parameters as a form."""

import importlib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]


def test_what_the_issue_of_a_night_needs_is_deployed() -> None:
    names = {deployment["name"] for deployment in DEPLOYMENTS}
    assert names == {"nightly", "backfill", "train", "distill", "evaluate"}
    (nightly,) = [one for one in DEPLOYMENTS if one["name"] == "nightly"]
    assert nightly["schedules"][0]["cron"] == "0 2 * * *"


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["name"])
def test_entrypoint_is_a_module_with_described_parameters(deployment: dict[str, str]) -> None:
    module, name = deployment["entrypoint"].split(":")
    flow = getattr(importlib.import_module(module), name)
    assert flow.name == deployment["name"]
    parameters = flow.parameters.model_dump()["properties"]
    assert parameters
    assert [name for name, one in parameters.items() if not one.get("description")] == []
