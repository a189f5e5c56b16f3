"""Processes that hold the systems: one with a thread per core, and one of one thread per core.

A system lives in the processes of its layout, so its libraries are set up for just that many
threads, and what one system does to its process is no other layout's affair.
"""

import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.plan import Spec
from benchmarks.engine.systems import Clock, Layout, Logits, Setting, System


class SystemFailedError(RuntimeError):
    """A system failed in its process."""


@dataclass(frozen=True)
class Timing:
    """What one run took, over all processes of its layout.

    Attributes:
        score_s, load_s: wall seconds of the phases, of the slowest process each.
        total_s: both phases, of the slowest process.
        score_cpu_s, load_cpu_s: CPU seconds of all processes.
        tokens: if the system counted them itself, else 0.
    """

    score_s: float
    load_s: float
    total_s: float
    score_cpu_s: float
    load_cpu_s: float
    tokens: int


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


class Workers:
    """The processes of all layouts for one backbone; they end with the block.

    Args:
        backbone: a key of ``backbones.TITLES``.
    """

    def __init__(self, backbone: str):
        self.backbone = backbone
        self._by_layout: dict[Layout, list[_Worker]] = {}

    @contextmanager
    def running(self) -> Iterator["Workers"]:
        """Start the processes, and stop them at the end whatever happens."""
        many = [_Worker(self.backbone, 1) for _ in range(cores())]
        one = _Worker(self.backbone, cores())
        self._by_layout = {"threads": [one], "processes": many, "one core": many[:1]}
        try:
            yield self
        finally:
            for worker in [one, *many]:
                worker.stop()

    def prepare(
        self, spec: Spec, layout: Layout, rounds: Sequence[Sequence[ItemWork]]
    ) -> dict[str, float]:
        """Bring a system up for all the rounds' items; returns the largest figures."""
        workers = self._by_layout[layout]
        numbers: list[set[int]] = [set() for _ in workers]
        for items in rounds:
            for own, share in zip(numbers, share_out(items, len(workers)), strict=True):
                own.update(item.number for item in share)
        for worker, own in zip(workers, numbers, strict=True):
            worker.ask("prepare", spec, sorted(own))
        figures: list[dict[str, float]] = [worker.answer() for worker in workers]
        return {name: max(each[name] for each in figures) for name in figures[0]}

    def run(
        self, spec: Spec, items: Sequence[ItemWork], setting: Setting
    ) -> tuple[Timing, dict[int, Logits]]:
        """Score items once; returns its timing and the logits by item number."""
        workers = self._by_layout[setting.layout]
        shares = share_out(items, len(workers))
        for worker, share in zip(workers, shares, strict=True):
            worker.ask("run", spec.key, share, setting)
        clocks: list[Clock] = [worker.answer() for worker in workers]
        found: list[dict[int, Logits]] = []
        for worker, share in zip(workers, shares, strict=True):
            worker.ask("logits")
            numbers = [item.number for item in share]
            found.append(dict(zip(numbers, worker.answer(), strict=False)))
        return _timing(clocks), put_together(found, len(items) < len(workers))

    def drop(self, spec: Spec, layout: Layout) -> None:
        """Let go of a system."""
        for worker in self._by_layout[layout]:
            worker.ask("drop", spec.key)
            worker.answer()


def share_out(items: Sequence[ItemWork], n: int) -> list[list[ItemWork]]:
    """Divide items among n processes by the length of their texts, largest first.

    Where there are fewer items than processes, each item's texts are dealt out in turn instead.
    """
    if len(items) < n:
        dealt = [
            [ItemWork(item.number, item.texts[part::n]) for item in items] for part in range(n)
        ]
        return [[item for item in share if item.texts] for share in dealt]
    shares: list[list[ItemWork]] = [[] for _ in range(n)]
    load = [0] * n
    for item in sorted(items, key=lambda item: -_characters(item)):
        lightest = load.index(min(load))
        shares[lightest].append(item)
        load[lightest] += _characters(item)
    return shares


def put_together(found: Sequence[dict[int, Logits]], are_dealt: bool) -> dict[int, Logits]:
    """Logits by item number, from those of each process; see ``share_out``."""
    logits = {number: rows for share in found for number, rows in share.items()}
    if are_dealt:
        for number, rows in logits.items():
            shares = [share[number] for share in found if number in share]
            whole = np.empty((sum(map(len, shares)), rows.shape[1]), dtype=rows.dtype)
            for part, own in enumerate(shares):
                whole[part :: len(found)] = own
            logits[number] = whole
    return logits


def _characters(item: ItemWork) -> int:
    return sum(map(len, item.texts))


def _timing(clocks: Sequence[Clock]) -> Timing:
    def slowest(phase: str) -> float:
        return max(clock.wall_s.get(phase, 0.0) for clock in clocks)

    def together(phase: str) -> float:
        return sum(clock.cpu_s.get(phase, 0.0) for clock in clocks)

    return Timing(
        slowest("score"),
        slowest("load"),
        max(sum(clock.wall_s.values()) for clock in clocks),
        together("score"),
        together("load"),
        sum(clock.tokens for clock in clocks),
    )


class _Worker:
    """One process, and the pipe to it."""

    def __init__(self, backbone: str, threads: int):
        here, there = get_context("spawn").Pipe()
        self._pipe = here
        self._process = get_context("spawn").Process(
            target=_serve, args=(there, backbone, threads), daemon=True
        )
        before = dict(os.environ)
        os.environ.update(OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1")
        self._process.start()
        os.environ.clear()
        os.environ.update(before)
        there.close()

    def ask(self, *request: Any) -> None:
        self._pipe.send(request)

    def answer(self) -> Any:
        try:
            ok, answer = self._pipe.recv()
        except EOFError:
            raise SystemFailedError(
                "a worker process ended: too little memory is the likely cause; see what the "
                "kernel's log says"
            ) from None
        if not ok:
            raise SystemFailedError(answer)
        return answer

    def stop(self) -> None:
        if self._process.is_alive():
            self._pipe.close()
            self._process.join(10)
        if self._process.is_alive():
            self._process.kill()


def _serve(pipe: Connection, backbone: str, threads: int) -> None:
    """Answer requests until the other end closes."""
    _quiet()
    import torch

    torch.set_num_threads(threads)
    held = _Held(backbone)
    while True:
        try:
            name, *arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, getattr(held, name)(*arguments)))
        except Exception:  # whatever a rival raises is told to the process that asked
            pipe.send((False, traceback.format_exc()))


class _Held:
    """The systems of one process; its methods are what can be asked for."""

    def __init__(self, backbone: str):
        self._backbone = backbone
        self._systems: dict[str, System] = {}
        self._logits: list[Logits] = []

    def prepare(self, spec: Spec, numbers: Sequence[int]) -> dict[str, float]:
        system = spec.make(self._backbone)
        self._systems[spec.key] = system
        return system.prepare(numbers)

    def run(self, key: str, items: Sequence[ItemWork], setting: Setting) -> Clock:
        clock = Clock()
        self._logits = self._systems[key].run(items, setting, clock)
        return clock

    def logits(self) -> list[Logits]:
        return self._logits

    def drop(self, key: str) -> None:
        self._systems.pop(key, None)


def _quiet() -> None:
    """The rivals' libraries have notices and bars that would drown the progress shown."""
    import logging
    import warnings

    from transformers.utils import logging as of_the_library

    warnings.simplefilter("ignore")
    of_the_library.set_verbosity(logging.CRITICAL)
    of_the_library.disable_progress_bar()
