"""Subgroups and validity responses, from an export to the warehouse."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from test_tasks_exports import HEADER, OPTIONS, Workspace

from tasks.exports import explain_export


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_subgroups_go_in_by_mapping_file(workspace: Workspace) -> None:
    mapping = workspace.folder / "mapping.yaml"
    mapping.write_text("subgroups: {first language: L1, grade: Grade}\n")
    data = "id,item,text,L1,Grade\n1,A,x, Klingon ,5\n2,A,y,,\n3,A,z," + "v" * 101 + ",5\n"
    counts = workspace.ingest(data, options=replace(OPTIONS, mapping_file=mapping))
    assert (counts.accepted, counts.reasons) == (2, {"bad_subgroup": 1})
    found = workspace.query("SELECT response_id, attribute, level FROM subgroups ORDER BY ALL")
    assert found == [("1", "first language", "Klingon"), ("1", "grade", "5")]
    ((recorded,),) = workspace.query("SELECT mapping FROM exports")
    assert json.loads(recorded)["subgroup first language"] == "L1"
    explained = explain_export(workspace.folder / "export.csv", mapping)
    assert explained.columns["subgroup grade"] == "Grade"
    assert explained.faults == {"bad_subgroup": 1}


def test_validity_responses_go_in_as_such(workspace: Workspace) -> None:
    data = HEADER + "1,A,S,2,x\n2,A,S,,y\n"
    counts = workspace.ingest(data, options=replace(OPTIONS, validity=True))
    assert (counts.accepted, counts.reasons) == (1, {"no_known_score": 1})
    assert workspace.query("SELECT response_id, purpose FROM responses") == [("1", "validity")]
    ((detail,),) = workspace.query("SELECT detail FROM rejects")
    assert "known score" in detail
