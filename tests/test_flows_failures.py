"""Flows that are killed, meet damaged files or cannot reach MLflow: nothing is lost or made up."""

import hashlib
import shutil
import traceback
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from workspaces import (
    MARK,
    NIGHT,
    STRICT,
    Killed,
    decision_of,
    decisions_of,
    home_of,
    ingest_only,
    killed,
    last_night,
    logged_of,
    of_many_students,
    outcome,
    parquet_files,
    released,
    rows_of,
    run_of,
    unreachable,
    write_export,
)

from flows.settings import load_settings
from tasks import inference
from tasks.workspace import RunFailedError, WorkspaceBusyError, locked
from warehouse import db, reports


def test_a_killed_night_ends_as_an_undisturbed_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.nightly import nightly

    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(home, undisturbed)
    expected = nightly(administration_date=NIGHT, home=undisturbed).report.run

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(inference.commit_scores, "fn", killed)
        patch.setattr(inference, "commit_scores", killed)
        nightly(administration_date=NIGHT, home=home)
    assert list((home / "parts").glob("*.part.parquet"))
    resumed = nightly(administration_date=NIGHT, home=home).report.run
    assert outcome(home) == outcome(undisturbed)
    for count in ("received", "accepted", "scored", "coded", "routed", "rejected", "duplicate"):
        assert getattr(resumed, count) == getattr(expected, count)


def test_a_damaged_adapter_holds_its_item_only(home: Path) -> None:
    from flows.nightly import nightly
    from flows.scoring import tracking_of
    from tasks.tracking import list_adapters

    adapters = list_adapters(tracking_of(load_settings(home)), "champion")
    (victim,) = [adapter for adapter in adapters if adapter.item_id == "007"]
    head = home / "adapters" / victim.sha256 / "head.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(head).items()}, head)
    result = nightly(administration_date=NIGHT, home=home)
    run = result.report.run
    assert (result.status, run.scored, run.failed, run.reconciled) == ("held", 6, 12, True)
    assert "007" in run.message
    shutil.rmtree(head.parent)  # as the message says: it is fetched from the registry again
    mended = nightly(administration_date=NIGHT, home=home).report.run
    assert (mended.status, mended.waiting, mended.scored, mended.failed) == ("released", 14, 12, 0)


def test_a_file_that_cannot_be_read_holds_the_night_and_stops_nothing(home: Path) -> None:
    from flows.nightly import nightly

    (home / "inbox" / "2026-spring" / "broken.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
    result = nightly(administration_date=NIGHT, home=home)
    run = result.report.run
    assert (result.status, run.scored, run.files_refused) == ("held", 18, 1)
    assert "broken.xlsx" in run.message
    assert [path.name for path in (home / "inbox" / "refused").iterdir()] == ["broken.xlsx"]


@pytest.mark.parametrize("taken_up", [True, False])
def test_a_refused_file_is_told_of_though_the_night_was_killed(home: Path, taken_up: bool) -> None:
    from flows import nightly as flow

    (home / "inbox" / "2026-spring" / "broken.xlsx").write_bytes(b"PK\x03\x04 not a workbook")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(flow, "score_and_report", killed)
        flow.nightly(administration_date=NIGHT, home=home)
    first = last_night(home)
    assert not list((home / "inbox" / "2026-spring").iterdir())
    again = flow.nightly(administration_date=NIGHT if taken_up else None, home=home).report.run
    told = run_of(home, first.run_id)
    assert "broken.xlsx was refused" in told.message
    assert told.status == ("held" if taken_up else "failed")
    assert (again.run_id == first.run_id, again.scored) == (taken_up, 18)
    if taken_up:
        assert (told.files_accepted, told.files_refused, told.received) == (1, 1, 23)


def test_one_flow_at_a_time(home: Path) -> None:
    from flows.nightly import nightly

    with locked(home), pytest.raises(WorkspaceBusyError, match="in use by process"):
        nightly(administration_date=NIGHT, home=home)


def test_scores_stay_when_mlflow_fails_after_the_commit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.nightly import nightly
    from tasks.tracking import runs

    monkeypatch.setattr(runs, "_metrics", unreachable)
    result = nightly(administration_date=NIGHT, home=home)
    assert (result.status, len(outcome(home))) == ("released", 25)
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        run = reports.run(connection, result.report.run.run_id)
    assert (run.status, run.scored, run.mlflow_run_id) == ("released", 18, None)
    assert "MLflow" in run.message
    monkeypatch.undo()
    nightly(administration_date=NIGHT, home=home)
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        assert reports.run(connection, run.run_id).mlflow_run_id is not None


def test_a_night_that_fails_before_the_commit_says_so_and_loses_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.nightly import nightly

    (home / "inbox" / "2026-spring" / "broken.xlsx").write_bytes(b"PK\x03\x04 not a workbook")

    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"could not convert {MARK}")

    with monkeypatch.context() as patch, pytest.raises(RunFailedError, match="ValueError") as found:
        patch.setattr(inference, "commit_scores", broken)
        nightly(administration_date=NIGHT, home=home)
    assert MARK not in "".join(traceback.format_exception(found.value))
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        run = reports.last_run(connection, "nightly")
    assert run is not None
    assert (run.status, run.received, run.scored) == ("failed", 23, 0)
    assert (run.files_accepted, run.files_refused) == (1, 1)
    assert "broken.xlsx was refused" in run.message
    assert MARK not in run.message
    mended = nightly(administration_date=NIGHT, home=home).report.run
    assert (mended.status, mended.waiting, mended.scored) == ("released", 21, 18)


