"""Score texts: one backbone, any adapter, every core busy, no drift between adapters."""

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Literal

import numpy as np
import torch

from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.batches import Batch, Part, compute
from models.devices import CPU
from models.edits import Branches, Edits, Segment
from models.encoder import Encoder
from models.jobs import Group, Job, Scored, prepared, read
from models.kernels import circumstances_of, resolved
from models.memory import give_back, keep_freed, page_out
from models.postprocessing import Reported
from models.text import budget_batches, filled_batches, unknown_token, with_limit

__all__ = ["Group", "Scored", "Scorer", "exact_scorer"]

# A batch's widest activations then fit a processor's caches; more tokens were slower. A GPU
# needs more to be busy; its number is not measured.
TOKEN_BUDGET = {"cpu": 2048, "cuda": 32768}
# Batches at a time on a GPU: one is packed while another is computed.
GPU_THREADS = 2
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
        device: where batches are computed, see ``models.devices.device_named``.
        threads: batches that are computed side by side; None: one per core.
        token_budget: most tokens in a batch; None: what suits the device.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        device: torch.device = CPU,
        threads: int | None = None,
        token_budget: int | None = None,
    ):
        self.backbone = backbone
        self.precision = resolved(precision, device)
        self.circumstances = " ".join(
            [
                circumstances_of(self.precision, device),
                f"backbone {backbone.sha256} {backbone.settings_sha256}",
                f"{backbone.max_tokens} tokens",
            ]
        )
        self.threads = threads or (_cores() if device == CPU else GPU_THREADS)
        self.token_budget = token_budget or TOKEN_BUDGET[device.type]
        # No GPU has run this code yet: there the probes are compared every time.
        self.is_unproven = device != CPU
        keep_freed()
        self._encoder = Encoder(backbone, self.precision, device)
        page_out(backbone.model.parameters())
        self._tokenizer = cache(partial(with_limit, backbone.tokenizer))
        self._unknown = unknown_token(backbone.tokenizer)

    def score(
        self,
        adapter: Adapter,
        texts: Sequence[str],
        *,
        verify: bool = True,
        reported: Reported = "rounded",
    ) -> Scored:
        """Score one group.

        Raises:
            AdapterError: see ``score_groups``.
        """
        (result,) = self.score_groups([Group(lambda: adapter, texts, verify, reported)])
        if isinstance(result, AdapterError):
            raise result
        return result

    def score_groups(self, groups: Iterable[Group]) -> Iterator[Scored | AdapterError]:
        """Score groups; small ones share batches with those that come next.

        Yields:
            per group, in their order, its scores or why it has none: its adapter could not be
            loaded, is for another backbone, edits layers that are not used, has no scaling
            although scaled scores are to be reported, or a probe's raw score is off by more than
            ``models.jobs.PROBE_TOLERANCE``.
        """
        # One thread prepares while the others compute; each multiplies on one core.
        with _Trimmed() as batches, _threads(1) as preparing, _threads(self.threads) as computing:
            queue = _Queue(self._encoder, computing, self.threads, self.token_budget, batches)
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
            if group.reported == "scaled" and adapter.scoring.scaling is None:
                raise AdapterError(
                    "the item reports scaled scores, but the adapter holds no means and deviations "
                    "to scale by: train it again, or have the item report rounded scores"
                )
            limit = min(adapter.scoring.max_tokens, self.backbone.max_tokens)
            job = prepared(group, adapter, self._tokenizer(limit), self._unknown)
            if job.response_tokens < self._encoder.break_even(adapter):
                entry = _Entry(job, branches=self._encoder.branches(adapter))
            else:
                entry = _Entry(job, merged=Edits(self._encoder.merged(adapter)))
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


@lru_cache(maxsize=1)
def exact_scorer(backbone: Backbone) -> Scorer:
    """The scorer for what is kept with an adapter or decides about it: float32, one core."""
    return Scorer(backbone, precision="fp32", threads=1)


