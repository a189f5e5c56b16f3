"""The HTML report: what a reader finds in it, in which order, and what is kept from them."""

import math
import re
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import made_evaluations as made
import pytest
from report_example import example_report, example_trend, long_report

from tasks.evaluation import Figure, ValidityFigure
from tasks.report_text import (
    against,
    counted,
    duration,
    figure,
    limit_text,
    probability,
    share,
    times,
)
from tasks.reporting import RunReport, write_report
from tasks.thresholds import changes, read_thresholds
from warehouse.reports import RejectCount


class Page(HTMLParser):
    """The words on a page, what its tags would fetch or run, and whether tags are closed."""

    VOID = ("meta", "br", "path", "rect", "circle", "polyline")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.words: list[str] = []
        self.tags: Counter[str] = Counter()
        self.fetched: list[str] = []
        self.ids: Counter[str] = Counter()
        self.open: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        self.ids.update(value for name, value in attrs if name == "id" and value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def page(tmp_path: Path, report: RunReport) -> Page:
    return Page(write_report(tmp_path / "reports" / "run.html", report).read_text("utf-8"))


def section(found: Page, heading: str) -> str:
    """The words between a heading and the next."""
    (part,) = (p for p in re.split(r"<h2", found.html)[1:] if p.split("</h2>")[0].endswith(heading))
    return Page("<h2" + part.split("</body>")[0]).text


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page(tmp_path_factory.mktemp("example"), example_report())


def test_the_verdict_its_reasons_and_what_is_well_come_first(example: Page) -> None:
    top = example.text.split("Where every row went")[0]
    assert "Held by the gate, 12 March 2026, 02:01 UTC." in top
    assert "ELA10-PHONES/ideas: qwk is 0.56, limit 0.70 (n = 391)" in top
    assert "✓ Counts reconcile: 6,213 rows received" in top
    assert "! Scored 99.98% of 6,241; 1 failed" in top
    assert "! Exports 3 files in; 8 rows rejected in 2 files" in top
    assert "✕ Drift 1 item fails, 1 flagged" in top
    assert "wall time 1 min 23 s responses/s 143.2 peak memory 1,211 MB adapters loaded 11" in top


def test_sections_stand_in_the_order_in_which_reviewers_open_them(example: Page) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", example.html)
    assert headings == [
        "Where every row went", "Decisions", "Changed limits", "Rules",
        "Agreement with human raters", "Item by item", "Standardized differences, by group",
        "Confidence", "Drift", "Validity responses", "Speed and memory",
        "Refused and repeated rows", "Configuration",
    ]  # fmt: skip
    assert max(example.ids.values()) == 1
    assert {link[1:] for link in example.fetched} <= set(example.ids)


def test_a_threshold_mistyped_by_a_factor_of_ten_stands_above_everything(tmp_path: Path) -> None:
    file = tmp_path / "thresholds.yaml"
    file.write_text("rules:\n  qwk: {at_least: 0.07}\n", "utf-8")
    slipped = changes(read_thresholds(None), read_thresholds(file))
    found = page(tmp_path, replace(example_report(), threshold_changes=slipped))
    before, _ = found.text.split("Administration of", 1)
    assert "1 limit was changed so much that it may be a slip" in before
    assert "qwk , at least, all items: was 0.70, is 0.07 (10 times smaller)" in before
    assert "✕ Limits 1 change may be a slip" in found.text
    questioned = "all items qwk at least 0.70 0.07 10 times smaller is this meant?"
    assert questioned in section(found, "Changed limits")


def test_a_considered_change_of_a_limit_is_told_without_alarm(tmp_path: Path) -> None:
    found = page(tmp_path, example_report(slip=False))
    assert "alarm" not in found.html.split("</style>")[1]
    assert "! Limits 1 setting changed" in found.text
    assert "0417 smd at most 0.15 0.20 1.33 times larger" in section(found, "Changed limits")
    unchanged = page(tmp_path, replace(example_report(), threshold_changes=()))
    assert "✓ Limits none changed" in unchanged.text
    assert "Changed limits" not in unchanged.text


def test_a_person_who_overrules_the_gate_is_named_beside_its_reasons(tmp_path: Path) -> None:
    by_hand = made.decided("released", "A. Rater", "read by the panel; see memo 7")
    report = example_report()
    found = page(tmp_path, replace(report, decisions=(*report.decisions, by_hand)))
    top = found.text.split("Where every row went")[0]
    assert "Released by A. Rater, 12 March 2026, 02:02 UTC." in top
    assert "These scores are in released_scores. read by the panel; see memo 7" in top
    assert "The gate held it, since: SCI4-PUDDLE: score_point_shift" in top
    assert section(found, "Decisions").count("12 March 2026") == 2
    assert "gradeline hold nightly-20260312-020001-3f9c" in found.text


def test_a_run_that_the_gate_released_is_not_said_to_have_been_held(tmp_path: Path) -> None:
    """What was noted on the run later is no reason of the gate's."""
    noted = replace(made.RUN, message="not logged to MLflow yet: the next run tries again")
    gate, person = made.decided("released", "gate", ""), made.decided("held", "A. Rater", "memo 8")
    text = page(tmp_path, RunReport(noted, (), decisions=(gate, person))).text
    assert "Held by A. Rater" in text
    assert "The gate held it" not in text


def test_a_reason_is_told_once_though_the_run_has_more_to_say(tmp_path: Path) -> None:
    noted = replace(made.RUN, message=f"{made.REASON} | not logged to MLflow yet")
    report = RunReport(noted, (), decisions=(made.decided("held", "gate", made.REASON),))
    text = page(tmp_path, report).text
    assert text.count(made.REASON) == 1
    assert "not logged to MLflow yet" in text


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ("released", "Released These scores are in released_scores."),
        ("done", "Done"),
        ("failed", "Failed Nothing of this run counts."),
        ("running", "Still running These figures are not final."),
    ],
)
def test_without_a_decision_the_status_of_the_run_is_told(
    tmp_path: Path, status: str, word: str
) -> None:
    report = RunReport(replace(made.RUN, status=status), (), warnings=("Two items share a name.",))
    text = page(tmp_path, report).text
    assert word in text
    assert "Two items share a name." in text
    assert "This run was not judged by rules." in text


