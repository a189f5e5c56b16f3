"""A night without the registry scores with the champions known last."""

import logging
from pathlib import Path

import pytest

from tasks.champions import champions
from tasks.tracking import RegisteredAdapter, Tracking, UnreachableError

KNOWN = RegisteredAdapter("007", "overall", 3, "a" * 64, "d", "r", "b" * 64, "models:/x/3")


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return Tracking("http://127.0.0.1:9", tmp_path, "gradeline")


def test_without_registry_or_memory_nothing_is_scored(tmp_path: Path, away: Tracking) -> None:
    with pytest.raises(UnreachableError):
        champions(away, tmp_path / "champions.json")
    (tmp_path / "champions.json").write_text('[{"half": ', "utf-8")
    with pytest.raises(UnreachableError):
        champions(away, tmp_path / "champions.json")


def test_what_was_read_last_is_known_when_the_registry_is_away(
    tmp_path: Path, away: Tracking, caplog: pytest.LogCaptureFixture
) -> None:
    from tasks.champions import _keep

    known = tmp_path / "champions.json"
    _keep(known, [KNOWN])
    with caplog.at_level(logging.WARNING):
        assert champions(away, known) == [KNOWN]
    assert "1 champions known last" in caplog.text


def test_a_registry_that_answers_is_believed(tmp_path: Path) -> None:
    known = tmp_path / "champions.json"
    known.write_text("[]", "utf-8")
    here = Tracking(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path, "gradeline")
    assert champions(here, known) == []
    assert known.read_text("utf-8") == "[]"
