"""prefect.yaml: what it deploys exists, and Prefect shows its parameters as a form."""

import importlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import validate

ROOT = Path(__file__).resolve().parent.parent
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text("utf-8"))["deployments"]
FOR_PEOPLE = [one for one in DEPLOYMENTS if one["name"] != "score-shards"]
of_each = pytest.mark.parametrize("deployment", FOR_PEOPLE, ids=lambda one: one["name"])


def flow_of(deployment: dict[str, str]) -> Flow[..., Any]:
    module, name = deployment["entrypoint"].split(":")
    found: Flow[..., Any] = getattr(importlib.import_module(module), name)
    return found


def test_what_operations_need_is_deployed() -> None:
    names = {deployment["name"] for deployment in FOR_PEOPLE}
    assert names == {
        "nightly", "backfill", "train", "distill", "evaluate", "promote", "decide"
    }  # fmt: skip
    (nightly,) = [one for one in DEPLOYMENTS if one["name"] == "nightly"]
    assert nightly["schedules"] == [{"cron": "0 2 * * *", "timezone": "UTC"}]
    assert {one["concurrency_limit"] for one in FOR_PEOPLE} == {1}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["name"])
def test_entrypoint_is_a_module_with_a_flow_of_that_name(deployment: dict[str, str]) -> None:
    assert flow_of(deployment).name == deployment["name"]


@of_each
def test_every_field_has_a_title_a_description_and_one_type(deployment: dict[str, str]) -> None:
    """A choice between a field and nothing (``anyOf``) is what Prefect's page shows badly."""
    fields = parameter_schema(flow_of(deployment)).properties
    assert fields
    assert [name for name, one in fields.items() if one["title"] == name] == []
    assert [name for name, one in fields.items() if not one.get("description")] == []
    assert [name for name, one in fields.items() if "type" not in one] == []


@of_each
def test_the_form_may_be_sent_as_it_is_opened(deployment: dict[str, str]) -> None:
    """It sends every default, and the server checks them against the same schema."""
    flow = flow_of(deployment)
    schema = parameter_schema(flow).model_dump(mode="json")
    required = {name: _example(schema["properties"][name]) for name in schema["required"]}
    defaults = {
        name: one["default"] for name, one in schema["properties"].items() if "default" in one
    }
    for sent in (
        {**required, **defaults},
        {**dict.fromkeys(schema["properties"]), **required, **defaults},
    ):
        validate(sent, schema, preprocess=True, raise_on_error=True)
        flow.validate_parameters(sent)


def _example(field: dict[str, Any]) -> Any:
    if "enum" in field:
        return field["enum"][0]
    return 1 if field["type"] == "integer" else "some words"


def test_make_deploy_asks_for_the_server() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    found = subprocess.run(
        ["make", "--silent", "deploy", "VENV=/nowhere", "--assume-old=/nowhere/.installed"],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert found.returncode != 0
    assert "PREFECT_API_URL" in found.stdout
