"""The ``gradeline`` command line: what there is to say, and nothing that takes time to load."""

import argparse
import atexit
import os
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = "argparse._SubParsersAction[Parser]"

EXIT_CODES = "Exit codes: 0 done, 2 held or refused, 1 error."


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


class Parser(argparse.ArgumentParser):
    """A wrong command line is an error, exit code 1; 2 says that a run is held or refused."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and end the program."""
        self.print_usage(sys.stderr)
        self.exit(1, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = Parser(
        prog="gradeline",
        description="Score written responses in nightly batches: "
        "one shared backbone, a small adapter per item.",
        epilog=f"{EXIT_CODES} `gradeline COMMAND --help` shows an example of each.",
    )
    _home(root, default=None)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _items(commands)
    _ingest(commands)
    _train(commands)
    _distill(commands)
    _promote(commands)
    _import_adapter(commands)
    _nightly(commands)
    _backfill(commands)
    _evaluate(commands)
    _decide(commands, "release", "let a run's scores go out, whatever held them")
    _decide(commands, "hold", "keep a run's scores back, whatever released them")
    _report(commands)
    _season_summary(commands)
    _thresholds(commands)
    _status(commands)
    _demo(commands)
    return root


def _command(commands: "Commands", name: str, summary: str, example: str) -> "Parser":
    command = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _home(command, default=argparse.SUPPRESS)
    return command


def _home(command: argparse.ArgumentParser, default: str | None) -> None:
    command.add_argument(
        "--home",
        type=Path,
        metavar="DIR",
        default=default,
        help="the workspace that holds all state (default: $GRADELINE_HOME, else ./workspace)",
    )


def _items(commands: "Commands") -> None:
    items = _command(
        commands,
        "items",
        "add items from a bank, list or infer them",
        "gradeline items add bank.yaml",
    )
    verbs = items.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = _command(verbs, "add", "add the items of a YAML bank", "gradeline items add bank.yaml")
    add.add_argument("bank", type=Path, help="the YAML file with a list `items:`")
    _json(add)
    listing = _command(verbs, "list", "list the items and their scales", "gradeline items list")
    _json(listing)
    infer = _command(
        verbs,
        "infer",
        "write a bank inferred from human-scored data, for you to check",
        "gradeline items infer scored.csv > bank.yaml",
    )
    infer.add_argument("file", type=Path, help="an export with human scores")
    _mapping(infer)


def _ingest(commands: "Commands") -> None:
    ingest = _command(
        commands,
        "ingest",
        "read exports: responses in, refused rows kept with their reason",
        "gradeline ingest exports/*.csv --season 2026-spring",
    )
    ingest.add_argument("files", type=Path, nargs="+", metavar="FILE")
    _season(ingest)
    _mapping(ingest)
    ingest.add_argument(
        "--explain", action="store_true", help="show how the columns map, and change nothing"
    )
    ingest.add_argument(
        "--infer-items",
        action="store_true",
        help="add items that are not in the bank, with the scale their human scores span",
    )
    ingest.add_argument(
        "--validity",
        action="store_true",
        help="these are validity responses: their human scores are known to be right, and every "
        "night scores them again to see that it still agrees; they are never reported",
    )
    _date(ingest)
    _json(ingest)


def _train(commands: "Commands") -> None:
    train = _command(
        commands,
        "train",
        "train an adapter for every item whose human-scored data is new",
        "gradeline train --seasons 2025-fall",
    )
    _which(train)
    train.add_argument(
        "--method",
        choices=["lora", "partial", "compressed"],
        default="lora",
        help="lora edits the backbone's upper half with small matrices; partial gives the item its "
        "own copy of the topmost one to three blocks; compressed distils an edited upper half into "
        "one to three blocks (default: lora)",
    )
    _date(train)
    _json(train)


def _distill(commands: "Commands") -> None:
    distill = _command(
        commands,
        "distill",
        "let the champions teach small students, which score a hundred times as fast",
        "gradeline distill --items 042 --method cascade --most-loss 0.005",
    )
    _which(distill)
    distill.add_argument(
        "--method",
        choices=["cascade", "student"],
        default="cascade",
        help="cascade: the student scores first, its teacher what the student is not sure enough "
        "of; student: it scores alone (default: cascade)",
    )
    distill.add_argument(
        "--most-loss",
        type=_loss,
        default=0.005,
        metavar="QWK",
        help="QWK that a cascade may lose against its teacher alone (default: 0.005)",
    )
    _date(distill)
    _json(distill)


def _loss(text: str) -> float:
    loss = float(text)
    if not 0 <= loss <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no loss of QWK: give 0 to 1")
    return loss


def _promote(commands: "Commands") -> None:
    promote = _command(
        commands,
        "promote",
        "make a version of an item's adapter its champion",
        "gradeline promote 042 v3 --by 'A. Turing' --reason 'as good, a hundred times as fast'",
    )
    promote.add_argument("item", metavar="ITEM", help="the item's id")
    promote.add_argument(
        "version", metavar="VERSION", type=_version, help="as the registry counts, such as v3"
    )
    promote.add_argument(
        "--trait", default="overall", metavar="T", help="the item's trait (default: overall)"
    )
    promote.add_argument("--by", required=True, metavar="NAME", help="who decides")
    promote.add_argument("--reason", required=True, metavar="TEXT", help="why")
    _json(promote)


def _import_adapter(commands: "Commands") -> None:
    importing = _command(
        commands,
        "import-adapter",
        "take in a classifier trained elsewhere with PEFT, as an item's challenger",
        "gradeline import-adapter peft-folder --item 042 --trait ideas",
    )
    importing.add_argument("folder", type=Path, help="what PEFT's save_pretrained wrote")
    importing.add_argument("--item", required=True, metavar="ID", help="the item it scores")
    importing.add_argument(
        "--trait", default="overall", metavar="T", help="the item's trait (default: overall)"
    )
    _date(importing)
    _json(importing)


def _nightly(commands: "Commands") -> None:
    nightly = _command(
        commands,
        "nightly",
        "ingest the inbox and score every response that waits",
        "gradeline nightly --season 2026-spring",
    )
    _season(nightly)
    _mapping(nightly)
    _date(nightly)
    _json(nightly)


def _backfill(commands: "Commands") -> None:
    backfill = _command(
        commands,
        "backfill",
        "score whole seasons, items or dates, with champions or a pinned version",
        "gradeline backfill --seasons 2025-fall --adapter champion",
    )
    _which(backfill)
    backfill.add_argument("--from", dest="from_date", type=_day, metavar="DATE")
    backfill.add_argument("--to", dest="to_date", type=_day, metavar="DATE")
    backfill.add_argument(
        "--adapter",
        type=_adapter,
        default="champion",
        metavar="champion|vN",
        help="the adapter that scores (default: champion)",
    )
    _date(backfill)
    _json(backfill)


def _evaluate(commands: "Commands") -> None:
    evaluate = _command(
        commands,
        "evaluate",
        "agreement of the current scores with all human scores",
        "gradeline evaluate --seasons 2026-spring",
    )
    _which(evaluate)
    _date(evaluate)
    _json(evaluate)


def _decide(commands: "Commands", name: str, summary: str) -> None:
    decide = _command(
        commands,
        name,
        summary,
        f"gradeline {name} nightly-20260312-020001-3f9c --by 'A. Rater' --reason 'read, memo 7'",
    )
    decide.add_argument("run_id", metavar="RUN", help="the run, as `gradeline status` names it")
    decide.add_argument("--by", required=True, metavar="NAME", help="who decides; it is recorded")
    decide.add_argument("--reason", required=True, metavar="TEXT", help="why; it is recorded")
    _json(decide)


def _report(commands: "Commands") -> None:
    report = _command(
        commands,
        "report",
        "write the report of a run again, from what the warehouse holds",
        "gradeline report nightly-20260312-020001-3f9c",
    )
    report.add_argument("run_id", metavar="RUN", help="the run, as `gradeline status` names it")
    _json(report)


def _season_summary(commands: "Commands") -> None:
    season = _command(
        commands,
        "season",
        "sum up a season's nights: agreement, drift and decisions over time",
        "gradeline season 2026-spring",
    )
    season.add_argument("season", metavar="S", help="the season")
    _json(season)


def _thresholds(commands: "Commands") -> None:
    thresholds = _command(
        commands,
        "thresholds",
        "show the limits in force and what the workspace's own file changes",
        "gradeline thresholds",
    )
    _json(thresholds)


def _status(commands: "Commands") -> None:
    status = _command(commands, "status", "what the last run did", "gradeline status --json")
    status.add_argument("--kind", help="the last run of this kind (nightly, train, ...)")
    _json(status)


def _demo(commands: "Commands") -> None:
    demo = _command(
        commands,
        "demo",
        "train the sample bank, run a night on it and show the result",
        "gradeline --home demo-workspace demo",
    )
    _json(demo)


def _which(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--seasons", nargs="+", metavar="S", help="only these seasons (default: all)"
    )
    command.add_argument("--items", nargs="+", metavar="ID", help="only these items (default: all)")


def _season(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--season",
        metavar="S",
        help="season of rows that name none (default: $GRADELINE_SEASON)",
    )


def _mapping(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mapping", type=Path, metavar="YAML", help="a file that says which column is which"
    )


def _date(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--date",
        dest="administration_date",
        type=_day,
        metavar="DATE",
        help="the day the run counts for, as 2026-03-12 (default: today, UTC)",
    )


def _json(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the answer as JSON")


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date like 2026-03-12") from None


def _adapter(text: str) -> int | str:
    return text if text == "champion" else _version(text)


def _version(text: str) -> int:
    number = text.removeprefix("v")
    if not number.isdecimal() or int(number) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no version such as v3")
    return int(number)
