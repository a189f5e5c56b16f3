"""What a reader sees of a run: the HTML report, the terminal's table, the figures for MLflow."""

import io
import math
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from tasks.charts import AXIS_MIN, bar_chart, qwk_chart, shortened
from tasks.evaluation import ItemEvaluation
from tasks.figures import confusion_figure, distribution_figure, overview_figure
from tasks.reporting import RunReport, duration, figure, share, write_report
from tasks.summary import summary_table
from warehouse.reports import RejectCount, Run

NAN = math.nan
STARTED = datetime(2026, 3, 12, 2, 0, 1, tzinfo=UTC)
RUN = Run(
    run_id="nightly-20260312-020001-3f9c",
    kind="nightly",
    status="done",
    administration_date=date(2026, 3, 12),
    started_at=STARTED,
    finished_at=STARTED + timedelta(seconds=83.4),
    received=1213,
    accepted=1200,
    rejected=8,
    duplicate=4,
    rated=1,
    waiting=50,
    scored=1240,
    coded=6,
    routed=3,
    failed=1,
    files_accepted=3,
    files_refused=0,
    files_unchanged=1,
    adapters_loaded=2,
    peak_rss_mb=812.4,
    responses_per_s=143.21,
    mlflow_run_id="3f0d",
    parameters={"season": "2026-spring"},
    message="",
)
PLANTS = ItemEvaluation(
    item_id="plants",
    trait="overall",
    adapter_versions=(2,),
    score_min=0,
    score_max=2,
    n_scored=210,
    n_reused=0,
    n_coded=1,
    n_seen=0,
    n_rated=120,
    n_double=40,
    qwk=0.791,
    qwk_low=0.722,
    qwk_high=0.853,
    qwk_raw=0.80,
    exact=0.725,
    adjacent=0.99,
    smd=-0.042,
    r=0.81,
    rmse=0.4,
    mean_human=1.1,
    mean_machine=1.07,
    qwk_human_human=0.846,
    exact_human_human=0.8,
    latency_ms_p50=3.4,
    latency_ms_p95=7.6,
    scoring_s=0.84,
    confusion=((21, 9, 0), (7, 31, 10), (0, 7, 35)),
    human_distribution=(0.25, 0.4, 0.35),
    machine_distribution=(0.24, 0.39, 0.37),
    n_truncated=0,
    near_boundary=2,
)
FEW = replace(
    PLANTS,
    item_id="maps",
    n_rated=12,
    qwk=0.31,
    qwk_low=-0.9,
    qwk_high=0.7,
    confusion=((2, 1, 0), (3, 2, 1), (0, 1, 2)),
)
UNRATED = replace(
    PLANTS,
    item_id="poems",
    trait="style",
    n_scored=7,
    n_rated=0,
    n_double=0,
    qwk=NAN,
    qwk_low=NAN,
    qwk_high=NAN,
    exact=NAN,
    adjacent=NAN,
    smd=NAN,
    qwk_human_human=NAN,
    mean_human=NAN,
    mean_machine=NAN,
    confusion=((0, 0, 0),) * 3,
    human_distribution=(NAN,) * 3,
)
ITEMS = (PLANTS, FEW, UNRATED)


