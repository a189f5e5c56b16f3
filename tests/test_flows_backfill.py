"""Backfills: which adapter scores what, what would change, who signs for it."""

import csv
import hashlib
import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from workspaces import (
    MARK,
    NIGHT,
    Killed,
    decision_of,
    decisions_of,
    home_of,
    killed,
    logged_of,
    outcome,
    released,
    rows_of,
    run_of,
    write_export,
)

from flows import cli
from flows.scoring import NothingSelectedError
from flows.settings import load_settings
from tasks import inference
from warehouse import comparison, db

FALL = date(2026, 9, 10)
SPRING = ["2026-spring"]


@pytest.fixture(scope="module")
def scored(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released night, and version 2 of an adapter, which has learned to give high scores."""
    from flows.ingest import ingest
    from flows.nightly import nightly
    from flows.train import train

    home = tmp_path_factory.mktemp("scored") / "home"
    shutil.copytree(trained, home)
    again = [
        {**row, "human_score": 2} if number % 10 else row
        for number, row in enumerate(rows_of("007", "overall", 0, "u", 60, first=200))
    ]
    night = [
        *rows_of("007", "overall", 0, "n", 24),
        *rows_of("essay/1", "ideas", 1, "n", 6),
        {**rows_of("007", "overall", 0, "x", 1)[0], "text": " "},
    ]
    write_export(home / "inbox" / "2026-spring" / "night.csv", night)
    assert nightly(administration_date=NIGHT, home=home).status == "released"
    export = write_export(home / "again.csv", again)
    assert ingest([export], season="2025-winter", home=home).status == "done"
    (adapter,) = train(["2025-winter"], ["007"], home=home).trained
    assert (adapter.version, adapter.alias) == (2, "challenger")
    return home


@pytest.fixture
def home(scored: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(scored, folder)
    return folder


def released_of(home: Path, item_id: str) -> list[tuple[Any, ...]]:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        return connection.execute(
            "SELECT response_id, score, adapter_version FROM released_scores "
            "WHERE item_id = ? ORDER BY ALL",
            [item_id],
        ).fetchall()


def files_of(home: Path) -> dict[str, str]:
    """Every file but Prefect's own, by the hash of its bytes."""
    found = (path for path in sorted(home.rglob("*")) if path.is_file())
    found = (path for path in found if "prefect" not in path.relative_to(home).parts)
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found
    }