def test_a_missing_parquet_file_holds_its_responses_only(home: Path) -> None:
    from flows.nightly import nightly

    first = nightly(administration_date=NIGHT, home=home).report.run
    assert first.status == "released"
    inbox = home / "inbox" / "2026-spring"
    write_export(inbox / "a.csv", rows_of("007", "overall", 0, "lost", 4, first=50))
    write_export(inbox / "b.csv", rows_of("essay/1", "ideas", 1, "kept", 3, first=50))
    ingest_only(home)
    (lost,) = [path for path in parquet_files(home) if b"lost007050" in path.read_bytes()]
    lost.rename(home / "elsewhere.parquet")
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert (run.status, run.scored, run.failed) == ("held", 3, 4)
    (home / "elsewhere.parquet").rename(lost)
    assert nightly(administration_date=NIGHT, home=home).report.run.scored == 4


def test_an_item_whose_scale_has_changed_is_not_scored_on_the_old_one(home: Path) -> None:
    from flows.nightly import nightly

    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute("UPDATE items SET score_min = 5, score_max = 9 WHERE item_id = '007'")
        connection.execute("UPDATE human_scores SET human_score = 5 WHERE item_id = '007'")
    night = home / "inbox" / "2026-spring" / "night.csv"
    night.write_text(
        night.read_text("utf-8").replace(",1\n", ",\n").replace(",2\n", ",\n"), "utf-8"
    )
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert run.status == "held"
    assert "the item's scale is 5 to 9" in run.message
    assert not any(response_id.startswith("n007") for response_id, *_ in outcome(home))


def test_a_run_told_late_keeps_the_decision_and_the_limits_of_its_night(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.nightly import nightly
    from tasks.tracking import runs

    inbox = home / "inbox" / "2026-spring"
    write_export(inbox / "night.csv", of_many_students("n", 0))
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_metrics", unreachable)
        first = nightly(administration_date=NIGHT, home=home).report.run
        nightly(administration_date=NIGHT, home=home)  # tries again, and fails again
    assert first.status == "released"
    assert run_of(home, first.run_id).message.count("not logged to MLflow yet") == 1
    (home / "thresholds.yaml").write_text(STRICT, "utf-8")
    write_export(inbox / "more.csv", of_many_students("z", 70))
    third = nightly(administration_date=NIGHT, home=home).report.run
    assert third.status == "held"  # by tonight's limits
    told = run_of(home, first.run_id)
    assert (told.status, told.message, told.mlflow_run_id is None) == ("released", "", False)
    assert decisions_of(home, first.run_id) == [("released", "gate")]
    (logged,) = [run for run in logged_of(home, first.run_id) if run.info.status == "FINISHED"]
    limits = hashlib.sha256(
        (home_of(logged) / "effective_thresholds.json").read_bytes()
    ).hexdigest()
    assert limits == told.thresholds_sha256 == logged.data.tags["config_sha"]
    assert third.thresholds_sha256 != limits


@pytest.mark.parametrize("step", ["judge_run", "write_report", "_log"])
def test_a_night_killed_after_its_commit_is_told_once_by_the_next(
    home: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from flows import scoring
    from flows.nightly import nightly
    from flows.release import decide

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(scoring, step, killed)
        nightly(administration_date=NIGHT, home=home)
    run = last_night(home)
    assert run.mlflow_run_id is None
    assert released(home) == (0 if step == "judge_run" else 25)
    decide(run.run_id, "held", "A. Rater", "it was killed", home=home)
    nightly(administration_date=NIGHT, home=home)
    by_gate = [("released", "gate")] if step != "judge_run" else []
    assert decisions_of(home, run.run_id) == [*by_gate, ("held", "A. Rater")]
    assert (decision_of(home, run.run_id), released(home)) == ("held", 0)
    (logged,) = logged_of(home, run.run_id)
    assert logged.data.tags["release_status"] == "held"
    assert logged.data.tags["operator"] == "A. Rater"
    assert run_of(home, run.run_id).thresholds_sha256 is not None


def test_a_run_that_cannot_be_told_keeps_nobody_from_scoring(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from flows import scoring
    from flows.nightly import nightly

    def broken(*_: object, **__: object) -> None:
        raise ValueError(f"cannot draw {MARK}")

    with monkeypatch.context() as patch:
        patch.setattr(scoring, "write_report", broken)
        with pytest.raises(RunFailedError):
            nightly(administration_date=NIGHT, home=home)
        first = last_night(home)
        rows = rows_of("007", "overall", 0, "z", 12, first=70)
        write_export(home / "inbox" / "2026-spring" / "more.csv", rows)
        with pytest.raises(RunFailedError):
            nightly(administration_date=NIGHT, home=home)
    second = last_night(home)
    assert (second.status, second.scored) == ("released", 12)
    assert f"{first.run_id} still cannot be told (ValueError)" in caplog.text
    assert MARK not in caplog.text
    nightly(administration_date=NIGHT, home=home)
    assert None not in {run_of(home, one.run_id).mlflow_run_id for one in (first, second)}


def test_an_evaluation_that_mlflow_does_not_show_promises_no_other_try(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.evaluate import evaluate
    from tasks.tracking import runs

    monkeypatch.setattr(runs, "_metrics", unreachable)
    run = evaluate(items=["007"], home=home).report.run
    assert "run `gradeline evaluate` again" in run_of(home, run.run_id).message
