"""How an item's weights are trained: what every method shares, and each method's own numbers."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

TrainedMethod = Literal["lora", "partial", "compressed"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Steps, rates and sizes of one training.

    Attributes:
        updates: optimiser steps to aim at; see ``epochs_for``.
        min_epochs, max_epochs: bounds on the number of passes over the responses.
        batch_size: responses per step.
        learning_rate, head_learning_rate: peak rates of what is trained in or beside the
            encoder, and of the head.
        warmup: share of the steps in which the rate rises; then it falls to zero.
        weight_decay: AdamW's, on every trained weight.
        class_weight_power: a response weighs as its score's frequency to minus this power.
        patience: epochs in a row that validation must find clearly worse than the best so far
            before training stops; see ``models.stopping``.
        seed: of what starts at random and of the order of responses.
    """

    method: ClassVar[TrainedMethod]
    updates: int = 100
    min_epochs: int = 5
    max_epochs: int = 12
    batch_size: int = 8
    learning_rate: float = 1.5e-3
    head_learning_rate: float = 1.5e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    class_weight_power: float = 0.5
    patience: int = 3
    seed: int = 20

    def epochs_for(self, n: int) -> int:
        """Passes over n responses: about ``updates`` steps, within the bounds."""
        steps = -(-n // self.batch_size)
        return min(max(round(self.updates / steps), self.min_epochs), self.max_epochs)


@dataclass(frozen=True, kw_only=True)
class Recipe(Schedule):
    """Low-rank edits beside the layers of the backbone's upper blocks.

    Attributes:
        rank, alpha: of the edits; their scaling is alpha / rank.
        frozen_share: share of the encoder's blocks, from below, that are left as they are; what
            they make of a text is then computed once.
    """

    method: ClassVar[TrainedMethod] = "lora"
    rank: int = 8
    alpha: float = 16.0
    frozen_share: float = 0.5


@dataclass(frozen=True, kw_only=True)
class BlockRecipe(Schedule):
    """Blocks of the item's own, trained in full.

    Attributes:
        learning_rate: of a single own block; of several each has its share, see ``for_depth``.
        least_depth, most_depth: numbers of own blocks that are tried, from one to the other.
    """

    learning_rate: float = 4e-4
    least_depth: int = 1
    most_depth: int = 3

    def for_depth(self, depth: int) -> Self:
        """The same for this many own blocks: the more there are, the slower each is trained."""
        return replace(self, learning_rate=self.learning_rate / depth)


@dataclass(frozen=True, kw_only=True)
class PartialRecipe(BlockRecipe):
    """Own blocks that start as copies of the backbone's topmost ones."""

    method: ClassVar[TrainedMethod] = "partial"


@dataclass(frozen=True, kw_only=True)
class CompressionRecipe(BlockRecipe):
    """An item's upper blocks distilled into fewer: of an adapter, or of edits trained for it.

    Attributes:
        temperature: of the teacher's and the student's logits.
        keep_teacher: the teacher's own blocks are tried too, and kept where fewer will not do.
    """

    method: ClassVar[TrainedMethod] = "compressed"
    temperature: float = 2.0
    keep_teacher: bool = True


RECIPES: dict[TrainedMethod, type[Recipe] | type[PartialRecipe] | type[CompressionRecipe]] = {
    "lora": Recipe,
    "partial": PartialRecipe,
    "compressed": CompressionRecipe,
}
