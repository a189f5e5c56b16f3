"""A person's word on an adapter: it becomes its item's champion."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from prefect import flow

from flows.backfill import UnknownVersionError
from flows.forms import By, Home, Reason, titled
from flows.scoring import tracking_of
from flows.settings import Settings, load_settings
from models.backbone import resolve_backbone
from tasks import tracking
from tasks.tracking import CHAMPION, RegisteredAdapter
from tasks.workspace import locked


class UnusableVersionError(ValueError):
    """A version could not score: its files are gone, or it was made for another backbone."""


class UnsignedPromotionError(ValueError):
    """A promotion comes without a name or a reason."""


@dataclass(frozen=True)
class PromoteResult:
    """Who scores from now on, and who did before; None where nobody did."""

    item_id: str
    trait: str
    version: int
    before: int | None


@flow(name="promote")
def promote(
    item_id: Annotated[str, titled("Item", "0417")],
    version: Annotated[int, titled("Version")],
    by: By,
    reason: Reason,
    trait: Annotated[str, titled("Trait")] = "overall",
    home: Home = None,
) -> PromoteResult:
    """Make a version champion, and note in the registry who said so, when and why.

    Args:
        item_id: the item.
        version: of its adapter, as the registry counts.
        by: who decides.
        reason: why.
        trait: the item's trait.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownVersionError: the registry has no such version.
        UnsignedPromotionError: no name, or no reason.
        UnusableVersionError: the version could not score tonight.
    """
    if not by.strip() or not reason.strip():
        raise UnsignedPromotionError("a promotion needs the name of who decides, and a reason")
    settings = load_settings(home)
    where = tracking_of(settings)
    with locked(settings.home, wait_s=settings.lock_wait_s):
        registry = tracking.read_registry(where)
        versions = {
            one.version: one
            for one in registry.adapters
            if (one.item_id, one.trait) == (item_id, trait)
        }
        if version not in versions:
            known = ", ".join(f"v{number}" for number in sorted(versions)) or "none"
            raise UnknownVersionError(
                f"the registry has no v{version} for item {item_id} ({trait}); it has {known}"
            )
        _check_usable(settings, versions[version])
        before = next(
            (
                one.version
                for one in registry.having(CHAMPION)
                if (one.item_id, one.trait) == (item_id, trait)
            ),
            None,
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        signed = {"promoted_by": by.strip(), "promoted_at": now, "promoted_because": reason.strip()}
        tracking.tag_adapter(where, versions[version], signed)
        tracking.set_alias(where, versions[version], CHAMPION)
    return PromoteResult(item_id, trait, version, before)


def _check_usable(settings: Settings, version: RegisteredAdapter) -> None:
    if version.backbone_sha256 != resolve_backbone(settings.backbone).sha256:
        raise UnusableVersionError(
            f"v{version.version} was made for the backbone {version.backbone_sha256[:12]}, not for "
            "the one in use: train the item again"
        )
    sound = tracking.sound_adapters(tracking_of(settings), [version], settings.adapters)
    if version.sha256 not in sound:
        raise UnusableVersionError(
            f"the files of v{version.version} are missing or damaged, here and in the registry: "
            "train the item again"
        )
