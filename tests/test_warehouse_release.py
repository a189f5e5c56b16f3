"""Release: rules and people decide, the last person's word counts, and only released scores go."""

import json
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from test_warehouse_history import START, Ledger

from warehouse import db, release, reports, runs
from warehouse.release import NotDecidableError, UnknownRunError, UnsignedDecisionError

LIMITS = json.dumps({"qwk": {"at_least": 0.7}})
RESULT: dict[str, Any] = {
    "item_id": "plants", "trait": "overall", "rule": "qwk", "subject": "", "status": "FAIL",
    "value": 0.5, "low": 0.4, "high": math.nan, "limit": 0.7, "n": 120,
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A night with two scores, committed and not judged yet."""
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        made = Ledger(connection)
        made.run("n1", 1, None)
        made.score("n1", "a", 1)
        made.score("n1", "b", None)
        yield made


def judge(ledger: Ledger, decision: Any, *reasons: str, run_id: str = "n1", **more: Any) -> str:
    given = {"results": [RESULT], "thresholds_sha256": "sha", "thresholds_json": LIMITS, **more}
    return release.record_gate(
        ledger.connection, run_id, decision=decision, reasons=reasons, **given
    )


def released(ledger: Ledger) -> list[tuple[Any, ...]]:
    return ledger.connection.execute(
        "SELECT response_id, score, status, run_id FROM released_scores ORDER BY ALL"
    ).fetchall()


def status(ledger: Ledger, run_id: str = "n1") -> str:
    return reports.run(ledger.connection, run_id).status


def test_nothing_goes_out_before_a_decision(ledger: Ledger) -> None:
    assert released(ledger) == []
    assert judge(ledger, "released") == "released"
    assert released(ledger) == [("a", 1, "scored", "n1"), ("b", None, "coded", "n1")]
    assert status(ledger) == "released"


def test_released_scores_say_which_score_they_are(ledger: Ledger) -> None:
    judge(ledger, "released")
    names = [row[0] for row in ledger.connection.execute("DESCRIBE released_scores").fetchall()]
    current = [row[0] for row in ledger.connection.execute("DESCRIBE current_scores").fetchall()]
    assert {*current, "reported", "trimmed_score", "scaled_score"} == set(names)


def test_a_held_run_keeps_its_scores_and_says_why(ledger: Ledger) -> None:
    assert judge(ledger, "held", "plants is bad", "so are maps") == "held"
    assert released(ledger) == []
    run = reports.run(ledger.connection, "n1")
    assert (run.status, run.message) == ("held", "plants is bad; so are maps")
    assert run.thresholds_sha256 == "sha"
    (decision,) = release.decisions(ledger.connection, "n1")
    assert (decision.decision, decision.decided_by) == ("held", "gate")
    assert decision.reason == run.message


def test_results_come_back_as_they_were_given(ledger: Ledger) -> None:
    results = [RESULT, {**RESULT, "item_id": "maps", "rule": "smd", "value": math.nan, "n": 0}]
    judge(ledger, "held", results=pa.Table.from_pylist(results, release.GATE_RESULTS))
    found = release.gate_results(ledger.connection, "n1")
    assert [set(row) for row in found] == [set(RESULT)] * 2
    for row, given in zip(found, reversed(results), strict=True):
        assert row == pytest.approx(given, nan_ok=True)
    undefined = ledger.connection.execute("SELECT item_id FROM gate_results WHERE value > 0.6")
    assert undefined.fetchall() == []  # null, not NaN, which is larger than all numbers


def test_judging_again_replaces_the_results_and_decides_once(ledger: Ledger) -> None:
    for _ in range(2):
        judge(ledger, "held", "plants is bad")
    assert len(release.gate_results(ledger.connection, "n1")) == 1
    assert len(release.decisions(ledger.connection, "n1")) == 1
    judge(ledger, "released", results=[])
    assert release.gate_results(ledger.connection, "n1") == []
    found = [one.decision for one in release.decisions(ledger.connection, "n1")]
    assert found == ["held", "released"]


def test_a_person_overrules_the_gate_and_the_gate_no_person(ledger: Ledger) -> None:
    judge(ledger, "held", "plants is bad")
    release.decide(ledger.connection, "n1", "released", " A. Rater ", " seen, memo 7 ")
    assert status(ledger) == "released"
    assert judge(ledger, "held", "plants is bad") == "released"
    assert len(released(ledger)) == 2
    assert status(ledger) == "released"
    found = release.decisions(ledger.connection, "n1")
    assert [(one.decision, one.decided_by, one.reason) for one in found] == [
        ("held", "gate", "plants is bad"), ("released", "A. Rater", "seen, memo 7")
    ]  # fmt: skip
    release.decide(ledger.connection, "n1", "held", "B. Lead", "not so fast")
    assert judge(ledger, "released") == "held"
    assert (released(ledger), status(ledger)) == ([], "held")


def test_the_last_word_counts_even_where_the_clock_was_put_back(ledger: Ledger) -> None:
    ledger.decide("n1", "released", START + timedelta(days=40_000))
    release.decide(ledger.connection, "n1", "held", "A. Rater", "seen")
    assert [one.decision for one in release.decisions(ledger.connection, "n1")][-1] == "held"
    assert released(ledger) == []


def test_a_held_run_takes_nothing_from_an_earlier_released_one(ledger: Ledger) -> None:
    judge(ledger, "released")
    ledger.run("b2", 2, None, kind="backfill")
    ledger.score("b2", "a", 3, scored_at=START + timedelta(days=2))
    judge(ledger, "held", run_id="b2")
    assert released(ledger)[0] == ("a", 1, "scored", "n1")
    release.decide(ledger.connection, "b2", "released", "A. Rater", "seen")
    assert released(ledger)[0] == ("a", 3, "scored", "b2")


@pytest.mark.parametrize(
    ("kind", "state"),
    [("nightly", "running"), ("nightly", "failed"), ("ingest", "done"), ("train", "done")],
)
def test_a_run_without_scores_is_not_decided(ledger: Ledger, kind: str, state: str) -> None:
    ledger.run("x", 3, None, kind=kind, status=state)
    with pytest.raises(NotDecidableError, match=f"kind {kind} with status {state}"):
        release.decide(ledger.connection, "x", "released", "A. Rater", "seen")
    with pytest.raises(NotDecidableError):
        judge(ledger, "released", run_id="x")
    assert release.decisions(ledger.connection, "x") == []
    assert release.gate_results(ledger.connection, "x") == []


def test_an_unknown_run_is_named(ledger: Ledger) -> None:
    with pytest.raises(UnknownRunError, match="no run n9"):
        release.decide(ledger.connection, "n9", "released", "A. Rater", "seen")
    with pytest.raises(UnknownRunError):
        reports.run(ledger.connection, "n9")


@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [(" ", "seen", "name"), ("A. Rater", "\n", "reason"), ("Gate", "seen", "your name")],
)
def test_a_decision_is_signed(ledger: Ledger, name: str, reason: str, said: str) -> None:
    with pytest.raises(UnsignedDecisionError, match=said):
        release.decide(ledger.connection, "n1", "released", name, reason)
    assert release.decisions(ledger.connection, "n1") == []


def test_the_limits_of_the_run_before(ledger: Ledger) -> None:
    assert release.previous_thresholds(ledger.connection, "n1") is None
    judge(ledger, "released")
    assert release.previous_thresholds(ledger.connection, "n1") is None
    ledger.run("n2", 2, None)  # never judged
    ledger.run("n3", 3, None)
    before = release.previous_thresholds(ledger.connection, "n3")
    assert before is not None
    assert json.loads(before) == json.loads(LIMITS)
    judge(ledger, "released", run_id="n3", thresholds_sha256="other", thresholds_json="{}")
    ledger.run("n4", 4, None)
    assert release.previous_thresholds(ledger.connection, "n4") == "{}"
    kept = ledger.connection.execute("SELECT count(*) FROM threshold_versions").fetchall()
    assert kept == [(2,)]


def test_a_released_run_that_mlflow_does_not_show_is_untold(ledger: Ledger) -> None:
    judge(ledger, "released")
    assert runs.untold(ledger.connection) == ["n1"]


def test_what_a_person_has_accepted_is_known_by_item(ledger: Ledger) -> None:
    def accepted(run_id: str = "n2") -> dict[tuple[str, str], str]:
        return release.accepted(ledger.connection, run_id, ["qwk"])

    judge(ledger, "held", "qwk")
    assert accepted() == {}
    release.decide(ledger.connection, "n1", "released", "A. Rater", "read again")
    assert accepted() == {("plants", "overall"): "n1"}
    assert release.accepted(ledger.connection, "n2", ["smd"]) == {}
    assert accepted("n1") == {}  # a run is no past of itself
    release.decide(ledger.connection, "n1", "held", "A. Rater", "read once more")
    assert accepted() == {}
