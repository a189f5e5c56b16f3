"""Old scores against new ones: what is counted, what is said of it, and what is not shown."""

import math
from dataclasses import replace
from pathlib import Path

import made_evaluations as made
import pytest
from made_comparisons import drawn, example_comparison, pair
from rich.console import Console

from models.agreement import quadratic_weighted_kappa, standardized_mean_difference
from tasks.comparison import ScoreComparison, changes_in, held_reason, summed_up
from tasks.comparison_tables import (
    comparison_metrics,
    comparison_rows,
    comparison_totals,
    old_by_new_rows,
)
from tasks.comparison_told import artifact_rows, comparison_table
from tasks.figures import replaced_pages
from tasks.report_comparison import HALF, replaced
from tasks.report_status import checks
from tasks.reporting import RunReport, write_report
from tasks.run_metrics import run_metrics
from tasks.run_tables import run_tables

# 0 1 2 3: 40 stay at 0, of 40 with a 1 ten rise, three 2s fall, of 21 3s one falls by two points.
ROWS = [
    pair(0, 0, 40, human=0),
    pair(1, 1, 30, human=1),
    pair(1, 2, 9, human=2),
    pair(1, 2, 1),
    pair(2, 1, 3, human=2),
    pair(3, 3, 20, human=3),
    pair(3, 1, 1, human=1),
    pair(None, 1, 4, replaces="nothing"),
    pair(1, 2, 5, replaces="unreleased"),
    pair(2, 2, 6, replaces="later"),
]


def test_every_score_of_the_run_is_counted_once() -> None:
    (item,) = summed_up(ROWS).items
    assert (item.n, item.first, item.unreleased, item.later) == (104, 4, 5, 6)
    assert item.n + item.first + item.unreleased + item.later == sum(row.n for row in ROWS)
    assert (item.up, item.down, item.changed, item.unreleased_changed) == (10, 4, 14, 5)
    assert item.table == ((40, 0, 0, 0), (0, 30, 10, 0), (0, 3, 0, 0), (0, 1, 0, 20))
    assert item.shifts == {-2: 1, -1: 3, 0: 90, 1: 10}
    assert item.largest_shift == 2


def test_figures_are_those_of_the_two_scores() -> None:
    (item,) = summed_up(ROWS).items
    old = [0] * 40 + [1] * 40 + [2] * 3 + [3] * 21
    new = [0] * 40 + [1] * 30 + [2] * 10 + [1] * 3 + [3] * 20 + [1]
    assert item.qwk == pytest.approx(quadratic_weighted_kappa(old, new))
    assert item.smd == pytest.approx(standardized_mean_difference(old, new))
    assert item.exact == pytest.approx(1 - item.changed_share)


def test_a_response_that_crosses_two_cut_scores_is_one_response() -> None:
    (item,) = summed_up([pair(1, 3, 2, cuts=(2, 3)), pair(3, 2, 5, cuts=(2, 3))]).items
    assert [(one.upwards, one.downwards) for one in item.crossings] == [(2, 0), (2, 5)]
    assert item.n_crossing == 7


def test_people_judge_between_the_two_scores() -> None:
    (item,) = summed_up(ROWS).items
    people = item.people
    assert (people.n, people.changed, people.nearer, people.farther) == (103, 13, 10, 3)
    assert people.new_qwk > people.old_qwk
    assert people.low < people.new_qwk - people.old_qwk < people.high
    (unrated,) = summed_up([pair(0, 1, 5)]).items
    assert unrated.people.n == 0
    assert math.isnan(unrated.people.old_qwk)


def test_a_code_that_becomes_a_score_is_a_change() -> None:
    found = summed_up([pair(None, 1, 2, replaces="released"), pair(1, 1, 8)])
    assert (found.n, found.changed, found.items[0].n_uncoded) == (10, 2, 2)
    assert "2 of them from a condition code" in str(held_reason(found))


def test_only_a_released_score_that_would_be_another_holds_a_run() -> None:
    reason = held_reason(summed_up(ROWS))
    assert reason is not None
    assert reason.startswith("14 of 104 released scores would change (13.5%), 10 up and 4 down")
    assert "by 2 points at most, 14 across a cut score" in reason
    assert "; " not in reason  # reasons are joined by semicolons
    assert held_reason(summed_up([row for row in ROWS if row.replaces != "released"])) is None
    assert held_reason(summed_up([pair(1, 1, 9)])) is None
    one = held_reason(summed_up([pair(1, 1, 999_999), pair(1, 2)]))
    assert "1 of 1,000,000 released scores would change (0.1%)" in str(one)


def test_what_is_signed_for_is_the_changes_of_released_scores() -> None:
    with_ratings = [replace(row, human_score=1.0) for row in ROWS]
    assert changes_in(with_ratings) == changes_in(ROWS)
    assert changes_in(ROWS) == {
        ("plants", "overall", 1, 2): 10,
        ("plants", "overall", 2, 1): 3,
        ("plants", "overall", 3, 1): 1,
    }


