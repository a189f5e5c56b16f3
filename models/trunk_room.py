"""Which segments of hidden states stay when there is no room for all.

Those with the least expected saving per byte go. What a segment saves is the cost of the blocks
below its states, depth x width^2 for a token, times the uses to come, which are judged by those
that were: each counts 2^(-age / HALF_LIFE_S), the first being its making. That is cost over size,
as in GreedyDual-Size (Cao and Irani, USITS 1997), with the frequency and ageing of LRFU (Lee et
al., IEEE Transactions on Computers 50(12), 2001). A sum of such powers is what one use at some
later time would count, and this is the time that a segment's file bears: no other record is kept.
"""

import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.trunk_segments import ENDING, Place

# A use counts half after this long.
HALF_LIFE_S = 7 * 24 * 3600.0
# Past uses count as this many at most, whatever a clock that was wrong has said.
MOST_USES = 1024.0
# A segment gives way to new ones if it is worth less than they were this long ago. A run over
# more texts than there is room for keeps those that it met first: they are found by the next run
# over the same texts, where the latest would push each other out before they are met again.
STEADY_S = 12 * 3600.0


@dataclass(frozen=True)
class Kept:
    """A segment's file.

    Attributes:
        path: the file.
        place: of its states.
        size: bytes.
        worth: see ``worth_at``.
    """

    path: Path
    place: Place
    size: int
    worth: float


def kept(root: Path) -> Iterator[Kept]:
    """All segments below the cache's folder."""
    for path in root.glob(f"*/*/*{ENDING}"):
        place = Place.of(path)
        if place is None:
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:  # removed by another process
            continue
        yield Kept(path, place, stat.st_size, worth_at(place, stat.st_mtime))


def make_room(root: Path, most_bytes: int, below: float = math.inf) -> bool:
    """Remove the segments worth least until all take ``most_bytes``, or none at all.

    Args:
        root: the cache's folder.
        most_bytes: of all segments.
        below: only those worth less may go.

    Raises:
        OSError: one could not be removed.
    """
    found = sorted(kept(root), key=lambda segment: segment.worth)
    total = sum(segment.size for segment in found)
    leaving = []
    for segment in found:
        if total <= most_bytes or segment.worth >= below:
            break
        leaving.append(segment.path)
        total -= segment.size
    if total > most_bytes:
        return False
    for path in leaving:
        path.unlink(missing_ok=True)
    return True


def worth_at(place: Place, last_use: float) -> float:
    """Expected saving per byte as a power of two; time takes the same from all, and is left out.

    Args:
        place: of the states.
        last_use: when one use would count as much as all that were, seconds since 1970.
    """
    latest = time.time() + HALF_LIFE_S * math.log2(MOST_USES)
    saving = place.depth * place.width**2 / place.token_bytes
    return math.log2(saving) + min(last_use, latest) / HALF_LIFE_S


def worth_of_new(place: Place) -> float:
    """What must be worth less to give way to a new segment."""
    return worth_at(place, time.time() - STEADY_S)


def note_uses(path: Path, uses: float) -> None:
    """Add uses of a segment, shares of whole ones included, to those that its file's time tells."""
    now = time.time()
    try:
        halvings = (now - path.stat().st_mtime) / HALF_LIFE_S
        counted = 2.0 ** min(-halvings, math.log2(MOST_USES)) + uses
        os.utime(path, (now, now + HALF_LIFE_S * math.log2(counted)))
    except (FileNotFoundError, PermissionError):  # another process removed it, another user made it
        return
