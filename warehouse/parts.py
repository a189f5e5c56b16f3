"""Files that are either whole or absent, wherever they lie, and tables that show any damage.

On this machine a file is written under a temporary name, synced and renamed. An object store shows
an upload when all of it has arrived.

A sealed table is a Parquet file with the sha256 of all its other bytes between its data and its
footer, where no reader of Parquet looks: one file, which any tool can read, and in which no bit can
change unseen.
"""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from warehouse.storage import Location, ObjectPath, readable

DIGEST_BYTES = 32
END_BYTES = 8  # of a Parquet file: the footer's length, 4 bytes, and PAR1


class DamagedFileError(RuntimeError):
    """A sealed file is not as it was written: truncated, changed, or no such file at all."""


@contextmanager
def whole_file(place: Location) -> Iterator[Path]:
    """Yield a temporary path on this machine; on success its file takes its place, whole."""
    if isinstance(place, ObjectPath):
        with tempfile.TemporaryDirectory(prefix="gradeline-") as folder:
            temporary = Path(folder) / place.name
            yield temporary
            _upload(temporary, place)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(place)
        _sync(place.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write(place: Location, table: pa.Table, group_rows: Sequence[int] | None = None) -> None:
    """Write a sealed table, whole or not at all.

    Args:
        place: where.
        table: what.
        group_rows: rows of each row group, in order; where not given, all are one group.
    """
    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd") as file:
        start = 0
        for count in group_rows or [len(table)]:
            file.write_table(table.slice(start, count), row_group_size=max(count, 1))
            start += count
    write_bytes(place, _sealed(buffer.getvalue().to_pybytes()))


def write_bytes(place: Location, content: bytes) -> None:
    """Write a file, whole or not at all."""
    if isinstance(place, ObjectPath):
        place.write_bytes(content)
        return
    with whole_file(place) as temporary:
        temporary.write_bytes(content)


def read(place: Location) -> pa.Table:
    """A sealed table; every byte of the file has been checked.

    Raises:
        DamagedFileError: it is not there, or not as it was written.
    """
    return pq.read_table(pa.BufferReader(read_bytes(place)))


def read_bytes(place: Location) -> bytes:
    """The bytes of a sealed table, checked.

    Raises:
        DamagedFileError: see ``read``.
    """
    try:
        content = place.read_bytes()
    except OSError as error:
        raise DamagedFileError(f"{place} cannot be read ({type(error).__name__})") from error
    cut = _footer_start(content) - DIGEST_BYTES
    if cut < 0:
        raise DamagedFileError(f"{place} is truncated, or no Parquet file")
    view = memoryview(content)
    digest = hashlib.sha256(view[:cut])
    digest.update(view[cut + DIGEST_BYTES :])
    if digest.digest() != view[cut : cut + DIGEST_BYTES]:
        raise DamagedFileError(f"{place} is not as it was written: its checksum is another")
    return content


def is_there(place: Location) -> bool:
    """Whether there is such a file; a store that cannot be reached has none."""
    try:
        return place.exists()
    except OSError:
        return False


def open_parquet(place: Location) -> pq.ParquetFile:
    """A Parquet file to read pieces of, unchecked; use it in a ``with``."""
    return pq.ParquetFile(readable(place))


def clear_unfinished(folder: Location) -> int:
    """Remove what processes that were killed in mid-write left below a folder of this machine.

    An object store keeps unfinished uploads out of sight; it is the store that removes them.

    Returns:
        how many files were removed.
    """
    if isinstance(folder, ObjectPath):
        return 0
    unfinished = [path for path in folder.rglob(".*.tmp") if path.is_file()]
    for path in unfinished:
        path.unlink(missing_ok=True)
    return len(unfinished)


def _sealed(content: bytes) -> bytes:
    cut = _footer_start(content)
    return content[:cut] + hashlib.sha256(content).digest() + content[cut:]


def _footer_start(content: bytes) -> int:
    """Where the footer begins; negative where that cannot be."""
    if len(content) < END_BYTES:
        return -1
    return len(content) - END_BYTES - int.from_bytes(content[-END_BYTES:-4], "little")


def _upload(path: Path, place: ObjectPath) -> None:
    """Copy a file to the store; one that did not arrive whole is removed there.

    What was there before stays where an upload fails: a store shows one when all of it is there.
    """
    replaces = place.exists()
    try:
        fs.copy_files(str(path), place.path, None, place.filesystem)
        arrived = place.filesystem.get_file_info(place.path).size
        if arrived != path.stat().st_size:
            raise OSError(f"{arrived} of {path.stat().st_size} bytes arrived at {place}: try again")
    except BaseException:
        if not replaces:
            place.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
