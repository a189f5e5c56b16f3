"""What a system is: something that turns items' texts into scores, timed from strings to scores."""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.engine.mixes import ItemWork
from models.adapters import Adapter
from models.heads import read_out

Precision = Literal["bf16", "fp32", "int8"]
Layout = Literal["threads", "processes", "one core"]
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Setting:
    """What may be chosen for a rival; ``tuning`` tries several and keeps the fastest.

    Attributes:
        layout: how the cores are used: one process with a thread per core (``threads``), a
            process of one thread per core, each with its share of the items (``processes``), or
            one process of one thread (``one core``).
        token_budget: most tokens in a batch, padding included.
        round_to: widths of batches are multiples of this.
    """

    layout: Layout = "threads"
    token_budget: int = 4096
    round_to: int = 1


@dataclass(frozen=True)
class Place:
    """Which models a system runs.

    Attributes:
        backbone: a key of ``backbones.TITLES``.
        variant: a key of ``adapters.VARIANTS``.
        precision: of the encoder.
    """

    backbone: str
    variant: str
    precision: Precision


@dataclass
class Clock:
    """Wall and CPU seconds by phase; what lies between phases is not timed.

    ``score`` is the work from strings to scores; ``load`` is bringing up an item's model, for
    systems that have one per item.

    Attributes:
        wall_s, cpu_s: by phase.
        tokens: how many were done, for a system that chooses that itself; else 0.
    """

    wall_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    tokens: int = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        wall, cpu = time.perf_counter(), cpu_now_s()
        yield
        self.wall_s[name] = self.wall_s.get(name, 0.0) + time.perf_counter() - wall
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + cpu_now_s() - cpu


class System(Protocol):
    """One way of scoring."""

    def __init__(self, place: Place):
        """Load nothing yet."""
        ...

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """Bring up what is not timed, for these items; returns figures worth reporting."""
        ...

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """Score the items; logits [n, K-1] of each, in the order of its texts."""
        ...


def cpu_now_s() -> float:
    """CPU seconds of this process, its threads and its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def scored(logits: torch.Tensor, adapter: Adapter) -> Logits:
    """Read scores out of logits, as every system must, and hand the logits on for comparison."""
    read_out(logits, adapter.scale, adapter.head.kind)
    return logits.numpy()
