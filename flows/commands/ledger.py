"""Read the past, take persons and seasons away, keep copies."""

import argparse
import getpass
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from flows.answers import DONE, HELD, answer
from flows.settings import Settings, StudentKeyError

SHOWN = 20


class UnusableStudentError(ValueError):
    """No student is named, or by a pseudonym that cannot be one."""


def _as_of(settings: Settings, options: argparse.Namespace) -> int:
    from flows.as_of import as_of

    found = as_of(
        options.day,
        items=options.items,
        seasons=options.seasons,
        responses=options.responses,
        out=options.out,
        home=settings.home,
    )
    items = ("item_id", "trait", "responses", "released", "held", "human", "mean_final", "adapters")
    runs = ("run_id", "administration_date", "decision", "decided_by", "decided_at")
    scores = ("response_id", "trait", "final_score", "source", "released_score", "released_run")
    shown: list[Any] = [_table(f"scores at the end of {found.day} (UTC)", items, found.items)]
    shown.append(_table("runs, and what had been decided about them", runs, found.runs))
    if found.responses:
        shown.append(
            _table("responses", (*scores, "current_score", "current_run"), found.responses)
        )
    if found.file is not None:
        shown.append(Text(f"{found.rows:,} rows in {found.file}"))
    return answer(options, found, Group(*shown))


def _replay(settings: Settings, options: argparse.Namespace) -> int:
    from flows.replay import replay

    result = replay(options.run_id, home=settings.home)
    found = result.compared
    lines = [
        f"{result.run_id}: {result.differing:,} of {found.rows:,} scores differ",
        f"{found.identical:,} are the same to the last bit, {found.rounding:,} but for rounding "
        f"(raw scores off by {found.largest:.2g} points at most)",
    ]
    if result.scored_by != result.replayed_by:
        lines.append(f"scored by {result.scored_by}, replayed by {result.replayed_by}")
    if result.retired:
        lines.append(f"{result.retired:,} scores have no text any more, and are not replayed")
    if result.wrongly_coded:
        lines.append(f"{result.wrongly_coded:,} responses with a condition code are not blank")
    if found.fields:
        counts = ", ".join(f"{name} {count:,}" for name, count in found.fields.items())
        lines.append(f"values that are not the same bits: {counts}")
    shown: list[Any] = [Text("\n".join(lines))]
    if found.differences:
        columns = ("response_id", "item_id", "trait", "field", "before", "now")
        shown.append(_table("differences", columns, found.differences))
    answer(options, {**vars(result), "differing": result.differing}, Group(*shown))
    return HELD if result.differing else DONE


def _erase(settings: Settings, options: argparse.Namespace) -> int:
    from flows.erase import erase, unfinished

    if options.unfinished:
        wanted = unfinished(home=settings.home)
    else:
        wanted = [(_pseudo_sha256(settings, options), options.by, options.reason)]
    results = [
        erase(
            student,
            options.by or by,
            options.reason or reason,
            also_backups=options.also_backups,
            dry_run=options.dry_run,
            home=settings.home,
        )
        for student, by, reason in wanted
    ]
    shown = Group(*(part for result in results for part in _erased(result, options)))
    answer(options, results, shown if results else "no erasure is unfinished")
    return HELD if any(result.remaining for result in results) else DONE


def _erased(result: Any, options: argparse.Namespace) -> list[Any]:
    counts = ", ".join(f"{count:,} {name}" for name, count in result.counts.items() if count)
    done = f"erased: {counts or 'nothing was left'}"
    there = f"there are {result.responses:,} responses; nothing was changed"
    shown: list[Any] = [Text(there if options.dry_run else done)]
    if result.adapters:
        columns = ("item_id", "trait", "adapter_sha256", "training", "validation")
        shown.append(_table("adapters that have seen responses", columns, result.adapters))
    shown += [Text(f"REMAINS: {sentence}") for sentence in result.remaining]
    return shown + [Text(f"note: {sentence}") for sentence in result.notes]


def _retire(settings: Settings, options: argparse.Namespace) -> int:
    from flows.retention import retire

    result = retire(
        options.season,
        options.by,
        options.reason,
        dry_run=options.dry_run,
        home=settings.home,
    )
    would = "would be " if options.dry_run else ""
    told = (
        f"{result.season}: {result.responses:,} responses {would}retired; "
        f"{result.without_outcome:,} of them nobody has scored"
    )
    answer(options, result, Text("\n".join([told, *(f"note: {note}" for note in result.notes)])))
    return DONE


def _backup(settings: Settings, options: argparse.Namespace) -> int:
    from flows.backup import backup

    made = backup(options.file, home=settings.home)
    told = f"{made.file}\n{made.bytes:,} bytes, sha256 {made.sha256}"
    gone = "".join(f"\nremoved, as its time was over: {path}" for path in made.removed)
    return answer(options, made, escape(told + gone))


def _pseudo_sha256(settings: Settings, options: argparse.Namespace) -> str:
    """The student's tombstone; the real id is read, turned into it, and kept nowhere."""
    from tasks.export_rows import pseudonym
    from tasks.student_rows import hash_of

    key = settings.student_key_file or settings.home / "student.key"
    if not key.exists():
        raise StudentKeyError(f"there is no key at {key}, so no row can be told to be a student's")
    if options.pseudonym is not None:
        given = options.pseudonym.strip().lower()
        if not re.fullmatch("[0-9a-f]{64}", given):
            raise UnusableStudentError(
                "a pseudonym has 64 hexadecimal digits, as responses have it"
            )
        return hash_of(given)
    found = pseudonym(_real_id(options).strip(), settings.student_key())
    if found is None:
        raise UnusableStudentError("no student is named: type the id as the exports have it")
    return hash_of(found)


def _real_id(options: argparse.Namespace) -> str:
    if options.student is not None:
        return str(options.student)
    if options.student_file not in (None, "-"):
        return Path(options.student_file).read_text("utf-8").partition("\n")[0]
    if options.student_file is None and sys.stdin.isatty():
        return getpass.getpass("student id, as exports have it (not shown): ")
    return sys.stdin.readline()


def _table(title: str, columns: Sequence[str], rows: Sequence[Any]) -> Table:
    """The first rows, a column per field; how many more there are stands below."""
    table = Table(box=None, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows[:SHOWN]:
        values = row if isinstance(row, dict) else vars(row)
        table.add_row(*(escape(_cell(values[column])) for column in columns))
    if len(rows) > SHOWN:
        table.caption = f"... and {len(rows) - SHOWN:,} more; --json has them all"
    return table


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple):
        return ", ".join(f"v{version}" for version in value)
    return f"{value:%Y-%m-%d %H:%M}" if hasattr(value, "hour") else str(value)


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "as-of": _as_of,
    "replay": _replay,
    "erase": _erase,
    "retire": _retire,
    "backup": _backup,
}
