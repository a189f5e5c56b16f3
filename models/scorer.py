"""Score texts: one backbone, any adapter, every core busy, no drift between adapters."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Literal

import numpy as np
import torch

from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.batches import Batch, Part, compute
from models.edits import Branch, Edits, Segment
from models.encoder import Encoder
from models.jobs import Group, Job, Scored, prepared, read
from models.kernels import circumstances_of, engine_of, resolved
from models.memory import give_back
from models.text import budget_batches, filled_batches, with_limit

__all__ = ["Group", "Scored", "Scorer"]

# A batch's widest activations then fit a processor's caches; more tokens were slower.
TOKEN_BUDGET = 2048
# Batches that wait while every core is busy; each may keep an adapter's merged weights alive.
BATCHES_AHEAD = 2
# Freed memory goes back to the system after so many batches.
BATCHES_PER_TRIM = 64
# Results that wait for a small group before them, which waits for others to share its batch.
RESULTS_WAITING = 64


class Scorer:
    """A frozen backbone and all the machine's cores.

    Each adapter is merged into new weights beside the pristine ones, or runs as a branch beside
    them where its texts are few; either way it leaves no trace.

    Args:
        backbone: from ``models.backbone.load_backbone``; never written to.
        precision: of the encoder; heads are float32 always. ``auto``: what this machine runs
            fastest; ``fp32``: for audits.
        threads: batches that are computed side by side; None: one per core.
        token_budget: most tokens in a batch.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        threads: int | None = None,
        token_budget: int = TOKEN_BUDGET,
    ):
        self.backbone = backbone
        self.precision = resolved(precision)
        self.engine = engine_of(self.precision)
        self.circumstances = f"{circumstances_of(self.precision)} backbone {backbone.sha256}"
        self.threads = threads or _cores()
        self.token_budget = token_budget
        self._encoder = Encoder(backbone, self.precision)
        self._tokenizer = cache(partial(with_limit, backbone.tokenizer))

    def score(self, adapter: Adapter, texts: Sequence[str], *, verify: bool = True) -> Scored:
        """Score one group.

        Raises:
            AdapterError: see ``score_groups``.
        """
        (result,) = self.score_groups([Group(lambda: adapter, texts, verify)])
        if isinstance(result, AdapterError):
            raise result
        return result

    def score_groups(self, groups: Iterable[Group]) -> Iterator[Scored | AdapterError]:
        """Score groups; small ones share batches with those that come next.

        Yields:
            per group, in their order, its scores or why it has none: its adapter could not be
            loaded, is for another backbone, edits layers that are not used, or a probe's raw
            score is off by more than ``models.jobs.PROBE_TOLERANCE``.
        """
        # One thread prepares while the others compute; each multiplies on one core.
        with _threads(1) as preparing, _threads(self.threads) as computing:
            queue = _Queue(self._encoder, computing, self.threads, self.token_budget)
            try:
                for group in groups:
                    queue.add(preparing.submit(self._entry, group).result())
                    yield from map(self._result, queue.due())
                yield from map(self._result, queue.rest())
            finally:
                computing.shutdown(cancel_futures=True)

    def _entry(self, group: Group) -> "_Entry":
        started = time.perf_counter()
        try:
            adapter = group.adapter()
            if adapter.scoring.backbone_sha256 != self.backbone.sha256:
                raise AdapterError(
                    f"the adapter is for backbone {adapter.scoring.backbone_sha256[:12]}, "
                    f"not {self.backbone.sha256[:12]}"
                )
            if group.verify and not adapter.scoring.probes:
                raise AdapterError(
                    "the adapter holds no probe predictions, so nothing shows that it scores here "
                    "as it did where it was made: train or import it again"
                )
            limit = min(adapter.scoring.max_tokens, self.backbone.max_tokens)
            job = prepared(group, adapter, self._tokenizer(limit))
            entry = _Entry(job)
            if job.tokens < self._encoder.break_even(adapter):
                entry.branches = self._encoder.branches(adapter)
            else:
                entry.merged = Edits(self._encoder.merged(adapter))
        except AdapterError as error:
            return _Entry(error)
        entry.load_ms = (time.perf_counter() - started) * 1e3 - job.tokenising_ms
        return entry

    def _result(self, entry: "_Entry") -> Scored | AdapterError:
        if isinstance(entry.outcome, AdapterError):
            return entry.outcome
        try:
            return read(entry.outcome, self.precision, entry.load_ms)
        except AdapterError as error:
            return error


