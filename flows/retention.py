"""A season has had its time: its texts and pseudonyms go, its scores stay."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from flows.settings import Settings, load_settings
from tasks.encodings import sha256_of
from tasks.student_rows import export_files
from tasks.workspace import locked
from warehouse import db, erasing, text_erasing
from warehouse.compacting import compact
from warehouse.erasing import SeasonExport
from warehouse.parts import clear_unfinished
from warehouse.storage import Location

SCRATCH = ".replay-"  # folders of replays, with response ids and scores in them


@dataclass(frozen=True)
class RetireResult:
    """What a retirement has taken away.

    Attributes:
        season: the season.
        responses: whose text and pseudonym went.
        without_outcome: of these, never scored by anybody, which nobody can do now.
        files: Parquet files and ingested exports that were removed.
        notes: what is left for a person to do, a sentence each.
    """

    season: str
    responses: int
    without_outcome: int
    files: int
    notes: tuple[str, ...]


def retire(
    season: str, by: str, reason: str, *, dry_run: bool = False, home: Path | None = None
) -> RetireResult:
    """Remove the texts and pseudonyms of a season; scores, human scores and subgroups stay.

    What was retired is neither scored nor trained on again. Killed on the way, the same command
    goes on.

    Args:
        season: the season.
        by: who asks for it; it is recorded.
        reason: why; it is recorded.
        dry_run: count, and change nothing.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownSeasonError: there is no response of that season.
        UnsignedErasureError: no name, or no reason.
    """
    settings = load_settings(home)
    if dry_run:
        return _counted(settings, season)
    with locked(settings.home, "retire", wait_s=settings.lock_wait_s):
        with db.connect(settings.warehouse) as connection:
            there = erasing.retire(connection, season, by, reason)
            exports = erasing.season_exports(connection, season)
        files = text_erasing.remove_season(settings.responses, season)
        clear_between_runs(settings)
        shutil.rmtree(settings.trunk_cache, ignore_errors=True)  # of whose texts, nobody can tell
        files += _remove_exports(settings, exports)
        compact(settings.warehouse)
        with db.connect(settings.warehouse) as connection:
            erasing.finish_retirement(connection, season)
    return RetireResult(
        season, there.responses, there.without_outcome, files, tuple(_notes(settings, exports))
    )


def clear_between_runs(settings: Settings) -> None:
    """Remove what only a run in progress needs, and none is: plans, parts, what was staged."""
    clear_unfinished(settings.plans)
    left: list[Location] = list(settings.plans.glob("*.parquet"))
    for path in left:
        path.unlink(missing_ok=True)
    for folder in settings.home.glob(f"{SCRATCH}*"):
        shutil.rmtree(folder, ignore_errors=True)
    text_erasing.remove_spilled(settings.warehouse)


def _counted(settings: Settings, season: str) -> RetireResult:
    with db.connect(settings.warehouse, read_only=True) as connection:
        there = erasing.season(connection, season)
        exports = erasing.season_exports(connection, season)
    return RetireResult(
        season, there.responses, there.without_outcome, 0, tuple(_notes(settings, exports))
    )


def _remove_exports(settings: Settings, exports: list[SeasonExport]) -> int:
    """Remove the ingested files of which every response is retired; returns how many."""
    whole = {export.export_sha256 for export in exports if export.whole}
    gone = [path for path in export_files(settings.inbox / "done") if sha256_of(path) in whole]
    for path in gone:
        path.unlink()
    return len(gone)


def _notes(settings: Settings, exports: list[SeasonExport]) -> list[str]:
    mixed = [export.file for export in exports if not export.whole]
    notes = []
    if mixed:
        notes.append(
            f"{len(mixed)} exports brought responses of other seasons, too, and stay where they "
            f"are: {', '.join(mixed[:5])}; remove them by hand"
        )
    kept = sorted((settings.home / "backups").glob("*.duckdb"))
    if kept:
        notes.append(
            f"{len(kept)} backups in {settings.home / 'backups'} still hold the pseudonyms, until "
            f"they are {settings.backup_days} days old and the next one is taken"
        )
    return notes
