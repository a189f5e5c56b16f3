"""What the shared trunk made of texts, kept on disk from one run to the next.

Every run that meets a text again, such as a backfill with a new version of an adapter, then
runs only the blocks above (embedding recycling: Saad-Falcon et al., arXiv 2207.04993). The states
are the bits that were computed, so scores do not change. They can be turned back into much of
the text: keep the folder where the responses are kept, and see ``TrunkCache.erase``.
"""

import hashlib
import logging
import shutil
import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from models import trunk_room, trunk_segments
from models.trunk_segments import (
    ENDING,
    STORED,
    UNFINISHED,
    DamagedSegmentError,
    Index,
    Place,
    Segment,
    States,
    StateType,
    records_of,
    words_of,
)

__all__ = ["StateType", "States", "TrunkCache", "TrunkStates", "key_of"]

logger = logging.getLogger(__name__)

# States wait in memory until there are so many, or a sixteenth of the budget.
SEGMENT_BYTES = 1 << 26
SEGMENTS_PER_BUDGET = 16
# Writers wait for each other this long.
PATIENCE_S = 60.0


def key_of(token_ids: NDArray[np.int64]) -> bytes:
    """The key of a text: 32 bytes that stand for its token ids, int64 [tokens]."""
    return hashlib.sha256(token_ids.astype("<i8", copy=False).tobytes()).digest()


