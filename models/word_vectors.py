"""What a backbone makes of single words: vectors in which words of like meaning lie close."""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from models.backbone import Backbone
from models.features import single_words
from models.packing import hidden_states, mean_by_text, pack
from models.text import budget_batches, encode, with_limit

Vectors = NDArray[np.float32]

# A word needs few tokens; one that is none, a line of dots say, is cut.
MOST_TOKENS = 32
TOKENS_PER_BATCH = 4096
# Vectors that are remembered, 1.5 kB each at 384 wide: a vocabulary and the words of many items.
MOST_KEPT = 60_000
# Words whose vectors have at least this cosine count as near; of random words few have.
LEAST_COSINE = 0.45
WORDS_AT_ONCE = 256
# What tokenisers put before a word, or before the rest of one.
_WORD_START = re.compile("^[\u0120\u2581]")


class WordVectors:
    """Vectors of words, each read by the backbone alone, and the words of its vocabulary."""

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._read: dict[str, Vectors] = {}
        self._tokenizer = with_limit(backbone.tokenizer, min(MOST_TOKENS, backbone.max_tokens))

    def of(self, words: Sequence[str]) -> Vectors:
        """The backbone's mean hidden state of each word, to unit length, [n, hidden_size]."""
        unread = [word for word in dict.fromkeys(words) if word not in self._read]
        if len(self._read) + len(unread) > MOST_KEPT:
            self._read, unread = {}, list(dict.fromkeys(words))
        self._read.update(zip(unread, self._rows(unread), strict=True))
        rows = np.empty((len(words), self._backbone.hidden_size), dtype=np.float32)
        for place, word in enumerate(words):
            rows[place] = self._read[word]
        return rows

    def _rows(self, words: Sequence[str]) -> Vectors:
        encoded = encode(
            self._tokenizer, [word.encode("utf-8", "replace").decode() for word in words]
        )
        rows = np.zeros((len(words), self._backbone.hidden_size), dtype=np.float32)
        with torch.inference_mode():
            for batch in budget_batches(encoded.lengths, TOKENS_PER_BATCH):
                token_ids = [encoded.token_ids[int(i)] for i in batch]
                packed = pack(token_ids, position_offset=self._backbone.position_offset)
                states = hidden_states(self._backbone.model, packed)
                rows[batch] = mean_by_text(states, packed).numpy()
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))

    @cached_property
    def vocabulary(self) -> tuple[tuple[str, ...], Vectors]:
        """Whole words of the tokeniser's vocabulary, and their vectors."""
        pieces = self._backbone.tokenizer.get_vocab()
        words = {_WORD_START.sub("", piece).casefold() for piece in pieces}
        found = sorted(word for word in words if len(word) > 1 and word.isalpha())
        kept = tuple(single_words(found))
        return kept, self.of(kept)

    def near(self, words: Sequence[str], most: int) -> dict[str, list[str]]:
        """Per word up to ``most`` words of the vocabulary that mean something like it."""
        known, vectors = self.vocabulary
        if not known or not words:
            return {}
        found = {}
        for some in _blocks(words):
            for word, cosines in zip(some, self.of(some) @ vectors.T, strict=True):
                nearest = np.argsort(-cosines, kind="stable")[: most + 1]
                alike = [known[i] for i in nearest if cosines[i] >= LEAST_COSINE]
                found[word] = [other for other in alike if other != word][:most]
        return {word: alike for word, alike in found.items() if alike}

    def nearest_to_any(self, words: Sequence[str], most: int) -> list[str]:
        """The ``most`` words of the vocabulary that lie nearest to any of some words."""
        known, vectors = self.vocabulary
        if not known or not words:
            return []
        cosines = np.full(len(known), -1.0, dtype=np.float32)
        for some in _blocks(words):
            np.maximum(cosines, (vectors @ self.of(some).T).max(axis=1), out=cosines)
        return [known[i] for i in np.argsort(-cosines, kind="stable")[:most]]


def _blocks(words: Sequence[str]) -> Iterator[Sequence[str]]:
    """Words in parts: all cosines of an item's with a vocabulary's would take too much memory."""
    for start in range(0, len(words), WORDS_AT_ONCE):
        yield words[start : start + WORDS_AT_ONCE]


@lru_cache(maxsize=1)
def word_vectors(backbone: Backbone) -> WordVectors:
    """A backbone's word vectors, made once per process."""
    return WordVectors(backbone)