def test_the_report_says_when_rows_are_missing(tmp_path: Path) -> None:
    text = page(tmp_path, RunReport(replace(made.RUN, scored=1239), ())).text
    assert "✕ Counts do not reconcile" in text
    assert "The counts do not reconcile: 1,213 rows were received" in text
    assert "add up to 1,213 and 1,249" in text


def test_failed_rules_are_named_with_value_interval_limit_and_n(example: Page) -> None:
    rules = section(example, "Rules")
    assert re.match(r"Rules 7 rules failed and \d+ rules flagged\.", rules)
    assert (
        "FAIL ELA10-PHONES · ideas QWK, first rater and machine 0.64 [0.59, 0.69] ≥ 0.70" in rules
    )
    drift = "share of a score point, change: baseline, point 0 0.12 [0.08, 0.16] ±0.05 540"
    assert f"FAIL SCI4-PUDDLE {drift}" in rules
    assert rules.index("FLAG") > rules.rindex("FAIL ")
    assert "CIV8-LIBRARY – – – – – – – –" in rules


def test_the_matrix_counts_items_by_rule_and_shows_the_worst_first(tmp_path: Path) -> None:
    found = page(tmp_path, made.REPORT)
    rules = section(found, "Rules")
    assert "limit ≥ 0.70 ±0.15 ±0.05 items that fail 1 · 1 items flagged · 1 ·" in rules
    rows = re.findall(
        r'<tr><td class="id">(?:<a[^>]*>)?([^<]+)', found.html.split("Agreement w")[0]
    )
    assert rows == ["plants", "seeds", "maps"]


def test_small_groups_are_nowhere_in_the_report(tmp_path: Path) -> None:
    """Neither they, nor what would give them away, nor figures of an item that few have rated."""
    groups = (
        made.group("first language", "English", 0.6127, 101),
        made.group("first language", "Navi", 0.7777, 9),
    )
    nine = replace(made.few("nine"), figures=made.figures(9, 0, qwk=0.3456, exact=0.4444))
    known = Figure(0.6543, 0.6, 0.9, 9)
    point = replace(example_trend([nine], nights=1)[0], n=9, run_id="x")
    report = RunReport(
        run=made.RUN,
        evaluations=(made.item(subgroups=groups, n_rated=110), nine),
        rules=(made.rule("nine", "qwk", "FLAG", 0.3456, 0.7, n=9),),
        validity=(ValidityFigure("nine", "overall", 9, known, known, 0.8888, 0, True),),
        trend=(point, replace(point, run_id="y")),
    )
    found = page(tmp_path, report)
    assert "Fewer than 10 responses: not shown." in found.text
    assert "fewer than 10 responses: not shown" in section(found, "Rules")
    assert "nine 9 fewer than 10: not shown" in section(found, "Validity responses")
    assert "No item has two administrations" in found.text
    for hidden in ("0.61", "0.78", "0.35", "44%", "0.65", "65%", "89%", "Navi"):
        assert hidden not in found.html


