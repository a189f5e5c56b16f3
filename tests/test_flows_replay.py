"""A run is scored again as it was: nothing changes, and what comes out otherwise is told."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from workspaces import NIGHT, rows_of, write_export

from flows.cli import main
from tasks.replaying import NotReplayableError
from warehouse import db
from warehouse.reports import UnknownRunError


@pytest.fixture(scope="module")
def after_a_night(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a night that computed scores, and one that copied most of its own."""
    from flows.ingest import ingest
    from flows.nightly import nightly

    home = tmp_path_factory.mktemp("night") / "home"
    shutil.copytree(trained, home)
    known = write_export(home / "known.csv", rows_of("007", "overall", 0, "v", 5, first=50))
    ingest([known], season="2026-spring", validity=True, home=home)
    rows = [*rows_of("007", "overall", 0, "n", 12), *rows_of("essay/1", "ideas", 1, "n", 6)]
    blank = {**rows[0], "response_id": "blank", "text": " "}
    write_export(home / "inbox" / "2026-spring" / "night.csv", [*rows, blank])
    nightly(administration_date=NIGHT, home=home)
    copied = [*rows_of("007", "overall", 0, "z", 12), *rows_of("007", "overall", 0, "y", 3, 80)]
    write_export(home / "inbox" / "2026-spring" / "copied.csv", copied)
    nightly(administration_date=NIGHT, home=home)
    return home


@pytest.fixture
def night(after_a_night: Path, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    shutil.copytree(after_a_night, home)
    return home


def runs(home: Path) -> list[str]:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        found = connection.execute(
            "SELECT run_id FROM runs WHERE kind = 'nightly' ORDER BY started_at"
        ).fetchall()
    return [run_id for (run_id,) in found]


def tamper(home: Path, statement: str) -> None:
    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute(statement)


def everything(home: Path) -> dict[str, str]:
    files = [path for path in home.rglob("*") if path.is_file() and ".lock" not in path.name]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_night_comes_out_again_to_the_last_bit_and_nothing_changes(night: Path) -> None:
    from flows.replay import replay

    before = everything(night)
    first, second = (replay(run_id, home=night) for run_id in runs(night))
    assert (first.differing, first.compared.rows, first.compared.identical) == (0, 29, 29)
    assert first.compared.fields == {}
    assert (second.differing, second.compared.rows) == (0, 12 + 3 + 5)  # copies are computed
    assert everything(night) == before


def test_settings_of_now_do_not_matter(night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.replay import replay

    monkeypatch.setenv("GRADELINE_MAX_TOKENS", "9")
    monkeypatch.setenv("GRADELINE_PRECISION", "fp32")
    shutil.rmtree(night / "adapters")  # the registry has them
    result = replay(runs(night)[0], home=night)
    assert (result.differing, result.compared.identical) == (0, 29)
    assert not (night / "adapters").exists()


def answered(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_a_score_that_does_not_come_out_again_is_told(
    night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(night, "UPDATE scores SET score = (score + 1) % 3 WHERE response_id = 'n007000'")
    tamper(night, "UPDATE scores SET raw_score = raw_score + 1e-6 WHERE response_id = 'n007001'")
    tamper(night, "UPDATE scores SET raw_score = raw_score + 0.5 WHERE response_id = 'n007002'")
    assert main(["replay", runs(night)[0], "--home", str(night), "--json"]) == 2
    found = answered(capsys)
    told = {(one["response_id"], one["field"]) for one in found["compared"]["differences"]}
    assert told == {("n007000", "score"), ("n007002", "raw_score")}
    assert (found["differing"], found["compared"]["rounding"]) == (2, 1)
    assert found["compared"]["largest"] == pytest.approx(0.5)


def test_a_response_that_is_not_scored_any_more_is_a_difference(night: Path) -> None:
    from flows.replay import replay

    for path in (night / "responses" / "season=2026-spring").glob("*.parquet"):
        path.unlink()
    result = replay(runs(night)[0], home=night)
    assert (result.differing, result.compared.fields) == (29, {"missing": 29})


def test_retired_texts_are_not_replayed(night: Path) -> None:
    from flows.replay import replay
    from flows.retention import retire

    retire("2026-spring", "A. Rater", "five years", home=night)
    result = replay(runs(night)[0], home=night)
    assert (result.differing, result.compared.rows, result.retired) == (0, 0, 29)


def test_what_cannot_be_replayed_is_an_error(
    night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conftest import save_tiny_encoder

    from flows.replay import replay

    run_id = runs(night)[0]
    with pytest.raises(UnknownRunError):
        replay("nightly-0", home=night)
    other = save_tiny_encoder(tmp_path / "other", layers=1)
    with monkeypatch.context() as patch:
        patch.setenv("GRADELINE_BACKBONE", str(other))
        with pytest.raises(NotReplayableError, match="another backbone"):
            replay(run_id, home=night)
    tamper(night, "UPDATE scores SET engine = NULL")
    with pytest.raises(NotReplayableError, match="does not say"):
        replay(run_id, home=night)
