"""Groups on their way through the cores: stacked, cut into batches, computed, handed out in order.

Small groups wait to share a batch with those that come next; stacked groups share the trunk.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.adapter_files import AdapterError
from models.batches import Batch, Part, Upper, compute
from models.edits import Branches, Edits, Segment
from models.encoder import Encoder
from models.jobs import Job
from models.memory import give_back
from models.scoring_record import Pooling
from models.screening import Screened
from models.stacks import Stack, stacked
from models.text import budget_batches, filled_batches
from models.trunks import Trunks

# Batches that wait while every core is busy; each may keep an adapter's merged weights alive.
BATCHES_AHEAD = 2
# Freed memory goes back to the system after so many batches.
BATCHES_PER_TRIM = 64
# Results that wait for a small group before them, which waits for others to share its batch.
RESULTS_WAITING = 64
# Groups in a stack, and bytes of their merged weights, which are all in memory at a time.
MOST_STACKED = 32
STACK_BYTES = 1 << 30


@dataclass
class Entry:
    """A group in the queue: its job with its edits until they are used, or why it has none.

    Attributes:
        outcome: the job, or why there is none.
        depth: number of the backbone's lower blocks that the adapter leaves as they are.
        merged: the edits, where they are written into weights.
        branches: the edits, where they run beside the weights.
        weight_bytes: memory of what is merged.
        load_ms: what it took to get here.
        screened: what a student has scored already, in a cascade.
    """

    outcome: Job | AdapterError
    depth: int = 0
    merged: Edits | None = None
    branches: Branches | None = None
    weight_bytes: int = 0
    load_ms: float = 0.0
    screened: Screened | None = None
    waiting: int = 0  # parts that wait for others to share their batch
    batches: list[Future[None]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether its results can be read."""
        return not self.waiting and all(batch.done() for batch in self.batches)


@dataclass(frozen=True)
class _Member:
    """One job of a stack, with its edits."""

    entry: Entry
    job: Job
    merged: Edits | None
    branches: Branches
    depth: int

    @property
    def kind(self) -> tuple[int, Pooling]:
        """What members must have in common to share a batch; their scores would depend on it."""
        return self.depth, self.job.adapter.head.pooling

    def edits(self, tokens: int) -> Edits:
        """The edits, for a batch of so many tokens."""
        if self.merged is not None:
            return self.merged
        return Edits(segments=[Segment(0, tokens, self.branches)], first_block=self.depth)


@dataclass(frozen=True)
class _Share:
    """Some texts of a small stack, for a batch of several stacks."""

    stack: Stack
    members: Sequence[_Member]
    texts: NDArray[np.int64]
    tokens: int


