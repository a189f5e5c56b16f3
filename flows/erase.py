"""A person's right to be erased: every trace goes, a tombstone stays."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from flows.backup import take
from flows.retention import clear_between_runs
from flows.scoring import tracking_of
from flows.settings import Settings, load_settings
from models.trunk_cache import TrunkCache
from tasks import erasing as traces
from tasks import run_log, tracking
from tasks.erasing import InboxFiles
from tasks.student_rows import Sought
from tasks.tracking import TrackingError
from tasks.workspace import locked
from warehouse import backup, db, erasing, parts, text_erasing, texts
from warehouse.compacting import compact
from warehouse.erasing import SeenBy


class UnknownStudentError(LookupError):
    """There is nothing of the student that was named."""


class UnfinishedErasureError(RuntimeError):
    """An erasure has begun and could not be ended."""


@dataclass(frozen=True)
class EraseResult:
    """What an erasure has removed, and what is left for people to do.

    Attributes:
        pseudo_sha256: the tombstone: SHA-256 of the student's pseudonym.
        responses: that there were.
        counts: rows and files that were removed, by where they were.
        adapters: that have learned from the student's responses; what they learned stays.
        remaining: where the student still is, and what to do about it.
        notes: what else a person should know.
    """

    pseudo_sha256: str
    responses: int
    counts: dict[str, int]
    adapters: tuple[SeenBy, ...]
    remaining: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Known:
    """What is known of a student before anything is removed."""

    sought: Sought
    rows: pa.Table
    adapters: tuple[SeenBy, ...]
    inbox: InboxFiles
    began: datetime


def erase(
    pseudo_sha256: str,
    by: str,
    reason: str,
    *,
    also_backups: bool = False,
    dry_run: bool = False,
    home: Path | None = None,
) -> EraseResult:
    """Remove a student from responses, warehouse, caches, exports and MLflow.

    First the tombstone goes up, so that nothing of the student is taken in, scored or trained on
    meanwhile. The rows by which the rest is found go last. Every step can be repeated: killed on
    the way, the same command goes on.

    Args:
        pseudo_sha256: SHA-256 of the student's pseudonym, see ``tasks.student_rows.hash_of``; no
            other name of the student is needed, and none is kept.
        by: who asks for it; it is recorded.
        reason: why; it is recorded.
        also_backups: put a fresh backup in the place of those in the workspace.
        dry_run: say what there is, and change nothing.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownStudentError: there is nothing of the student, and never was.
        UnsignedErasureError: no name, or no reason.
        UnfinishedErasureError: MLflow cannot be reached; what it takes to go on is kept.
    """
    settings = load_settings(home)
    with locked(settings.home, "erase", wait_s=settings.lock_wait_s):
        known = _look_up(settings, pseudo_sha256)
        counts: dict[str, int] = {}
        if not dry_run:
            _put_up(settings, pseudo_sha256, by, reason)
            counts = _remove(settings, known)
            if also_backups:
                counts["backups"] = _renew_backups(settings)
        remaining, notes = _remaining(settings, known), _notes(settings, known)
    return EraseResult(
        pseudo_sha256, len(known.rows), counts, known.adapters, tuple(remaining), tuple(notes)
    )


def unfinished(home: Path | None = None) -> list[tuple[str, str, str]]:
    """Erasures to go on with: those that were killed, and those that a restored backup undid.

    Returns:
        pseudo_sha256, who asked for it and why.
    """
    settings = load_settings(home)
    signed = {one["pseudo_sha256"]: (one["by"], one["reason"]) for one in _tombstones(settings)}
    with db.connect(settings.warehouse, read_only=True) as connection:
        begun, through = set(erasing.unfinished(connection)), erasing.known(connection)
        back = {
            one
            for one in signed
            if one not in through or len(erasing.responses_of(connection, one))
        }
    return [(one, *signed.get(one, ("unknown", "unknown"))) for one in sorted(begun | back)]


def _look_up(settings: Settings, pseudo_sha256: str) -> _Known:
    with db.connect(settings.warehouse, read_only=True) as connection:
        rows = erasing.responses_of(connection, pseudo_sha256)
        adapters = tuple(erasing.seen_by(connection, pseudo_sha256))
        last = erasing.last_erasure(connection, pseudo_sha256)
    ids = frozenset(rows["response_id"].to_pylist())
    sought = Sought(pseudo_sha256, settings.student_key(), ids)
    inbox = traces.search_inbox(settings.inbox, sought, set(rows["export_sha256"].to_pylist()))
    erased = last is not None or pseudo_sha256 in _erased(settings)
    if not len(rows) and not inbox.settled and not inbox.waiting and not erased:
        raise UnknownStudentError(
            "there is no response and no file of this student: give the id as the exports have it, "
            "and see that the key is the one that the exports were ingested with"
        )
    return _Known(sought, rows, adapters, inbox, datetime.now(UTC))


def _put_up(settings: Settings, pseudo_sha256: str, by: str, reason: str) -> None:
    """The tombstone, in the warehouse and beside it: a restored backup would know of none."""
    with db.connect(settings.warehouse) as connection:
        erasing.begin(connection, pseudo_sha256, by, reason)
    if pseudo_sha256 not in _erased(settings):
        there = _tombstones(settings)
        new = {"pseudo_sha256": pseudo_sha256, "by": by.strip(), "reason": reason.strip()}
        parts.write_bytes(settings.tombstones, json.dumps([*there, new], indent=2).encode())


def _remove(settings: Settings, known: _Known) -> dict[str, int]:
    student, settled = known.sought.pseudo_sha256, known.inbox.settled
    counts = {"hidden states": _erase_states(settings, known)}
    counts["texts"] = text_erasing.erase_texts(
        settings.responses, student, known.sought.response_ids
    )
    clear_between_runs(settings)
    counts["mlflow rows"] = _erase_logged(settings, known)
    with db.connect(settings.warehouse) as connection:
        erasing.forget_rejects(
            connection, [(one.sha256, row) for one in settled for row in one.rows]
        )
    traces.remove_files(settled)
    counts["files"] = len(settled)
    with db.connect(settings.warehouse) as connection:
        counts |= erasing.remove(connection, student)
    compact(settings.warehouse)
    with db.connect(settings.warehouse) as connection:
        erasing.finish(connection, student, counts)
    return counts


def _erase_states(settings: Settings, known: _Known) -> int:
    found = texts.find_texts(settings.responses, known.rows) if len(known.rows) else {}
    return traces.erase_states(
        TrunkCache(settings.trunk_cache, round(settings.trunk_cache_gb * 1e9)),
        list(found.values()),
        backbone=settings.backbone,
        max_tokens=settings.max_tokens,
        precision=settings.precision,
        device=settings.device,
        adapters=settings.adapters,
    )


def _erase_logged(settings: Settings, known: _Known) -> int:
    try:
        return tracking.erase_rows(
            tracking_of(settings), run_log.EXPERIMENT, known.sought.response_ids
        )
    except TrackingError as error:
        raise UnfinishedErasureError(
            f"the texts are gone, and the rest is not: {error}. Then erase the same student again, "
            "or say `gradeline erase --unfinished`"
        ) from error


def _renew_backups(settings: Settings) -> int:
    """A fresh backup first, so that there is always one; returns how many old ones went."""
    old = _backups(settings)
    take(settings, backup.free_path(settings.warehouse, "after-erasure"))
    for path in old:
        path.unlink()
    return len(old)


def _remaining(settings: Settings, known: _Known) -> Iterator[str]:
    for file in known.inbox.waiting:
        yield (
            f"{file.path.relative_to(settings.home)} holds {len(file.rows)} rows and waits to be "
            "ingested: take them out of it, or ingest it, where they are refused, and erase again"
        )
    if known.inbox.unclear:
        names = [str(file.path.relative_to(settings.home)) for file in known.inbox.unclear]
        yield (
            f"{len(names)} files hold rows that cannot be read, so look for the student yourself, "
            f"or remove them: {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        )


def _notes(settings: Settings, known: _Known) -> Iterator[str]:
    if known.adapters:
        items = " ".join(sorted({one.item_id for one in known.adapters}))
        yield (
            f"{len(known.adapters)} adapters have learned from responses of this student and keep "
            f"what they learned: `gradeline train --items {items}` makes new ones without them, "
            "`gradeline promote` puts these in their place"
        )
    for path in _backups(settings):
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) < known.began:
            yield _until(settings, path)
    with db.connect(settings.warehouse, read_only=True) as connection:
        outside = [one.file for one in db.backups(connection) if Path(one.file).is_absolute()]
    if outside:
        yield f"copies were made outside of the workspace: {', '.join(outside)}; remove them there"
    yield (
        "files that were ingested from other folders than the inbox, copies of this folder and "
        "scoring hosts' own caches are not reached from here"
    )


def _until(settings: Settings, path: Path) -> str:
    made = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
    return (
        f"{path.relative_to(settings.home)} was made on {made} and holds the student until a "
        f"backup is taken after {made + timedelta(days=settings.backup_days)}, or until you say "
        "--also-backups"
    )


def _backups(settings: Settings) -> list[Path]:
    return sorted((settings.home / backup.FOLDER).glob("*.duckdb"))


def _erased(settings: Settings) -> set[str]:
    return {one["pseudo_sha256"] for one in _tombstones(settings)}


def _tombstones(settings: Settings) -> list[dict[str, str]]:
    """Those beside the warehouse."""
    if not settings.tombstones.exists():
        return []
    found: list[dict[str, str]] = json.loads(settings.tombstones.read_text("utf-8"))
    return found
