"""The ``gradeline`` command line: what there is to say, and nothing that takes time to load."""

import argparse
import atexit
import os
import sys
from typing import NoReturn

from flows.cli import adapters, intake, ledger, results, scoring, serving
from flows.cli.options import EXIT_CODES, Parser, home


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its flow is imported only now.

    Returns:
        0 done, 2 held or refused, 1 error.
    """
    options = parser().parse_args(arguments)
    from flows import commands

    return commands.run(options)


def entry() -> NoReturn:
    """Run the command line as a program.

    When all is done and Python clears up, libraries complain on the error stream about their own
    objects. Handlers run in reverse order: this one last, after everything that is worth reading.
    """
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno()))
    sys.exit(main())


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = Parser(
        prog="gradeline",
        description="Score written responses in nightly batches: "
        "one shared backbone, a small adapter per item.",
        epilog=f"{EXIT_CODES} `gradeline COMMAND --help` shows an example of each.",
    )
    home(root, default=None)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (intake, adapters, scoring, results, ledger, serving):
        group.add(commands)
    return root