def test_what_is_small_is_a_setting(tmp_path: Path) -> None:
    items = tuple(replace(item, small_cell=200) for item in made.REPORT.evaluations)
    found = page(tmp_path, replace(made.REPORT, evaluations=items, small_cell=200))
    assert "0.79" not in found.text
    assert "No item has enough responses with a human score" in found.text
    assert "plants QWK, first rater and machine fewer than 200 responses: not shown" in found.text


def test_agreement_is_summed_up_over_items_and_never_pooled(example: Page) -> None:
    assert re.search(
        r"QWK is known for 9 of 10 items; 8 of them have 100 or more rated responses. Over these "
        r"items the mean is 0\.\d\d \(Fisher mean 0\.\d\d\); the lowest is 0\.\d\d, of item 0533",
        example.text,
    )


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ((), "None of these responses has a human score yet"),
        ((made.unrated(),), "None of these responses has a human score yet"),
        ((made.few(),), "No item has enough responses with a human score"),
        ((made.item(n_rated=60),), "No item has 100 or more rated responses: too few to judge any"),
    ],
)
def test_agreement_on_few_ratings_is_not_presented_as_a_finding(
    tmp_path: Path, items: tuple[Any, ...], sentence: str
) -> None:
    assert sentence in page(tmp_path, RunReport(made.RUN, items)).text


def test_each_item_has_its_pictures_and_every_figure(example: Page) -> None:
    cards = section(example, "Item by item")
    assert "reported machine 95% interval two raters QWK 0.64 0.59 to 0.69 0.92" in cards
    for name in (
        "kappa",
        "within 1 point",
        "r, trimmed raw",
        "R²",
        "RMSE",
        "disattenuated r",
        "PRMSE",
    ):
        assert name in cards
    assert "human ↓ machine → 1 2 3 4 5 6 1 28" in cards
    assert re.search(r"kept responses confidence exact QWK 100% 391 ≥ 0\.\d\d", cards)
    assert example.html.count('aria-label="calibration of') == 9
    assert example.html.count('aria-label="risk and coverage of') == 9
    assert example.html.count('aria-label="score points of') == 9


def test_differences_by_group_show_limits_and_what_is_unsure(example: Page) -> None:
    groups = section(example, "Standardized differences, by group")
    assert "limit ±0.15. Groups: DSM" in groups
    assert "machine second rater English Spanish Vietnamese Arabic Somali" in groups
    assert re.search(r'class="\w+ b10" title="first language Somali: 1\.\d+', example.html)
    assert re.search(r'class="unsure b8" title="first language Somali: 0\.15', example.html)
    assert "groups too small to judge" in example.text
    assert "first language English 391 0.004 (0.210)" in groups


def test_drift_is_drawn_and_worded_beside_its_item(example: Page) -> None:
    drift = section(example, "Drift")
    assert drift.index("SCI4-PUDDLE") < drift.index("BIO10-BEETLE") < drift.index("0533")
    assert re.search(r"score 0: 3\d%, before 2\d% FAIL share of a score point, change", drift)


def test_a_validity_score_that_changed_without_reason_is_questioned(example: Page) -> None:
    validity = section(example, "Validity responses")
    questioned = "as in the night before: why did scores change?"
    rows = (
        f"SCI8-BEANS 42 71% 57% to 83% 83% 0.80 7 {questioned}",
        "0417 60 85% 75% to 93% 85% 0.88 0 as in the night before",
        "0533 6 fewer than 10: not shown 0 another one",
    )
    assert all(row in validity for row in rows)


def test_reused_scores_are_counted_and_have_no_latency(tmp_path: Path) -> None:
    items = (made.item(n_reused=170), replace(made.unrated(), n_scored=30))
    text = page(tmp_path, RunReport(replace(made.RUN, reused=1180), items)).text
    assert "scored 1,240 a score for every trait; 1,180 of them reused" in text
    assert "200 scores were copied from earlier runs" in text
    assert "poems 30 30 1 0 0 2 – –" in text


def test_rejects_and_configuration_are_listed(tmp_path: Path) -> None:
    rejects = (RejectCount("a.csv", "score_off_scale", 3), RejectCount("b.csv", "duplicate", 1))
    report = RunReport(replace(made.RUN, mlflow_run_id="3f0d"), (), rejects, {"thresholds": "53aa"})
    text = page(tmp_path, report).text
    assert "a.csv score off scale 3 b.csv duplicate 1 all files 4" in text
    assert "season 2026-spring thresholds 53aa MLflow run 3f0d" in text


