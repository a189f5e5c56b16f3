"""A batch: texts of one adapter, or of several, that go through the encoder together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.edits import Edits
from models.encoder import Encoder
from models.jobs import Job
from models.packing import pack

# A batch's tokens are rounded up by less than this share of them: every new shape costs the
# kernels a preparation that takes as long as dozens of tokens, and a megabyte that stays.
SHAPE_SHARE = 16
FEWEST_SHAPE_STEP = 8


@dataclass(frozen=True)
class Part:
    """Some of a job's distinct texts, int64 [n]."""

    job: Job
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """What goes through the encoder together.

    Attributes:
        parts: texts; their adapters pool alike.
        edits: the adapters' edits.
    """

    parts: Sequence[Part]
    edits: Edits


def compute(batch: Batch, encoder: Encoder) -> None:
    """Run a batch and hand each job what it made of its texts."""
    started = time.perf_counter()
    token_ids = [ids for part in batch.parts for ids in part.job.token_ids(part.positions)]
    tokens = sum(map(len, token_ids))
    packed = pack(token_ids, position_offset=encoder.position_offset, round_to=_shape_step(tokens))
    pooled = encoder.pooled(packed, batch.edits, batch.parts[0].job.adapter.head.pooling)
    per_token_ms = (time.perf_counter() - started) * 1e3 / tokens
    sizes = [len(part.positions) for part in batch.parts]
    for part, states in zip(batch.parts, torch.split(pooled, sizes), strict=True):
        part.job.take(part.positions, states, per_token_ms)


def _shape_step(tokens: int) -> int:
    """Tokens are rounded up to a multiple of this, a power of two."""
    return max(FEWEST_SHAPE_STEP, 1 << (max(tokens // SHAPE_SHARE, 1).bit_length() - 1))
