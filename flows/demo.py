"""The sample bank from nothing to a scored night."""

import shutil
from datetime import date
from pathlib import Path

from rich.console import Console

from flows.ingest import ingest
from flows.nightly import nightly
from flows.scoring import RunResult
from flows.settings import SERVING, Settings
from flows.train import train
from tasks import item_bank
from tasks.workspace import WorkspaceBusyError, locked
from warehouse import db, items

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MARKER = ".demo"
# Prefect's own state, the lock held now, and what `gradeline serve` is at.
KEPT = {"prefect", ".lock", ".lock.holder", "logs", SERVING}
NIGHT = date(2026, 3, 12)


def demo(settings: Settings) -> RunResult:
    """Train adapters for the sample items, drop a night's exports into the inbox, score them.

    The demo's workspace is emptied first, so that each demo shows a whole night.

    Raises:
        FileNotFoundError: there is no ``examples/`` beside the program.
        WorkspaceBusyError: the workspace holds something that no demo made.
    """
    if not EXAMPLES.is_dir():
        raise FileNotFoundError(f"{EXAMPLES} is missing: run the demo from a clone of gradeline")
    say = Console(stderr=True).print
    _empty(settings.home)
    say("[bold]1/4[/bold] items from examples/bank.yaml")
    bank = item_bank.read_bank(EXAMPLES / "bank.yaml")
    with db.connect(settings.warehouse) as connection:
        items.add_items(connection, item_bank.item_rows(bank))
    say("[bold]2/4[/bold] human-scored responses from examples/training")
    scored = sorted(path for path in (EXAMPLES / "training").iterdir() if path.is_file())
    ingest(scored, season="2025-fall", home=settings.home)
    say("[bold]3/4[/bold] one adapter per item and trait")
    train(home=settings.home)
    say("[bold]4/4[/bold] the night: inbox, plan, score, commit, log, report")
    shutil.copytree(EXAMPLES / "inbox", settings.inbox, dirs_exist_ok=True)
    return nightly(season="2026-spring", administration_date=NIGHT, home=settings.home)


def _is_demo(home: Path) -> bool:
    """Whether a demo made this workspace, and nothing but the sample's exports is in it."""
    ours = {path.name for path in EXAMPLES.rglob("*")}
    warehouse = home / "warehouse.duckdb"
    if not (home / MARKER).exists():
        return False
    if not warehouse.exists():
        return True
    with db.connect(warehouse) as connection:
        return {row["file"] for row in db.rows(connection, "exports_files")} <= ours


def _empty(home: Path) -> None:
    with locked(home, "demo", wait_s=0):
        found = [entry for entry in home.iterdir() if entry.name not in KEPT]
        if found and not _is_demo(home):
            raise WorkspaceBusyError(
                f"{home} holds something else than a demo: give another folder with --home"
            )
        (home / MARKER).touch()
        for entry in found:
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != MARKER:
                entry.unlink()
