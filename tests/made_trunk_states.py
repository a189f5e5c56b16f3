"""Hidden states of made-up texts, and folders to keep them in."""

import os
import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.trunk_cache import States, StateType, TrunkCache, TrunkStates, key_of

PLENTY = 1 << 24
DAY_S = 24 * 3600.0
WIDTH = 4


def text(number: int, tokens: int = 3) -> np.ndarray:
    return np.arange(tokens, dtype=np.int64) + 1000 * number


def keys_of(numbers: Sequence[int]) -> list[bytes]:
    return [key_of(text(number)) for number in numbers]


def made(number: int, tokens: int = 3, dtype: StateType = "bf16", width: int = WIDTH) -> States:
    """Hidden states that only this text has; any bits may come, not-a-numbers too."""
    words = np.random.default_rng(number).integers(0, 1 << 32, (tokens, width), dtype=np.uint64)
    return words.astype(np.uint16) if dtype == "bf16" else words.astype(np.uint32).view(np.float32)


def opened(
    folder: Path, budget: int = PLENTY, *, depth: int = 6, dtype: StateType = "bf16"
) -> TrunkStates:
    return TrunkCache(folder, budget).open("engine", depth, WIDTH, dtype)


def fill(states: TrunkStates, numbers: Sequence[int], tokens: int = 3) -> None:
    states.add(keys_of(numbers), [made(number, tokens) for number in numbers])
    states.flush()


def which(states: TrunkStates, numbers: Sequence[int], tokens: int = 3) -> set[int]:
    """The texts that are found; each is found as it was made, or this fails."""
    found = states.find(keys_of(numbers))
    for number, array in zip(numbers, found, strict=True):
        assert array is None or array.tobytes() == made(number, tokens).tobytes()
    return {number for number, array in zip(numbers, found, strict=True) if array is not None}


def segments(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.states"))


def age(paths: Sequence[Path], days: float) -> None:
    for path in paths:
        os.utime(path, (time.time(), time.time() - days * DAY_S))


@contextmanager
def little_disk(size: int) -> Iterator[None]:
    """No file may grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
