"""What Prefect's Artifacts page shows of a run."""

from dataclasses import replace

import made_evaluations as made

from tasks.artifacts import LONGEST_TABLE, gate_table, run_summary
from tasks.markdown import escaped, table


def test_the_summary_states_decision_reasons_and_counts() -> None:
    text = run_summary(made.REPORT)
    assert text.startswith("# Held\n")
    assert "nightly-20260312-020001-3f9c" in text
    assert f"- {escaped(made.REASON)}" in text
    assert "1,213 received = 1,200 accepted + 8 rejected + 4 duplicate + 1 rated." in text
    assert "the counts reconcile." in text
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
