"""What the command lines share: how a command is added, options that several have, values."""

import argparse
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

EXIT_CODES = "Exit codes: 0 done, 2 held or refused, 1 error."


class Parser(argparse.ArgumentParser):
    """A wrong command line is an error, exit code 1; 2 says that a run is held or refused."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end the program."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def command(commands: "Commands", name: str, summary: str, example: str) -> "Parser":
    """Add a command (or a verb of one) with its summary and an example."""
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    home(command, default=argparse.SUPPRESS)
    return command


def home(command: argparse.ArgumentParser, default: str | None) -> None:
    """Add ``--home``."""
    command.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        default=default,
        help="the workspace that holds all state (default: $GRADELINE_HOME, else ./workspace)",
    )


def which(command: argparse.ArgumentParser) -> None:
    """Add the choice of seasons and items."""
    command.add_argument(
        "--seasons", nargs="+", metavar="S", help="only these seasons (default: all)"
    )
    command.add_argument("--items", nargs="+", metavar="ID", help="only these items (default: all)")


def season(command: argparse.ArgumentParser) -> None:
    """Add the season of rows that name none."""
    command.add_argument(
        "--season",
        metavar="S",
        help="season of rows that name none (default: $GRADELINE_SEASON)",
    )


def mapping(command: argparse.ArgumentParser) -> None:
    """Add the mapping file."""
    command.add_argument(
        "--mapping", type=Path, metavar="YAML", help="a file that says which column is which"
    )


def administration_date(command: argparse.ArgumentParser) -> None:
    """Add the day that the run counts for."""
    command.add_argument(
        "--date",
        dest="administration_date",
        type=day,
        metavar="DATE",
        help="the day the run counts for, as 2026-03-12 (default: today, UTC)",
    )


def as_json(command: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    command.add_argument("--json", action="store_true", help="print the answer as JSON")


def day(text: str) -> date:
    """A date as a person writes it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date like 2026-03-12") from None


def version(text: str) -> int:
    """A version of an adapter, such as v3."""
    number = text.removeprefix("v")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no version such as v3")
    return int(number)
