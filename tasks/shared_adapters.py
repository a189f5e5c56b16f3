"""Adapters for hosts that score: one file each beside the plans, known by the adapter's hash.

A host needs neither MLflow nor the workspace for it. The file is a zip without compression, so that
it is there whole or not at all; what is unpacked counts only if its hash is the adapter's.
"""

import io
import logging
import secrets
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

from models.adapter_files import AdapterError
from models.adapter_folders import adapter_sha256
from warehouse import parts
from warehouse.storage import Location

WHEN = (1980, 1, 1, 0, 0, 0)  # of every file, so that the same adapter makes the same zip

logger = logging.getLogger(__name__)


def publish(adapters: Path, wanted: Iterable[str], shared: Location) -> None:
    """Put adapters where other hosts find them; one that is not here, or damaged, is left out.

    Args:
        adapters: folders of adapters on this machine, each named by its hash.
        wanted: hashes.
        shared: the folder for the zips.
    """
    there = {place.name for place in shared.glob("*.zip")}
    for sha256 in sorted(set(wanted)):
        folder = adapters / sha256
        if f"{sha256}.zip" in there:
            continue
        try:
            content = _packed(folder)
        except (AdapterError, OSError) as error:
            logger.error("adapter %s is not published (%s)", sha256[:12], type(error).__name__)
        else:
            parts.write_bytes(shared / f"{sha256}.zip", content)


def fetch(adapters: Path, wanted: Iterable[str], shared: Location) -> None:
    """Unpack adapters that are not on this machine yet; one that cannot be had is logged.

    Args:
        adapters: folders of adapters on this machine.
        wanted: hashes.
        shared: the folder that they were published to.
    """
    for sha256 in wanted:
        folder = adapters / sha256
        if folder.exists():
            continue
        try:
            _unpack((shared / f"{sha256}.zip").read_bytes(), folder)
        except (AdapterError, OSError, zipfile.BadZipFile) as error:
            logger.error("adapter %s cannot be had (%s)", sha256[:12], type(error).__name__)


def _packed(folder: Path) -> bytes:
    if adapter_sha256(folder) != folder.name:
        raise AdapterError(f"{folder} is damaged")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(folder.iterdir()):
            file.writestr(zipfile.ZipInfo(path.name, WHEN), path.read_bytes())
    return buffer.getvalue()


def _unpack(content: bytes, folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            for name in file.namelist():
                (temporary / Path(name).name).write_bytes(file.read(name))
        if adapter_sha256(temporary) != folder.name:
            raise AdapterError(f"the published adapter {folder.name[:12]} is damaged")
        if not folder.exists():  # else another process of this host was first
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
