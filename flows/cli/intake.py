"""The command lines that bring items and responses in."""

from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.options import administration_date, as_json, command, mapping, season

if TYPE_CHECKING:
    from flows.cli.options import Commands


def add(commands: "Commands") -> None:
    """Add these commands."""
    _items(commands)
    _ingest(commands)


def _items(commands: "Commands") -> None:
    items = command(
        commands,
        "items",
        "add items from a bank, list or infer them",
        "gradeline items add bank.yaml",
    )
    verbs = items.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = command(verbs, "add", "add the items of a YAML bank", "gradeline items add bank.yaml")
    add.add_argument("bank", type=Path, help="the YAML file with a list `items:`")
    as_json(add)
    listing = command(verbs, "list", "list the items and their scales", "gradeline items list")
    as_json(listing)
    infer = command(
        verbs,
        "infer",
        "write a bank inferred from human-scored data, for you to check",
        "gradeline items infer scored.csv > bank.yaml",
    )
    infer.add_argument("file", type=Path, help="an export with human scores")
    mapping(infer)


def _ingest(commands: "Commands") -> None:
    ingest = command(
        commands,
        "ingest",
        "read exports: responses in, refused rows kept with their reason",
        "gradeline ingest exports/*.csv --season 2026-spring",
    )
    ingest.add_argument("files", type=Path, nargs="+", metavar="FILE")
    season(ingest)
    mapping(ingest)
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
    administration_date(ingest)
    as_json(ingest)
