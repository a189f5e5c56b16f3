"""Whole models, one per item: loaded in turn or all resident, and the libraries' own pipelines."""

from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.engine.adapters import adapter
from benchmarks.engine.backbones import MAX_TOKENS
from benchmarks.engine.batches import Batch, arriving, by_length, tokenised, users_tokenizer
from benchmarks.engine.merged import CHECKPOINTS, checkpoint, load_checkpoint, shared_number
from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.rivals_peft import DTYPES
from benchmarks.engine.systems import Clock, Logits, Place, Setting, scored
from models.adapters import Adapter


class InTurn:
    """B0: a fully fine-tuned model per item, loaded for it; without its loads it is B1.

    Checkpoints are in the page cache. With every model resident only the loads fall away, so the
    rate of B1 is that of the phase ``score`` alone.
    """

    def __init__(self, place: Place):
        self.place = place

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """Write the checkpoints, and read them once."""
        for number in numbers:
            for file in checkpoint(self.place.backbone, number).iterdir():
                file.read_bytes()
        return {}

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """See ``System``."""
        logits = []
        for item in items:
            with clock.phase("load"):
                model = self.load(item.number)
            with clock.phase("score"), torch.inference_mode():
                logits.append(self.score(model, item, setting))
        return logits

    def load(self, number: int) -> Any:
        """What the item's texts are scored with."""
        return load_checkpoint(self.place.backbone, number, DTYPES[self.place.precision])

    def score(self, model: Any, item: ItemWork, setting: Setting) -> Logits:
        """Batches by length, as the engine's."""
        token_ids = tokenised(self.place.backbone, item.texts)
        batches = by_length(token_ids, setting.token_budget, setting.round_to)
        return logits_by(lambda batch: model(**batch.inputs).logits, batches, self.adapter(item))

    def adapter(self, item: ItemWork) -> Adapter:
        """For the scale, and the shape of the head; the item's own or the one it shares."""
        number = shared_number(CHECKPOINTS, self.place.backbone, item.number)
        return adapter(self.place.backbone, "recipe", number)


class InTurnAsUsersWriteIt(InTurn):
    """B0 with a data loader of 32 texts in arrival order."""

    def score(self, model: Any, item: ItemWork, setting: Setting) -> Logits:
        """See ``InTurn``."""
        batches = arriving(self.place.backbone, item.texts)
        return scored(torch.cat([model(**each).logits for each in batches]), self.adapter(item))


class Pipeline32(InTurn):
    """B6: the Hugging Face text-classification pipeline on an item's full model, batches of 32."""

    batch_size = 32

    def load(self, number: int) -> Any:
        """The pipeline; its models count as resident."""
        from transformers import pipeline

        return pipeline(
            "text-classification",
            model=super().load(number),
            tokenizer=users_tokenizer(self.place.backbone),
            device="cpu",
            batch_size=self.batch_size,
        )

    def score(self, model: Any, item: ItemWork, setting: Setting) -> Logits:
        """The pipeline hands back one number per label."""
        answers = model(
            list(item.texts),
            top_k=None,
            function_to_apply="none",
            truncation=True,
            max_length=MAX_TOKENS,
        )
        rows = [
            [label["score"] for label in sorted(answer, key=lambda label: label["label"])]
            for answer in answers
        ]
        return scored(torch.tensor(rows), self.adapter(item))


class Pipeline1(Pipeline32):
    """B6, one text at a time."""

    batch_size = 1


class SentenceTransformer32(InTurn):
    """B6: sentence-transformers' encode in batches of 32, which it sorts by length; our head."""

    def load(self, number: int) -> Any:
        """A sentence-transformers model on the item's full model."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.models import Pooling, Transformer

        path = str(checkpoint(self.place.backbone, number))
        words = Transformer(path, max_seq_length=MAX_TOKENS)
        return SentenceTransformer(modules=[words, Pooling(words.get_word_embedding_dimension())])

    def score(self, model: Any, item: ItemWork, setting: Setting) -> Logits:
        """Pooled states from the library, then the item's head."""
        own = self.adapter(item)
        pooled = model.encode(list(item.texts), batch_size=32, convert_to_tensor=True)
        return scored(own.head.logits(pooled), own)


def logits_by(forward: Any, batches: Sequence[Batch], own: Adapter) -> Logits:
    """Logits of an item's texts, in their order, from a forward of one padded batch."""
    logits = torch.empty(sum(len(batch.positions) for batch in batches), len(own.head.weight))
    for batch in batches:
        found = forward(batch)
        logits[torch.from_numpy(batch.positions)] = torch.as_tensor(found)
    return scored(logits, own)