def test_few_scores_show_no_figures_anywhere() -> None:
    found = summed_up([pair(0, 2, 3, item_id="maps"), *ROWS])
    rows = {row["item_id"]: row for row in comparison_rows(found, 10)}
    assert (rows["maps"]["n"], rows["maps"]["changed"], rows["maps"]["qwk"]) == (3, None, None)
    assert (rows["plants"]["changed"], rows["plants"]["crossings"]) == (14, "2: 10 up, 4 down")
    assert {row["item_id"] for row in old_by_new_rows(found, 10)} == {"plants"}
    few = next(row for row in artifact_rows(found, 10) if row["item"] == "maps")
    assert (few["replaced"], few["changed"], few["QWK"]) == ("3", "–", "–")
    view = replaced(found, "held", 10)
    assert view is not None
    assert [row.item.item_id for row in view.rows] == ["plants", "maps"]  # what is shown, first
    assert [row.item.item_id for row in view.matrices] == ["plants"]
    assert view.rows[1].bar == ()


def test_bars_are_to_scale_and_grow_from_the_middle() -> None:
    view = replaced(summed_up(ROWS), "held", 10)
    assert view is not None
    assert view.end == 0.1
    bar = {piece.kind: piece for piece in view.rows[0].bar}
    assert bar["up one"].x == HALF
    assert bar["up one"].width == pytest.approx(HALF * 10 / 104 / 0.1)
    assert bar["down one"].x + bar["down one"].width == pytest.approx(HALF)
    assert bar["down more"].x + bar["down more"].width == pytest.approx(bar["down one"].x)
    assert [(one.shift, one.n) for one in view.shifts] == [("−2", 1), ("−1", 3), ("+1", 10)]


def report_of(found: ScoreComparison | None, status: str = "held") -> RunReport:
    run = replace(made.RUN, kind="backfill", run_id="backfill-1", status=status)
    return replace(made.REPORT, run=run, comparison=found)


def page_of(report: RunReport, folder: Path) -> str:
    return write_report(folder / "report.html", report).read_text("utf-8")


def test_the_report_says_what_would_be_and_then_what_was(tmp_path: Path) -> None:
    found = example_comparison()
    held = page_of(report_of(found), tmp_path)
    assert "What this run would replace" in held
    assert f"{found.changed} released scores of 2,706" in held
    assert held.count('<section class="card" id="replaced-') == 6
    assert "gradeline changes backfill-1 --file changes.csv" in held
    done = page_of(report_of(found, "released"), tmp_path)
    assert "What this run replaced" in done
    assert "would" not in done[done.index('id="replaced"') : done.index('id="rules"')]
    assert 'id="replaced"' not in page_of(made.REPORT, tmp_path)


def test_names_are_no_markup(tmp_path: Path) -> None:
    evil = summed_up(drawn("<b>&[red]", 40, 0.5))
    assert "<b>&[red]" not in page_of(report_of(evil), tmp_path)
    console = Console(width=100, record=True)
    console.print(comparison_table(evil, 10))
    assert "<b>&[red]" in console.export_text()


def test_the_first_thing_to_see_is_whether_released_scores_change() -> None:
    run = report_of(None).run
    (tile,) = [one for one in checks(run, (), 0, 0, (), summed_up(ROWS)) if one.title == "Replaced"]
    assert (tile.tone, tile.finding) == ("bad", "14 of 104 released scores change")
    same = checks(run, (), 0, 0, (), summed_up([pair(1, 1, 7)]))
    assert [one.tone for one in same if one.title == "Replaced"] == ["good"]


def test_mlflow_gets_figures_tables_and_a_picture() -> None:
    found = example_comparison()
    metrics = run_metrics(report_of(found), {})
    assert (metrics["replaced/n"], metrics["replaced/changed"]) == (found.n, found.changed)
    assert metrics["replaced/crossing"] == found.total("n_crossing")
    tables = run_tables(report_of(found))
    assert tables["eval/replaced.json"]["item_id"][1] == "ELA10-PHONES"
    assert sum(tables["eval/old_by_new.json"]["n"]) == found.n - 4  # less those of a few
    assert tables["run/old_runs.json"]["scores"] == [2000, 9]
    (page,) = replaced_pages(found, 10)
    assert "211 of 2,706" in page.axes[0].get_title(loc="left")
    nothing = run_tables(report_of(None))
    assert "eval/replaced.json" not in nothing
    assert comparison_metrics(None, 10) == {}
    assert comparison_totals(None) is None
    assert list(replaced_pages(None, 10)) == []


def test_the_terminal_shows_items_and_what_it_comes_to() -> None:
    console = Console(width=120, record=True)
    console.print(comparison_table(example_comparison(), 10))
    text = console.export_text()
    assert "80 (20.5%)" in text
    assert "0.75 → 0.77" in text
    assert "211 of 2,706 released scores (7.8%) are another: 90 up, 121 down" in text
    console.print(comparison_table(summed_up([pair(None, 1, 4, replaces="nothing")]), 10))
    assert "none of its scores replaces a released one" in console.export_text()
