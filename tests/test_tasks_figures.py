"""Pictures for reviewers: what is drawn, what is left out, and how many pages there are."""

import io
from collections.abc import Iterator
from datetime import date, timedelta

import made_evaluations as made
import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure

from tasks import figures
from tasks.figures.canvas import FAIL, LETTERS, shortened


def png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream)
    return stream.getvalue()


def words(figure: Figure) -> list[str]:
    """Everything written in a picture."""
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [axes.get_title(loc="left") for axes in figure.axes]
    for axes in figure.axes:
        legend = axes.get_legend()
        found += [text.get_text() for text in legend.get_texts()] if legend else []
        found += [label.get_text() for label in (*axes.get_yticklabels(), *axes.get_xticklabels())]
    return found


def items(n: int) -> list[made.ItemEvaluation]:
    return [made.item(f"I{number:03}") for number in range(n)]


def test_an_item_has_every_count_of_its_confusion_matrix() -> None:
    drawn = words(figures.item_figure(made.item()))
    assert {"21\n70%", "9\n30%", "31\n65%", "35\n83%"} <= set(drawn)


def test_an_item_has_a_bar_for_each_point_and_rater() -> None:
    distribution = figures.item_figure(made.item()).axes[1]
    heights = [bar.get_height() for bar in distribution.patches]
    assert heights == pytest.approx([0.25, 0.4, 0.35, 28 / 120, 47 / 120, 45 / 120])


def test_an_item_has_its_calibration_and_its_coverage() -> None:
    _, _, calibration, coverage = figures.item_figure(made.item()).axes
    assert calibration.lines[1].get_xydata().tolist() == [[0.52, 0.55], [0.8, 0.9]]
    assert coverage.lines[1].get_xydata().tolist() == [[1.0, 0.791], [0.5, 0.88]]


def test_a_name_with_dollar_signs_is_no_formula() -> None:
    costly = made.item("$cost$ in 100% _of_ $x^2$")
    for drawn in (figures.item_figure(costly), figures.overview_figure([costly])):
        assert png(drawn)
    (page,) = figures.confusion_pages([costly], {})
    (map_,) = figures.mean_difference_pages([costly])
    assert png(page)
    assert png(map_)


def test_few_responses_are_not_drawn() -> None:
    drawn = figures.item_figure(made.few())
    assert words(drawn).count("fewer than 10 responses: not shown") == 4
    assert not any(axes.patches or axes.lines or axes.images for axes in drawn.axes)


def test_the_configured_small_cell_counts() -> None:
    strict = made.item(small_cell=500)
    assert "fewer than 500 responses: not shown" in words(figures.item_figure(strict))
    assert list(figures.agreement_pages([strict])) == []


def test_few_responses_are_named_on_pages_but_not_drawn() -> None:
    for pages in (figures.confusion_pages, figures.distribution_pages, figures.calibration_pages):
        (page,) = pages([made.few()], {})
        (boxes,) = [one for one in page.axes[0].collections if isinstance(one, PolyCollection)]
        assert len(boxes.get_paths()) == 0
        assert "maps" in words(page)
        assert "fewer than 10" in words(page)


def test_five_hundred_items_take_few_pages_and_each_is_there_once() -> None:
    many = items(500)
    pages = list(figures.confusion_pages(many, {}))
    assert len(pages) == 9
    names = [word for page in pages for word in words(page) if word.startswith("I")]
    assert names == [item.item_id for item in many]
    boxes = [one for one in pages[0].axes[0].collections if isinstance(one, PolyCollection)]
    assert len(boxes[0].get_paths()) == 60 * 9
    assert len(list(figures.agreement_pages(many))) == 5


def test_a_page_of_many_panels_is_drawn_in_a_moment() -> None:
    """Sixty pairs of axes took matplotlib seconds."""
    (page,) = figures.distribution_pages(items(60), {})
    assert len(page.axes) == 1
    assert len(png(page)) > 10_000


def test_failed_items_show_in_colour() -> None:
    (page,) = figures.confusion_pages([made.item()], {("plants", "overall"): "FAIL"})
    (name,) = [text for text in page.axes[0].texts if text.get_text() == "plants"]
    assert name.get_color() == FAIL


def test_the_overview_has_intervals_people_and_marks_few_ratings() -> None:
    barely = made.item("barely", n_rated=50)
    drawn = figures.overview_figure([barely, made.item()], limit=0.7)
    assert "Agreement with the first rater, 2 items" in words(drawn)
    *intervals, limit = drawn.axes[0].lines
    assert limit.get_xdata() == [0.7, 0.7]
    ends = [line.get_xdata() for line in intervals]
    assert [tuple(np.round(pair, 3)) for pair in ends] == [(0.741, 0.841)] * 2
    dots = [one for one in drawn.axes[0].collections if isinstance(one, PathCollection)]
    assert [len(one.get_offsets()) for one in dots] == [1, 1, 2]


