"""Where the report's pictures put things, and what they leave out."""

import math
from dataclasses import replace
from datetime import timedelta

import made_evaluations as made
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_example import NIGHT, RUN, example_item, example_trend

from models.agreement import ConfidenceBin, Kept
from tasks.charts import AXIS_MIN, bar_chart, qwk_charts, shortened
from tasks.evaluation import FairnessFigure, Figure, ItemEvaluation
from tasks.report_charts import (
    calibration_chart,
    coverage_chart,
    merged_bins,
    point_colours,
    shown_coverage,
    trend_chart,
)
from tasks.report_items import item_views
from tasks.report_subgroups import (
    MOST_LEVELS,
    heat_maps,
    hidden_levels,
    left_out,
    shown_groups,
    told_results,
)
from tasks.rules import Status


def with_qwk(item_id: str, value: float, n: int = 120) -> ItemEvaluation:
    qwk = Figure(value, value - 0.05, min(1.0, value + 0.05), n)
    return made.item(item_id, n_rated=n, figures={**made.figures(n, 40), "qwk": qwk})


def many(n: int) -> list[ItemEvaluation]:
    return [with_qwk(f"question-{k:03d}", k / n) for k in range(n)]


@pytest.mark.parametrize("n", [1, 36, 37, 96, 97, 204, 500])
def test_the_chart_places_every_item_inside_and_in_order(n: int) -> None:
    charts = qwk_charts(many(n), {})
    marks = [mark for chart in charts for column in chart.columns for mark in column]
    assert [mark.item.item_id for mark in marks] == [f"question-{k:03d}" for k in range(n)]
    assert sum(chart.items for chart in charts) == n
    for chart in charts:
        assert chart.height < 900  # a printed page
        assert all(chart.axis_left <= x <= chart.axis_right for x, _ in chart.ticks)
        for column in chart.columns:
            assert [mark.y for mark in column] == sorted({mark.y for mark in column})
            for mark in column:
                assert 0 < mark.y < chart.height
                for place in (mark.low, mark.x, mark.high, mark.people or mark.x):
                    assert chart.axis_left <= place <= chart.axis_right <= chart.width


def test_the_chart_cuts_what_reaches_far_below_zero_and_says_so() -> None:
    low = made.item("low", figures={**made.figures(120, 40), "qwk": Figure(0.1, -0.9, 0.5, 120)})
    (chart,) = qwk_charts([made.item(), low], {("low", "overall"): "FAIL"}, guide=0.6)
    assert chart.any_cut
    assert chart.ticks[0][1] == f"{AXIS_MIN}".replace("-", "−")
    (first, plants) = chart.columns[0]
    assert (first.cut, plants.cut) == (True, False)
    assert (first.status, plants.status) == ("FAIL", None)
    assert first.low == chart.axis_left
    (uncut,) = qwk_charts([made.item()], {})
    assert uncut.ticks[0][1] == "0"


def test_items_with_few_ratings_are_not_charted() -> None:
    assert qwk_charts([made.few(), made.unrated()], {}) == []
    few_by_two = made.item(human_human=dict.fromkeys(made.BETWEEN_PEOPLE, Figure(0.9, 0.8, 1.0, 9)))
    (chart,) = qwk_charts([few_by_two], {})
    assert chart.columns[0][0].people is None


def test_bars_show_rated_responses_where_there_are_enough() -> None:
    rated = bar_chart(made.item())
    assert rated is not None
    assert rated.legend == ("human", "machine")
    assert [bar.label for bar in rated.bars] == ["25", "40", "35", "23", "39", "38"]
    machine = bar_chart(made.unrated())
    assert machine is not None
    assert machine.legend == ("machine, all scored",)
    assert bar_chart(made.few()) is None


def test_long_names_keep_both_ends() -> None:
    assert shortened("VB_40b", 8) == "VB_40b"
    assert shortened("SWITCH_TABLE_CLOSED_Q2", 11) == "SWITC…ED_Q2"