class TrunkCache:
    """A folder of hidden states, within a budget of bytes.

    Several processes may use one folder at once, and threads one object. Nothing that goes wrong
    with the folder fails a run: what is missing or damaged is not found, and once the folder
    cannot be written to, nothing more is added. ``models.trunk_room`` says what stays.

    Args:
        folder: is made when there is something to keep.
        budget_bytes: most bytes of its files.
    """

    def __init__(self, folder: Path, budget_bytes: int):
        self.folder = folder
        self.budget_bytes = budget_bytes
        self.segment_bytes = min(SEGMENT_BYTES, budget_bytes // SEGMENTS_PER_BUDGET)
        self._is_off = False

    @property
    def is_off(self) -> bool:
        """Whether nothing more is added, because the folder could not be written to."""
        return self._is_off

    def open(self, space: str, depth: int, width: int, dtype: StateType) -> "TrunkStates":
        """The states of one kind; those that other processes add later are not seen.

        Args:
            space: all circumstances that states depend on: backbone, settings, precision,
                libraries, machine.
            depth: blocks below the states.
            width: numbers of a token's state.
            dtype: of the states.

        Raises:
            ValueError: the depth or the width is less than 1.
        """
        if depth < 1 or width < 1:
            raise ValueError(f"states of width {width} above {depth} blocks are no use to keep")
        return TrunkStates(self, Place(_space_sha256(space), depth, width, dtype))

    def size(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in trunk_room.kept(self.folder))

    def trim(self) -> None:
        """Keep to the budget, and remove what killed processes left; for the end of a run."""
        if self.folder.exists() and not self._is_off:
            with self._unless_off(), self._locked():
                self._remove_unfinished()
                trunk_room.make_room(self.folder, self.budget_bytes)

    def remove(self, space: str) -> None:
        """Remove all states of a space.

        Raises:
            OSError: some could not be removed.
        """
        folder = self.folder / _space_sha256(space)
        if folder.exists():
            with self._locked():
                shutil.rmtree(folder)
            trunk_segments.sync(self.folder)

    def erase(self, keys: Collection[bytes], spaces: Collection[str] | None = None) -> int:
        """Remove the states of some texts; for a student's right to be erased.

        What a run in progress holds in memory is not reached: erase between runs. A damaged
        segment, which could hold anything, is removed.

        Args:
            keys: a text's key depends on the tokeniser and on how many tokens are kept, so give
                a key for every limit in use.
            spaces: those that the keys are for. All others, where the texts may have keys that
                nobody can tell any more, are removed whole. None: the keys are for all.

        Returns:
            how many entries had such a key.

        Raises:
            ValueError: a key is of another length than those of ``key_of``.
            OSError: a segment could not be read, written again or removed; call it once more.
        """
        words_of(list(keys))
        wanted, erased = frozenset(keys), 0
        if not self.folder.exists():
            return 0
        if spaces is not None:
            self._remove_others(spaces)
        with self._locked():
            self._remove_unfinished()
            for file in list(trunk_room.kept(self.folder)):
                try:
                    segment = trunk_segments.read_index(file.path, file.place)
                    erased += trunk_segments.without(segment, wanted, self.folder)
                except FileNotFoundError:  # a reader found it damaged and removed it
                    continue
                except DamagedSegmentError as error:
                    _warn(file.path, error)
                    file.path.unlink(missing_ok=True)
        return erased

    def segments(self, place: Place) -> list[Segment]:
        """The sound segments of a place; damaged ones are dropped."""
        found = []
        for path in sorted((self.folder / place.folder).glob(f"*{ENDING}")):
            try:
                found.append(trunk_segments.read_index(path, place))
            except (DamagedSegmentError, OSError) as error:
                self.drop(path, error)
        return found

    def drop(self, path: Path, error: Exception) -> None:
        """Remove a segment that is damaged; leave one that cannot be read for now."""
        if isinstance(error, FileNotFoundError):  # another process needed the room
            return
        _warn(path, error)
        if isinstance(error, DamagedSegmentError):
            with self._unless_off():
                path.unlink(missing_ok=True)

    def store(
        self, place: Place, entries: Mapping[bytes, States], uses: Mapping[Segment, int]
    ) -> Segment | None:
        """Write a segment if it fits or saves more than what is there, and note uses of others.

        Args:
            place: of the states.
            entries: states by key.
            uses: tokens found, by segment.

        Returns:
            the segment, unless none was written.
        """
        if self._is_off:
            return None
        with self._unless_off(), self._locked():
            self._remove_unfinished()
            for segment, tokens in uses.items():
                trunk_room.note_uses(segment.path, tokens / segment.tokens)
            trunk_room.make_room(self.folder, self.budget_bytes)
            if not entries:
                return None
            states = list(entries.values())
            new = Segment.new(self.folder, place, records_of(list(entries), states))
            most_bytes, below = self.budget_bytes - new.size, trunk_room.worth_of_new(place)
            if trunk_room.make_room(self.folder, most_bytes, below):
                trunk_segments.write(new, (array.data for array in states))
                return new
        return None

    def _remove_others(self, spaces: Collection[str]) -> None:
        known = {_space_sha256(space) for space in spaces}
        with self._locked():
            for file in list(trunk_room.kept(self.folder)):
                if file.place.space_sha256 not in known:
                    file.path.unlink(missing_ok=True)
                    trunk_segments.sync(file.path.parent)

    def _remove_unfinished(self) -> None:
        """Whoever holds the lock is the only writer, so these are of processes that died."""
        for path in self.folder.glob(f"*/*/*{UNFINISHED}"):
            path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock", timeout=PATIENCE_S):
            yield

    @contextmanager
    def _unless_off(self) -> Iterator[None]:
        """Go on without the cache where the folder cannot be written to, and say so once."""
        try:
            yield
        except (OSError, NotImplementedError) as error:
            if not self._is_off:
                self._is_off = True
                logger.warning(
                    "the trunk cache %s cannot be written to (%s): nothing more is added to it in "
                    "this run; free some space or make it writable",
                    self.folder,
                    error,
                )


class TrunkStates:
    """The states of one kind in a cache; threads may share it.

    States that were added are found at once, and lost unless ``flush`` is called.

    Args:
        cache: the cache.
        place: where they lie in it.
    """

    def __init__(self, cache: TrunkCache, place: Place):
        self._cache = cache
        self._place = place
        self._dtype = STORED[place.dtype]
        self._index = Index.of(cache.segments(place))
        self._added: dict[bytes, States] = {}
        self._added_bytes = 0
        self._leaving: dict[bytes, States] = {}
        self._uses: Counter[Segment] = Counter()
        self._lock = threading.Lock()
        self._flushing = threading.Lock()

    def find(self, keys: Sequence[bytes]) -> list[States | None]:
        """States of n texts, [tokens, width] each, the caller's own; None where there are none.

        Raises:
            ValueError: a key is of another length than those of ``key_of``.
        """
        with self._lock:
            index = self._index
            waiting = [self._added.get(key, self._leaving.get(key)) for key in keys]
        found = [None if states is None else states.copy() for states in waiting]
        for segment, positions, rows in index.places(keys):
            try:
                states_read = segment.read(rows)
            except (DamagedSegmentError, OSError) as error:
                self._drop(segment, error)
                continue
            for position, states in zip(positions, states_read, strict=True):
                found[position] = states
            with self._lock:
                self._uses[segment] += sum(map(len, states_read))
        return found

    def add(self, keys: Sequence[bytes], states: Sequence[States]) -> None:
        """Take in the states of n texts; of keys that are there already, none.

        Args:
            keys: n keys.
            states: [tokens, width] each, of the kind's type; copied.

        Raises:
            ValueError: a key or states of another shape or type, or other numbers of them.
        """
        if len(keys) != len(states):
            raise ValueError(f"{len(keys)} keys were given for the states of {len(states)} texts")
        for array in states:
            self._check(array)
        known = {keys[position] for _, held, _ in self._index.places(keys) for position in held}
        with self._lock:
            for key, array in zip(keys, states, strict=True):
                is_there = key in known or key in self._added or key in self._leaving
                if not (is_there or self._cache.is_off):
                    self._added[key] = array.copy(order="C")
                    self._added_bytes += array.nbytes
            is_full = self._added_bytes >= self._cache.segment_bytes
        if is_full:
            self._write(self._cache.segment_bytes)

    def flush(self) -> None:
        """Write what was added, and note what was found; for the end of a run, too."""
        self._write(0)

    def _write(self, least_bytes: int) -> None:
        with self._flushing:
            with self._lock:
                if self._added_bytes < least_bytes:  # another thread was first
                    return
                self._leaving, self._added, self._added_bytes = self._added, {}, 0
                uses, self._uses = self._uses, Counter()
            segment = None
            if self._leaving or uses:
                segment = self._cache.store(self._place, self._leaving, uses)
            with self._lock:
                if segment is not None:
                    self._index = Index.of([*self._index.segments, segment])
                self._leaving = {}

    def _drop(self, segment: Segment, error: Exception) -> None:
        with self._lock:
            left = [other for other in self._index.segments if other is not segment]
            is_news = len(left) < len(self._index.segments)
            self._index = Index.of(left)
        if is_news:
            self._cache.drop(segment.path, error)

    def _check(self, array: States) -> None:
        if array.dtype != self._dtype or array.ndim != 2 or not len(array):
            raise ValueError(
                f"states of type {array.dtype} and shape {array.shape} were to be added: "
                f"this cache holds {self._dtype}, [tokens, {self._place.width}]"
            )
        if array.shape[1] != self._place.width:
            raise ValueError(
                f"states of width {array.shape[1]} were to be added, not {self._place.width}"
            )


def _space_sha256(space: str) -> str:
    return hashlib.sha256(space.encode("utf-8", "surrogatepass")).hexdigest()


def _warn(path: Path, error: Exception) -> None:
    logger.warning("%s is of no use (%s): its hidden states are computed again", path, error)
