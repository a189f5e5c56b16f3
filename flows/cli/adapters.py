"""The command lines that bring adapters about and choose among them."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from flows.cli.options import administration_date, as_json, command, version, which

if TYPE_CHECKING:
    from flows.cli.options import Commands


def add(commands: "Commands") -> None:
    """Add these commands."""
    _train(commands)
    _distill(commands)
    _promote(commands)
    _import_adapter(commands)


def _train(commands: "Commands") -> None:
    train = command(
        commands,
        "train",
        "train an adapter for every item whose human-scored data is new",
        "gradeline train --seasons 2025-fall",
    )
    which(train)
    train.add_argument(
        "--method",
        choices=["lora", "partial", "compressed"],
        default="lora",
        help="lora edits the backbone's upper half with small matrices; partial gives the item its "
        "own copy of the topmost one to three blocks; compressed distils an edited upper half into "
        "one to three blocks (default: lora)",
    )
    administration_date(train)
    as_json(train)


def _distill(commands: "Commands") -> None:
    distill = command(
        commands,
        "distill",
        "let the champions teach small students, which score a hundred times as fast",
        "gradeline distill --items 042 --method cascade --most-loss 0.005",
    )
    which(distill)
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
    administration_date(distill)
    as_json(distill)


def _loss(text: str) -> float:
    loss = float(text)
    if not 0 <= loss <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no loss of QWK: give 0 to 1")
    return loss


def _promote(commands: "Commands") -> None:
    promote = command(
        commands,
        "promote",
        "make a version of an item's adapter its champion",
        "gradeline promote 042 v3 --by 'A. Turing' --reason 'as good, a hundred times as fast'",
    )
    promote.add_argument("item", metavar="ITEM", help="the item's id")
    promote.add_argument(
        "version", metavar="VERSION", type=version, help="as the registry counts, such as v3"
    )
    promote.add_argument(
        "--trait", default="overall", metavar="T", help="the item's trait (default: overall)"
    )
    promote.add_argument("--by", required=True, metavar="NAME", help="who decides")
    promote.add_argument("--reason", required=True, metavar="TEXT", help="why")
    as_json(promote)


def _import_adapter(commands: "Commands") -> None:
    importing = command(
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
    administration_date(importing)
    as_json(importing)
