"""PEFT: every adapter loaded into one model, and the ways of going from one to the next.

The adapters are the project's own directories, which PEFT reads as they are; heads are kept beside
the model, so that items with other numbers of score points need no second model.
"""

import copy
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import torch

from benchmarks.engine.adapters import adapter, adapter_folder
from benchmarks.engine.backbones import plain_encoder
from benchmarks.engine.batches import Batch, arriving, by_length, tokenised
from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.systems import Clock, Logits, Place, Setting, scored
from models.adapters import Adapter

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class SetAdapter:
    """B2: all adapters resident, ``set_adapter`` per item; batches by length as the engine's."""

    def __init__(self, place: Place):
        self.place = place
        self.model: Any = None

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """Load every adapter; returns how long that took, and the last one of them."""
        dtype = DTYPES[self.place.precision]
        place = self.place.backbone, self.place.variant
        self.model, figures = peft_model(*place, tuple(numbers), dtype)
        return figures

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """See ``System``."""
        with clock.phase("score"), torch.inference_mode():
            return [self._item(item, setting) for item in items]

    def _item(self, item: ItemWork, setting: Setting) -> Logits:
        self.apply(item.number)
        logits = self.logits(item, self.adapter(item.number), setting)
        self.leave(item.number)
        return logits

    def apply(self, number: int) -> None:
        """Make the model this item's."""
        self.model.set_adapter(name_of(number), inference_mode=True)

    def leave(self, number: int) -> None:
        """Nothing to do: the next item sets its own."""

    def logits(self, item: ItemWork, own: Adapter, setting: Setting) -> Logits:
        """Logits of an item's texts by the model as it stands."""
        token_ids = tokenised(self.place.backbone, item.texts)
        batches = by_length(token_ids, setting.token_budget, setting.round_to)
        return batched_logits(self.model, batches, own)

    def adapter(self, number: int) -> Adapter:
        """Kept beside the model for its head and scale."""
        return adapter(self.place.backbone, self.place.variant, number)


class AsUsersWriteIt(SetAdapter):
    """B2': ``set_adapter`` per item and a data loader of 32 texts in arrival order."""

    def apply(self, number: int) -> None:
        """As the documentation shows it."""
        self.model.set_adapter(name_of(number))

    def logits(self, item: ItemWork, own: Adapter, setting: Setting) -> Logits:
        """See ``SetAdapter``."""
        batches = arriving(self.place.backbone, item.texts)
        return scored(torch.cat([pooled_logits(self.model, each, own) for each in batches]), own)


class LoadAndDelete(SetAdapter):
    """B3: an adapter is loaded for its item and deleted after it, so that none pile up."""

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """A model with one adapter, the first, which stays."""
        first, dtype = numbers[0], DTYPES[self.place.precision]
        self.model = _first_loaded(self.place.backbone, self.place.variant, first, dtype)
        return {}

    def apply(self, number: int) -> None:
        """Load under a name of its own, then set."""
        load(self.model, self.place.backbone, self.place.variant, number, "passing")
        self.model.set_adapter("passing", inference_mode=True)

    def leave(self, number: int) -> None:
        """Delete it."""
        self.model.delete_adapter("passing")


class MixedBatches(SetAdapter):
    """B4: texts of all items in common batches, each row naming its adapter."""

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """See ``System``."""
        with clock.phase("score"), torch.inference_mode():
            texts = [text for item in items for text in item.texts]
            owners = [item.number for item in items for _ in item.texts]
            token_ids = tokenised(self.place.backbone, texts)
            pooled: list[torch.Tensor] = [torch.empty(0)] * len(texts)
            for batch in by_length(token_ids, setting.token_budget, setting.round_to):
                names = [name_of(owners[position]) for position in batch.positions]
                rows = mean_states(self.model, batch.inputs, adapter_names=names)
                for position, row in zip(batch.positions, rows, strict=True):
                    pooled[position] = row
            return self._by_item(items, iter(pooled))

    def _by_item(self, items: Sequence[ItemWork], pooled: Iterable[torch.Tensor]) -> list[Logits]:
        logits = []
        for item in items:
            own = self.adapter(item.number)
            rows = torch.stack([row for _, row in zip(item.texts, pooled, strict=False)])
            logits.append(scored(own.head.logits(rows), own))
        return logits


class MergeAndUnmerge(SetAdapter):
    """B5: the adapter is added to the weights for its item and subtracted again after it."""

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """A model of its own: what unmerging leaves in the weights is nobody else's."""
        figures = super().prepare(numbers)
        self.model = copy.deepcopy(self.model)
        return figures

    def apply(self, number: int) -> None:
        """Add."""
        self.model.set_adapter(name_of(number), inference_mode=True)
        self.model.merge_adapter([name_of(number)])

    def leave(self, number: int) -> None:
        """Subtract."""
        self.model.unmerge_adapter()


def name_of(number: int) -> str:
    """An item's adapter in the model; PEFT takes no dots."""
    return f"item{number}"


@cache
def peft_model(
    backbone: str, variant: str, numbers: tuple[int, ...], dtype: torch.dtype
) -> tuple[Any, dict[str, float]]:
    """A model with these adapters loaded, and seconds to load them all and the last."""
    began = time.perf_counter()
    model = _first_loaded(backbone, variant, numbers[0], dtype)
    last_s = time.perf_counter() - began
    for number in numbers[1:]:
        before = time.perf_counter()
        load(model, backbone, variant, number, name_of(number))
        last_s = time.perf_counter() - before
    return model, {
        "adapters_loaded": len(numbers),
        "load_all_s": time.perf_counter() - began,
        "load_last_s": last_s,
    }


def load(model: Any, backbone: str, variant: str, number: int, name: str) -> None:
    """Load one more adapter, the quickest way that PEFT has."""
    folder = adapter_folder(backbone, variant, number)
    model.load_adapter(
        str(folder), name, is_trainable=False, low_cpu_mem_usage=True, autocast_adapter_dtype=False
    )


def mean_states(model: Any, inputs: dict[str, torch.Tensor], **others: Any) -> torch.Tensor:
    """Means of the last hidden states over real tokens, float32 [n, hidden_size]."""
    states: torch.Tensor = model(**inputs, **others).last_hidden_state.float()
    real = inputs["attention_mask"].unsqueeze(-1).float()
    return (states * real).sum(dim=1) / real.sum(dim=1)


def pooled_logits(model: Any, inputs: dict[str, torch.Tensor], own: Adapter) -> torch.Tensor:
    """Logits of one batch, float32 [n, K-1]."""
    return own.head.logits(mean_states(model, inputs))


def batched_logits(model: Any, batches: Sequence[Batch], own: Adapter) -> Logits:
    """Logits of an item's texts from its batches, in the order of the texts."""
    logits = torch.empty(sum(len(batch.positions) for batch in batches), len(own.head.weight))
    for batch in batches:
        logits[torch.from_numpy(batch.positions)] = pooled_logits(model, batch.inputs, own)
    return scored(logits, own)


def _first_loaded(backbone: str, variant: str, number: int, dtype: torch.dtype) -> Any:
    from peft import PeftModel

    model = PeftModel.from_pretrained(
        plain_encoder(backbone, dtype),
        str(adapter_folder(backbone, variant, number)),
        adapter_name=name_of(number),
        is_trainable=False,
        low_cpu_mem_usage=True,
        autocast_adapter_dtype=False,
    )
    return model.to(dtype).eval()
