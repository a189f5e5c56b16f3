"""The command lines that score."""

from pathlib import Path
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
    _changes(commands)
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
        "score whole seasons, items or dates again, with champions, a version, or as they were",
        "gradeline backfill --season 2025-fall --adapter champion --dry-run",
    )
    backfill.add_argument(
        "--season",
        "--seasons",
        dest="seasons",
        nargs="+",
        action="extend",
        metavar="S",
        help="only these seasons (default: all); may be given several times",
    )
    backfill.add_argument(
        "--items",
        nargs="+",
        action="extend",
        metavar="ID",
        help="only these items (default: all)",
    )
    backfill.add_argument(
        "--from", dest="from_date", type=day, metavar="DATE", help="submitted on this day or later"
    )
    backfill.add_argument(
        "--to", dest="to_date", type=day, metavar="DATE", help="submitted on this day or earlier"
    )
    backfill.add_argument(
        "--adapter",
        type=_adapter,
        default="champion",
        metavar="champion|vN|as-scored-then",
        help="what scores: the champions (default), one version, or for each response the adapter "
        "whose score of it stands",
    )
    backfill.add_argument(
        "--dry-run",
        action="store_true",
        help="count what would be done, estimate time and disk, and change nothing",
    )
    backfill.add_argument(
        "--date",
        dest="administration_date",
        type=day,
        metavar="DATE",
        help="the day the run counts for (default: the last day of the responses it scores)",
    )
    as_json(backfill)


def _adapter(text: str) -> str:
    return text if text in {"champion", "as-scored-then"} else f"v{version(text)}"


def _changes(commands: "Commands") -> None:
    changes = command(
        commands,
        "changes",
        "what a backfill changes of released scores, by item or response by response",
        "gradeline changes backfill-20260312-020001-3f9c --file changes.csv",
    )
    changes.add_argument("run_id", metavar="RUN", help="the run, as `gradeline status` names it")
    changes.add_argument(
        "--file",
        type=Path,
        metavar="FILE",
        help="write every changed score to this .csv or .parquet file, with both adapters",
    )
    as_json(changes)


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
