"""What Prefect's Artifacts page shows of a run."""

from dataclasses import replace

import made_evaluations as made
import pytest

from tasks.artifacts import LONGEST_TABLE, gate_table, rejects_table, run_summary
from tasks.markdown import escaped, table
from tasks.telling_prefect import told_to_prefect
from warehouse.reports import RejectCount


def test_the_summary_states_decision_reasons_and_counts() -> None:
    text = run_summary(made.REPORT)
    assert text.startswith("# Held\n")
    assert "nightly-20260312-020001-3f9c" in text
    assert f"- {escaped(made.REASON)}" in text
    assert "1,213 received = 1,200 accepted + 8 rejected + 4 duplicate + 1 rated." in text
    assert "The counts reconcile." in text
    assert "| Agreement | 1 item fails" in text


def test_a_persons_word_counts_over_the_gates() -> None:
    person = made.decided("released", "A. Rater", "seen by the panel")
    text = run_summary(replace(made.REPORT, decisions=(*made.REPORT.decisions, person)))
    assert text.startswith("# Released\n")
    assert "by A. Rater" in text
    assert "- seen by the panel" in text


def test_failed_rules_come_first_and_passed_ones_are_left_out() -> None:
    rows = gate_table(made.REPORT)
    assert [row["status"] for row in rows] == ["FAIL", "FAIL", "FLAG"]
    assert {row["item"] for row in rows[:2]} == {"plants"}
    assert set(rows[0]) == {"status", "item", "rule", "value", "limit", "n"}


def test_a_night_without_findings_says_so() -> None:
    (row,) = gate_table(replace(made.REPORT, rules=()))
    assert row["item"] == "no rule failed or was flagged"


def test_a_very_bad_night_still_fits() -> None:
    rules = tuple(made.rule(f"I{n:04}", "qwk", "FAIL", 0.5, 0.7) for n in range(900))
    rows = gate_table(replace(made.REPORT, rules=rules))
    assert len(rows) == LONGEST_TABLE + 1
    assert rows[-1]["item"] == "… and 400 more in the report"


def test_few_responses_show_no_value() -> None:
    small = made.rule("maps", "qwk", "FLAG", 0.31, 0.7, n=9)
    (row,) = gate_table(replace(made.REPORT, rules=(small,)))
    assert "0.31" not in str(row["value"])


def test_names_are_no_markup() -> None:
    evil = "<img src=x> [a](b) |c| `d`\nnew"
    assert escaped(evil) == r"&lt;img src=x&gt; \[a\]\(b\) \|c\| \`d\` new"
    held = made.decided("held", "gate", evil)
    assert "<img" not in run_summary(replace(made.REPORT, decisions=(held,)))
    assert table(["a"], [("x|y",)]).splitlines()[-1] == r"| x\|y |"


def test_refused_rows_are_counted_by_file_and_reason() -> None:
    rejects = tuple(RejectCount(f"f{n}.csv", "empty_id", n + 1) for n in range(LONGEST_TABLE + 2))
    rows = rejects_table(replace(made.REPORT, rejects=rejects))
    assert rows[0] == {"file": "f501.csv", "reason": "empty_id", "rows": 502}
    assert rows[-1] == {"file": "… and 2 more in the report", "reason": "", "rows": 1 + 2}
    (row,) = rejects_table(replace(made.REPORT, rejects=()))
    assert row["file"] == "no row was refused or repeated"


def test_prefect_being_away_fails_no_run(caplog: pytest.LogCaptureFixture) -> None:
    with told_to_prefect("artifacts"):
        raise ConnectionError("response text")
    assert caplog.messages == ["Prefect does not show this run's artifacts (ConnectionError)"]
