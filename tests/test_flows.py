"""The flows, run as Prefect runs them, on a small bank with a small backbone."""

import hashlib
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from workspaces import MARK, NIGHT, STUDENT, ledger, outcome, parquet_files, rows_of, write_export

from flows.settings import load_settings
from warehouse import db, reports


def test_a_night(home: Path) -> None:
    from flows.nightly import nightly

    result = nightly(administration_date=NIGHT, home=home)
    run = result.report.run
    assert (result.status, run.reconciled, run.message) == ("released", True, "")
    assert (run.received, run.accepted, run.rejected, run.duplicate) == (23, 21, 1, 1)
    assert (run.scored, run.coded, run.routed, run.failed, run.waiting) == (18, 1, 2, 0, 0)
    assert run.adapters_loaded == 3
    assert len(outcome(home)) == 12 + 2 * 6 + 1
    assert result.html.exists()
    assert not list((home / "inbox").glob("*/night.csv")) or (home / "inbox/done").exists()
    assert list((home / "parts").iterdir()) == []
    again = nightly(administration_date=NIGHT, home=home)
    assert (again.status, again.report.run.scored, again.report.run.received) == ("released", 0, 0)
    assert again.report.run.routed == 2  # still waiting for people, or an adapter


def test_no_text_and_no_student_leaves_the_responses(home: Path) -> None:
    from flows.nightly import nightly

    nightly(administration_date=NIGHT, home=home)
    allowed = {"responses", "inbox", "training.csv"}
    searched = [path for path in home.rglob("*") if path.is_file()]
    searched = [path for path in searched if path.relative_to(home).parts[0] not in allowed]
    assert len(searched) > 10
    for secret in (MARK, STUDENT):
        assert [path.name for path in searched if secret.encode() in path.read_bytes()] == []
    parquet = b"".join(path.read_bytes() for path in (home / "responses").rglob("*.parquet"))
    assert STUDENT.encode() not in parquet


def test_mlflow_shows_the_run(home: Path) -> None:
    from flows.nightly import nightly
    from flows.scoring import tracking_of

    result = nightly(administration_date=NIGHT, home=home)
    client = tracking_of(load_settings(home)).client()
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        parent_id = reports.run(connection, result.report.run.run_id).mlflow_run_id
    assert parent_id is not None
    parent = client.get_run(parent_id)
    assert parent.data.metrics["n/scored"] == 18
    assert parent.data.tags["release_status"] == "released"
    (history,) = client.get_metric_history(parent_id, "n/scored")
    assert history.step == 20260312
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent_id}'"
    )
    assert {(run.data.tags["item_id"], run.data.tags["trait"]) for run in children} == {
        ("007", "overall"), ("essay/1", "ideas"), ("essay/1", "form")
    }  # fmt: skip
    (child,) = [run for run in children if run.data.tags["item_id"] == "007"]
    named = {"qwk/rounded", "exact/rounded", "smd/rounded", "latency_ms/p50", "load_ms"}
    assert named <= set(child.data.metrics)
    logged = {file.path for file in client.list_artifacts(parent_id)}
    assert {"eval", "figures", "report.html"} <= logged
    drawn = {file.path for file in client.list_artifacts(parent_id, "figures")}
    assert {"figures/agreement_by_item", "figures/distributions"} <= drawn
    assert child.data.tags["adapter_sha256"]


def test_a_text_is_known_by_the_hash_of_what_the_model_gets(trained: Path) -> None:
    tables = [pq.read_table(path) for path in parquet_files(trained)]
    rows = [row for table in tables for row in table.to_pylist()]
    assert len(rows) == 36 + 36
    hashes = {hashlib.sha256(row["text"].encode()).hexdigest(): row["text_sha256"] for row in rows}
    assert [text for text, kept in hashes.items() if text != kept] == []


def test_a_night_of_known_texts_computes_nothing(home: Path) -> None:
    from flows.nightly import nightly
    from flows.scoring import tracking_of

    first = nightly(administration_date=NIGHT, home=home).report.run
    assert (first.scored, first.reused) == (18, 0)
    rows = [*rows_of("007", "overall", 0, "z", 12), *rows_of("essay/1", "ideas", 1, "z", 6)]
    write_export(home / "inbox" / "2026-spring" / "known.csv", rows)
    shutil.rmtree(home / "adapters")
    result = nightly(administration_date=NIGHT, home=home)
    run = result.report.run
    assert (run.status, run.scored, run.reused, run.reconciled) == ("released", 18, 18, True)
    assert (run.adapters_loaded, run.responses_per_s) == (0, None)
    assert not list(home.glob("adapters/*"))  # none was fetched
    assert "18 of them reused" in result.html.read_text("utf-8")
    of_first, of_second = ledger(home, first.run_id), ledger(home, run.run_id)
    assert [row[1:] for row in of_second] == [row[1:] for row in of_first]  # bit for bit
    assert [{row[0] for row in rows} for rows in (of_first, of_second)] == [{None}, {first.run_id}]
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        mlflow_run_id = reports.run(connection, run.run_id).mlflow_run_id
    assert mlflow_run_id is not None
    logged = tracking_of(load_settings(home)).client().get_run(mlflow_run_id).data.metrics
    assert (logged["n/scored"], logged["n/reused"]) == (18, 18)


def test_a_known_text_is_computed_again_where_it_would_be_cut_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.nightly import nightly

    nightly(administration_date=NIGHT, home=home)
    known = home / "inbox" / "2026-spring" / "known.csv"
    write_export(known, rows_of("007", "overall", 0, "z", 12))
    monkeypatch.setenv("GRADELINE_MAX_TOKENS", "66")
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert (run.status, run.scored, run.reused, run.adapters_loaded) == ("released", 12, 0, 1)


def test_backfill_takes_a_season_and_a_pinned_version(home: Path) -> None:
    from flows.backfill import UnknownVersionError, backfill

    result = backfill(["2025-fall"], ["007"], adapter=1, home=home)
    assert (result.status, result.report.run.scored) == ("released", 36)
    (item,) = result.report.evaluations
    assert (item.n_seen, item.n_rated) == (36, 0)  # agreement on what it has seen is not shown
    assert result.report.run.administration_date == NIGHT  # the day of the responses, not today
    assert backfill(["2025-fall"], ["007"], home=home).report.run.scored == 0
    with pytest.raises(UnknownVersionError, match="version 9"):
        backfill(adapter=9, home=home)


def test_evaluate_looks_at_all_current_scores(home: Path) -> None:
    from flows.evaluate import evaluate
    from flows.nightly import nightly

    nightly(administration_date=NIGHT, home=home)
    result = evaluate(items=["007"], home=home)
    assert [(item.item_id, item.n_rated) for item in result.report.evaluations] == [("007", 12)]


def test_a_selection_that_holds_nothing_is_refused(home: Path) -> None:
    from flows.backfill import backfill
    from flows.evaluate import evaluate
    from flows.scoring import NothingSelectedError

    with pytest.raises(NothingSelectedError, match="2025-fal"):
        backfill(["2025-fal"], home=home)
    with pytest.raises(NothingSelectedError, match="008"):
        evaluate(items=["008"], home=home)
