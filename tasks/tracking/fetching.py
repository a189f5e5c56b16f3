"""Adapters' files: fetched from the registry, and kept in folders named by their hash."""

import logging
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow import artifacts
from mlflow.exceptions import MlflowException

from models.adapter_files import AdapterError
from models.adapter_folders import adapter_sha256
from tasks.tracking.registry import RegisteredAdapter
from tasks.tracking.store import Tracking

logger = logging.getLogger(__name__)


def fetch_adapter(tracking: Tracking, adapter: RegisteredAdapter, adapters: Path) -> Path:
    """The folder of an adapter, copied from the registry where it is not here yet.

    Raises:
        AdapterError: the registry's copy is not the one that was registered.
    """
    folder = adapters / adapter.sha256
    if folder.exists():
        return folder
    adapters.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=adapters, prefix=".fetch-") as temporary:
        try:
            fetched = Path(
                artifacts.download_artifacts(
                    artifact_uri=adapter.source,
                    dst_path=temporary,
                    tracking_uri=tracking.uri,
                )
            )
        except (MlflowException, OSError) as error:
            raise AdapterError(
                f"adapter v{adapter.version} of item {adapter.item_id!r} ({adapter.trait}) could "
                f"not be fetched from {adapter.source}: {type(error).__name__}"
            ) from error
        copy = Path(temporary) / adapter.sha256
        shutil.copytree(fetched, copy)
        found = adapter_sha256(copy)
        if found != adapter.sha256:
            raise AdapterError(
                f"adapter v{adapter.version} of item {adapter.item_id!r} ({adapter.trait}) has "
                f"sha256 {found[:12]} in the registry's store, but {adapter.sha256[:12]} was "
                "registered: restore the store from its backup, or train the item again"
            )
        copy.replace(folder)
    return folder


def fetch_adapters(tracking: Tracking, wanted: Iterable[RegisteredAdapter], adapters: Path) -> None:
    """Fetch what is not here yet; one that cannot be had is logged, and its item is not scored.

    What a killed process had half fetched goes first; the caller holds the workspace's lock.
    """
    for half in adapters.glob(".fetch-*"):
        shutil.rmtree(half, ignore_errors=True)
    for adapter in wanted:
        try:
            fetch_adapter(tracking, adapter, adapters)
        except AdapterError as error:
            logger.error("%s", error)


def sound_adapters(
    tracking: Tracking, wanted: Iterable[RegisteredAdapter], adapters: Path
) -> frozenset[str]:
    """Hashes of the adapters whose files are here and as they were registered.

    A damaged folder is fetched again first. One that cannot be had is logged and left out.
    """
    sound = set()
    for adapter in wanted:
        folder = adapters / adapter.sha256
        try:
            if folder.exists() and not _is_whole(folder):
                logger.warning("%s is damaged: it is fetched from the registry again", folder)
                shutil.rmtree(folder)
            fetch_adapter(tracking, adapter, adapters)
        except (AdapterError, OSError) as error:
            logger.error("%s", error)
        else:
            sound.add(adapter.sha256)
    return frozenset(sound)


def _is_whole(folder: Path) -> bool:
    try:
        return adapter_sha256(folder) == folder.name
    except AdapterError:
        return False
