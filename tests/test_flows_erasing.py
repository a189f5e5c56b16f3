"""A student is erased: nothing of the person is left in any byte of the workspace."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from workspaces import (
    NIGHT,
    Killed,
    home_of,
    killed,
    logged_of,
    rows_of,
    unreachable,
    write_export,
)

from flows.scoring import tracking_of
from flows.settings import load_settings
from tasks.export_rows import pseudonym
from tasks.run_files import csv_files
from tasks.run_tables import as_columns
from tasks.student_rows import hash_of
from tasks.tracking import amend_run
from warehouse import db, erasing, reports
from warehouse.breakdown import FarApart

WHO = "P-90210-gone"
MARK = "qqvanishqq"  # in every text of theirs
PREFIX = "gone"  # of their response ids


def theirs() -> list[dict[str, Any]]:
    """Answers that people gave the score that is furthest from the machine's."""
    rows = rows_of("007", "overall", 0, PREFIX, 9)
    return [
        {**row, "student_id": WHO, "text": f"{row['text']} {MARK}", "human_score": 2 - number % 3}
        for number, row in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def after_a_night(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after a night with the student in it, and files that name the student.

    Beside it lie copies of what MLflow has of the night, since MLflow holds absolute paths.
    """
    from flows.nightly import nightly

    folder = tmp_path_factory.mktemp("night")
    home = folder / "home"
    shutil.copytree(trained, home)
    inbox = home / "inbox" / "2026-spring"
    broken = {**theirs()[0], "response_id": f"{PREFIX}-broken", "human_score": 7}
    write_export(inbox / "night.csv", rows_of("007", "overall", 0, "n", 12))
    write_export(inbox / "theirs.csv", [*theirs(), broken])
    write_export(inbox / "again.csv", [*theirs()[:2], *others()])
    run = nightly(administration_date=NIGHT, home=home).report.run
    log_far_apart(home, run.run_id)
    (home / "inbox" / "refused").mkdir(exist_ok=True)
    write_export(home / "inbox" / "refused" / "old.csv", [{"user": WHO, "words": f"{MARK} x"}])
    (home / "parts" / "left.plan.parquet").write_bytes(PREFIX.encode())
    for logged in artifacts_of(home):
        shutil.copytree(logged, folder / "logged" / logged.parent.name)
    return folder


def log_far_apart(home: Path, run_id: str) -> None:
    """What a night logs of responses far apart from their rating; this small model has none."""
    far = [FarApart("007", "overall", row["response_id"]) for row in (*theirs(), *others())]
    tables = {"eval/far_apart.json": as_columns(map(asdict, far))}
    (logged,) = logged_of(home, run_id)
    where = tracking_of(load_settings(home))
    amend_run(where, logged.info.run_id, tags={}, tables=tables, texts=csv_files(tables))


@pytest.fixture
def night(after_a_night: Path, tmp_path: Path) -> Path:
    home = tmp_path / "night"
    # MLflow's store goes on naming the artifacts where they were made.
    shutil.copytree(after_a_night / "home", home, ignore=shutil.ignore_patterns("mlartifacts"))
    for logged in artifacts_of(home):
        shutil.rmtree(logged)
        shutil.copytree(after_a_night / "logged" / logged.parent.name, logged)
    return home


def others() -> list[dict[str, Any]]:
    return rows_of("007", "overall", 0, "o", 2)


def student(home: Path) -> str:
    found = pseudonym(WHO, load_settings(home).student_key())
    assert found is not None
    return found


def content(path: Path) -> bytes:
    """All that can be read out of a file: its bytes, and what they hold uncompressed."""
    raw = path.read_bytes()
    if path.suffix == ".parquet" and raw.startswith(b"PAR1"):
        return raw + repr(pq.read_table(path).to_pydict()).encode()
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
            rows = [connection.execute(f'FROM "{name}"').fetchall() for (name,) in names]
        return raw + repr(rows).encode()
    return raw


def found_in(folders: list[Path], secrets: list[str]) -> Iterator[str]:
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        held = content(path)
        for secret in secrets:
            if secret.encode() in held or secret.encode("utf-16-le") in held:
                yield f"{path.name}: {secret}"


def secrets_of(home: Path) -> list[str]:
    texts = [row["text"] for row in theirs()]
    hashes = [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    return [WHO, MARK, student(home), *(row["response_id"] for row in theirs()), *hashes]


def artifacts_of(home: Path) -> list[Path]:
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        last = reports.last_run(connection, "nightly")
    assert last is not None
    return [home_of(run) for run in logged_of(home, last.run_id)]


def far_apart(home: Path) -> set[str]:
    (logged,) = artifacts_of(home)
    table = json.loads((logged / "eval" / "far_apart.json").read_text("utf-8"))
    return {row[table["columns"].index("response_id")] for row in table["data"]}


def erased(home: Path, **options: Any) -> Any:
    from flows.erase import erase

    return erase(hash_of(student(home)), "A. Rater", "request 12", home=home, **options)


def states_of(home: Path) -> list[bytes]:
    """The keys of the student's texts in the cache of hidden states."""
    from models.backbone import load_backbone
    from models.text import encode, with_limit
    from models.trunk_cache import key_of

    settings = load_settings(home)
    tokenizer = load_backbone(settings.backbone, max_tokens=settings.max_tokens).tokenizer
    texts = [row["text"] for row in theirs()]
    limit = min(settings.max_tokens, 72)
    return [key_of(ids) for ids in encode(with_limit(tokenizer, limit), texts).token_ids]


def test_nothing_of_an_erased_student_is_left(night: Path) -> None:
    keep = [night, *artifacts_of(night)]
    held = set(found_in(keep, secrets_of(night)))
    for name in ("warehouse.duckdb", "theirs.csv", "old.csv", "far_apart.json", "far_apart.csv"):
        assert any(one.startswith(name) for one in held), name
    cache = night / "cache" / "trunk"
    assert any(
        key in path.read_bytes() for key in states_of(night) for path in cache.rglob("*.states")
    )
    result = erased(night)
    assert result.remaining == ()
    assert list(found_in(keep, secrets_of(night))) == []
    assert {row["response_id"] for row in others()} == far_apart(night)
    left = b"".join(path.read_bytes() for path in cache.rglob("*.states"))
    assert left and not any(key in left for key in states_of(night))
    assert result.counts["responses"] == 9
    assert result.counts["texts"] == 9


def test_the_counts_of_runs_still_reconcile(night: Path) -> None:
    with db.connect(night / "warehouse.duckdb", read_only=True) as connection:
        before = reports.last_run(connection)
    erased(night)
    with db.connect(night / "warehouse.duckdb", read_only=True) as connection:
        after = reports.last_run(connection)
        assert after == before
        assert erasing.unreconciled(connection) == []
        gone = connection.execute(
            "SELECT sum(n) FROM erased_rows WHERE table_name = 'scores'"
        ).fetchall()
    assert gone == [(9,)]


def test_other_students_keep_everything(night: Path) -> None:
    query = (
        "SELECT r.response_id, s.run_id, s.raw_score, h.human_score FROM responses r "
        "LEFT JOIN scores s USING (response_id) LEFT JOIN human_scores h USING (response_id) "
        "WHERE NOT starts_with(r.response_id, 'gone') ORDER BY ALL"
    )
    with db.connect(night / "warehouse.duckdb", read_only=True) as connection:
        before = connection.execute(query).fetchall()
    erased(night)
    with db.connect(night / "warehouse.duckdb", read_only=True) as connection:
        assert connection.execute(query).fetchall() == before
    texts = [pq.read_table(path)["text"].to_pylist() for path in night.rglob("season=*/*.parquet")]
    assert sum(map(len, texts)) == len({row[0] for row in before})


def test_rows_of_an_erased_student_are_refused_when_they_come_again(night: Path) -> None:
    from flows.ingest import ingest

    erased(night)
    again = write_export(night / "again.csv", [*theirs(), *rows_of("007", "overall", 0, "p", 1)])
    nameless = [{**row, "student_id": "", "human_score": 1} for row in theirs()]
    report = ingest(
        [again, write_export(night / "nameless.csv", nameless)], season="2026-spring", home=night
    ).report
    assert [(one.accepted, one.rejected) for one in report.exports] == [(1, 9), (0, 9)]
    assert [one.reasons for one in report.exports] == [{"erased": 9}, {"erased": 9}]
    again.unlink()
    (night / "nameless.csv").unlink()
    assert list(found_in([night], secrets_of(night))) == []


@pytest.mark.parametrize(
    "step",
    [
        "flows.erase.traces.erase_states",
        "flows.erase.text_erasing.erase_texts",
        "flows.erase._erase_logged",
        "flows.erase.traces.remove_files",
        "flows.erase.erasing.remove",
        "flows.erase.compact",
        "flows.erase.erasing.finish",
    ],
)
def test_an_erasure_that_was_killed_goes_on(
    night: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.erase import unfinished
    from flows.nightly import nightly

    keep, names = [night, *artifacts_of(night)], secrets_of(night)
    with monkeypatch.context() as patch:
        patch.setattr(step, killed)
        with pytest.raises(Killed):
            erased(night)
    if step.endswith("_erase_logged"):  # a night may come in between
        assert nightly(administration_date=NIGHT, home=night).status == "released"
    assert [one for one, _, _ in unfinished(home=night)] == [hash_of(student(night))]
    assert erased(night).remaining == ()
    assert list(found_in(keep, names)) == []
    assert unfinished(home=night) == []


def test_an_erasure_that_cannot_reach_mlflow_says_so_and_goes_on(
    night: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.erase import UnfinishedErasureError

    with monkeypatch.context() as patch:
        patch.setattr("tasks.tracking.store.MlflowClient", unreachable)
        with pytest.raises(UnfinishedErasureError, match="--unfinished"):
            erased(night)
    held = set(found_in([night / "responses"], secrets_of(night)))
    assert held == set()  # the texts went first
    erased(night)
    assert list(found_in([night, *artifacts_of(night)], secrets_of(night))) == []


def test_a_restored_backup_does_not_bring_a_student_back(night: Path) -> None:
    from flows.backup import backup
    from flows.erase import unfinished

    made = backup(home=night).file
    result = erased(night)
    assert any("holds the student until a backup is taken" in note for note in result.notes)
    made.replace(night / "warehouse.duckdb")
    ((one, by, reason),) = unfinished(home=night)
    assert (one, by, reason) == (hash_of(student(night)), "A. Rater", "request 12")
    assert erased(night, also_backups=True).counts["responses"] == 9
    assert list(found_in([night], secrets_of(night))) == []
    assert unfinished(home=night) == []


def test_backups_can_be_replaced_by_one_without_the_student(night: Path) -> None:
    from flows.backup import backup

    backup(home=night)
    erased(night, also_backups=True)
    assert len(list((night / "backups").iterdir())) == 1
    assert list(found_in([night], secrets_of(night))) == []


def test_a_file_that_waits_is_left_and_told(night: Path) -> None:
    waiting = write_export(night / "inbox" / "late.csv", [*theirs(), *others()])
    result = erased(night)
    (sentence,) = result.remaining
    assert "inbox/late.csv holds 9 rows" in sentence
    assert waiting.exists()


def test_a_dry_run_changes_nothing(night: Path) -> None:
    def everything() -> dict[str, str]:
        files = [path for path in night.rglob("*") if path.is_file() and ".lock" not in path.name]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = everything()
    result = erased(night, dry_run=True)
    assert (result.responses, result.counts) == (9, {})
    assert everything() == before


def test_adapters_that_have_seen_the_student_are_told(trained: Path) -> None:
    from workspaces import STUDENT

    from flows.erase import erase

    named = pseudonym(STUDENT, load_settings(trained).student_key()) or ""
    result = erase(hash_of(named), "A. Rater", "memo", dry_run=True, home=trained)
    assert {(one.item_id, one.trait) for one in result.adapters} == {
        ("007", "overall"), ("essay/1", "ideas"), ("essay/1", "form")
    }  # fmt: skip
    assert all(one.training and one.validation for one in result.adapters)
    assert any("gradeline train --items 007 essay/1" in note for note in result.notes)


def test_a_student_who_is_not_there_is_an_error(night: Path) -> None:
    from flows.erase import UnknownStudentError, erase

    with pytest.raises(UnknownStudentError, match="no response and no file"):
        erase(hash_of("0" * 64), "A. Rater", "memo", home=night)
    with pytest.raises(erasing.UnsignedErasureError):
        erase(hash_of(student(night)), " ", "memo", home=night)


def fall(home: Path) -> list[Path]:
    return list((home / "responses").glob("season=2025-fall/*.parquet"))


def test_a_season_is_retired_and_its_scores_stay(night: Path) -> None:
    from flows.backfill import backfill
    from flows.retention import retire

    with db.connect(night / "warehouse.duckdb", read_only=True) as connection:
        scores = connection.execute("FROM scores ORDER BY ALL").fetchall()
    result = retire("2026-spring", "A. Rater", "five years", home=night)
    assert result.responses == 9 + 12 + 2
    names = [WHO, MARK, student(night), "zyxwvut"]
    kept = {name.partition(":")[0] for name in found_in([night], names)}
    assert "old.csv" in kept  # it was refused: which season it is of, nobody knows
    assert kept == {"old.csv", "training.csv", *(path.name for path in fall(night))}
    with db.connect(night / "warehouse.duckdb", read_only=True) as connection:
        assert connection.execute("FROM scores ORDER BY ALL").fetchall() == scores
        (whose,) = connection.execute(
            "SELECT count(student_pseudo) FROM responses WHERE season = '2026-spring'"
        ).fetchall()
    assert whose == (0,)
    again = backfill(["2026-spring"], home=night).report.run
    assert (again.scored, again.failed) == (0, 0)
    with pytest.raises(erasing.UnknownSeasonError, match="2031"):
        retire("2031", "A. Rater", "five years", home=night)