class Text(HTMLParser):
    """The words on the page, and what its tags would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page(tmp_path: Path, report: RunReport) -> tuple[str, Text]:
    path = write_report(tmp_path / "reports" / "run.html", report)
    parser = Text()
    parser.feed(path.read_text("utf-8"))
    return " ".join(" ".join(parser.words).split()), parser


def terminal(items: tuple[ItemEvaluation, ...], run: Run, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(summary_table(items, run))
    return console.export_text()


def test_the_report_states_status_counts_and_cost(tmp_path: Path) -> None:
    text, _ = page(tmp_path, RunReport(RUN, ITEMS))
    assert "Done." in text
    assert "The counts reconcile: each of the 1,213 rows received and each of the 1,250" in text
    assert "accepted 1,200 a new response rejected 8" in text
    assert "scored 1,240" in text
    assert "wall time 1 min 23 s responses/s 143.2 peak memory 812 MB adapters loaded 2" in text


def test_the_reader_sees_how_many_scores_were_reused(tmp_path: Path) -> None:
    run, items = replace(RUN, reused=1180), (replace(PLANTS, n_reused=170), FEW)
    text, _ = page(tmp_path, RunReport(run, items))
    assert "scored 1,240 a score for every trait; 1,180 of them reused" in text
    assert "170 scores were copied from earlier runs" in text
    assert "= 1,240 scored (1,180 of them reused) + 6 coded" in terminal(items, run, width=120)
    text, _ = page(tmp_path, RunReport(RUN, ITEMS))
    assert "reused" not in text


def test_the_report_says_when_rows_are_missing(tmp_path: Path) -> None:
    text, _ = page(tmp_path, RunReport(replace(RUN, status="held", scored=1239), ITEMS))
    assert "Held" in text
    assert "The counts do not reconcile" in text
    assert "add up to 1,213 and 1,249" in text


def test_the_reason_of_a_held_run_and_warnings_are_printed(tmp_path: Path) -> None:
    held = replace(RUN, status="held", message="district_b.csv was refused.")
    text, _ = page(tmp_path, RunReport(held, ITEMS, warnings=("Two items share an adapter.",)))
    assert "district_b.csv was refused. Two items share an adapter." in text


def test_each_item_has_its_figures_and_few_ratings_are_marked(tmp_path: Path) -> None:
    text, _ = page(tmp_path, RunReport(RUN, ITEMS))
    assert "plants 2 210 120 0.79 0.72 to 0.85 0.85 72% 99% −0.04 3.4 7.6" in text
    assert "maps 2 210 12* 0.31 −0.90 to 0.70" in text
    assert "poems · style 2 7 0* – – – – – – 3.4 7.6" in text
    assert "1 of 3 items have 100 or more rated responses" in text


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ((UNRATED,), "None of these responses has a human score yet"),
        (
            (FEW, UNRATED),
            "No item has 100 or more rated responses: too few to judge any by. "
            "QWK is defined for 1 of 2",
        ),
    ],
)
def test_agreement_on_few_ratings_is_not_presented_as_a_finding(
    tmp_path: Path, items: tuple[ItemEvaluation, ...], sentence: str
) -> None:
    text, _ = page(tmp_path, RunReport(RUN, items))
    assert sentence in text


def test_small_groups_have_no_distribution(tmp_path: Path) -> None:
    text, _ = page(tmp_path, RunReport(RUN, (UNRATED,)))
    assert "Fewer than 10 responses: not shown." in text
    nine = replace(FEW, n_rated=9, n_scored=9, confusion=((9, 0, 0), (0, 0, 0), (0, 0, 0)))
    text, _ = page(tmp_path, RunReport(RUN, (nine,)))
    assert "Fewer than 10 responses: not shown." in text
    assert "human ↓ machine →" not in text


def test_rejects_and_configuration_are_listed(tmp_path: Path) -> None:
    rejects = (RejectCount("a.csv", "score_off_scale", 3), RejectCount("b.csv", "duplicate", 1))
    text, _ = page(tmp_path, RunReport(RUN, ITEMS, rejects, {"backbone_sha256": "53aa"}))
    assert "a.csv score off scale 3 b.csv duplicate 1 all files 4" in text
    assert "season 2026-spring backbone sha256 53aa MLflow run 3f0d" in text


def test_the_report_is_one_file_that_fetches_and_runs_nothing(tmp_path: Path) -> None:
    _, parser = page(tmp_path, RunReport(RUN, ITEMS))
    assert parser.fetched == []
    assert not {"script", "link", "img", "iframe"} & set(parser.tags)
    written = (tmp_path / "reports" / "run.html").read_text("utf-8")
    assert not re.search(r"url\(|@import|https?://", written)
    assert [entry.name for entry in (tmp_path / "reports").iterdir()] == ["run.html"]


def test_names_from_exports_cannot_become_markup(tmp_path: Path) -> None:
    evil = "<script>alert('x')</script>&\"quoted\""
    text, parser = page(
        tmp_path,
        RunReport(
            replace(RUN, message=evil),
            (replace(PLANTS, item_id=evil),),
            (RejectCount(evil, evil, 1),),
            {evil: evil},
        ),
    )
    assert "script" not in parser.tags
    assert evil in text


def test_a_run_that_is_not_about_rows_has_no_table_of_rows(tmp_path: Path) -> None:
    evaluate = replace(RUN, kind="evaluate", received=0, finished_at=None, responses_per_s=None)
    text, _ = page(tmp_path, RunReport(evaluate, ITEMS))
    assert "Where every row went" not in text
    assert "wall time – responses/s –" in text


def many(n: int) -> tuple[ItemEvaluation, ...]:
    return tuple(replace(FEW, item_id=f"question-{k:03d}", qwk=k / n) for k in range(n))


def test_a_long_bank_is_charted_whole_and_folded_below(tmp_path: Path) -> None:
    items = many(204)
    text, _ = page(tmp_path, RunReport(RUN, items))
    assert all(f"{item.item_id}: QWK" in text for item in items)
    written = (tmp_path / "reports" / "run.html").read_text("utf-8")
    assert "<details open>" not in written
    assert 'class="table" open' not in written


@pytest.mark.parametrize("n", [1, 36, 37, 96, 97, 204])
def test_the_chart_places_every_item_inside_and_in_order(n: int) -> None:
    chart = qwk_chart(many(n))
    assert chart is not None
    marks = [mark for column in chart.columns for mark in column]
    assert [mark.item.item_id for mark in marks] == [f"question-{k:03d}" for k in range(n)][::-1]
    for column in chart.columns:
        assert [mark.y for mark in column] == sorted({mark.y for mark in column})
    for mark in marks:
        assert 0 < mark.y < chart.height
        places = [mark.low, mark.x, mark.high, mark.people or mark.x]
        assert all(chart.axis_left <= place <= chart.axis_right <= chart.width for place in places)
    assert all(chart.axis_left <= x <= chart.axis_right for x, _ in chart.ticks)


def test_the_chart_cuts_what_reaches_far_below_zero_and_says_so() -> None:
    chart = qwk_chart((PLANTS, FEW))
    assert chart is not None
    assert chart.any_cut
    assert chart.ticks[0][1] == f"{AXIS_MIN}".replace("-", "−")
    (plants, few) = chart.columns[0]
    assert (plants.cut, few.cut) == (False, True)
    assert few.low == chart.axis_left
    uncut = qwk_chart((PLANTS,))
    assert uncut is not None
    assert uncut.ticks[0][1] == "0"
    assert qwk_chart((UNRATED,)) is None


def test_bars_show_rated_responses_where_there_are_enough() -> None:
    rated = bar_chart(PLANTS)
    assert rated is not None
    assert rated.legend == ("human", "machine")
    assert [bar.label for bar in rated.bars] == ["25", "40", "35", "23", "39", "38"]
    machine = bar_chart(replace(UNRATED, n_scored=30))
    assert machine is not None
    assert machine.legend == ("machine, all scored",)
    assert [bar.label for bar in machine.bars] == ["24", "39", "37"]
    assert bar_chart(UNRATED) is None


def test_long_names_keep_both_ends() -> None:
    assert shortened("VB_40b", 8) == "VB_40b"
    assert shortened("SWITCH_TABLE_CLOSED_Q2", 11) == "SWITC…ED_Q2"


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_terminal_table_has_the_figures_of_every_item(width: int) -> None:
    text = terminal(ITEMS, RUN, width)
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    expected = r"210\s+120\s+0\.79\s+\[0\.72, 0\.85\]\s+72%\s+3\.4\s+7\.6\s+250\.0"
    assert re.search(expected, rows["plants"])
    assert re.search(r"210\s+12\*\s+0\.31\s+\[-0\.90, 0\.70\]", rows["maps"])
    assert re.search(r"7\s+0\*\s+–\s+–", rows["poems"])
    assert "peak memory 812 MB, 2 adapters loaded" in text
    assert "1,213 received = 1,200 accepted + 8 rejected + 4 duplicate + 1 rated" in text
    assert "1,200 accepted + 50 waiting = 1,240 scored + 6 coded + 3 routed + 1 failed" in text
    assert "the counts reconcile" in text
    assert "143.2" in text


def test_the_terminal_says_when_rows_are_missing() -> None:
    assert "THE COUNTS DO NOT RECONCILE" in terminal(ITEMS, replace(RUN, received=1))


def test_a_long_bank_shows_its_lowest_and_highest_on_the_terminal() -> None:
    text = terminal(many(204), RUN)
    names = re.findall(r"question-\d+", text)
    assert names[:15] == [f"question-{k:03d}" for k in range(15)]
    assert names[15:] == [f"question-{k:03d}" for k in range(199, 204)]
    assert "all 204 items are in the report" in text
    unrated = tuple(replace(UNRATED, item_id=f"u{k:03d}") for k in range(50))
    assert re.findall(r"u\d\d\d", terminal(unrated, RUN)) == [f"u{k:03d}" for k in range(20)]


def test_brackets_in_item_ids_are_not_markup_on_the_terminal() -> None:
    assert "item[red]x" in terminal((replace(PLANTS, item_id="item[red]x"),), RUN, 140)


def png(drawn: Figure) -> bytes:
    buffer = io.BytesIO()
    drawn.savefig(buffer, format="png")
    return buffer.getvalue()


def test_the_confusion_figure_has_every_count() -> None:
    drawn = confusion_figure(PLANTS)
    texts = [text.get_text() for text in drawn.axes[0].texts]
    assert texts == ["21\n70%", "9\n30%", "7\n15%", "31\n65%", "10\n21%", "7\n17%", "35\n83%"]
    assert drawn.axes[0].get_ylabel() == "human score"
    assert png(drawn).startswith(b"\x89PNG")


def test_the_distribution_figure_has_a_bar_for_each_point_and_rater() -> None:
    heights = [bar.get_height() for bar in distribution_figure(PLANTS).axes[0].patches]
    assert heights == pytest.approx([0.25, 0.4, 0.35, 28 / 120, 47 / 120, 45 / 120])
    assert png(distribution_figure(replace(PLANTS, item_id="$cost$ in 100%")))


@pytest.mark.parametrize("drawn", [confusion_figure, distribution_figure])
def test_figures_of_small_groups_show_no_counts(drawn: object) -> None:
    made = drawn(UNRATED)  # type: ignore[operator]
    assert [text.get_text() for text in made.axes[0].texts] == [
        "fewer than 10 responses: not shown"
    ]
    assert png(made)


@pytest.mark.parametrize("items", [ITEMS, (UNRATED,), (), many(30)])
def test_the_overview_draws_whatever_is_rated(items: tuple[ItemEvaluation, ...]) -> None:
    drawn = overview_figure(items)
    rated = sum(not math.isnan(item.qwk) for item in items)
    assert len(drawn.axes[0].get_yticks()) == rated
    assert png(drawn)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figure(-0.034), "−0.03"),
        (figure(1234.5, 1), "1,234.5"),
        (figure(None), "–"),
        (figure(NAN), "–"),
        (share(0.725, 1), "72.5%"),
        (share(NAN), "–"),
        (duration(None), "–"),
        (duration(4.21), "4.2 s"),
        (duration(59.97), "1 min 0 s"),
        (duration(200), "3 min 20 s"),
        (duration(7500), "2 h 5 min"),
    ],
)
def test_figures_read_as_people_write_them(shown: str, text: str) -> None:
    assert shown == text
