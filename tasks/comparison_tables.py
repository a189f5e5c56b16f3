"""A comparison as rows and figures: for MLflow, Prefect and scripts; no response is named."""

import math
from collections.abc import Iterable
from typing import Any

from tasks.comparison import ItemComparison, ScoreComparison

Row = dict[str, Any]


def comparison_rows(found: ScoreComparison, small_cell: int) -> list[Row]:
    """A row per item that replaces released scores, those with most changes first.

    Figures over fewer scores than ``small_cell`` are None.
    """
    return [_row(item, small_cell) for item in found.replacing]


def old_by_new_rows(found: ScoreComparison, small_cell: int) -> list[Row]:
    """How many released scores went from which point to which, a row for each pair there is."""
    return [
        {
            "item_id": item.item_id,
            "trait": item.trait,
            "old_score": item.score_min + old,
            "new_score": item.score_min + new,
            "n": n,
        }
        for item in found.replacing
        if item.n >= small_cell
        for old, counts in enumerate(item.table)
        for new, n in enumerate(counts)
        if n
    ]


def old_run_rows(found: ScoreComparison) -> list[Row]:
    """Whose scores would be replaced."""
    return [
        {"run_id": one.old_run_id, "released": one.released, "scores": one.n}
        for one in found.old_runs
    ]


def comparison_totals(found: ScoreComparison | None) -> Row | None:
    """What changes over all items; None where a run was not compared."""
    if found is None:
        return None
    return {
        "replaced": found.n,
        "changed": found.changed,
        "changed_share": found.changed_share,
        "up": found.total("up"),
        "down": found.total("down"),
        "crossing": found.total("n_crossing"),
        "largest_shift": found.furthest.largest_shift if found.furthest else 0,
        "first": found.total("first"),
        "unreleased": found.total("unreleased"),
        "later": found.total("later"),
    }


def comparison_metrics(found: ScoreComparison | None, small_cell: int) -> dict[str, float | None]:
    """The same under names that MLflow charts, with the mean QWK of old and new over items."""
    totals = comparison_totals(found)
    if found is None or totals is None:
        return {}
    shown = [item.smd for item in found.replacing if item.n >= small_cell]
    smd = max((abs(value) for value in shown if not math.isnan(value)), default=None)
    return {
        **{f"replaced/{name}": value for name, value in totals.items() if name != "replaced"},
        "replaced/n": found.n,
        "replaced/qwk_mean_over_items": found.mean_qwk(small_cell),
        "replaced/smd_largest_over_items": smd,
    }


def _row(item: ItemComparison, small_cell: int) -> Row:
    people = item.people
    figures = {
        "changed": item.changed,
        "changed_share": item.changed_share,
        "exact": item.exact,
        "qwk": item.qwk,
        "smd": item.smd,
        "up": item.up,
        "down": item.down,
        "crossing": item.n_crossing,
        "crossings": _crossings(item),
        "largest_shift": item.largest_shift,
    }
    with_people = {
        "qwk_human_old": people.old_qwk,
        "qwk_human_new": people.new_qwk,
        "qwk_gain_low": people.low,
        "qwk_gain_high": people.high,
        "exact_human_old": people.old_exact,
        "exact_human_new": people.new_exact,
        "nearer": people.nearer,
        "farther": people.farther,
    }
    return {
        "item_id": item.item_id,
        "trait": item.trait,
        "n": item.n,
        **_hidden(figures, item.n < small_cell),
        "n_rated": people.n,
        **_hidden(with_people, people.n < small_cell),
        "old_versions": _joined(item.old_versions),
        "new_versions": _joined(item.new_versions),
    }


def _hidden(figures: Row, few: bool) -> Row:
    """None for what rests on few, and for what is not defined."""
    return {
        name: None if few or (isinstance(value, float) and math.isnan(value)) else value
        for name, value in figures.items()
    }


def _crossings(item: ItemComparison) -> str:
    """Each cut score with who crosses it, such as "2: 9 up, 4 down"."""
    told = (f"{one.cut_score}: {one.upwards} up, {one.downwards} down" for one in item.crossings)
    return "; ".join(told)


def _joined(versions: Iterable[int]) -> str:
    return ", ".join(f"v{version}" for version in versions)
