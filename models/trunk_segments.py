"""Segments: files of hidden states that are whole or absent, with a checksum for every entry.

A file is a header, its index and the states, one entry after another. The index says of each
entry its key, its tokens and the CRC-32 of its states; the header has a CRC-32 of itself and the
index. Checksums are against damage, not against a forger. zlib's CRC-32 was the fastest of those
that the standard library and zlib offer, 6 us for 25 tokens of BERT-base in bfloat16; blake2b
took 27, SHA-256 19.
"""

import hashlib
import os
import re
import secrets
import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

StateType = Literal["bf16", "fp32"]
# bfloat16 has no type of its own here: its bits are held as whole numbers.
STORED: dict[StateType, np.dtype[np.uint16] | np.dtype[np.float32]] = {
    "bf16": np.dtype("<u2"),
    "fp32": np.dtype("<f4"),
}
States: TypeAlias = NDArray[np.uint16] | NDArray[np.float32]

KEY_BYTES = 32
FOLDER = re.compile(r"([1-9][0-9]*)-(bf16|fp32)-([1-9][0-9]*)")
ENDING, UNFINISHED = ".states", ".unfinished"
MAGIC = b"trunk 1\n"
HEADER = struct.Struct("<8s32sQI")  # magic, where it belongs, entries, CRC-32 of all this and index
CRC = struct.Struct("<I")
RECORD = np.dtype([("key", "<u8", (KEY_BYTES // 8,)), ("tokens", "<u4"), ("crc", "<u4")])


class DamagedSegmentError(RuntimeError):
    """A segment is not what was written, or belongs elsewhere."""


@dataclass(frozen=True)
class Place:
    """Which states are alike enough to lie together, and the folder where they do.

    Attributes:
        space_sha256: hash of the circumstances they were computed in.
        depth: blocks below them, at least 1.
        width: numbers of a token's state.
        dtype: how a number is stored.
    """

    space_sha256: str
    depth: int
    width: int
    dtype: StateType

    @classmethod
    def of(cls, segment: Path) -> "Place | None":
        """The place of a segment's file; None where no segment of ours could be."""
        named = FOLDER.fullmatch(segment.parent.name)
        if named is None:
            return None
        dtype: StateType = "bf16" if named[2] == "bf16" else "fp32"
        return cls(segment.parent.parent.name, int(named[1]), int(named[3]), dtype)

    @property
    def folder(self) -> Path:
        """Below the cache's own."""
        return Path(self.space_sha256, f"{self.depth}-{self.dtype}-{self.width}")

    @property
    def token_bytes(self) -> int:
        """Of a token's state."""
        return self.width * STORED[self.dtype].itemsize

    @property
    def digest(self) -> bytes:
        """32 bytes that stand for the place."""
        return hashlib.sha256(self.folder.as_posix().encode()).digest()


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment's index.

    Attributes:
        path: the file; no other ever has its name.
        place: of its states.
        records: RECORD [n], in the order of the states.
    """

    path: Path
    place: Place
    records: NDArray[np.void]

    @classmethod
    def new(cls, root: Path, place: Place, records: NDArray[np.void]) -> "Segment":
        """A segment to be written below the cache's folder."""
        return cls(root / place.folder / (secrets.token_hex(8) + ENDING), place, records)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each entry's states begin in the file, then the file's end, int64 [n + 1]."""
        sizes = self.records["tokens"].astype(np.int64) * self.place.token_bytes
        first = HEADER.size + self.records.nbytes
        return np.concatenate([[0], np.cumsum(sizes)]) + first

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return int(self.starts[-1])

    @cached_property
    def tokens(self) -> int:
        """Of all entries."""
        return int(self.records["tokens"].sum(dtype=np.int64))

    def read(self, rows: Sequence[int]) -> list[States]:
        """States of some entries, [tokens, width] each.

        They are read, not mapped: what was checked is then what is used, and a failing disk is
        an error here, where a mapping would end the process.

        Raises:
            DamagedSegmentError: an entry is not what was written.
            OSError: the file cannot be read, or is gone.
        """
        with self.path.open("rb", buffering=0) as file:
            return [self._read_one(file, row) for row in rows]

    def _read_one(self, file: FileIO, row: int) -> States:
        tokens, crc = int(self.records["tokens"][row]), int(self.records["crc"][row])
        states: States = np.empty((tokens, self.place.width), dtype=STORED[self.place.dtype])
        file.seek(int(self.starts[row]))
        if file.readinto(states.data) != states.nbytes:
            raise DamagedSegmentError("an entry is cut short")
        if zlib.crc32(states.data) != crc:
            raise DamagedSegmentError("an entry's checksum is another")
        return states


@dataclass(frozen=True)
class Index:
    """Where n keys' states lie; a key's first 8 bytes find it, all 32 confirm it.

    Attributes:
        segments: the segments.
        prefixes: uint64 [n], sorted.
        numbers, rows: int32 [n], the segment and the entry in it.
    """

    segments: tuple[Segment, ...]
    prefixes: NDArray[np.uint64]
    numbers: NDArray[np.int32]
    rows: NDArray[np.int32]

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> "Index":
        """The index of all entries of some segments."""
        sizes = [len(segment.records) for segment in segments]
        indices = [np.zeros(0, dtype=RECORD), *(segment.records for segment in segments)]
        prefixes = np.concatenate([records["key"][:, 0] for records in indices])
        order = np.argsort(prefixes, kind="stable")
        numbers = np.repeat(np.arange(len(segments), dtype=np.int32), sizes)
        rows = np.concatenate([np.arange(size, dtype=np.int32) for size in (0, *sizes)])
        return cls(tuple(segments), prefixes[order], numbers[order], rows[order])

    def places(self, keys: Sequence[bytes]) -> Iterator[tuple[Segment, list[int], list[int]]]:
        """By segment the positions of keys that it holds, and their rows, in the file's order."""
        words = words_of(keys)
        if not len(self.prefixes) or not len(words):
            return
        at = np.searchsorted(self.prefixes, words[:, 0])
        at = np.minimum(at, len(self.prefixes) - 1)
        hits = np.flatnonzero(self.prefixes[at] == words[:, 0])
        numbers = self.numbers[at[hits]]
        for number in np.unique(numbers):
            segment, chosen = self.segments[number], hits[numbers == number]
            chosen = chosen[np.argsort(self.rows[at[chosen]], kind="stable")]
            rows = self.rows[at[chosen]]
            same = (segment.records["key"][rows] == words[chosen]).all(axis=1)
            yield segment, chosen[same].tolist(), rows[same].tolist()


def records_of(keys: Sequence[bytes], states: Sequence[States]) -> NDArray[np.void]:
    """The index of a segment, RECORD [n]."""
    records = np.zeros(len(keys), dtype=RECORD)
    records["key"] = words_of(keys)
    records["tokens"] = [len(array) for array in states]
    records["crc"] = [zlib.crc32(array.data) for array in states]
    return records


def words_of(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    """Keys as numbers, [n, 4].

    Raises:
        ValueError: a key is not KEY_BYTES long.
    """
    if any(len(key) != KEY_BYTES for key in keys):
        raise ValueError(f"a key is not {KEY_BYTES} bytes long: take those of key_of")
    return np.frombuffer(b"".join(keys), dtype="<u8").reshape(-1, KEY_BYTES // 8)


def write(segment: Segment, states: Iterable[memoryview]) -> None:
    """Write a segment's file, whole or not at all.

    Args:
        segment: the segment.
        states: those of each entry, in the order of the records.

    Raises:
        OSError: it cannot be written.
    """
    segment.path.parent.mkdir(parents=True, exist_ok=True)
    temporary = segment.path.with_suffix(UNFINISHED)
    try:
        with temporary.open("xb") as file:
            file.write(_header(segment.place, segment.records))
            file.write(segment.records.tobytes())
            file.writelines(states)
            file.flush()
            os.fsync(file.fileno())
        # The folder is not synced: a power cut that undoes this costs no more than the states.
        temporary.replace(segment.path)
    finally:
        temporary.unlink(missing_ok=True)


def read_index(path: Path, place: Place) -> Segment:
    """Read a segment's index.

    Raises:
        DamagedSegmentError: the file is not what was written, or not for this place.
        OSError: it cannot be read, or is gone.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        header = file.read(HEADER.size)
        if len(header) < HEADER.size:
            raise DamagedSegmentError("its header is cut short")
        count = HEADER.unpack(header)[2]
        if count > size // RECORD.itemsize:
            raise DamagedSegmentError("its index is cut short")
        records = np.frombuffer(file.read(count * RECORD.itemsize), dtype=RECORD)
    if header != _header(place, records):
        raise DamagedSegmentError("its header or index is not as written, or for other states")
    segment = Segment(path, place, records)
    if segment.size != size:
        raise DamagedSegmentError(f"it has {size} bytes, not {segment.size}")
    return segment


def without(segment: Segment, keys: Collection[bytes], root: Path) -> int:
    """Write a segment again without the entries of some keys, or remove it if no other is left.

    Args:
        segment: the segment; its use, which the file's time tells, passes to the new one.
        keys: of KEY_BYTES each.
        root: the cache's folder.

    Returns:
        how many entries had such a key.

    Raises:
        OSError: it cannot be read, written or removed.
    """
    gone = np.array([key.tobytes() in keys for key in segment.records["key"]], dtype=np.bool_)
    if not gone.any():
        return 0
    if not gone.all():
        times, starts = segment.path.stat(), segment.starts
        content = memoryview(segment.path.read_bytes())
        rest = Segment.new(root, segment.place, segment.records[~gone])
        write(rest, (content[starts[row] : starts[row + 1]] for row in np.flatnonzero(~gone)))
        os.utime(rest.path, ns=(times.st_atime_ns, times.st_mtime_ns))
    segment.path.unlink()
    sync(segment.path.parent)
    return int(gone.sum())


def sync(folder: Path) -> None:
    """Wait until what was removed from a folder is gone from the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _header(place: Place, records: NDArray[np.void]) -> bytes:
    start = HEADER.pack(MAGIC, place.digest, len(records), 0)[: -CRC.size]
    return start + CRC.pack(zlib.crc32(records.tobytes(), zlib.crc32(start)))
