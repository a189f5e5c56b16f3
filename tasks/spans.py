"""Runs of equal keys in sorted rows."""

from collections.abc import Hashable, Sequence


def spans(*columns: Sequence[Hashable]) -> list[tuple[int, int]]:
    """(start, stop) of every run of rows whose values are equal in all columns."""
    keys = list(zip(*columns, strict=True))
    starts = [row for row in range(len(keys)) if row == 0 or keys[row] != keys[row - 1]]
    return list(zip(starts, [*starts[1:], len(keys)], strict=False))
