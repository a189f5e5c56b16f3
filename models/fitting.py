"""The training loop: an encoder, a head and scored texts in, their best weights out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.agreement import quadratic_weighted_kappa
from models.heads import Scale, ScoreColumns, ordinal_loss, ordinal_targets, read_out
from models.packing import Packed, hidden_states, mean_by_text, pack
from models.stopping import Stopping
from models.text import budget_batches

# In training attention is cheap beside the rest, so a batch's texts share few, wide groups.
TRAINING_SLACK_TOKENS = 32
TRAINING_ROUND_TO = 32
EVALUATION_TOKENS = 4096
# Lower states of at most this many tokens are kept: 0.4 GB in bfloat16 at 384 wide.
KEPT_TOKENS = 500_000


@dataclass(frozen=True)
class Recipe:
    """How an item's weights are trained.

    Attributes:
        rank, alpha: of the low-rank edits; their scaling is alpha / rank.
        frozen_share: share of the encoder's blocks, from below, that are left as they are; what
            they make of a text is then computed once.
        updates: optimiser steps to aim at; see ``epochs_for``.
        min_epochs, max_epochs: bounds on the number of passes over the responses.
        batch_size: responses per step.
        learning_rate, head_learning_rate: peak rates of the edits and of the head.
        warmup: share of the steps in which the rate rises; then it falls to zero.
        weight_decay: AdamW's, on every trained weight.
        class_weight_power: a response weighs as its score's frequency to minus this power.
        patience: epochs in a row that validation must find clearly worse than the best so far
            before training stops; see ``models.stopping``.
        seed: of the edits' start and of the order of responses.
    """

    rank: int = 8
    alpha: float = 16.0
    frozen_share: float = 0.5
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


@dataclass(frozen=True)
class Examples:
    """Texts as token ids, n int64 arrays, and their human scores, float64 [n]."""

    token_ids: Sequence[NDArray[np.int64]]
    human_scores: NDArray[np.float64]


@dataclass(frozen=True)
class Epoch:
    """What one pass over the responses gave.

    Attributes:
        training_loss: mean over the epoch's batches.
        validation_qwk: of reported scores.
        validation_qwk_raw: of raw scores, which moves less from epoch to epoch; steers training.
        kept: this epoch's weights are the ones returned.
    """

    number: int
    training_loss: float
    validation_qwk: float
    validation_qwk_raw: float
    kept: bool = False


@dataclass(frozen=True)
class Trainee:
    """An encoder and a head, with the parameter groups that the optimiser moves.

    Attributes:
        lower: the frozen part below the first trained block, if the encoder was cut.
        upper: the rest of the encoder, or all of it.
        head: [K-1] logits from a mean hidden state.
        groups: as torch optimisers take them.
        position_offset: the backbone's.
    """

    lower: nn.Module | None
    upper: nn.Module
    head: nn.Linear
    groups: list[dict[str, Any]]
    position_offset: int

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All trained parameters."""
        return [parameter for group in self.groups for parameter in group["params"]]

    def below(self, token_ids: Sequence[NDArray[np.int64]]) -> list[Tensor] | None:
        """What the lower part makes of each text, n of [length, hidden_size]; None if too big."""
        lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
        if self.lower is None or lengths.sum() > KEPT_TOKENS:
            return None
        states: list[Tensor] = [torch.empty(0)] * len(token_ids)
        with torch.no_grad():
            for batch in budget_batches(lengths, EVALUATION_TOKENS):
                packed = self._pack([token_ids[i] for i in batch])
                sizes = [*lengths[batch].tolist(), packed.filler]
                parts = torch.split(hidden_states(self.lower, packed), sizes)
                for i, part in zip(batch, parts, strict=False):
                    states[i] = part.clone()
        return states

    def logits(self, texts: "Prepared", chosen: NDArray[np.int64]) -> Tensor:
        """Threshold logits of the chosen texts, float32 [len(chosen), K-1]."""
        packed = self._pack([texts.token_ids[i] for i in chosen])
        states = hidden_states(self.upper, packed, self._states(texts, chosen, packed))
        logits: Tensor = self.head(mean_by_text(states, packed))
        return logits

    def _states(
        self, texts: "Prepared", chosen: NDArray[np.int64], packed: Packed
    ) -> Tensor | None:
        if self.lower is None:
            return None
        if texts.below is None:
            with torch.no_grad():
                return hidden_states(self.lower, packed)
        rows = [texts.below[i] for i in chosen]
        return torch.cat([*rows, rows[0].new_zeros(packed.filler, rows[0].shape[1])])

    def _pack(self, token_ids: Sequence[NDArray[np.int64]]) -> Packed:
        return pack(
            token_ids,
            position_offset=self.position_offset,
            slack_tokens=TRAINING_SLACK_TOKENS,
            round_to=TRAINING_ROUND_TO,
        )


