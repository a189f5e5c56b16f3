"""A classifier trained elsewhere with PEFT goes in, a registered challenger comes out."""

import logging
import shutil
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from prefect import flow

from flows.scoring import tracking_of
from flows.settings import Settings, load_settings
from models.adapters import save_adapter
from models.backbone import load_backbone
from models.peft_import import import_peft
from models.scores import Scale
from tasks import promotion, tracking
from tasks.model_card import Training, model_card
from tasks.tracking import CHALLENGER, CHAMPION, NewAdapter, RegisteredAdapter
from tasks.workspace import locked, recorded_run
from warehouse import db, items, runs
from warehouse.items import ItemRow

logger = logging.getLogger(__name__)

UNKNOWN_DATA = "imported: nobody here knows what it was trained on, so a person decides"


class UnknownItemError(LookupError):
    """An adapter is for an item or trait that the bank does not have."""


@dataclass(frozen=True)
class ImportResult:
    """The adapter as the registry has it.

    ``is_new`` is false where it had been imported before and nothing was registered.
    """

    run_id: str
    item_id: str
    trait: str
    version: int
    alias: str
    sha256: str
    is_new: bool


@flow(name="import-adapter")
def import_adapter(
    folder: Path,
    item_id: str,
    trait: str = "overall",
    administration_date: date | None = None,
    home: Path | None = None,
) -> ImportResult:
    """Take in a PEFT classifier as an item's challenger; label k is the scale's k-th point.

    It never becomes champion by itself: nobody here knows what it was trained on, so its
    agreement on our responses may be with answers it has seen.

    Args:
        folder: what PEFT's ``save_pretrained`` wrote; left as it is.
        item_id: the item it scores, as in the bank.
        trait: the item's trait.
        administration_date: the day the run counts for; today where not given.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownItemError: the bank does not have the item and trait.
        AdapterError: it cannot be taken in; see ``models.peft_import``.
    """
    settings = load_settings(home)
    day = administration_date or datetime.now(UTC).date()
    chosen = {"folder": folder.name, "item_id": item_id, "trait": trait}
    with locked(settings.home, wait_s=settings.lock_wait_s):
        item = _item(settings, item_id, trait)
        with recorded_run(settings.warehouse, "import", day, chosen) as run_id:
            return _import(settings, run_id, day, folder, item)


def _import(
    settings: Settings, run_id: str, day: date, folder: Path, item: ItemRow
) -> ImportResult:
    where = tracking_of(settings)
    new = _taken_in(settings, run_id, day, folder, item)
    tags = {"run_kind": "import", "administration_date": day.isoformat()}
    parent = tracking.start_run(where, "training", run_id, tags)
    with tracking.failing_with(where, parent):
        found = _registered(settings, new)
        adapter = found or tracking.register_adapter(where, parent, new, day)
        alias = _alias(settings, adapter)
        tracking.log_run(
            where,
            parent,
            metrics={"n/imported": int(found is None)},
            params={"backbone": settings.backbone, "item_id": item.item_id, "trait": item.trait},
            day=day,
        )
        with db.connect(settings.warehouse) as connection, db.transaction(connection):
            runs.finish_run(connection, run_id, "done", runs.RunCounts())
            runs.set_mlflow_run(connection, run_id, parent)
    return ImportResult(
        run_id, item.item_id, item.trait, adapter.version, alias, new.sha256, found is None
    )


def _item(settings: Settings, item_id: str, trait: str) -> ItemRow:
    with db.connect(settings.warehouse, read_only=True) as connection:
        known = {(item.item_id, item.trait): item for item in items.list_items(connection)}
    item = known.get((item_id, trait))
    if item is None:
        raise UnknownItemError(
            f"the bank has no item {item_id!r} with the trait {trait!r}: add it with `gradeline "
            "items add`, since its scale says which scores the labels stand for"
        )
    return item


def _taken_in(
    settings: Settings, run_id: str, day: date, folder: Path, item: ItemRow
) -> NewAdapter:
    """Read the adapter, keep it in the folder named by its hash, and write its card."""
    backbone = load_backbone(settings.backbone, max_tokens=settings.max_tokens)
    scale = Scale(item.score_min, item.score_max)
    adapter = import_peft(folder, backbone, scale, trait=item.trait)
    written = settings.parts / run_id
    sha256 = save_adapter(written, adapter)
    kept = settings.adapters / sha256
    settings.adapters.mkdir(parents=True, exist_ok=True)
    if kept.exists():
        shutil.rmtree(written)
    else:
        written.rename(kept)
    about = Training(
        item_id=item.item_id,
        made_on=day,
        adapter_sha256=sha256,
        recipe_sha256="",
        n_training=None,
        n_validation=0,
        reported=item.reported,
        cut_scores=item.cut_scores,
    )
    return NewAdapter(
        item_id=item.item_id,
        trait=item.trait,
        folder=kept,
        sha256=sha256,
        training_data_sha256=adapter.scoring.training_data_sha256,
        recipe_sha256="",
        backbone_sha256=backbone.sha256,
        metrics={},
        tags=promotion.tags("ask", UNKNOWN_DATA),
        card=model_card(about, adapter.scoring),
    )


def _registered(settings: Settings, new: NewAdapter) -> RegisteredAdapter | None:
    """The version that is this very adapter, if it was imported before."""
    same = [
        adapter
        for adapter in tracking.list_adapters(tracking_of(settings))
        if (adapter.item_id, adapter.trait, adapter.sha256) == (new.item_id, new.trait, new.sha256)
    ]
    return same[-1] if same else None


def _alias(settings: Settings, adapter: RegisteredAdapter) -> str:
    """Make the adapter challenger, unless somebody has made it champion since."""
    where = tracking_of(settings)
    if adapter in tracking.list_adapters(where, CHAMPION):
        return CHAMPION
    tracking.set_alias(where, adapter, CHALLENGER)
    return CHALLENGER