@dataclass
class _Entry:
    """A group in the queue: its job with its edits until they are used, or why it has none."""

    outcome: Job | AdapterError
    merged: Edits | None = None
    branches: Mapping[str, Branch] | None = None
    load_ms: float = 0.0
    batches: list[Future[None]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        started = self.merged is None and self.branches is None
        return started and all(batch.done() for batch in self.batches)


class _Queue:
    """Groups in the order they came: some wait to share a batch, some are computed, some done."""

    def __init__(self, encoder: Encoder, pool: ThreadPoolExecutor, threads: int, token_budget: int):
        self._encoder, self._pool = encoder, pool
        self._most_running = threads + BATCHES_AHEAD
        self._token_budget = token_budget
        self._entries: deque[_Entry] = deque()
        self._sharing: list[tuple[_Entry, Job]] = []
        self._running: set[Future[None]] = set()
        self._submitted = 0

    def add(self, entry: _Entry) -> None:
        """Take in a group; waits while enough others are under way."""
        self._entries.append(entry)
        if isinstance(entry.outcome, AdapterError):
            return
        if entry.merged is not None:
            self._start(entry, entry.outcome, entry.merged)
        else:
            self._gather(entry, entry.outcome)
        while len(self._running) > self._most_running:
            self._running = wait(self._running, return_when=FIRST_COMPLETED).not_done

    def due(self) -> Iterator[_Entry]:
        """Take out the groups at the head that are done."""
        if len(self._entries) > RESULTS_WAITING:
            self._share()
        while self._entries and self._entries[0].is_done:
            yield self._taken()

    def rest(self) -> Iterator[_Entry]:
        """Take out all that is left."""
        self._share()
        while self._entries:
            yield self._taken()

    def _taken(self) -> _Entry:
        entry = self._entries.popleft()
        for batch in entry.batches:
            batch.result()
        return entry

    def _start(self, entry: _Entry, job: Job, edits: Edits) -> None:
        batches = budget_batches if self._encoder.likes_equal_lengths else filled_batches
        for positions in batches(job.lengths, self._token_budget):
            self._submit(Batch([Part(job, positions)], edits), [entry])
        entry.merged = None

    def _gather(self, entry: _Entry, job: Job) -> None:
        pooling = job.adapter.head.pooling
        if self._sharing and self._sharing[0][1].adapter.head.pooling != pooling:
            self._share()
        self._sharing.append((entry, job))
        if sum(other.tokens for _, other in self._sharing) >= self._token_budget:
            self._share()

    def _share(self) -> None:
        """Compute the small groups that have come together, as one batch."""
        parts, segments, start = [], [], 0
        for entry, job in self._sharing:
            parts.append(Part(job, np.arange(len(job.lengths))))
            segments.append(Segment(start, start + job.tokens, entry.branches or {}))
            start += job.tokens
        if parts:
            self._submit(
                Batch(parts, Edits(segments=segments)), [entry for entry, _ in self._sharing]
            )
        for entry, _ in self._sharing:
            entry.branches = None
        self._sharing = []

    def _submit(self, batch: Batch, entries: Sequence[_Entry]) -> None:
        future = self._pool.submit(compute, batch, self._encoder)
        self._submitted += 1
        if self._submitted % BATCHES_PER_TRIM == 0:
            give_back()
        self._running.add(future)
        for entry in entries:
            entry.batches.append(future)


def _cores() -> int:
    """Cores that this process may use; the machine's, where the system does not say."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))
