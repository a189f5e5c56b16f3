"""Score texts: one backbone, any adapter, every core busy, no drift between adapters."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, lru_cache, partial
from typing import Literal

import torch

from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.devices import CPU
from models.encoder import Encoder
from models.jobs import Group, prepared, read
from models.kernels import circumstances_of, resolved
from models.memory import keep_freed, page_out
from models.postprocessing import Reported
from models.scheduling import Entry, Queue
from models.scored import Scored, check_scaling, require_probes
from models.screening import screen
from models.stacks import followed
from models.text import unknown_token, with_limit
from models.trunk_cache import TrunkCache
from models.trunks import Trunks

__all__ = ["Group", "Scorer", "exact_scorer"]

# A batch's widest activations then fit a processor's caches; more tokens were slower. A GPU
# needs more to be busy; its number is not measured.
TOKEN_BUDGET = {"cpu": 2048, "cuda": 32768}
# Batches at a time on a GPU: one is packed while another is computed.
GPU_THREADS = 2


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
        trunk_cache: keeps what the trunk makes of texts for the next run; None: nothing does.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        precision: Literal["auto", "bf16", "fp32"] = "auto",
        device: torch.device = CPU,
        threads: int | None = None,
        token_budget: int | None = None,
        trunk_cache: TrunkCache | None = None,
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
        width = backbone.hidden_size
        self._trunks = Trunks(self._encoder, trunk_cache, self.circumstances, width)
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

        Groups on the same texts, one after the other, share the work of the blocks that none of
        their adapters edits.

        Yields:
            per group, in their order, its scores or why it has none: its adapter could not be
            loaded, is for another backbone, edits layers that are not used, has no scaling
            although scaled scores are to be reported, or a probe's raw score is off by more than
            ``models.jobs.PROBE_TOLERANCE``.
        """
        # One thread prepares while the others compute; each multiplies on one core.
        with _threads(1) as preparing, _threads(self.threads) as computing:
            queue = Queue(self._encoder, self._trunks, computing, self.threads, self.token_budget)
            try:
                for group, is_followed in followed(groups):
                    entry = preparing.submit(self._entry, group).result()
                    queue.add(entry, followed=is_followed)
                    yield from map(self._result, queue.due())
                yield from map(self._result, queue.rest())
            finally:
                computing.shutdown(cancel_futures=True)
                self._trunks.flush()

    def _entry(self, group: Group) -> Entry:
        started = time.perf_counter()
        try:
            adapter = group.adapter()
            if adapter.scoring.backbone_sha256 != self.backbone.sha256:
                raise AdapterError(
                    f"the adapter is for backbone {adapter.scoring.backbone_sha256[:12]}, "
                    f"not {self.backbone.sha256[:12]}"
                )
            if group.verify:
                require_probes(adapter.scoring)
            check_scaling(adapter.scoring, group.reported)
            limit = min(adapter.scoring.max_tokens, self.backbone.max_tokens)
            tokenizer = self._tokenizer(limit)
            screened = None
            if adapter.student is not None:
                screened = screen(adapter, group, tokenizer, self._unknown)
                group = replace(group, texts=screened.rest(group.texts))
            job = prepared(group, adapter, tokenizer, self._unknown)
            entry = Entry(job, self._encoder.depth(adapter), screened=screened)
            if job.response_tokens < self._encoder.break_even(adapter):
                entry.branches = self._encoder.branches(adapter)
            else:
                entry.merged = self._encoder.merged(adapter)
                entry.weight_bytes = self._encoder.weight_bytes(adapter)
        except AdapterError as error:
            return Entry(error)
        screening_ms = 0.0 if screened is None else float(screened.scored.latency_ms.sum())
        entry.load_ms = (time.perf_counter() - started) * 1e3 - job.tokenising_ms - screening_ms
        return entry

    def _result(self, entry: Entry) -> Scored | AdapterError:
        if isinstance(entry.outcome, AdapterError):
            return entry.outcome
        try:
            scored = read(entry.outcome, self.precision, entry.load_ms)
        except AdapterError as error:
            return error
        return scored if entry.screened is None else entry.screened.completed(scored)


@lru_cache(maxsize=1)
def exact_scorer(backbone: Backbone) -> Scorer:
    """The scorer for what is kept with an adapter or decides about it: float32, one core."""
    return Scorer(backbone, precision="fp32", threads=1)


def _cores() -> int:
    """Cores that this process may use; the machine's, where the system does not say."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def _threads(number: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,))
