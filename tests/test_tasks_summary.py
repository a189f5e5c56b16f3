"""A run on the terminal."""

import io
from dataclasses import replace

import made_evaluations as made
import pytest
from rich.console import Console

from tasks.reporting import RunReport
from tasks.summary import counts_sentences, median_qwk, summary_table


def terminal(report: RunReport, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(summary_table(report))
    return console.export_text()


def row(shown: str, name: str) -> str:
    return next(line for line in shown.splitlines() if line.startswith(f" {name} "))


@pytest.mark.parametrize("width", [80, 120])
def test_every_item_has_its_figures_in_eighty_columns(width: int) -> None:
    shown = terminal(made.REPORT, width)
    assert max(map(len, shown.splitlines())) <= width
    plants = row(shown, "plants")
    for figure in ("210", "120", "0.79", "[0.74, 0.84]", "72%", "FAIL", "3.4", "7.6"):
        assert figure in plants
    assert "the counts reconcile" in shown


def test_few_ratings_are_counted_and_not_judged() -> None:
    maps = row(terminal(made.REPORT), "maps")
    assert "9*" in maps
    assert "few" in maps
    assert "0.31" not in maps


def test_the_decision_its_reasons_and_the_failed_rules_stand_above() -> None:
    shown = terminal(made.REPORT)
    assert shown.startswith("nightly-20260312-020001-3f9c: held by the gate")
    assert made.REASON in shown
    assert "FAIL plants: QWK" in shown
    assert "1 rule flagged, of 1 item: the report names them" in shown
    assert "FLAG" not in shown
    person = made.decided("released", "A. Rater", "seen by the panel")
    later = replace(made.REPORT, decisions=(*made.REPORT.decisions, person))
    assert ": released by A. Rater" in terminal(later)


def test_ids_that_look_like_markup_stay_as_they_are() -> None:
    odd = replace(made.REPORT, evaluations=(made.item("[red]7[/red]"),), rules=())
    assert "[red]7[/red]" in terminal(odd)


def test_a_long_bank_shows_what_needs_eyes_first() -> None:
    items = tuple(
        made.item(f"I{n:03}", figures=made.figures(120, 40, qwk=0.5 + n / 200)) for n in range(60)
    )
    flagged = (made.rule("I055", "smd", "FLAG", 0.2, 0.15), made.rule("I059", "qwk", "FAIL", 1, 2))
    shown = terminal(replace(made.REPORT, evaluations=items, rules=flagged))
    rows = [line.split()[0] for line in shown.splitlines() if line.startswith(" I0")]
    assert rows[:4] == ["I059", "I055", "I000", "I001"]
    assert len(rows) == 20
    assert "all 60 items are in the report" in shown


def test_counts_that_do_not_reconcile_are_shouted() -> None:
    off = replace(made.RUN, scored=1239)
    assert "THE COUNTS DO NOT RECONCILE" in counts_sentences(off)[-1]


def test_the_median_is_over_items_that_have_one() -> None:
    undefined = made.item("x", figures=made.figures(0, 0, qwk=made.NAN))
    assert median_qwk([made.item(), undefined]) == 0.791
    assert median_qwk([undefined]) != median_qwk([undefined])
