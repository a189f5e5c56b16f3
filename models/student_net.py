"""The student as torch trains it, and the whole numbers that it is then rounded to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.features import Words, read_words
from models.student import (
    FILTER_BITS,
    OUTPUT_BITS,
    STATE_BITS,
    TABLE_BITS,
    VECTOR_BITS,
    WINDOW,
    Student,
)

Whole = TypeVar("Whole", bound=np.integer[Any])

# Words of a text that training looks at; of longer texts the rest is left out, as it is there only
# to be learned from.
MOST_WORDS = 400


@dataclass(frozen=True)
class WordTable:
    """Frozen vectors of words: uint64 [m] ascending, and int8 [m, dims] in vector units."""

    keys: NDArray[np.uint64]
    vectors: NDArray[np.int8]

    def of(self, keys: NDArray[np.uint64]) -> Tensor:
        """The vectors of some words, float32 [n, dims]; zeros for words that have none."""
        rows = np.zeros((len(keys), self.vectors.shape[1]), dtype=np.float32)
        if len(self.keys):
            places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
            known = self.keys[places] == keys
            rows[known] = self.vectors[places[known]] / 2.0**VECTOR_BITS
        return torch.from_numpy(rows)


@dataclass(frozen=True)
class Reading:
    """Texts as the network reads them.

    Attributes:
        vectors: float32 [m + 1, dims], frozen, of the distinct words and of none.
        pieces: int64 [p], buckets of all distinct words' pieces; ``starts`` and ``sizes``, int64
            [m + 1], tell which are whose, the last being no word's; ``shares`` float32 [p],
            1 / sqrt(pieces of the word).
        words: int64 [n, longest], places of each text's words; m where there is none.
        lengths: int64 [n].
    """

    vectors: Tensor
    pieces: Tensor
    starts: Tensor
    sizes: Tensor
    shares: Tensor
    words: Tensor
    lengths: Tensor


def reading(texts: Sequence[str], buckets: int, table: WordTable) -> Reading:
    """Read texts for training or for scoring with the network itself."""
    found = read_words(texts, buckets)
    sizes = np.diff(found.bucket_offsets)
    shares = np.repeat(1 / np.sqrt(sizes), sizes).astype(np.float32)
    vectors = table.of(found.keys)
    return Reading(
        vectors=torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])]),
        pieces=torch.from_numpy(found.buckets.astype(np.int64)),
        starts=torch.from_numpy(found.bucket_offsets),
        sizes=torch.from_numpy(np.append(sizes, 0)),
        shares=torch.from_numpy(shares),
        words=torch.from_numpy(_padded(found)),
        lengths=torch.from_numpy(np.minimum(np.diff(found.offsets), MOST_WORDS)),
    )


def _padded(found: Words) -> NDArray[np.int64]:
    lengths = np.minimum(np.diff(found.offsets), MOST_WORDS)
    longest = int(lengths.max(initial=1))
    places = found.offsets[:-1, None] + np.arange(longest)
    real = np.arange(longest) < lengths[:, None]
    padded = np.full(real.shape, len(found.keys), dtype=np.int64)
    padded[real] = found.words[places[real]]
    return padded


class StudentNet(nn.Module):
    """See ``models.student`` for what it computes.

    Args:
        buckets, width: of the table of pieces.
        dims: of the frozen word vectors.
        filters: how many look at every word.
        units: of the hidden layer.
        thresholds: K - 1.
        dropout: share of the pooled answers left out in training.
        generator: of the start.
    """

    def __init__(
        self,
        *,
        buckets: int,
        width: int,
        dims: int,
        filters: int,
        units: int,
        thresholds: int,
        dropout: float,
        generator: torch.Generator,
    ):
        super().__init__()
        inputs = width + dims
        self.dropout = dropout
        self.generator = generator
        self.table = nn.Parameter(0.3 * torch.randn(buckets, width, generator=generator))
        bound = inputs**-0.5
        self.filters = nn.Parameter(
            (2 * torch.rand(WINDOW, inputs, filters, generator=generator) - 1) * bound
        )
        self.filter_bias = nn.Parameter(torch.zeros(filters))
        pooled = 2 * filters + 1
        self.hidden = nn.Parameter(torch.randn(pooled, units, generator=generator) * pooled**-0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(units))
        self.output = nn.Parameter(torch.zeros(pooled + units, thresholds))
        self.bias = nn.Parameter(torch.zeros(thresholds))

    def forward(self, texts: Reading, rows: Tensor) -> Tensor:
        """Threshold logits of some of the texts, [len(rows), K - 1]."""
        lengths = texts.lengths[rows]
        words = texts.words[rows, : max(1, int(lengths.max()))]
        distinct, words = torch.unique(words, return_inverse=True)
        before, middle, after = self._states(texts, distinct) @ self.filters
        found = middle[words]
        found = found + nn.functional.pad(before[words[:, :-1]], (0, 0, 1, 0))
        found = found + nn.functional.pad(after[words[:, 1:]], (0, 0, 0, 1))
        real = torch.arange(words.shape[1]) < lengths[:, None]
        found = torch.relu(found + self.filter_bias) * real[..., None]
        n = lengths.clamp(min=1)[:, None].float()
        pooled = torch.cat([found.amax(dim=1), found.sum(dim=1) / n], dim=1)
        pooled = torch.cat([self._thinned(pooled), n.log()], dim=1)
        hidden = torch.relu(pooled @ self.hidden + self.hidden_bias)
        return torch.cat([pooled, hidden], dim=1) @ self.output + self.bias

    def _states(self, texts: Reading, words: Tensor) -> Tensor:
        """Numbers of some distinct words, or of none, [len(words), width + dims]."""
        starts, sizes = texts.starts[words], texts.sizes[words]
        firsts = sizes.cumsum(0) - sizes
        places = torch.arange(int(sizes.sum())) + torch.repeat_interleave(starts - firsts, sizes)
        own = nn.functional.embedding_bag(
            texts.pieces[places],
            self.table,
            firsts,
            mode="sum",
            per_sample_weights=texts.shares[places],
        )
        return torch.cat([own, texts.vectors[words]], dim=1)

    def _thinned(self, pooled: Tensor) -> Tensor:
        if not self.training or not self.dropout:
            return pooled
        kept = torch.rand(pooled.shape, generator=self.generator) >= self.dropout
        return pooled * kept / (1 - self.dropout)

    def student(self, table: WordTable) -> Student:
        """The student in whole numbers."""
        return Student(
            table=_whole(self.table, TABLE_BITS, np.int16),
            word_keys=table.keys,
            word_vectors=table.vectors,
            filters=_whole(self.filters, FILTER_BITS, np.int16),
            filter_bias=_whole(self.filter_bias, STATE_BITS, np.int16),
            hidden=_whole(self.hidden, OUTPUT_BITS, np.int16),
            hidden_bias=_whole(self.hidden_bias, STATE_BITS, np.int16),
            output=_whole(self.output, OUTPUT_BITS, np.int16),
            bias=_whole(self.bias, OUTPUT_BITS, np.int32),
        )


def _whole(values: Tensor, bits: int, dtype: type[Whole]) -> NDArray[Whole]:
    """Values in units of 1 / 2^bits; what the type cannot hold is cut at its ends."""
    limits = np.iinfo(dtype)
    scaled = np.rint(values.detach().double().numpy() * 2.0**bits)
    return np.clip(scaled, limits.min, limits.max).astype(dtype)
