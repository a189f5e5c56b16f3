"""Padded batches, as rivals take them: by length and token budget, or in arrival order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.engine.backbones import MAX_TOKENS, backbone, folder
from models.text import encode, with_limit

USERS_BATCH = 32


@dataclass(frozen=True)
class Batch:
    """Some texts of an item, padded to the longest.

    Attributes:
        positions: int64 [n], which of the item's texts.
        token_ids, mask: int64 [n, width].
    """

    positions: NDArray[np.int64]
    token_ids: NDArray[np.int64]
    mask: NDArray[np.int64]

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """As an encoder takes them."""
        return {
            "input_ids": torch.from_numpy(self.token_ids),
            "attention_mask": torch.from_numpy(self.mask),
        }


def tokenised(name: str, texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
    """Token ids by the backbone's own tokeniser, special ones included, cut at the limit."""
    return encode(_limited(name), texts).token_ids


def by_length(
    token_ids: Sequence[NDArray[np.int64]], token_budget: int, round_to: int = 1
) -> list[Batch]:
    """All texts sorted by length and cut where padding included they exceed the budget.

    Args:
        token_ids: n arrays.
        token_budget: at least one text makes a batch, however long it is.
        round_to: widths are multiples of this, so that libraries see fewer shapes.
    """
    widths = np.array([-(-len(ids) // round_to) * round_to for ids in token_ids], dtype=np.int64)
    order = np.argsort(widths, kind="stable")
    batches, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or widths[order[end]] * (end + 1 - start) > token_budget:
            batches.append(_padded(token_ids, order[start:end], int(widths[order[end - 1]])))
            start = end
    return batches


def arriving(name: str, texts: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """A user's data loader: 32 texts at a time as they come, padded to the longest of them."""
    from torch.utils.data import DataLoader

    tokenizer = users_tokenizer(name)

    def collate(chosen: list[str]) -> Any:
        return tokenizer(
            chosen, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )

    dataset: Any = list(texts)
    for batch in DataLoader(dataset, batch_size=USERS_BATCH, collate_fn=collate):
        yield {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}


@cache
def users_tokenizer(name: str) -> Any:
    """The backbone's tokeniser as the library gives it to a user."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder(name), local_files_only=True)


@cache
def _limited(name: str) -> Any:
    encoder = backbone(name)
    return with_limit(encoder.tokenizer, encoder.max_tokens)


def _padded(token_ids: Sequence[NDArray[np.int64]], chosen: NDArray[np.int64], width: int) -> Batch:
    ids = np.zeros((len(chosen), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, position in enumerate(chosen):
        own = token_ids[position]
        ids[row, : len(own)] = own
        mask[row, : len(own)] = 1
    return Batch(chosen, ids, mask)
