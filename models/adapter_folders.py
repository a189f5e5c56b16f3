"""An adapter's directory, of any method, as hashed files and their record; torch is not needed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from models.adapter_files import SCORING, AdapterError, files_sha256, read_bytes, read_files
from models.scoring_record import Record, files_of, read_record


@dataclass(frozen=True)
class AdapterFolder:
    """What was read of a directory: what was hashed is what is used.

    Attributes:
        files: content by file name.
        sha256: hash over the sorted (name, sha256) pairs of the files.
        record: its ``scoring.json``.
    """

    files: Mapping[str, bytes]
    sha256: str
    record: Record


def open_folder(folder: Path, expected_sha256: str | None = None) -> AdapterFolder:
    """Read every file of an adapter directory once.

    Args:
        folder: the directory.
        expected_sha256: the hash it must have, where that is known.

    Raises:
        AdapterError: another hash, a missing or an extra file, or a record that does not follow
            the format.
    """
    files = read_files(folder, files_of)
    digest = files_sha256(files)
    if expected_sha256 is not None and digest != expected_sha256:
        raise AdapterError(
            f"{folder} has sha256 {digest[:12]}, {expected_sha256[:12]} was registered: remove "
            "the folder, and it is fetched from the registry again"
        )
    return AdapterFolder(files, digest, read_record(files[SCORING], folder / SCORING))


def adapter_sha256(folder: Path) -> str:
    """Hash over the sorted (name, sha256) pairs of the directory's files, of any method.

    Raises:
        AdapterError: a file is missing, or there is one too many.
    """
    return files_sha256(read_files(folder, files_of))


def read_scoring(folder: Path) -> Record:
    """The scoring record of an adapter directory of any method, nothing else being looked at.

    Raises:
        AdapterError: it cannot be read, or does not follow the format.
    """
    return read_record(read_bytes(folder / SCORING), folder / SCORING)
