"""A batch: texts that go through the shared trunk together, then through each adapter's upper part.

The trunk is what no adapter of the batch edits. Of texts that several adapters score, such as the
traits of a response, it runs once.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.edits import Edits, Trunk
from models.encoder import Encoder
from models.jobs import Job
from models.packing import Packed
from models.trunks import Trunks

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Some of a job's distinct texts, int64 [n]."""

    job: Job
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Upper:
    """What follows the trunk, for one adapter or for several on texts of their own.

    Attributes:
        parts: whose texts; their adapters pool alike.
        edits: the adapters' edits.
        texts: int64 [n], which of the batch's texts they are, in the order of the parts; None:
            all of them.
    """

    parts: Sequence[Part]
    edits: Edits
    texts: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Batch:
    """What goes through the encoder together.

    Attributes:
        token_ids: of the texts.
        depth: the trunk's number of blocks; 0: there is none.
        uppers: at least one; together they want every text.
    """

    token_ids: Sequence[Ids]
    depth: int
    uppers: Sequence[Upper]


def compute(batch: Batch, encoder: Encoder, trunks: Trunks) -> None:
    """Run a batch and hand each job what it made of its texts."""
    started = time.perf_counter()
    packed = encoder.packed(batch.token_ids)
    trunk = trunks.of(packed, batch.token_ids, batch.depth)
    trunk_ms = (time.perf_counter() - started) * 1e3
    shares = _trunk_shares(batch, trunk_ms)
    for upper in batch.uppers:
        _compute_upper(upper, batch, packed, trunk, encoder, shares)


def _compute_upper(
    upper: Upper,
    batch: Batch,
    packed: Packed,
    trunk: Trunk | None,
    encoder: Encoder,
    trunk_ms: NDArray[np.float64],
) -> None:
    """Run one upper part; a text's time is its share by tokens, and of the trunk's its own."""
    started = time.perf_counter()
    if upper.texts is not None:
        packed, trunk = _chosen(upper.texts, batch, packed, trunk, encoder)
        trunk_ms = trunk_ms[upper.texts]
    pooled = encoder.pooled(packed, upper.edits, upper.parts[0].job.adapter.head.pooling, trunk)
    upper_ms = (time.perf_counter() - started) * 1e3
    spent_ms = np.array(packed.sizes) * (upper_ms / packed.tokens) + trunk_ms
    start = 0
    for part in upper.parts:
        stop = start + len(part.positions)
        part.job.take(part.positions, pooled[start:stop], spent_ms[start:stop])
        start = stop


def _chosen(
    texts: NDArray[np.int64],
    batch: Batch,
    packed: Packed,
    trunk: Trunk | None,
    encoder: Encoder,
) -> tuple[Packed, Trunk | None]:
    """Some of a batch's texts, and what the trunk made of them."""
    fewer = encoder.packed([batch.token_ids[text] for text in texts])
    if trunk is None:
        return fewer, None
    starts = packed.starts.numpy()[texts]
    rows = np.concatenate(
        [
            *(np.arange(start, start + fewer.sizes[i]) for i, start in enumerate(starts)),
            np.zeros(fewer.filler, dtype=np.int64),  # any states do: nobody reads what they become
        ]
    )
    chosen = torch.from_numpy(rows).to(trunk.states.device)
    return fewer, Trunk(trunk.depth, trunk.states[chosen])


def _trunk_shares(batch: Batch, trunk_ms: float) -> NDArray[np.float64]:
    """The trunk's milliseconds of each text, by tokens, divided among those who want the text."""
    lengths = np.array([len(ids) for ids in batch.token_ids], dtype=np.float64)
    wanted = np.zeros(len(lengths))
    for upper in batch.uppers:
        wanted[slice(None) if upper.texts is None else upper.texts] += 1
    shares: NDArray[np.float64] = lengths * (trunk_ms / lengths.sum()) / wanted
    return shares
