"""The command lines that score."""

from typing import TYPE_CHECKING

from flows.cli.options import (
    administration_date,
    as_json,
    command,
    day,
    mapping,
    season,
    version,
    which,
)

if TYPE_CHECKING:
    from flows.cli.options import Commands


def add(commands: "Commands") -> None:
    """Add these commands."""
    _nightly(commands)
    _backfill(commands)
    _evaluate(commands)
    _demo(commands)


def _nightly(commands: "Commands") -> None:
    nightly = command(
        commands,
        "nightly",
        "ingest the inbox and score every response that waits",
        "gradeline nightly --season 2026-spring",
    )
    season(nightly)
    mapping(nightly)
    administration_date(nightly)
    as_json(nightly)


def _backfill(commands: "Commands") -> None:
    backfill = command(
        commands,
        "backfill",
        "score whole seasons, items or dates, with champions or a pinned version",
        "gradeline backfill --seasons 2025-fall --adapter champion",
    )
    which(backfill)
    backfill.add_argument("--from", dest="from_date", type=day, metavar="DATE")
    backfill.add_argument("--to", dest="to_date", type=day, metavar="DATE")
    backfill.add_argument(
        "--adapter",
        type=_adapter,
        default="champion",
        metavar="champion|vN",
        help="the adapter that scores (default: champion)",
    )
    administration_date(backfill)
    as_json(backfill)


def _adapter(text: str) -> int | str:
    return text if text == "champion" else version(text)


def _evaluate(commands: "Commands") -> None:
    evaluate = command(
        commands,
        "evaluate",
        "agreement of the current scores with all human scores",
        "gradeline evaluate --seasons 2026-spring",
    )
    which(evaluate)
    administration_date(evaluate)
    as_json(evaluate)


def _demo(commands: "Commands") -> None:
    demo = command(
        commands,
        "demo",
        "train the sample bank, run a night on it and show the result",
        "gradeline --home demo-workspace demo",
    )
    as_json(demo)