def test_scores_that_would_change_wait_for_a_signature(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.backfill import backfill
    from flows.release import decide

    before = released_of(home, "007")
    result = backfill(SPRING, ["007"], adapter="v2", home=home)
    run, replaced = result.report.run, result.report.comparison
    assert (result.status, run.scored, run.administration_date) == ("held", 24, NIGHT)
    assert released_of(home, "007") == before  # nothing has gone out
    (item,) = replaced.items
    assert (item.n, item.old_versions, item.new_versions) == (24, (1,), (2,))
    assert (item.people.n, item.people.changed) == (24, item.changed)
    assert (item.up, item.first, item.unreleased) == (item.changed, 0, 0)
    assert f"{item.changed} of 24 released scores would change" in run.message
    page = result.html.read_text("utf-8")
    assert "What this run would replace" in page
    assert MARK not in page
    assert_logged(home, run.run_id, item.changed)
    shown = artifact("score-comparison")
    assert (shown[0]["item"], shown[0]["replaced"], shown[0]["adapter"]) == ("007", "24", "v1 → v2")

    signed = decide(run.run_id, "released", "A. Rater", "memo 7", home=home)
    after = released_of(home, "007")
    moved = [old[0] for old, new in zip(before, after, strict=True) if old[1] != new[1]]
    assert len(moved) == item.changed > 0
    assert {row[2] for row in after} == {2, None}  # None: the blank one's code
    assert decisions_of(home, run.run_id) == [("held", "gate"), ("released", "A. Rater")]
    assert "What this run replaced" in signed.html.read_text("utf-8")
    rows = listed_changes(home, run.run_id, tmp_path / "changes.csv", capsys)
    old, new = ({row[0]: row[1] for row in found} for found in (before, after))
    assert sorted(row["response_id"] for row in rows) == sorted(moved)
    assert all(old[row["response_id"]] == int(row["old_score"]) for row in rows)
    assert all(new[row["response_id"]] == int(row["new_score"]) for row in rows)
    assert {(row["old_version"], row["new_version"]) for row in rows} == {("1", "2")}
    night = next(iter({row["old_run_id"] for row in rows}))
    assert cli.main(["--home", str(home), "changes", night]) == 2
    assert "only backfills" in capsys.readouterr().err


def artifact(key: str) -> list[dict[str, str]]:
    """The rows of the latest table of that key on Prefect's Artifacts page."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        (found,) = [one for one in client.read_latest_artifacts() if one.key == key]
    return list(json.loads(str(found.data)))


def assert_logged(home: Path, run_id: str, changed: int) -> None:
    """MLflow has the comparison: figures, tables and a picture."""
    (logged,) = logged_of(home, run_id)
    assert logged.data.metrics["replaced/n"] == 24
    assert logged.data.metrics["replaced/changed"] == changed
    folder = home_of(logged)
    table = json.loads((folder / "eval" / "replaced.json").read_text("utf-8"))
    row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert (row["item_id"], row["n"], row["old_versions"]) == ("007", 24, "v1")
    assert (folder / "eval" / "old_by_new.json").exists()
    assert list((folder / "figures" / "replaced").glob("*.png"))


def listed_changes(
    home: Path, run_id: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> list[dict[str, str]]:
    capsys.readouterr()
    arguments = ["--home", str(home), "changes", run_id, "--json", "--file", str(file)]
    assert cli.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert told["changed"] == told["rows"] == len(rows)
    assert MARK not in file.read_text("utf-8")
    return rows


def test_scores_that_stay_the_same_need_nobody(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.backfill import backfill

    monkeypatch.setenv("GRADELINE_MAX_TOKENS", "66")  # other engine: computed again
    result = backfill(SPRING, ["007"], home=home)
    run = result.report.run
    assert (result.status, run.scored, run.reused) == ("released", 24, 0)
    assert (result.report.comparison.n, result.report.comparison.changed) == (24, 0)
    assert "stay the same" in result.html.read_text("utf-8") or "are the same" in (
        result.html.read_text("utf-8")
    )


def test_each_response_is_scored_as_it_was_then(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.backfill import backfill
    from flows.ingest import ingest

    fall = [
        {**row, "submitted_at": f"{FALL}T10:00:00Z"}
        for row in rows_of("007", "overall", 0, "f", 10, first=40)
    ]
    assert ingest([write_export(home / "fall.csv", fall)], season="fall", home=home)
    first = backfill(["fall"], adapter="v2", home=home)
    assert (first.status, first.report.comparison.n) == ("released", 0)  # it replaces nothing
    assert first.report.comparison.total("first") == 10
    before = outcome(home)
    assert {row[5] for row in before if row[0].startswith(("n007", "f007"))} == {1, 2}
    monkeypatch.setenv("GRADELINE_MAX_TOKENS", "66")
    result = backfill(items=["007"], adapter="as-scored-then", home=home)
    run, replaced = result.report.run, result.report.comparison
    assert (result.status, run.scored, run.reused, run.failed) == ("released", 34, 0, 0)
    assert (replaced.n, replaced.changed) == (34, 0)
    (item,) = replaced.items
    assert (item.old_versions, item.new_versions) == ((1, 2), (1, 2))
    assert outcome(home) == before
    again = backfill(items=["007"], adapter="as-scored-then", dry_run=True, home=home)
    assert (again.totals["kept"], again.responses) == (36 + 60 + 34 + 1, 0)
    assert artifact("backfill-estimate")[0]["as they are"] == "131"


def test_what_was_held_back_is_no_measure_of_then(home: Path) -> None:
    from flows.backfill import backfill

    before = released_of(home, "007")
    held = backfill(SPRING, ["007"], adapter="v2", home=home)
    assert held.status == "held"
    back = backfill(SPRING, ["007"], adapter="as-scored-then", home=home)
    assert (back.status, back.report.run.reused) == ("released", 24)  # copied from the ledger
    assert back.report.comparison.changed == 0
    assert released_of(home, "007") == before


def test_a_killed_backfill_goes_on(home: Path, tmp_path: Path) -> None:
    from flows.backfill import backfill

    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(home, undisturbed)
    expected = backfill(SPRING, ["007"], adapter="v2", home=undisturbed).report.run
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(inference, "commit_scores", killed)
        backfill(SPRING, ["007"], adapter="v2", home=home)
    (part,) = (home / "parts").glob("*.part.parquet")
    scored_at = part.stat().st_mtime_ns
    assert decision_of(home, run := last_run(home)) == "running"

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        commit = inference.commit_scores
        patch.setattr(
            inference,
            "commit_scores",
            lambda *given, **named: seen.append(part.stat().st_mtime_ns) or commit(*given, **named),
        )
        resumed = backfill(SPRING, ["007"], adapter="v2", home=home).report.run
    assert seen == [scored_at]  # the part was not written again
    assert (resumed.run_id, resumed.scored) == (run, expected.scored)
    assert outcome(home) == outcome(undisturbed)
    assert (resumed.status, resumed.message) == (expected.status, expected.message)


def last_run(home: Path) -> str:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        ((run_id,),) = connection.execute(
            "SELECT arg_max(run_id, started_at) FROM runs WHERE kind = 'backfill'"
        ).fetchall()
    return str(run_id)


def test_one_killed_before_its_comparison_is_compared_by_the_next_run(home: Path) -> None:
    from flows import scoring
    from flows.backfill import backfill
    from flows.nightly import nightly

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(scoring, "tell", killed)
        backfill(SPRING, ["007"], adapter="v2", home=home)
    run_id = last_run(home)
    assert (decision_of(home, run_id), released(home)) == ("done", 37)
    nightly(administration_date=NIGHT, home=home)
    assert decision_of(home, run_id) == "held"
    assert "released scores would change" in run_of(home, run_id).message


def test_a_dry_run_counts_and_changes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.backfill import backfill

    before = files_of(home)
    arguments = ["--home", str(home), "backfill", "--season", "2026-spring", "--season",
                 "2025-fall", "--adapter", "v2", "--dry-run"]  # fmt: skip
    capsys.readouterr()
    assert cli.main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert cli.main(arguments) == 0
    shown = capsys.readouterr().out
    assert files_of(home) == before
    items = {(item["item_id"], item["trait"]): item for item in found["items"]}
    plain = items["007", "overall"]
    assert (plain["adapters"], plain["computed"], plain["copied"]) == (["v2"], 24 + 36, 0)
    assert (plain["coded"], plain["routed"], plain["kept"]) == (0, 0, 1)  # the blank one
    essay = items["essay/1", "ideas"]  # has no version 2: what is scored stays, the rest waits
    assert (essay["adapters"], essay["computed"], essay["routed"], essay["kept"]) == ([], 0, 36, 6)
    assert found["seconds"] > 0
    assert found["ledger_bytes"] > 0
    assert "nothing was done" in shown

    run = backfill(["2026-spring", "2025-fall"], adapter="v2", home=home).report.run
    assert run.scored == found["totals"]["computed"] + found["totals"]["copied"]
    back = backfill(SPRING, ["007"], adapter="v1", dry_run=True, home=home)
    assert {name: n for name, n in back.totals.items() if n} == {"copied": 24, "kept": 1}
    assert back.seconds == 0


def test_whoever_signs_has_seen_what_changes(home: Path) -> None:
    from flows.backfill import backfill
    from flows.release import UnseenChangesError, decide

    first = backfill(SPRING, ["007"], adapter="v2", home=home).report
    back = backfill(SPRING, ["007"], adapter="v1", home=home)
    assert back.status == "released"  # later than the first one, and so it stays
    with pytest.raises(UnseenChangesError, match=first.run.run_id):
        decide(first.run.run_id, "released", "A. Rater", "memo 7", home=home)
    assert decision_of(home, first.run.run_id) == "held"
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        now = comparison.counts(connection, first.run.run_id)
    assert {one.replaces for one in now} == {"later"}
    assert decide(first.run.run_id, "released", "A. Rater", "memo 7", home=home).status == (
        "released"
    )


@pytest.mark.parametrize("chosen", [{"seasons": ["2026-sprin"]}, {"items": ["007", "0077"]}])
def test_a_name_that_nobody_knows_is_refused(home: Path, chosen: dict[str, list[str]]) -> None:
    from flows.backfill import backfill

    before = run_of(home, last_of(home)).run_id
    with pytest.raises(NothingSelectedError, match=r"2026-sprin|0077"):
        backfill(**chosen, home=home)
    assert run_of(home, last_of(home)).run_id == before


def last_of(home: Path) -> str:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        ((run_id,),) = connection.execute("SELECT arg_max(run_id, started_at) FROM runs").fetchall()
    return str(run_id)


def test_an_adapter_that_is_gone_fails_its_own_responses_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.backfill import backfill
    from flows.scoring import tracking_of

    settings = load_settings(home)
    client = tracking_of(settings).client()
    (model,) = [one for one in client.search_registered_models() if one.tags["item_id"] == "007"]
    client.delete_registered_model(model.name)
    shutil.rmtree(settings.adapters)
    monkeypatch.setenv("GRADELINE_MAX_TOKENS", "66")
    found = backfill(SPRING, adapter="as-scored-then", dry_run=True, home=home)
    assert found.lost == ("v1 of item 007 (overall)",)
    run = backfill(SPRING, adapter="as-scored-then", home=home).report.run
    assert (run.status, run.scored, run.failed) == ("held", 6, 24)


def test_prefect_shows_its_parameters_as_a_form() -> None:
    from flows.backfill import backfill

    fields = backfill.parameters.model_dump()["properties"]
    assert fields["seasons"]["type"] == fields["items"]["type"] == "array"
    assert fields["from_date"]["format"] == "date"
    assert (fields["dry_run"]["type"], fields["dry_run"]["default"]) == ("boolean", False)
    adapter = fields["adapter"]
    assert (adapter["type"], adapter["default"]) == ("string", "champion")
    assert adapter["pattern"] == "^(champion|as-scored-then|v[1-9][0-9]*)$"
    given = backfill.validate_parameters({"adapter": 3, "from_date": "2026-03-01"})
    assert (given["adapter"], given["from_date"]) == ("v3", date(2026, 3, 1))
    with pytest.raises(Exception, match="adapter"):
        backfill.validate_parameters({"adapter": "v0"})
