"""The flows, run as Prefect runs them, on a small bank with a small backbone."""

import csv
import hashlib
import random
import shutil
import traceback
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from flows.settings import load_settings
from tasks import inference, item_bank
from tasks.workspace import RunFailedError, WorkspaceBusyError, locked
from warehouse import db, items, release, reports

BANK = """
items:
  - {item_id: "007", score_min: 0, score_max: 2, prompt: "Why does the lamp glow?"}
  - item_id: essay/1
    score_min: 1
    score_max: 3
    traits: [ideas, form]
  - {item_id: unrated, score_min: 0, score_max: 1}
"""
MARK = "zyxwvut"  # in every response's text, and to be found nowhere but in responses/
STUDENT = "S-4711"
NIGHT = date(2026, 3, 12)
WORDS = {0: "cold dark nothing", 1: "wire lamp maybe", 2: "current flows closed circuit"}


@pytest.fixture(scope="module")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


def response(points: int, seed: int) -> str:
    chosen = random.Random(seed).choices(WORDS[points].split(), k=5)
    return f"{' '.join(chosen)} {MARK} {seed}"


def write_export(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(
    item_id: str, trait: str, low: int, prefix: str, n: int, first: int = 0
) -> list[dict[str, Any]]:
    """Rows numbered from ``first``; the number decides the text, whatever the prefix."""
    return [
        {
            "response_id": f"{prefix}{item_id}{number:03}",
            "item_id": item_id,
            "trait": trait,
            "text": response(number % 3, number),
            "student_id": STUDENT,
            "submitted_at": "2026-03-12T10:00:00Z",
            "human_score": low + number % 3,
        }
        for number in range(first, first + n)
    ]


@pytest.fixture(scope="module")
def trained(
    prefect_server: None, tiny_backbone_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A workspace with items, training responses and adapters."""
    from flows.ingest import ingest
    from flows.train import train

    home = tmp_path_factory.mktemp("trained")
    bank = home / "bank.yaml"
    bank.write_text(BANK, "utf-8")
    settings = load_settings(home)
    with db.connect(settings.warehouse) as connection:
        items.add_items(connection, item_bank.item_rows(item_bank.read_bank(bank)))
    rows = [
        *rows_of("007", "overall", 0, "t", 36),
        *rows_of("essay/1", "ideas", 1, "t", 36),
        *rows_of("essay/1", "form", 1, "t", 36),
    ]
    export = write_export(home / "training.csv", rows)
    assert ingest([export], season="2025-fall", home=home).status == "done"
    result = train(home=home)
    assert (result.status, len(result.trained), result.unchanged) == ("done", 3, 0)
    assert {row.alias for row in result.trained} == {"champion"}
    assert train(home=home).unchanged == 3
    return home


@pytest.fixture(scope="module", autouse=True)
def backbone_setting(tiny_backbone_folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADELINE_BACKBONE", str(tiny_backbone_folder))
        patch.setenv("GRADELINE_WORKERS", "1")
        yield


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained workspace, with tonight's export in its inbox.

    MLflow's store stays the trained one's: it holds absolute paths.
    """
    folder = tmp_path / "home"
    shutil.copytree(trained, folder)
    night = [
        *rows_of("007", "overall", 0, "n", 12),
        *rows_of("essay/1", "ideas", 1, "n", 6),
        *rows_of("unrated", "overall", 0, "n", 2),
        {**rows_of("007", "overall", 0, "x", 1)[0], "text": " "},
        {**rows_of("nowhere", "overall", 0, "x", 1)[0]},
        {**rows_of("007", "overall", 0, "n", 1)[0]},
    ]
    write_export(folder / "inbox" / "2026-spring" / "night.csv", night)
    return folder


def outcome(home: Path) -> list[tuple[Any, ...]]:
    """What the ledger says, without what differs from run to run."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute(
            "SELECT response_id, trait, status, round(raw_score, 4), score, adapter_version "
            "FROM current_scores ORDER BY ALL"
        ).fetchall()


class Killed(BaseException):
    """As abrupt as a signal: no `except Exception` sees it."""


def killed(*_: object, **__: object) -> None:
    raise Killed


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError


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


def test_a_text_is_known_by_the_hash_of_what_the_model_gets(trained: Path) -> None:
    tables = [pq.read_table(path) for path in parquet_files(trained)]
    rows = [row for table in tables for row in table.to_pylist()]
    assert len(rows) == 36 + 36
    hashes = {hashlib.sha256(row["text"].encode()).hexdigest(): row["text_sha256"] for row in rows}
    assert [text for text, kept in hashes.items() if text != kept] == []


def ledger(home: Path, run_id: str) -> list[tuple[Any, ...]]:
    """Every score of a run and where it comes from; response ids without their prefix."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute(
            "SELECT reused_from, response_id[2:] AS number, trait, raw_score, score, confidence, "
            "probabilities, truncated, engine FROM scores "
            "WHERE run_id = ? AND status = 'scored' ORDER BY number, trait",
            [run_id],
        ).fetchall()


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


def ingest_only(home: Path) -> None:
    from flows.ingest import ingest

    files = sorted((home / "inbox" / "2026-spring").glob("*.csv"))
    assert ingest(files, season="2026-spring", home=home).status == "done"


def parquet_files(home: Path) -> list[Path]:
    return list((home / "responses").rglob("*.parquet"))


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


def test_a_selection_that_holds_nothing_is_refused(home: Path) -> None:
    from flows.backfill import backfill
    from flows.evaluate import evaluate
    from flows.scoring import NothingSelectedError

    with pytest.raises(NothingSelectedError, match="2025-fal"):
        backfill(["2025-fal"], home=home)
    with pytest.raises(NothingSelectedError, match="008"):
        evaluate(items=["008"], home=home)


def test_adapters_with_an_unknown_past_hold_the_night(home: Path) -> None:
    from flows.nightly import nightly

    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute("DELETE FROM training_rows")
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert run.status == "held"
    assert "does not know what the adapters" in run.message


def decision_of(home: Path, run_id: str) -> str:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return reports.run(connection, run_id).status


def released(home: Path) -> int:
    """Rows that people downstream see."""
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        (row,) = connection.execute("SELECT count(*) FROM released_scores").fetchall()
    return int(row[0])


def test_a_person_holds_and_releases_and_both_are_recorded(home: Path) -> None:
    from flows.nightly import nightly
    from flows.release import decide
    from flows.scoring import tracking_of

    first = nightly(administration_date=NIGHT, home=home)
    run_id = first.report.run.run_id
    assert released(home) == 25
    held = decide(run_id, "held", "A. Rater", "two parents called", home=home)
    assert (held.status, decision_of(home, run_id), released(home)) == ("held", "held", 0)
    assert "two parents called" in held.html.read_text("utf-8")
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        mlflow_run_id = reports.run(connection, run_id).mlflow_run_id
    assert mlflow_run_id is not None
    client = tracking_of(load_settings(home)).client()
    tags = client.get_run(mlflow_run_id).data.tags
    assert (tags["release_status"], tags["operator"]) == ("held", "A. Rater")
    decide(run_id, "released", "B. Chief", "read again, all is well", home=home)
    assert released(home) == 25
    decided = decide(run_id, "released", "B. Chief", "said twice", home=home).report.decisions
    assert [entry.decided_by for entry in decided] == ["gate", "A. Rater", "B. Chief", "B. Chief"]


def test_a_report_can_be_written_again(home: Path) -> None:
    from flows.nightly import nightly
    from flows.report import report

    first = nightly(administration_date=NIGHT, home=home)
    before = first.html.read_text("utf-8")
    first.html.unlink()
    again = report(first.report.run.run_id, home=home)
    assert again == first.html
    assert len(again.read_text("utf-8")) == pytest.approx(len(before), rel=0.02)


def test_a_mistyped_limit_is_shown_first_and_holds_what_it_should(home: Path) -> None:
    """Ohio 2018: a threshold of 50% was typed in place of 30%, and nobody saw the change."""
    from flows.nightly import nightly

    limits = home / "thresholds.yaml"
    limits.write_text("rules:\n  smd: {at_most: 0.15}\n", "utf-8")
    assert nightly(administration_date=NIGHT, home=home).report.threshold_changes == ()
    limits.write_text("rules:\n  smd: {at_most: 1.5}\n", "utf-8")
    second = nightly(administration_date=NIGHT, home=home)
    (change,) = second.report.threshold_changes
    assert (change.rule, change.before, change.after, change.suspicious) == ("smd", 0.15, 1.5, True)
    page = second.html.read_text("utf-8")
    shown = page[page.index("<body") :]
    assert shown.index("1.5") < shown.index("Where every row went")
    third = nightly(administration_date=NIGHT, home=home)
    assert third.report.threshold_changes == ()


def test_limits_that_cannot_be_used_stop_the_night_before_it_scores(home: Path) -> None:
    from flows.nightly import nightly
    from tasks.thresholds import ThresholdsError

    (home / "thresholds.yaml").write_text("rules:\n  qkw: {at_least: 0.7}\n", "utf-8")
    with pytest.raises(ThresholdsError, match="qwk"):
        nightly(administration_date=NIGHT, home=home)
    assert outcome(home) == []
    (home / "thresholds.yaml").unlink()
    assert nightly(administration_date=NIGHT, home=home).report.run.scored == 18


def test_validity_responses_are_scored_every_night_and_never_reported(home: Path) -> None:
    from flows.ingest import ingest
    from flows.nightly import nightly
    from flows.release import decide

    export = write_export(home / "known.csv", rows_of("007", "overall", 0, "v", 30))
    found = ingest([export], season="2026-spring", validity=True, home=home)
    assert found.status == "done"
    first = nightly(administration_date=NIGHT, home=home)
    assert (first.report.run.scored, first.report.run.reconciled) == (18, True)
    (validity,) = first.report.validity
    assert (validity.item_id, validity.n, validity.n_changed) == ("007", 30, 0)
    assert validity.exact.high < 0.7  # so small a model knows nothing
    assert (first.status, released(home)) == ("held", 0)
    assert "validity" in first.report.run.message
    decide(first.report.run.run_id, "released", "A. Rater", "a test", home=home)
    second = nightly(administration_date=NIGHT, home=home)
    (again,) = second.report.validity
    assert (again.n, again.n_changed, again.same_adapter) == (30, 0, True)
    assert again.exact_before == validity.exact.value
    assert not any(response_id.startswith("v") for response_id, *_ in outcome(home))
    assert released(home) == 25


def decisions_of(home: Path, run_id: str) -> list[tuple[str, str]]:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = release.decisions(connection, run_id)
    return [(one.decision, one.decided_by) for one in found]


def run_of(home: Path, run_id: str) -> reports.Run:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return reports.run(connection, run_id)


def last_night(home: Path) -> reports.Run:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = reports.last_run(connection, "nightly")
    assert found is not None
    return found


def logged_of(home: Path, run_id: str) -> list[Any]:
    """What MLflow shows under a run's name."""
    from flows.scoring import tracking_of

    client = tracking_of(load_settings(home)).client()
    experiment = client.get_experiment_by_name("gradeline scoring")
    return list(
        client.search_runs([experiment.experiment_id], f"tags.`mlflow.runName` = '{run_id}'")
    )


def of_many_students(prefix: str, first: int) -> list[dict[str, Any]]:
    """So many that agreement has an interval: it is drawn by student."""
    rows = rows_of("007", "overall", 0, prefix, 24, first=first)
    return [{**row, "student_id": f"{prefix}{number}"} for number, row in enumerate(rows)]


STRICT = "rules:\n  qwk: {at_least: 0.99, fewest: 10}\n"


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


def home_of(logged: Any) -> Path:
    """The folder of an MLflow run's artifacts."""
    return Path(logged.info.artifact_uri.removeprefix("file://"))


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


def test_a_season_is_summed_up(home: Path) -> None:
    from flows.nightly import nightly
    from flows.scoring import tracking_of
    from flows.season import season
    from tasks.season import UnknownSeasonError

    nightly(administration_date=NIGHT, home=home)
    result = season("2026-spring", home=home)
    assert "1 run" in result.sentences[0]
    run = tracking_of(load_settings(home)).client().get_run(result.mlflow_run_id)
    assert run.data.tags["run_kind"] == "season"
    assert run.data.metrics["season/runs"] == 1
    with pytest.raises(UnknownSeasonError, match="2026-sprin"):
        season("2026-sprin", home=home)


def test_agreement_is_judged_on_all_that_the_champion_has_scored_so_far(home: Path) -> None:
    from flows.nightly import nightly

    def judged_on(result: Any) -> int:
        (qwk,) = [
            rule for rule in result.report.rules if (rule.item_id, rule.rule) == ("007", "qwk")
        ]
        return int(qwk.n)

    assert judged_on(nightly(administration_date=NIGHT, home=home)) == 12
    later = rows_of("007", "overall", 0, "m", 12, first=100)
    write_export(home / "inbox" / "2026-spring" / "second.csv", later)
    second = nightly(administration_date=NIGHT, home=home)
    assert [(item.item_id, item.n_rated) for item in second.report.evaluations] == [("007", 12)]
    assert judged_on(second) == 24
