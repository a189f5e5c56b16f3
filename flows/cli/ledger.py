"""The command lines that read the past, take persons and seasons away, and keep copies."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.options import as_json, command, day, which

if TYPE_CHECKING:
    import argparse

    from flows.cli.options import Commands


def add(commands: "Commands") -> None:
    """Add these commands."""
    _as_of(commands)
    _replay(commands)
    _erase(commands)
    _retire(commands)
    _backup(commands)


def _as_of(commands: "Commands") -> None:
    past = command(
        commands,
        "as-of",
        "read scores, decisions and adapters as they stood at the end of a day (UTC)",
        "gradeline as-of 2026-03-12 --items 042 --out past.parquet",
    )
    past.add_argument("day", type=day, metavar="DATE", help="such as 2026-03-12")
    which(past)
    past.add_argument(
        "--responses", nargs="+", metavar="ID", help="only these, and show each of their scores"
    )
    past.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write every response's scores to a new file, .csv or .parquet",
    )
    as_json(past)


def _replay(commands: "Commands") -> None:
    replay = command(
        commands,
        "replay",
        "score a run's responses again as they were scored then, and show every difference",
        "gradeline replay nightly-20260312-020001-3f9c",
    )
    replay.add_argument("run_id", metavar="RUN", help="the run, as `gradeline status` names it")
    as_json(replay)


def _erase(commands: "Commands") -> None:
    erase = command(
        commands,
        "erase",
        "remove a student everywhere, and refuse the same rows from now on",
        "gradeline erase --student-file - --by 'A. Rater' --reason 'request 12' < id.txt",
    )
    who = erase.add_mutually_exclusive_group()
    who.add_argument(
        "student",
        nargs="?",
        metavar="STUDENT",
        help="the real id, as exports have it; where nothing is given it is asked for, which keeps "
        "it out of the shell's history",
    )
    who.add_argument(
        "--student-file",
        metavar="FILE",
        help="read the real id from a file's first line; - is stdin",
    )
    who.add_argument("--pseudonym", metavar="HEX", help="as the warehouse has it")
    who.add_argument(
        "--unfinished",
        action="store_true",
        help="go on with erasures that were killed, and repeat those that a restored backup undid",
    )
    signed(erase)
    erase.add_argument(
        "--also-backups",
        action="store_true",
        help="put a fresh backup in the place of all that are in the workspace",
    )
    dry_run(erase)
    as_json(erase)


def _retire(commands: "Commands") -> None:
    retire = command(
        commands,
        "retire",
        "remove a season's texts and pseudonyms, and keep its scores",
        "gradeline retire 2019-spring --by 'A. Rater' --reason 'retention, five years'",
    )
    retire.add_argument("season", metavar="SEASON", help="the season")
    signed(retire)
    dry_run(retire)
    as_json(retire)


def _backup(commands: "Commands") -> None:
    backup = command(
        commands,
        "backup",
        "copy the warehouse, whole or not at all",
        "gradeline backup /mnt/backups/gradeline-20260312.duckdb",
    )
    backup.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a new file (default: in <home>/backups)"
    )
    as_json(backup)


def signed(command: "argparse.ArgumentParser") -> None:
    """Add who asks for something, and why."""
    command.add_argument("--by", default="", metavar="NAME", help="who asks for it; it is recorded")
    command.add_argument("--reason", default="", metavar="TEXT", help="why; it is recorded")


def dry_run(command: "argparse.ArgumentParser") -> None:
    """Add ``--dry-run``."""
    command.add_argument(
        "--dry-run", action="store_true", help="say what there is, and change nothing"
    )
