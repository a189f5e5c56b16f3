"""A group of texts on its way through the scorer: prepared, computed in parts, read out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from models.adapters import Adapter, AdapterError
from models.heads import read_out
from models.kernels import Precision
from models.postprocessing import Reported
from models.scored import Scored, check_probes, reports
from models.text import Encoded, distinct, encode

# Mean and largest difference from the stored probes, as shares of the scale's range. A wrong weight
# shows in most of them; rounding differs between machines in float32's sixth digit, bfloat16's
# third, and a single probe where the head is steep moves by several times that.
PROBE_TOLERANCE: dict[Precision, tuple[float, float]] = {"fp32": (5e-4, 5e-4), "bf16": (2e-2, 0.1)}


@dataclass(frozen=True)
class Group:
    """Texts that one adapter scores.

    Attributes:
        adapter: gives the adapter when the group's turn comes; may raise AdapterError.
        texts: the texts.
        verify: score the adapter's probe texts too, and compare with what it stored.
        reported: which score is reported; ``scaled`` needs an adapter that has a scaling.
    """

    adapter: Callable[[], Adapter]
    texts: Sequence[str]
    verify: bool = True
    reported: Reported = "rounded"


@dataclass(frozen=True)
class Job:
    """A group's distinct texts, and room for what the forward says of them.

    Attributes:
        adapter: the group's adapter.
        reported: the group's choice.
        encoded: all texts, the probes' last.
        probes: number of probes.
        unknown_tokens: int64 [n], of all texts.
        first, inverse: see ``models.text.distinct``.
        lengths: int64 [m], tokens of the distinct texts.
        tokenising_ms: what it took to make them.
        logits: float32 [m, outputs], written by ``take``.
        spent_ms: float64 [m], the same.
    """

    adapter: Adapter
    reported: Reported
    encoded: Encoded
    probes: int
    unknown_tokens: NDArray[np.int64]
    first: NDArray[np.int64]
    inverse: NDArray[np.int64]
    lengths: NDArray[np.int64]
    tokenising_ms: float
    logits: Tensor = field(init=False)
    spent_ms: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        outputs = len(self.adapter.head.weight)
        object.__setattr__(self, "logits", torch.full((len(self.first), outputs), torch.nan))
        object.__setattr__(self, "spent_ms", np.zeros(len(self.first)))

    @property
    def response_tokens(self) -> int:
        """Tokens of the distinct texts without the probes'."""
        responses = len(self.encoded.token_ids) - self.probes
        return int(self.lengths[self.first < responses].sum())

    def token_ids(self, positions: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Token ids of some of the distinct texts."""
        return [self.encoded.token_ids[text] for text in self.first[positions]]

    def take(
        self, positions: NDArray[np.int64], pooled: Tensor, spent_ms: NDArray[np.float64]
    ) -> None:
        """Note what the forward made of some of the distinct texts.

        Args:
            positions: int64 [n], which of them.
            pooled: [n, hidden_size].
            spent_ms: float64 [n].
        """
        self.logits[torch.from_numpy(positions)] = self.adapter.head.logits(pooled)
        self.spent_ms[positions] = spent_ms


def prepared(group: Group, adapter: Adapter, tokenizer: Tokenizer, unknown: int | None) -> Job:
    """Tokenise a group's texts and find those that differ.

    Args:
        group: the texts.
        adapter: the group's.
        tokenizer: cuts texts at the adapter's limit.
        unknown: see ``models.text.unknown_token``.
    """
    started = time.perf_counter()
    probes = [probe.text for probe in adapter.scoring.probes] if group.verify else []
    encoded = encode(tokenizer, [*group.texts, *probes])
    first, inverse = distinct(encoded.token_ids)
    tokenising_ms = (time.perf_counter() - started) * 1e3
    return Job(
        adapter=adapter,
        reported=group.reported,
        encoded=encoded,
        probes=len(probes),
        unknown_tokens=encoded.occurrences(unknown),
        first=first,
        inverse=inverse,
        lengths=encoded.lengths[first],
        tokenising_ms=tokenising_ms,
    )


def read(job: Job, precision: Precision, load_ms: float) -> Scored:
    """The scores of a job whose every text was computed.

    Raises:
        AdapterError: a score is no number, or the probes' raw scores are off by more than
            PROBE_TOLERANCE.
    """
    if not bool(torch.isfinite(job.logits).all()):
        raise AdapterError("the adapter gives scores that are no numbers: train it again")
    columns = read_out(job.logits[job.inverse], job.adapter.scale, job.adapter.head.kind)
    n = len(job.inverse) - job.probes
    scoring = job.adapter.scoring
    if job.probes:
        check_probes(scoring, columns.raw_score[n:], PROBE_TOLERANCE[precision])
    copies = np.maximum(np.bincount(job.inverse, minlength=len(job.first)), 1)
    lengths = job.encoded.lengths
    shares = lengths / max(int(lengths.sum()), 1)
    latency_ms = (job.spent_ms / copies)[job.inverse] + job.tokenising_ms * shares
    told = reports(columns, scoring, job.reported)
    return Scored(
        raw_score=columns.raw_score[:n],
        trimmed_score=told.trimmed_score[:n],
        scaled_score=told.scaled_score[:n],
        score=told.score[:n],
        confidence=told.confidence[:n],
        probabilities=columns.probabilities[:n],
        by_student=np.zeros(n, dtype=np.bool_),
        truncated=job.encoded.truncated[:n],
        latency_ms=latency_ms[:n],
        tokens=lengths[:n],
        unknown_tokens=job.unknown_tokens[:n],
        load_ms=load_ms,
    )
