"""What a backfill changes, told: on the terminal, and on Prefect's Artifacts page."""

from typing import Any

from prefect.artifacts import create_table_artifact
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from tasks.comparison import ItemComparison, ScoreComparison
from tasks.report_comparison import versions
from tasks.report_text import NOT_DEFINED, counted, figure, share

KEY = "score-comparison"
LONGEST = 40
LONGEST_ARTIFACT = 500
# (heading, whether it is a number) of a line.
HEADINGS = (
    "item", "replaced", "changed", "down", "up", "across\na cut", "furthest", "QWK", "SMD",
    "with people\nold → new", "adapter",
)  # fmt: skip


def comparison_table(found: ScoreComparison, small_cell: int) -> Group:
    """A line per item, most changes first, and what it comes to; 100 columns are enough.

    Returns:
        Something for ``rich.console.Console.print``.
    """
    items = found.replacing
    lines = [Text(sentence) for sentence in sentences(found)]
    if not items:
        return Group(*lines)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    for item in items[:LONGEST]:
        style = "bold" if item.changed else ""
        table.add_row(*(Text(cell, style) for cell in _cells(item, small_cell)))
    more = len(items) - LONGEST
    if more > 0:
        lines.append(Text(f"… and {counted(more, 'item')} with fewer changes in the report"))
    return Group(Text(""), Text("what it replaces of released scores", "bold"), table, *lines)


def sentences(found: ScoreComparison) -> list[str]:
    """What a comparison comes to, in words."""
    if not found.n:
        return ["none of its scores replaces a released one"]
    if not found.changed:
        return [f"all of the {counted(found.n, 'released score')} that it replaces stay the same"]
    points = counted(found.furthest.largest_shift if found.furthest else 0, "point")
    return [
        f"{found.changed:,} of {counted(found.n, 'released score')} "
        f"({share(found.changed_share, 1)}) {'is' if found.changed == 1 else 'are'} another: "
        f"{found.total('up'):,} up, {found.total('down'):,} down, by {points} at most; "
        f"{found.total('n_crossing'):,} across a cut score"
    ]


def publish(found: ScoreComparison, run_id: str, small_cell: int) -> None:
    """Put a comparison on Prefect's Artifacts page: a row per item, the sum in its description."""
    create_table_artifact(
        artifact_rows(found, small_cell),
        key=KEY,
        description=f"{run_id}: {'. '.join(sentences(found))}",
    )


def artifact_rows(found: ScoreComparison, small_cell: int) -> list[dict[str, Any]]:
    """The lines of the terminal's table; of very many the first 500, and the others counted."""
    names = [heading.replace("\n", " ") for heading in HEADINGS]
    items = found.replacing
    rows = [
        dict(zip(names, _cells(item, small_cell), strict=True)) for item in items[:LONGEST_ARTIFACT]
    ]
    more = len(items) - LONGEST_ARTIFACT
    if more > 0 or not items:
        words = f"… and {more:,} more in the report" if items else "nothing released is replaced"
        rows.append({**dict.fromkeys(names, ""), "item": words})
    return rows


def _cells(item: ItemComparison, small_cell: int) -> tuple[str, ...]:
    adapters = f"{versions(item.old_versions)} → {versions(item.new_versions)}"
    if item.n < small_cell:
        return (item.name, f"{item.n:,}", *[NOT_DEFINED] * (len(HEADINGS) - 3), adapters)
    people = NOT_DEFINED
    if item.people.n >= small_cell:
        people = f"{figure(item.people.old_qwk)} → {figure(item.people.new_qwk)}"
    return (
        item.name,
        f"{item.n:,}",
        f"{item.changed:,} ({share(item.changed_share, 1)})",
        f"{item.down:,}",
        f"{item.up:,}",
        f"{item.n_crossing:,}" if item.crossings else NOT_DEFINED,
        f"{item.largest_shift:,}" if item.largest_shift else NOT_DEFINED,
        figure(item.qwk, 3),
        figure(item.smd, 3),
        people,
        adapters,
    )
