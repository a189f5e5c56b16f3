"""A run scored again as it was scored then; nothing of the workspace changes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from flows.retention import SCRATCH
from flows.scoring import tracking_of
from flows.settings import Settings, load_settings
from models.backbone import resolve_backbone
from models.build import build
from tasks.inference import Engine
from tasks.replaying import (
    Compared,
    NotReplayableError,
    ScoredWith,
    compared,
    score_again,
    scored_with,
)
from tasks.tracking import fetch_adapters, list_adapters
from tasks.workspace import locked
from warehouse import db, ledger, reports


@dataclass(frozen=True)
class ReplayResult:
    """What came out of scoring a run again.

    Attributes:
        run_id: the run.
        compared: its scores, validity responses' included, against those of now.
        retired: scores that cannot be computed again, as their texts were taken away.
        wrongly_coded: responses with a condition code that are not blank.
        scored_by: the program that scored.
        replayed_by: this one.
    """

    run_id: str
    compared: Compared
    retired: int
    wrongly_coded: int
    scored_by: str
    replayed_by: str

    @property
    def differing(self) -> int:
        """Rows that came out otherwise; 0 is expected."""
        return self.compared.differing + self.wrongly_coded


def replay(run_id: str, home: Path | None = None) -> ReplayResult:
    """Score a run's responses again with the same adapters, backbone and settings, and compare.

    Another version of the program may replay a run: that shows whether it scores the same.

    Args:
        run_id: a run that has committed its scores.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownRunError: there is no such run.
        NotReplayableError: it has no scores, or what it was scored with is not at hand.
    """
    settings = load_settings(home)
    with locked(settings.home, "replay", wait_s=settings.lock_wait_s):
        with db.connect(settings.warehouse, read_only=True) as connection:
            reports.run(connection, run_id)
            rows = ledger.run_rows(connection, run_id)
            _, wrongly_coded = ledger.wrongly_coded(connection, run_id)
        if not len(rows):
            raise NotReplayableError(f"{run_id} has committed no score that could be replayed")
        there = rows.filter(pc.invert(rows["retired"]))
        was = scored_with(rows)
        now = _score(settings, was, there) if len(there) else None
    none = Compared(0, 0, 0, 0, {}, (), 0.0, 0.0)
    return ReplayResult(
        run_id,
        none if now is None else compared(there, now, was.precision),
        len(rows) - len(there),
        wrongly_coded,
        was.build,
        build(),
    )


def _score(settings: Settings, was: ScoredWith, rows: pa.Table) -> pa.Table:
    backbone = resolve_backbone(settings.backbone)
    wanted = set(pc.unique(rows["backbone_sha256"]).drop_null().to_pylist())
    same_settings = backbone.settings_sha256.startswith(was.backbone_settings)
    if wanted - {backbone.sha256} or not same_settings:
        raise NotReplayableError(
            f"the run was scored with another backbone, or another tokeniser, than "
            f"{settings.backbone}: give the one of then with GRADELINE_BACKBONE"
        )
    engine = Engine(
        backbone=settings.backbone,
        max_tokens=was.max_tokens,
        precision=was.precision,
        device=was.device,
        trunk_cache=None,  # what is kept is just what a replay should not rely on
        trunk_cache_bytes=0,
    )
    with _scratch(settings) as scratch:
        adapters = _adapters(settings, rows, scratch / "adapters")
        return score_again(rows, scratch, settings.responses, adapters, engine, backbone.sha256)


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """A folder of our own in the workspace; those of killed replays go first."""
    for left in settings.home.glob(f"{SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix=SCRATCH) as folder:
        yield Path(folder)


def _adapters(settings: Settings, rows: pa.Table, folder: Path) -> Path:
    """The run's adapters by hash: links to those that are here, others from the registry."""
    folder.mkdir()
    wanted = set(pc.unique(rows["adapter_sha256"]).to_pylist())
    for sha256 in wanted:
        if (settings.adapters / sha256).exists():
            (folder / sha256).symlink_to(settings.adapters / sha256, target_is_directory=True)
    if any(not (folder / sha256).exists() for sha256 in wanted):
        tracking = tracking_of(settings)
        known = [one for one in list_adapters(tracking) if one.sha256 in wanted]
        fetch_adapters(tracking, known, folder)
    return folder