@given(
    st.lists(
        st.tuples(st.integers(1, 40), st.floats(0, 1), st.floats(0, 1)), min_size=0, max_size=10
    )
)
def test_small_calibration_bins_are_joined_and_nothing_is_lost(
    drawn: list[tuple[int, float, float]],
) -> None:
    drawn = sorted(drawn, key=lambda entry: entry[1])
    bins = [ConfidenceBin(c, c, n, c, exact) for n, c, exact in drawn]
    joined = merged_bins(bins, 10)
    assert all(entry.n >= 10 for entry in joined)
    if sum(entry.n for entry in bins) < 10:
        assert joined == []
        return
    assert sum(entry.n for entry in joined) == sum(entry.n for entry in bins)
    for name in ("confidence", "exact"):
        totals = [sum(b.n * getattr(b, name) for b in some) for some in (bins, joined)]
        assert totals[0] == pytest.approx(totals[1])
    assert [entry.confidence for entry in joined] == sorted(entry.confidence for entry in joined)


def test_calibration_and_routing_stay_in_their_fields() -> None:
    for item in (example_item("a", rated=400), example_item("b", rated=36, noise=1.5)):
        for chart in (calibration_chart(item), coverage_chart(item)):
            assert chart is not None
            for dot in chart.dots:
                assert chart.left <= dot.x <= chart.right
                assert chart.top <= dot.high <= dot.y <= dot.low <= chart.base
            for line in chart.lines.values():
                for place in line.split():
                    x, y = map(float, place.split(","))
                    assert chart.left - 0.1 <= x <= chart.right + 0.1
                    assert chart.top - 0.1 <= y <= chart.base + 0.1
    rows = tuple(Kept(n / 19, n, 0.5, 0.7, 0.8) for n in (19, 15, 13, 9))
    assert [row.n for row in shown_coverage(made.item(coverage=rows))] == [19, 15, 13]
    assert calibration_chart(made.few()) is None
    assert coverage_chart(made.few()) is None


def test_history_is_stacked_to_the_full_and_tonight_compared_with_before() -> None:
    item = example_item("SCI4-PUDDLE", rated=400)
    points = example_trend([item], nights=14)
    chart = trend_chart(points, RUN.run_id, 0, 10)
    assert chart is not None
    assert (chart.n, len(chart.bands), len(chart.held)) == (14, 4, 2)
    assert (chart.first, chart.last) == (NIGHT - timedelta(days=13), NIGHT)
    assert chart.tonight == pytest.approx(chart.width - chart.slot)
    assert chart.share_tonight - chart.share_before == pytest.approx(0.12, abs=0.05)
    assert chart.mean_tonight < chart.mean_before
    heights = [0.0] * 14
    for _, path in chart.bands:
        for n, stroke in enumerate(path.split("M")[1:]):
            foot, top = stroke.split(" ")[1].split("V")
            heights[n] += float(foot) - float(top)
    assert heights == pytest.approx([84.0] * 14)


def test_history_leaves_out_small_nights_other_scales_and_what_came_later() -> None:
    points = example_trend([example_item("x")], nights=4)
    small = (*points[:2], replace(points[2], n=9), points[3])
    chart = trend_chart(small, RUN.run_id, 0, 10)
    assert chart is not None
    assert chart.n == 3
    other = (replace(points[0], shares=(0.5, 0.5)), *points[1:])
    chart = trend_chart(other, RUN.run_id, 0, 10)
    assert chart is not None
    assert chart.n == 3
    assert trend_chart(points[-1:], RUN.run_id, 0, 10) is None
    first = trend_chart(points, points[0].run_id, 0, 10)
    assert first is not None
    assert math.isnan(first.mean_before)
    assert first.tonight == 0


def test_score_points_go_from_dark_to_light() -> None:
    assert len(set(point_colours(13))) == 13
    assert point_colours(13) == sorted(point_colours(13))
    assert len(point_colours(1)) == 1


def grouped(*sizes: int, rated: int = 0) -> ItemEvaluation:
    """Schools of so many rated responses; what is rated beyond them is of none that is named."""
    groups = tuple(made.group("school", f"s{n}", 0.05, size) for n, size in enumerate(sizes))
    return made.item(subgroups=groups, fairness=(), n_rated=rated or sum(sizes))


def test_a_small_group_takes_the_next_one_with_it_unless_rounding_hides_it() -> None:
    assert hidden_levels(grouped(60, 40)) == set()
    assert hidden_levels(grouped(60, 40, 9)) == {("school", "s1"), ("school", "s2")}
    assert hidden_levels(grouped(60, 40, rated=105)) == {("school", "s1")}
    assert hidden_levels(grouped(60, 40, rated=112)) == set()  # twelve others, together
    assert hidden_levels(grouped(900, 700, 4)) == {("school", "s2")}