def test_human_agreement_on_few_responses_is_not_drawn() -> None:
    people = {name: made.Figure(0.9, 0.8, 1.0, 5) for name in made.BETWEEN_PEOPLE}
    drawn = figures.overview_figure([made.item(human_human=people, n_double=5)])
    marks = drawn.axes[0].collections[-1].get_offsets()
    assert np.isnan(np.asarray(marks)[:, 0]).all()


def heat(pages: Iterator[Figure]) -> np.ndarray:
    (page,) = pages
    return np.ma.filled(page.axes[0].images[0].get_array().astype(float), np.nan)


def test_the_heat_map_has_smd_and_every_large_enough_level() -> None:
    two = (made.group("sex", "f", 0.2, 60), made.group("sex", "x", 0.9, 9))
    found = heat(figures.mean_difference_pages([made.item("a"), made.item("b", subgroups=two)]))
    assert found.shape == (2, 3)  # SMD, first language, f
    assert found[0] == pytest.approx([-0.042, np.nan, 0.2], nan_ok=True)  # largest first
    assert found[1] == pytest.approx([-0.042, 0.12, np.nan], nan_ok=True)


def test_the_heat_map_of_unrated_items_is_no_page() -> None:
    assert list(figures.mean_difference_pages([made.unrated(), made.few()])) == []


def test_cost_is_said_also_where_nothing_was_computed() -> None:
    title = words(figures.cost_figure([made.item()], made.RUN))[0]
    assert "812 MB" in title
    copied = made.replace(made.RUN, peak_rss_mb=None, responses_per_s=None)
    assert png(figures.cost_figure([made.unrated()], copied))


def days(n: int) -> list[date]:
    return [made.DAY - timedelta(days=n - number) for number in range(n)]


def test_drift_panels_are_in_order_and_held_nights_are_marked() -> None:
    nights = days(6)
    points = made.trend("b", dict.fromkeys(nights, 0.4)) + made.trend(
        "a", {**dict.fromkeys(nights[:-1], 0.36), nights[-1]: 0.48}, held=(nights[-1],)
    )
    alone = made.trend("once", {nights[0]: 0.5})
    order = [("b", "overall"), ("a", "overall"), ("once", "overall")]
    (page,) = figures.drift_pages((*points, *alone), order, {("a", "overall"): "FAIL"})
    assert [word for word in words(page) if word in ("a", "b", "once")] == ["b", "a"]
    red = [
        one.get_offsets()
        for one in page.axes[0].collections
        if isinstance(one, PathCollection) and np.allclose(one.get_facecolor()[0][:3], rgb(FAIL))
    ]
    assert [len(offsets) for offsets in red] == [1]


def test_small_administrations_are_left_out_of_drift() -> None:
    points = made.trend("a", dict.fromkeys(days(3), 0.4))
    assert list(figures.drift_pages(points, [], {}, small_cell=101)) == []


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))


def test_a_season_is_drawn_with_its_limit_and_without_gaps_for_nan() -> None:
    nights = days(4)
    series = {"mean": dict(zip(nights, (0.8, float("nan"), 0.78, 0.5), strict=True))}
    drawn = figures.season_figure("Season", "QWK", series, limit=0.7)
    assert len(drawn.axes[0].lines[0].get_ydata()) == 3
    assert {"mean", "limit"} <= set(words(drawn))
    assert png(drawn)
    assert png(figures.season_figure("Season", "QWK", {}))


@pytest.mark.parametrize("name", ["short", "a" * LETTERS, "grade-8-science-item-000017-b"])
def test_long_names_keep_both_ends(name: str) -> None:
    shown = shortened(name)
    assert len(shown) <= LETTERS
    assert shown == name or (name.startswith(shown[:8]) and name.endswith(shown[-8:]))


def test_calibration_of_few_responses_a_tenth_is_joined_and_not_called_too_small() -> None:
    tenths = tuple(made.ConfidenceBin(n / 10, (n + 1) / 10, 4, n / 10, 0.5) for n in range(10))
    sparse = made.item(n_rated=40, calibration=tenths)
    drawn = figures.item_figure(sparse).axes[2].lines[1].get_xydata()
    assert len(drawn) == 3  # twelve, twelve, and sixteen responses
    (page,) = figures.calibration_pages([sparse], {})
    assert "fewer than 10" not in words(page)


def test_the_heat_map_leaves_out_what_would_tell_of_a_small_group() -> None:
    groups = tuple(made.group("school", name, 0.05, n) for name, n in (("a", 60), ("b", 51)))
    (page,) = figures.mean_difference_pages([made.item(subgroups=groups)])  # 9 of 120 are left
    assert "school: a" in words(page)
    assert "school: b" not in words(page)
