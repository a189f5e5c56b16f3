"""Markdown that shows names as they are."""

from collections.abc import Iterable, Sequence

# Marks of Markdown and of HTML, which an item's id or a file's name may hold. Not every reader of
# Markdown takes a backslash before those of HTML.
_MARKS = str.maketrans(
    {mark: f"\\{mark}" for mark in "\\`*_{}[]()#|~$!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)


def escaped(value: object) -> str:
    """A value as text on one line that no reader of Markdown takes for markup."""
    return " ".join(str(value).translate(_MARKS).split())


def table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; cells are escaped."""
    lines = [headings, ["---"] * len(headings), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
