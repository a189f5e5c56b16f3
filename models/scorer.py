"""Score texts: one backbone, any adapter, no drift between them."""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.heads import read_out
from models.packing import hidden_states, mean_by_text, pack
from models.text import Encoded, budget_batches, distinct, encode, with_limit

TOKEN_BUDGET = 8192
# float32 sums differ between CPUs in the sixth digit; a wrong weight shows in the first two.
PROBE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scored:
    """Scores of n texts, in the order they came.

    Attributes:
        raw_score: float64 [n], the expected score.
        score: int32 [n], the reported score.
        confidence: float64 [n], probability of the reported score.
        probabilities: float32 [n, K], per score point from score_min up.
        truncated: bool [n], the text was longer than the adapter's limit.
        latency_ms: float64 [n], the text's share by tokens of its batch's wall time and of the
            tokenising; copies of one text share one forward, so the sum is the time spent.
    """

    raw_score: NDArray[np.float64]
    score: NDArray[np.int32]
    confidence: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    truncated: NDArray[np.bool_]
    latency_ms: NDArray[np.float64]


class Scorer:
    """A backbone's weights twice: pristine, and a working copy that carries one adapter.

    An adapter is applied by writing W0 + s*B*A from the pristine weights and never taken out
    again, so the order in which adapters come leaves no trace.
    """

    def __init__(self, backbone: Backbone, *, token_budget: int = TOKEN_BUDGET):
        self.backbone = backbone
        self.token_budget = token_budget
        self._pristine = dict(backbone.model.named_modules())
        self._working = copy.deepcopy(backbone.model)
        self._layers = dict(self._working.named_modules())
        self._edited: frozenset[str] = frozenset()
        self._adapter: Adapter | None = None

    def apply(self, adapter: Adapter, *, verify: bool = True) -> None:
        """Make the working copy this adapter's.

        Args:
            adapter: from ``models.adapters.load_adapter``.
            verify: score the adapter's probe texts and compare with what it stored.

        Raises:
            AdapterError: it is for another backbone, or a probe's raw score is off by more
                than PROBE_TOLERANCE.
        """
        if adapter.scoring.backbone_sha256 != self.backbone.sha256:
            raise AdapterError(
                f"the adapter is for backbone {adapter.scoring.backbone_sha256[:12]}, "
                f"not {self.backbone.sha256[:12]}"
            )
        self._adapter = None
        with torch.no_grad():
            for name in self._edited - adapter.edits.keys():
                self._weight(self._layers, name).copy_(self._weight(self._pristine, name))
            for name, edit in adapter.edits.items():
                pristine = self._weight(self._pristine, name)
                torch.add(pristine, edit.delta(), out=self._weight(self._layers, name))
        self._edited = frozenset(adapter.edits)
        self._adapter = adapter
        if verify:
            self._verify(adapter)

    def score(self, texts: Sequence[str]) -> Scored:
        """Score texts with the applied adapter.

        Raises:
            RuntimeError: no adapter has been applied.
        """
        adapter = self._adapter
        if adapter is None:
            raise RuntimeError("apply an adapter before scoring")
        started = time.perf_counter()
        limit = min(adapter.scoring.max_tokens, self.backbone.max_tokens)
        encoded = encode(with_limit(self.backbone.tokenizer, limit), texts)
        first, inverse = distinct(encoded.token_ids)
        tokenising_ms = (time.perf_counter() - started) * 1e3
        logits, forward_ms = self._forward(adapter, encoded, first)
        columns = read_out(logits[inverse], adapter.scale)
        latency_ms = (forward_ms / np.maximum(np.bincount(inverse, minlength=len(first)), 1))[
            inverse
        ]
        shares = encoded.lengths / max(int(encoded.lengths.sum()), 1)
        return Scored(
            raw_score=columns.raw_score,
            score=columns.score,
            confidence=columns.confidence,
            probabilities=columns.probabilities,
            truncated=encoded.truncated,
            latency_ms=latency_ms + tokenising_ms * shares,
        )

    def _forward(
        self, adapter: Adapter, encoded: Encoded, first: NDArray[np.int64]
    ) -> tuple[Tensor, NDArray[np.float64]]:
        """Logits [m, K-1] and milliseconds [m] of the distinct texts."""
        lengths = encoded.lengths[first]
        logits = torch.empty(len(first), adapter.scale.n_points - 1)
        spent_ms = np.empty(len(first), dtype=np.float64)
        for batch in budget_batches(lengths, self.token_budget):
            started = time.perf_counter()
            token_ids = [encoded.token_ids[position] for position in first[batch]]
            logits[torch.from_numpy(batch)] = self._logits(adapter, token_ids)
            batch_ms = (time.perf_counter() - started) * 1e3
            spent_ms[batch] = batch_ms * lengths[batch] / lengths[batch].sum()
        return logits, spent_ms

    def _logits(self, adapter: Adapter, token_ids: Sequence[NDArray[np.int64]]) -> Tensor:
        with torch.inference_mode():
            packed = pack(token_ids, position_offset=self.backbone.position_offset)
            pooled = mean_by_text(hidden_states(self._working, packed), packed)
            return nn.functional.linear(pooled, adapter.head_weight, adapter.head_bias)

    def _verify(self, adapter: Adapter) -> None:
        stored = np.array([probe.raw_score for probe in adapter.scoring.probes])
        found = self.score([probe.text for probe in adapter.scoring.probes]).raw_score
        worst = float(np.abs(found - stored).max(initial=0.0))
        if not worst <= PROBE_TOLERANCE:
            self._adapter = None
            raise AdapterError(
                f"the adapter {adapter.sha256[:12]} does not reproduce its probe predictions "
                f"(off by {worst:.3g}, allowed {PROBE_TOLERANCE:g}): its files were changed, "
                "or the libraries compute differently; train it again"
            )

    @staticmethod
    def _weight(modules: dict[str, nn.Module], name: str) -> Tensor:
        weight = modules[name].weight
        if not isinstance(weight, Tensor):
            raise AdapterError(f"{name} is no layer with a weight")
        return weight