class Queue:
    """Groups in the order they came: some wait to share a batch, some are computed, some done."""

    def __init__(
        self,
        encoder: Encoder,
        trunks: Trunks,
        pool: ThreadPoolExecutor,
        threads: int,
        token_budget: int,
    ):
        self._encoder, self._trunks, self._pool = encoder, trunks, pool
        self._most_running = threads + BATCHES_AHEAD
        self._token_budget = token_budget
        self._entries: deque[Entry] = deque()
        self._stack: list[Entry] = []  # groups on the same texts
        self._shares: list[_Share] = []
        self._behind = 0  # groups that came after the first of them
        self._submitted = 0
        self._running: set[Future[None]] = set()

    def add(self, entry: Entry, *, followed: bool) -> None:
        """Take in a group; waits while enough others are under way.

        Args:
            entry: the group.
            followed: the next group has texts in common with it.
        """
        self._entries.append(entry)
        if isinstance(entry.outcome, Job) and entry.depth:
            entry.waiting += 1
            self._stack.append(entry)
        elif isinstance(entry.outcome, Job):
            self._compute([_member(entry)])
        full = len(self._stack) >= MOST_STACKED or (
            sum(entry.weight_bytes for entry in self._stack) > STACK_BYTES
        )
        if full or not followed:
            self._compute_stack()
        while len(self._running) > self._most_running:
            self._running = wait(self._running, return_when=FIRST_COMPLETED).not_done

    def due(self) -> Iterator[Entry]:
        """Take out the groups at the head that are done."""
        while self._entries and self._entries[0].is_done:
            yield self._taken()

    def rest(self) -> Iterator[Entry]:
        """Take out all that is left."""
        self._compute_stack()
        self._share()
        while self._entries:
            yield self._taken()
        if self._submitted > 1:
            give_back()

    def _taken(self) -> Entry:
        entry = self._entries.popleft()
        for batch in entry.batches:
            batch.result()
        return entry

    def _compute_stack(self) -> None:
        """Compute the groups on the same texts that have come together."""
        entries, self._stack = self._stack, []
        if entries:
            self._compute([_member(entry) for entry in entries])
        for entry in entries:
            entry.waiting -= 1

    def _compute(self, members: Sequence[_Member]) -> None:
        """Compute a group, or several that share their trunk."""
        if any(member.merged is not None for member in members):
            self._start(members)
        else:
            self._gather(members)
        self._behind += len(members) if self._shares else 0
        if self._behind > RESULTS_WAITING:
            self._share()

    def _start(self, members: Sequence[_Member]) -> None:
        """Compute the texts of a large group, or of several on the same texts."""
        stack = stacked([member.job for member in members])
        batches = budget_batches if self._encoder.likes_equal_lengths else filled_batches
        for texts in batches(stack.lengths, self._token_budget):
            self._submit([_Share(stack, members, texts, int(stack.lengths[texts].sum()))])

    def _gather(self, members: Sequence[_Member]) -> None:
        """Put small groups' texts into the batches that are filled next."""
        stack = stacked([member.job for member in members])
        order = np.argsort(stack.lengths, kind="stable")
        ends = np.cumsum(stack.lengths[order])
        start = done = 0
        while start < len(order):
            room = self._room(members)
            stop = int(np.searchsorted(ends, done + room, side="right"))
            if stop <= start and self._shares:
                self._share()
                continue
            stop = max(stop, start + 1)  # a text longer than a batch makes one of its own
            tokens = int(ends[stop - 1]) - done
            self._shares.append(_Share(stack, members, order[start:stop], tokens))
            for member in members:
                member.entry.waiting += 1
            start, done = stop, done + tokens

    def _room(self, members: Sequence[_Member]) -> int:
        """Tokens that the batch in the making still takes of such groups."""
        kinds = [member.kind for member in members]
        for share in self._shares:
            others = [member.kind for member in share.members]
            if others[: len(kinds)] != kinds[: len(others)] or _trunk(others) != _trunk(kinds):
                return 0
        return self._token_budget - sum(share.tokens for share in self._shares)

    def _share(self) -> None:
        """Compute the texts that have come together, as one batch."""
        shares, self._shares, self._behind = self._shares, [], 0
        if not shares:
            return
        self._submit(shares)
        for share in shares:
            for member in share.members:
                member.entry.waiting -= 1

    def _submit(self, shares: Sequence[_Share]) -> None:
        future = self._pool.submit(compute, _batch(shares), self._encoder, self._trunks)
        self._running.add(future)
        self._submitted += 1
        if self._submitted % BATCHES_PER_TRIM == 0:
            give_back()
        for share in shares:
            for member in share.members:
                member.entry.batches.append(future)


def _trunk(kinds: Sequence[tuple[int, Pooling]]) -> int:
    """How deep the trunk of members of such kinds reaches."""
    return min(depth for depth, _ in kinds)


def _member(entry: Entry) -> _Member:
    """Takes the edits out of an entry: they live as long as its batches."""
    if not isinstance(entry.outcome, Job):
        raise TypeError("a group without a job has nothing to compute")
    member = _Member(entry, entry.outcome, entry.merged, entry.branches or {}, entry.depth)
    entry.merged = entry.branches = None
    return member


def _batch(shares: Sequence[_Share]) -> Batch:
    """One batch of shares: side by side their texts, and their jobs level by level."""
    levels = max(len(share.members) for share in shares)
    return Batch(
        token_ids=[share.stack.token_ids[text] for share in shares for text in share.texts],
        depth=_trunk([member.kind for share in shares for member in share.members]),
        uppers=[upper for level in range(levels) if (upper := _upper(shares, level)) is not None],
    )


def _upper(shares: Sequence[_Share], level: int) -> Upper | None:
    """What the shares' jobs of one level want of a batch; None where they want nothing."""
    parts: list[Part] = []
    members: list[_Member] = []
    tokens: list[int] = []
    texts: list[NDArray[np.int64]] = []
    start = 0
    for share in shares:
        if level < len(share.members):
            places = share.stack.places[level][share.texts]
            wanted = np.flatnonzero(places >= 0)
            if len(wanted):
                parts.append(Part(share.members[level].job, places[wanted]))
                members.append(share.members[level])
                tokens.append(int(share.stack.lengths[share.texts[wanted]].sum()))
                texts.append(start + wanted)
        start += len(share.texts)
    if not parts:
        return None
    chosen = np.concatenate(texts)
    return Upper(parts, _edits(members, tokens), None if len(chosen) == start else chosen)


def _edits(members: Sequence[_Member], tokens: Sequence[int]) -> Edits:
    """The edits of one member, or of several side by side, each on so many tokens."""
    if len(members) == 1:
        return members[0].edits(tokens[0])
    stops = np.cumsum(tokens).tolist()
    segments = [
        Segment(stop - length, stop, member.branches)
        for member, length, stop in zip(members, tokens, stops, strict=True)
    ]
    return Edits(segments=segments, first_block=members[0].depth)
