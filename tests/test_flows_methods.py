"""Methods that an item can choose: own blocks, students, cascades; scored by the same night."""

import shutil
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file
from workspaces import MARK, NIGHT, outcome

from flows.settings import load_settings
from models.adapter_folders import read_scoring
from tasks.tracking import CHAMPION, list_adapters
from warehouse import db


def champion(home: Path, item_id: str = "007"):
    from flows.scoring import tracking_of

    (found,) = [
        one
        for one in list_adapters(tracking_of(load_settings(home)), CHAMPION)
        if one.item_id == item_id and one.trait in ("overall", "ideas")
    ]
    return found


def registered_metrics(home: Path, adapter) -> set[str]:
    """Names of the figures that the registry holds of an adapter."""
    from flows.scoring import tracking_of
    from tasks.tracking.registry import registered_name

    tracking = tracking_of(load_settings(home))
    client = tracking.client()
    name = registered_name(tracking.programme, adapter.item_id, adapter.trait)
    registered = client.get_model_version(name, str(adapter.version))
    return set(client.get_run(registered.run_id).data.metrics)


def promoted(home: Path, version: int, item_id: str = "007", trait: str = "overall"):
    from flows.promote import promote

    return promote(item_id, version, "A. Person", "a test wants it", trait=trait, home=home)


def scored_by(home: Path) -> dict[tuple[str, str], set[bool]]:
    """Whether students gave the scores, by item and trait."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = connection.execute(
            "SELECT item_id, trait, list(DISTINCT by_student) FROM released_scores "
            "WHERE status = 'scored' GROUP BY ALL"
        ).fetchall()
    return {(item, trait): set(kinds) for item, trait, kinds in found}


@pytest.fixture
def distilled(home: Path):
    """The workspace with a student of item 007's champion, registered as its challenger."""
    from flows.distill import distill

    result = distill(items=["007"], method="student", home=home)
    assert (result.status, len(result.trained)) == ("done", 1)
    return home, result.trained[0]


def test_own_blocks_are_trained_registered_and_scored_by_the_night(home: Path) -> None:
    from flows.nightly import nightly
    from flows.train import train

    before = champion(home)
    result = train(items=["007"], method="partial", home=home)
    (row,) = result.trained
    assert row.version == before.version + 1
    assert train(items=["007"], method="partial", home=home).unchanged == 1
    promoted(home, row.version)
    found = champion(home)
    assert {"validation/qwk_1_blocks", "validation/qwk_2_blocks"} <= registered_metrics(home, found)
    record = read_scoring(load_settings(home).adapters / found.sha256)
    assert record.method == "partial"
    assert record.first_block in (0, 1)  # of two blocks, by what the validation responses said
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert (run.reconciled, run.failed, run.scored) == (True, 0, 18)
    assert {version for *_, version in outcome(home) if version} == {1, row.version}


def test_a_student_is_an_adapter_like_any_other(distilled) -> None:
    from flows.nightly import nightly

    home, row = distilled
    assert row.verdict in ("ask", "keep", "promote")
    promoted(home, row.version)
    folder = load_settings(home).adapters / champion(home).sha256
    assert {path.name for path in folder.iterdir()} == {"student.safetensors", "scoring.json"}
    record = read_scoring(folder)
    assert record.trained_parameters <= 30_000
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert (run.status, run.failed, run.scored) == ("released", 0, 18)
    by_student = scored_by(home)
    assert by_student[("007", "overall")] == {True}
    assert by_student[("essay/1", "ideas")] == {False}


def test_the_same_student_is_not_distilled_twice(distilled) -> None:
    from flows.distill import distill

    home, row = distilled
    again = distill(items=["007"], method="student", home=home)
    assert (again.unchanged, again.trained) == (1, ())
    promoted(home, row.version)  # now the student is champion: what taught it teaches again
    again = distill(items=["007"], method="student", home=home)
    assert (again.unchanged, again.trained, again.untrained) == (1, (), ())


def test_a_cascade_scores_with_student_and_teacher(home: Path) -> None:
    from flows.distill import distill
    from flows.nightly import nightly

    result = distill(items=["007"], method="cascade", most_loss=0.5, home=home)
    (row,) = result.trained
    promoted(home, row.version)
    settings = load_settings(home)
    record = read_scoring(settings.adapters / champion(home).sha256)
    assert record.method == "lora"
    assert record.cascade.most_loss == 0.5
    assert 0 < record.cascade.limit.kept_share <= 1
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert (run.reconciled, run.failed, run.scored) == (True, 0, 18)
    assert True in scored_by(home)[("007", "overall")]


def test_a_damaged_student_holds_its_item_only(distilled) -> None:
    from flows.nightly import nightly

    home, row = distilled
    promoted(home, row.version)
    settings = load_settings(home)
    path = settings.adapters / champion(home).sha256 / "student.safetensors"
    tensors = load_file(path)
    tensors["bias"] = tensors["bias"] + 1
    save_file(tensors, path)
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert (run.status, run.failed, run.scored) == ("held", 12, 6)


def test_a_teacher_whose_files_are_gone_is_fetched_from_the_registry(home: Path) -> None:
    from flows.distill import distill

    shutil.rmtree(load_settings(home).adapters)
    result = distill(items=["007"], method="student", home=home)
    assert (len(result.trained), result.untrained) == (1, ())


def test_a_promotion_is_signed_and_of_a_version_there_is(home: Path) -> None:
    from flows.backfill import UnknownVersionError
    from flows.promote import UnsignedPromotionError, promote
    from flows.scoring import tracking_of

    with pytest.raises(UnsignedPromotionError):
        promote("007", 1, " ", "because", home=home)
    with pytest.raises(UnknownVersionError, match="it has v1"):
        promote("007", 9, "A. Person", "because", home=home)
    result = promote("007", 1, "A. Person", "because", home=home)
    assert (result.version, result.before) == (1, 1)
    client = tracking_of(load_settings(home)).client()
    tags = next(
        version.tags
        for model in client.search_registered_models()
        for version in client.search_model_versions(f"name = '{model.name}'")
        if version.tags.get("promoted_by")
    )
    assert tags["promoted_because"] == "because"


def test_no_text_leaves_the_responses_in_a_student(distilled) -> None:
    home, row = distilled
    promoted(home, row.version)
    folder = load_settings(home).adapters / champion(home).sha256
    for path in folder.iterdir():
        assert MARK.encode() not in path.read_bytes()
