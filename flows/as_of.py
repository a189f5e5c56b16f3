"""The past as it stood on a day, read from the ledger."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from flows.settings import load_settings
from warehouse import db, ledger
from warehouse.ledger import PastItem, PastRun
from warehouse.parts import whole_file


class UnknownFormatError(ValueError):
    """A file is asked for in a format that is not written."""


@dataclass(frozen=True)
class AsOf:
    """What stood at the end of a day.

    Attributes:
        day: the day, in UTC.
        items: by item and trait.
        runs: with the decision that stood.
        responses: those that were asked for by id.
        file: where every response's scores were written, if that was asked for.
        rows: how many.
    """

    day: date
    items: tuple[PastItem, ...]
    runs: tuple[PastRun, ...]
    responses: tuple[dict[str, Any], ...]
    file: Path | None
    rows: int


def as_of(
    day: date,
    *,
    items: Sequence[str] | None = None,
    seasons: Sequence[str] | None = None,
    responses: Sequence[str] | None = None,
    out: Path | None = None,
    home: Path | None = None,
) -> AsOf:
    """Read what was scored, released and decided by the end of a day; nothing is changed.

    Args:
        day: the day (UTC); what was committed or decided on it counts.
        items: only these; all where not given.
        seasons: only these; all where not given.
        responses: only these, each with its scores; all, and counted only, where not given.
        out: a file for every response's scores, ``.csv`` or ``.parquet``; not there yet.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownFormatError: the file is to be neither CSV nor Parquet.
        FileExistsError: the file is there already.
    """
    settings = load_settings(home)
    if out is not None:
        _check(out)
    with db.connect(settings.warehouse, read_only=True) as connection:
        found, runs = ledger.look_back(
            connection, day, items=items, seasons=seasons, responses=responses
        )
        rows = ledger.past_rows(connection) if responses or out else None
    if out is not None and rows is not None:
        _write(out, rows)
    shown = rows.to_pylist() if responses and rows is not None else []
    count = sum(item.responses for item in found)
    return AsOf(day, tuple(found), tuple(runs), tuple(shown), out, count)


def _check(out: Path) -> None:
    if out.suffix.lower() not in (".csv", ".parquet"):
        raise UnknownFormatError(f"{out} is neither .csv nor .parquet: name it one or the other")
    if out.exists():
        raise FileExistsError(f"{out} exists already: name a new file")


def _write(out: Path, rows: pa.Table) -> None:
    with whole_file(out.resolve()) as temporary:
        if out.suffix.lower() == ".csv":
            pyarrow.csv.write_csv(rows, temporary)
        else:
            pq.write_table(rows, temporary, compression="zstd")
