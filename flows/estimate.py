"""What a backfill would do and take, without a lock and without a change."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow.compute as pc

from flows.scoring import NothingSelectedError, computed_with
from flows.settings import Settings
from models.devices import device_named
from models.kernels import resolved
from tasks.estimate import BackfillEstimate, estimated
from tasks.planning import Selection, planned_rows
from tasks.tracking import RegisteredAdapter
from warehouse import db, estimates


def estimate_backfill(
    settings: Settings, adapters: Sequence[RegisteredAdapter], selection: Selection, adapter: str
) -> BackfillEstimate:
    """Plan a backfill, count what it would do, and estimate time and disk.

    Args:
        settings: the settings.
        adapters: that would score.
        selection: which responses.
        adapter: how the adapters were asked for.

    Raises:
        NothingSelectedError: the selection holds no response.
    """
    means = computed_with(settings, resolved(settings.precision, device_named(settings.device)))
    with db.connect(settings.warehouse, read_only=True) as connection:
        rows = planned_rows(connection, "", adapters, selection, **means)
        counts = estimates.counts(connection, rows, selection.bound())
        rates = estimates.rates(connection)
    if not counts:
        raise NothingSelectedError("the selection holds no response: look at seasons and dates")
    needed = set(pc.unique(rows["adapter_sha256"]).to_pylist())
    return BackfillEstimate(
        adapter=adapter,
        items=tuple(estimated(counts, rates)),
        responses=len(pc.unique(rows["response_id"])),
        timed=sum(rate.n for rate in rates),
        trunk_bytes=_trunk_room(settings) if any(one.computed for one in counts) else 0,
        free_bytes=shutil.disk_usage(settings.home).free,
        lost=tuple(_name(one) for one in adapters if not one.source and one.sha256 in needed),
    )


def _trunk_room(settings: Settings) -> int:
    """What the trunk's cache may yet grow by."""
    used = sum(path.stat().st_size for path in _files(settings.trunk_cache))
    return max(0, round(settings.trunk_cache_gb * 1e9) - used)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def _name(adapter: RegisteredAdapter) -> str:
    return f"v{adapter.version} of item {adapter.item_id} ({adapter.trait})"