def test_files_and_items_without_a_score_are_named(tmp_path: Path) -> None:
    found = page(tmp_path, made.REPORT)
    assert "a.csv abababababab 1,213 1,200 8 4 1" in section(found, "Exports taken in")
    assert "Without a score or a code when the run ended, by item: lanterns (4)." in found.text
    assert "their ids, and those of nights before, are in MLflow, eval/far_apart.json" in found.text
    assert "R-0007" not in found.html
    assert "Exports taken in" not in page(tmp_path, example_report()).text


def test_the_report_is_one_file_that_fetches_and_runs_nothing(
    tmp_path: Path, example: Page
) -> None:
    assert example.open == []
    assert all(link.startswith("#") for link in example.fetched)
    assert not {"script", "link", "img", "iframe", "use", "object"} & set(example.tags)
    assert not re.search(r"url\(|@import|https?://| on\w+=", example.html)
    write_report(tmp_path / "reports" / "run.html", made.REPORT)
    assert [entry.name for entry in (tmp_path / "reports").iterdir()] == ["run.html"]


def test_names_from_exports_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>&\"quoted\""
    item = made.item(evil, subgroups=(made.group(evil, evil, 0.1, 40),))
    report = replace(
        example_report(),
        run=replace(made.RUN, message=evil),
        evaluations=(item,),
        rules=(made.rule(evil, "qwk", "FAIL", 0.5, 0.7), made.rule(evil, evil, "FLAG", 1, 2)),
        rejects=(RejectCount(evil, evil, 1),),
        settings={evil: evil},
        decisions=(made.decided("held", evil, evil),),
        trend=tuple(replace(p, item_id=evil) for p in example_trend([item], nights=3)),
        warnings=(evil,),
    )
    found = page(tmp_path, report)
    assert "script" not in found.tags
    assert found.text.count("<script>") >= 12


def test_a_run_that_is_not_about_rows_has_no_table_of_rows(tmp_path: Path) -> None:
    evaluate = replace(made.RUN, kind="evaluate", status="done", received=0, finished_at=None)
    text = page(tmp_path, RunReport(evaluate, made.REPORT.evaluations)).text
    assert "Where every row went" not in text
    assert "Decisions" not in text
    assert "wall time –" in text


def test_five_hundred_items_stay_small_quick_and_folded(tmp_path: Path) -> None:
    report = long_report(500)
    started = time.perf_counter()
    found = page(tmp_path, report)
    assert time.perf_counter() - started < 30
    assert len(found.html) < 10_000_000
    rules = section(found, "Rules")
    more = re.search(r"\d+ more items? with a failed or flagged rule", rules)
    assert more
    assert rules.index("question-001") < more.start()
    assert re.search(r"\b4\d\d items without a failed or flagged rule", rules)
    assert found.html.count('class="card" id="item-') == 500
    opened = section(found, "Item by item").split("Pictures of the other 488 items")[0]
    assert opened.count("Confusion") == 12
    assert all(f"{item.name}: QWK" in found.text for item in report.evaluations)
    unfolded = re.sub(r"<details.*?</details>", "", found.html, flags=re.DOTALL)
    assert len(Page(unfolded).text.split()) < 12_000


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figure(-0.034), "−0.03"),
        (figure(-0.001), "0.00"),
        (figure(1234.5, 1), "1,234.5"),
        (figure(None), "–"),
        (share(0.725, 1), "72.5%"),
        (share(math.nan), "–"),
        (against(0.9948, 0.995), "0.9948"),
        (against(0.6996, 0.7), "0.6996"),
        (against(0.64, 0.7), "0.64"),
        (against(0.699997, 0.7), "0.699997"),
        (against(0.7 + 1e-12, 0.7), "0.70"),
        (against(math.nan, 0.7), "–"),
        (limit_text(0.00005), "0.00005"),
        (times(0.1), "10 times smaller"),
        (times(7.5), "7.5 times larger"),
        (times(-1), "of the other sign"),
        (probability(0.00004), "<0.001"),
        (counted(1, "item"), "1 item"),
        (counted(2500, "item"), "2,500 items"),
        (duration(None), "–"),
        (duration(4.21), "4.2 s"),
        (duration(59.97), "1 min 0 s"),
        (duration(timedelta(hours=2, minutes=5).total_seconds()), "2 h 5 min"),
    ],
)
def test_figures_read_as_people_write_them(shown: str, text: str) -> None:
    assert shown == text
