"""Jobs on the same texts, stacked: their texts share the trunk's work.

Traits of one response, a champion and its challenger, an ensemble: each scores the same texts, or
nearly, with an adapter of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.jobs import Group, Job

# Groups belong together if of the smaller one's texts at least one in so many is in the other.
SHARING = 2


@dataclass(frozen=True)
class Stack:
    """The distinct texts of some jobs.

    Attributes:
        token_ids: of the m texts.
        lengths: int64 [m], tokens per text.
        places: per job int64 [m], where a text is among the job's distinct ones; -1: it is not.
    """

    token_ids: Sequence[NDArray[np.int64]]
    lengths: NDArray[np.int64]
    places: Sequence[NDArray[np.int64]]


def stacked(jobs: Sequence[Job]) -> Stack:
    """Bring the distinct texts of jobs together; one job's keep their order."""
    known: dict[bytes, int] = {}
    token_ids: list[NDArray[np.int64]] = []
    found = []
    for job in jobs:
        numbers = np.empty(len(job.first), dtype=np.int64)
        for position, ids in enumerate(job.token_ids(np.arange(len(job.first)))):
            number = known.setdefault(ids.tobytes(), len(token_ids))
            if number == len(token_ids):
                token_ids.append(ids)
            numbers[position] = number
        found.append(numbers)
    places = [np.full(len(token_ids), -1, dtype=np.int64) for _ in jobs]
    for places_of_job, numbers in zip(places, found, strict=True):
        places_of_job[numbers] = np.arange(len(numbers))
    lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    return Stack(token_ids, lengths, places)


def followed(groups: Iterable[Group]) -> Iterator[tuple[Group, bool]]:
    """Each group, and whether the next one has texts in common with it."""
    rest = iter(groups)
    group = next(rest, None)
    while group is not None:
        following = next(rest, None)
        yield group, following is not None and _share_texts(group.texts, following.texts)
        group = following


def _share_texts(some: Sequence[str], others: Sequence[str]) -> bool:
    fewest = min(len(some), len(others))
    return fewest > 0 and SHARING * len(set(some) & set(others)) >= fewest