@dataclass
class _Entry:
    """A group in the queue: its job with its edits until they are used, or why it has none."""

    outcome: Job | AdapterError
    merged: Edits | None = None
    branches: Branches | None = None
    load_ms: float = 0.0
    waiting: int = 0  # parts that wait for others to share their batch
    batches: list[Future[None]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return not self.waiting and all(batch.done() for batch in self.batches)


@dataclass(frozen=True)
class _Share:
    """Some texts of a small group, for a batch of several groups."""

    entry: _Entry
    part: Part
    tokens: int
    branches: Branches


class _Queue:
    """Groups in the order they came: some wait to share a batch, some are computed, some done."""

    def __init__(
        self,
        encoder: Encoder,
        pool: ThreadPoolExecutor,
        threads: int,
        token_budget: int,
        batches: "_Trimmed",
    ):
        self._encoder, self._pool, self._batches = encoder, pool, batches
        self._most_running = threads + BATCHES_AHEAD
        self._token_budget = token_budget
        self._entries: deque[_Entry] = deque()
        self._shares: list[_Share] = []
        self._behind = 0  # groups that came after the first of them
        self._running: set[Future[None]] = set()

    def add(self, entry: _Entry) -> None:
        """Take in a group; waits while enough others are under way."""
        self._entries.append(entry)
        if isinstance(entry.outcome, AdapterError):
            return
        if entry.merged is not None:
            self._start(entry, entry.outcome, entry.merged)
        else:
            self._gather(entry, entry.outcome, entry.branches or {})
        entry.merged = entry.branches = None
        self._behind += bool(self._shares)
        if self._behind > RESULTS_WAITING:
            self._share()
        while len(self._running) > self._most_running:
            self._running = wait(self._running, return_when=FIRST_COMPLETED).not_done

    def due(self) -> Iterator[_Entry]:
        """Take out the groups at the head that are done."""
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

    def _gather(self, entry: _Entry, job: Job, branches: Branches) -> None:
        """Put a small group's texts into the batches that are filled next."""
        order = np.argsort(job.lengths, kind="stable")
        ends = np.cumsum(job.lengths[order])
        start = done = 0
        while start < len(order):
            room = self._room(job)
            stop = int(np.searchsorted(ends, done + room, side="right"))
            if stop <= start and self._shares:
                self._share()
                continue
            stop = max(stop, start + 1)  # a text longer than a batch makes one of its own
            tokens = int(ends[stop - 1]) - done
            self._shares.append(_Share(entry, Part(job, order[start:stop]), tokens, branches))
            entry.waiting += 1
            start, done = stop, done + tokens

    def _room(self, job: Job) -> int:
        """Tokens that the batch in the making still takes of a job."""
        if self._shares and self._shares[0].part.job.adapter.head.pooling != (
            job.adapter.head.pooling
        ):
            return 0
        return self._token_budget - sum(share.tokens for share in self._shares)

    def _share(self) -> None:
        """Compute the texts that have come together, as one batch."""
        shares, self._shares, self._behind = self._shares, [], 0
        if not shares:
            return
        stops = np.cumsum([share.tokens for share in shares]).tolist()
        segments = [
            Segment(stop - share.tokens, stop, share.branches)
            for share, stop in zip(shares, stops, strict=True)
        ]
        batch = Batch([share.part for share in shares], Edits(segments=segments))
        self._submit(batch, [share.entry for share in shares])
        for share in shares:
            share.entry.waiting -= 1

    def _submit(self, batch: Batch, entries: Sequence[_Entry]) -> None:
        future = self._pool.submit(compute, batch, self._encoder)
        self._batches.count()
        self._running.add(future)
        for entry in entries:
            entry.batches.append(future)


class _Trimmed:
    """Counts batches; gives memory that was kept for the next one back from time to time."""

    def __enter__(self) -> "_Trimmed":
        self._number = 0
        return self

    def count(self) -> None:
        self._number += 1
        if self._number % BATCHES_PER_TRIM == 0:
            give_back()

    def __exit__(self, *_: object) -> None:
        if self._number > 1:
            give_back()


def _cores() -> int:
    """Cores that this process may use; the machine's, where the system does not say."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))