@dataclass(frozen=True)
class Prepared:
    """Texts as token ids, and their states below the first trained block where these fit."""

    token_ids: Sequence[NDArray[np.int64]]
    below: list[Tensor] | None


def prepare(trainee: Trainee, token_ids: Sequence[NDArray[np.int64]]) -> Prepared:
    """Do once what training does not change."""
    return Prepared(token_ids, trainee.below(token_ids))


def predict(trainee: Trainee, texts: Prepared, scale: Scale) -> ScoreColumns:
    """Score n texts with the weights as they stand."""
    lengths = np.array([len(ids) for ids in texts.token_ids], dtype=np.int64)
    logits = torch.empty(len(lengths), scale.n_points - 1)
    with torch.no_grad():
        for batch in budget_batches(lengths, EVALUATION_TOKENS):
            logits[torch.from_numpy(batch)] = trainee.logits(texts, batch)
    return read_out(logits, scale)


def fit(
    trainee: Trainee,
    training: Examples,
    validation: Examples,
    scale: Scale,
    recipe: Recipe,
    on_epoch: Callable[[Epoch, int], None] | None = None,
) -> list[Epoch]:
    """Train, and leave the trainee with the weights of the epoch that ``Stopping`` keeps.

    Args:
        trainee: changed in place.
        training: what is learned from.
        validation: the held-out part; if it is empty the last epoch is kept.
        scale: the item's score scale.
        recipe: rates, sizes and seed; the same recipe on the same data gives the same weights.
        on_epoch: called after each epoch with it and the number of planned ones.
    """
    epochs = recipe.epochs_for(len(training.token_ids))
    steps = _Steps(trainee, training, scale, recipe, epochs)
    held_out = prepare(trainee, validation.token_ids)
    stopping = Stopping(
        trainee.parameters,
        len(validation.token_ids),
        patience=recipe.patience,
        min_epochs=recipe.min_epochs,
    )
    history: list[Epoch] = []
    for number in range(epochs):
        loss = steps.epoch()
        epoch = _judge(trainee, held_out, validation.human_scores, scale, number, loss)
        history.append(epoch)
        if on_epoch is not None:
            on_epoch(epoch, epochs)
        if stopping.is_due(epoch.validation_qwk_raw):
            break
    kept = stopping.keep()
    return [replace(epoch, kept=epoch.number == kept) for epoch in history]


def optimizer_for(
    groups: list[dict[str, Any]], recipe: Recipe, steps: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """The recipe's optimiser, and its rate: up over the warm-up, then down to zero.

    Args:
        groups: parameters with their peak rates, as torch optimisers take them.
        recipe: weight decay and warm-up.
        steps: of the whole training.
    """
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
    rising = max(1, round(recipe.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising)),
    )
    return optimizer, schedule


def class_weights(human_scores: NDArray[np.float64], power: float) -> Tensor:
    """Weight per response, float32 [n]: (n / (points seen * responses with its score))^power."""
    points, place, counts = np.unique(
        np.floor(human_scores + 0.5), return_inverse=True, return_counts=True
    )
    weights = (len(human_scores) / (len(points) * counts)) ** power
    return torch.from_numpy(weights[place].astype(np.float32))


class _Steps:
    """The optimiser, its schedule and the shuffled batches of one training."""

    def __init__(
        self, trainee: Trainee, training: Examples, scale: Scale, recipe: Recipe, epochs: int
    ):
        self.trainee, self.n = trainee, len(training.token_ids)
        self.texts = prepare(trainee, training.token_ids)
        self.lengths = np.array([len(ids) for ids in training.token_ids], dtype=np.int64)
        self.targets = torch.from_numpy(ordinal_targets(training.human_scores, scale))
        self.weights = class_weights(training.human_scores, recipe.class_weight_power)
        self.shuffle = np.random.default_rng(recipe.seed)
        self.batches = -(-self.n // recipe.batch_size)
        self.optimizer, self.schedule = optimizer_for(trainee.groups, recipe, epochs * self.batches)

    def epoch(self) -> float:
        """One pass over all responses in a new order; returns the mean loss of its batches."""
        losses = []
        for batch in np.array_split(self.shuffle.permutation(self.n), self.batches):
            batch = batch[np.argsort(self.lengths[batch], kind="stable")]
            chosen = torch.from_numpy(batch)
            logits = self.trainee.logits(self.texts, batch)
            loss = ordinal_loss(logits, self.targets[chosen], self.weights[chosen])
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.schedule.step()
            losses.append(loss.item())
        return float(np.mean(losses))


def _judge(
    trainee: Trainee,
    texts: Prepared,
    human: NDArray[np.float64],
    scale: Scale,
    number: int,
    loss: float,
) -> Epoch:
    columns = predict(trainee, texts, scale)
    return Epoch(
        number,
        loss,
        quadratic_weighted_kappa(human, columns.score),
        quadratic_weighted_kappa(human, columns.raw_score),
    )
