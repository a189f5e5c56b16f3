"""Tokenise responses: strings in, arrays of token ids and a flag for what was cut off."""

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


@dataclass(frozen=True)
class Encoded:
    """Token ids of n texts.

    Attributes:
        token_ids: n int64 arrays, special tokens included, none longer than the limit.
        truncated: bool [n], true where a text was longer than the limit.
    """

    token_ids: tuple[NDArray[np.int64], ...]
    truncated: NDArray[np.bool_]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per text, int64 [n]."""
        return np.array([len(ids) for ids in self.token_ids], dtype=np.int64)

    def occurrences(self, token: int | None) -> NDArray[np.int64]:
        """How often each text holds a token, int64 [n]; never, if there is no such token."""
        if token is None or not self.token_ids:
            return np.zeros(len(self.token_ids), dtype=np.int64)
        so_far = np.concatenate([[0], np.cumsum(np.concatenate(self.token_ids) == token)])
        ends = np.cumsum(self.lengths)
        return np.asarray(so_far[ends] - so_far[ends - self.lengths], dtype=np.int64)


def unknown_token(tokenizer: Tokenizer) -> int | None:
    """Id of the token for what the vocabulary lacks; None where it lacks nothing, as with bytes."""
    model = json.loads(tokenizer.to_str())["model"]
    number: int | None = model.get("unk_id")
    name: str | None = model.get("unk_token")
    return tokenizer.token_to_id(name) if number is None and name is not None else number


def with_limit(tokenizer: Tokenizer, max_tokens: int) -> Tokenizer:
    """A copy of the tokeniser that cuts texts at max_tokens."""
    limited = Tokenizer.from_str(tokenizer.to_str())
    limited.enable_truncation(max_length=max_tokens)
    return limited


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoded:
    """Tokenise with a tokeniser made by ``with_limit``; an empty text keeps its special tokens."""
    encodings = tokenizer.encode_batch_fast(list(texts))
    token_ids = tuple(np.array(encoding.ids, dtype=np.int64) for encoding in encodings)
    truncated = np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_)
    return Encoded(token_ids, truncated)


def distinct(
    token_ids: Sequence[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find texts that are the same to the model.

    Returns:
        first: positions of the first text of each kind, int64 [m].
        inverse: for each text its kind, int64 [n], so that ``first[inverse]`` stands for it.
    """
    kinds: dict[bytes, int] = {}
    first: list[int] = []
    inverse = np.empty(len(token_ids), dtype=np.int64)
    for position, ids in enumerate(token_ids):
        key = ids.tobytes()
        if key not in kinds:
            kinds[key] = len(first)
            first.append(position)
        inverse[position] = kinds[key]
    return np.array(first, dtype=np.int64), inverse


def budget_batches(lengths: NDArray[np.int64], token_budget: int) -> list[NDArray[np.int64]]:
    """Split texts into batches of at most token_budget tokens, shortest texts first.

    A text longer than the budget makes a batch of its own.

    Returns:
        int64 arrays of positions; together they hold every text once.
    """
    order = np.argsort(lengths, kind="stable")
    batches: list[NDArray[np.int64]] = []
    start, tokens = 0, 0
    for place, position in enumerate(order):
        if place > start and tokens + int(lengths[position]) > token_budget:
            batches.append(order[start:place])
            start, tokens = place, 0
        tokens += int(lengths[position])
    if len(order):
        batches.append(order[start:])
    return batches


def filled_batches(lengths: NDArray[np.int64], token_budget: int) -> list[NDArray[np.int64]]:
    """Split texts into batches filled as near to token_budget as their lengths allow.

    The longest text that is left opens a batch, and the longest that still fit fill it (best
    fit), so all batches but the last have nearly one size. A text longer than the budget makes
    a batch of its own.

    Returns:
        int64 arrays of positions; together they hold every text once.
    """
    order = np.argsort(lengths, kind="stable").tolist()
    sizes = [int(lengths[position]) for position in order]
    batches = []
    while order:
        room, batch = token_budget - sizes.pop(), [order.pop()]
        while order and sizes[0] <= room:
            place = bisect_right(sizes, room) - 1
            room -= sizes.pop(place)
            batch.append(order.pop(place))
        batches.append(np.array(batch, dtype=np.int64))
    return batches