def test_three_responses_without_a_school_are_not_told_by_the_others() -> None:
    """Their DSM is what is missing to nothing, though they are of no level."""
    fairness = (FairnessFigure("school", "s0", 100, *(0.0, 0.5) * 3),)
    item = replace(grouped(60, 40, rated=103), fairness=fairness)
    assert hidden_levels(item) == {("school", "s1")}


def test_tables_tell_of_groups_what_a_page_tells() -> None:
    def told(item: ItemEvaluation) -> list[tuple[str, float, bool]]:
        exact = tuple(
            replace(group, dsm=Figure(0.0512, -0.0488, 0.1512, group.dsm.n))
            for group in item.subgroups
        )
        groups = shown_groups(replace(item, subgroups=exact))
        return [(g.level, g.dsm.value, math.isnan(g.mean_human)) for g in groups]

    assert told(grouped(60, 40)) == [("s0", 0.05, False), ("s1", 0.05, False)]
    assert told(grouped(60, 40, 9)) == [("s0", 0.05, False)]  # 49 others, together
    # Rounding hides the DSM of the four; the means of the others, beside that of all, would not.
    assert told(grouped(900, 700, 4)) == [("s0", 0.05, True), ("s1", 0.05, True)]


def test_the_rules_value_of_a_group_that_hides_another_is_told_only_if_it_needs_eyes() -> None:
    def told(status: Status, rated: int) -> list[float]:
        results = [
            made.rule("plants", "smd", "PASS", 0.05, 0.15, n=rated),
            made.rule("plants", "dsm", "PASS", 0.05, 0.1, subject="school: s0", n=60),
            made.rule("plants", "dsm", status, 0.05, 0.1, subject="school: s1", n=40),
        ]
        return [result.value for result in told_results(results, 10)]

    nan = pytest.approx(math.nan, nan_ok=True)
    assert told("PASS", rated=109) == [0.05, 0.05, nan]  # a school of nine is left out
    assert told("FLAG", rated=109) == [0.05, 0.05, 0.05]
    assert told("PASS", rated=100) == [0.05, 0.05, 0.05]


@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 30))
def test_the_dsm_of_hidden_groups_cannot_be_told_from_the_others(
    sizes: list[int], unnamed: int
) -> None:
    item = grouped(*sizes, rated=sum(sizes) + unnamed)
    hidden = hidden_levels(item)
    left = [g.dsm.n for g in item.subgroups if (g.attribute, g.level) not in hidden]
    assert all(n >= item.small_cell for n in left)
    together = sum(sizes) + unnamed - sum(left)
    if left and 0 < together < item.small_cell:
        assert 0.005 * sum(left) / together >= 0.25


def test_many_levels_are_cut_and_many_attributes_take_several_tables() -> None:
    draw = np.random.default_rng(0)
    groups = [
        made.group(attribute, f"{attribute} {n}", draw.normal(0, 0.1), 20 + n)
        for attribute in ("region", "school")
        for n in range(15)
    ]
    views = item_views([made.item(subgroups=tuple(groups))], [])
    first, second = heat_maps(views, 0.15, 0.1)
    assert first.groups == (("all responses", 2), ("region", MOST_LEVELS))
    assert second.groups == (("school", MOST_LEVELS),)
    assert first.columns[2] == "region 14"
    assert left_out(views) == {"region": 3, "school": 3}
    assert first.starts[:4] == (True, False, True, False)


def test_the_largest_judged_difference_is_on_top() -> None:
    small = made.item("small", subgroups=(made.group("school", "a", 0.02, 60),))
    large = made.item("large", subgroups=(made.group("school", "a", -0.31, 60),))
    unsure = made.item("unsure", subgroups=(made.group("school", "a", 0.9, 12),))
    results = [made.rule("unsure", "dsm", "INSUFFICIENT_N", 0.9, 0.1, subject="school: a")]
    (table,) = heat_maps(item_views([small, unsure, large], results), 0.15, 0.1)
    assert table.rows[0].view.name == "large"
    marks = {row.view.name: (row.cells[-1].mark, row.cells[-1].shade) for row in table.rows}
    assert marks["large"] == ("beyond", -1.0)
    assert marks["unsure"] == ("unsure", 1.0)
    assert marks["small"] == ("", pytest.approx(0.1))
    (strict,) = heat_maps(item_views([small], []), 0.0, 0.0)
    assert strict.rows[0].cells[-1].mark == "beyond"
