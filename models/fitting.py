"""The training loop: an encoder, a head and scored texts in, their best weights out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.agreement import quadratic_weighted_kappa
from models.heads import ordinal_loss, ordinal_targets, read_out
from models.packing import Packed, hidden_states, mean_by_text, pack
from models.recipes import Recipe, Schedule
from models.scores import Scale, ScoreColumns
from models.stopping import Stopping
from models.text import budget_batches

__all__ = [
    "Epoch",
    "Examples",
    "Loss",
    "Prepared",
    "Recipe",
    "Trainee",
    "class_weights",
    "fit",
    "human_loss",
    "optimizer_for",
    "predict",
    "predicted_logits",
    "prepare",
    "prepared",
    "states_of",
]

# From threshold logits, float32 [m, K-1], and which texts they are of, int64 [m], to a loss.
Loss = Callable[[Tensor, Tensor], Tensor]

# In training attention is cheap beside the rest, so a batch's texts share few, wide groups.
TRAINING_SLACK_TOKENS = 32
TRAINING_ROUND_TO = 32
EVALUATION_TOKENS = 4096
# Lower states of at most this many tokens are kept: 0.4 GB in bfloat16 at 384 wide.
KEPT_TOKENS = 500_000


@dataclass(frozen=True)
class Examples:
    """Texts of one item.

    Attributes:
        token_ids: n int64 arrays.
        human_scores: float64 [n].
        below: what the trainee's lower part makes of each, [length, hidden_size], where that is
            known already.
    """

    token_ids: Sequence[NDArray[np.int64]]
    human_scores: NDArray[np.float64]
    below: list[Tensor] | None = None


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
        lower: the frozen part below the first trained block, if the encoder was cut; not needed
            for texts whose states below are known.
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

    def logits(self, texts: "Prepared", chosen: NDArray[np.int64]) -> Tensor:
        """Threshold logits of the chosen texts, float32 [len(chosen), K-1]."""
        packed = _packed([texts.token_ids[i] for i in chosen], self.position_offset)
        states = hidden_states(self.upper, packed, self._states(texts, chosen, packed))
        logits: Tensor = self.head(mean_by_text(states, packed))
        return logits

    def _states(
        self, texts: "Prepared", chosen: NDArray[np.int64], packed: Packed
    ) -> Tensor | None:
        if texts.below is not None:
            return _laid_out([texts.below[i] for i in chosen], packed)
        if self.lower is None:
            return None
        with torch.no_grad():
            return hidden_states(self.lower, packed)


@dataclass(frozen=True)
class Prepared:
    """Texts as token ids, and their states below the first trained block where these fit."""

    token_ids: Sequence[NDArray[np.int64]]
    below: list[Tensor] | None


def prepare(trainee: Trainee, token_ids: Sequence[NDArray[np.int64]]) -> Prepared:
    """Do once what training does not change."""
    if trainee.lower is None:
        return Prepared(token_ids, None)
    return Prepared(token_ids, states_of(trainee.lower, token_ids, trainee.position_offset))


def prepared(trainee: Trainee, examples: Examples) -> Prepared:
    """The same for examples, whose states below may be known already."""
    if examples.below is None:
        return prepare(trainee, examples.token_ids)
    return Prepared(examples.token_ids, examples.below)


def states_of(
    frozen: nn.Module,
    token_ids: Sequence[NDArray[np.int64]],
    position_offset: int,
    below: Sequence[Tensor] | None = None,
) -> list[Tensor] | None:
    """What a frozen part of an encoder makes of each text, n of [length, hidden_size].

    Args:
        frozen: the lower part, or one that follows it.
        token_ids: n int64 arrays.
        position_offset: the backbone's.
        below: what the part below it made of them.

    Returns:
        the states; None where they are too many to keep, see KEPT_TOKENS.
    """
    lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    if lengths.sum() > KEPT_TOKENS:
        return None
    states: list[Tensor] = [torch.empty(0)] * len(token_ids)
    with torch.no_grad():
        for batch in budget_batches(lengths, EVALUATION_TOKENS):
            packed = _packed([token_ids[i] for i in batch], position_offset)
            rows = None if below is None else _laid_out([below[i] for i in batch], packed)
            sizes = [*lengths[batch].tolist(), packed.filler]
            parts = torch.split(hidden_states(frozen, packed, rows), sizes)
            for i, part in zip(batch, parts, strict=False):
                states[i] = part.clone()
    return states


def predict(trainee: Trainee, texts: Prepared, scale: Scale) -> ScoreColumns:
    """Score n texts with the weights as they stand."""
    return read_out(predicted_logits(trainee, texts, scale), scale)


def predicted_logits(trainee: Trainee, texts: Prepared, scale: Scale) -> Tensor:
    """Threshold logits of n texts with the weights as they stand, float32 [n, K-1]."""
    lengths = np.array([len(ids) for ids in texts.token_ids], dtype=np.int64)
    logits = torch.empty(len(lengths), scale.n_points - 1)
    with torch.no_grad():
        for batch in budget_batches(lengths, EVALUATION_TOKENS):
            logits[torch.from_numpy(batch)] = trainee.logits(texts, batch)
    return logits


def fit(
    trainee: Trainee,
    training: Examples,
    validation: Examples,
    scale: Scale,
    recipe: Schedule,
    on_epoch: Callable[[Epoch, int], None] | None = None,
    loss: Loss | None = None,
) -> list[Epoch]:
    """Train, and leave the trainee with the weights of the epoch that ``Stopping`` keeps.

    Args:
        trainee: changed in place.
        training: what is learned from.
        validation: the held-out part; if it is empty the last epoch is kept.
        scale: the item's score scale.
        recipe: rates, sizes and seed; the same recipe on the same data gives the same weights.
        on_epoch: called after each epoch with it and the number of planned ones.
        loss: of a batch of the training responses; None: ``human_loss``.
    """
    epochs = recipe.epochs_for(len(training.token_ids))
    loss = loss or human_loss(training.human_scores, scale, recipe.class_weight_power)
    steps = _Steps(trainee, training, loss, recipe, epochs)
    held_out = prepared(trainee, validation)
    stopping = Stopping(
        trainee.parameters,
        len(validation.token_ids),
        patience=recipe.patience,
        min_epochs=recipe.min_epochs,
    )
    history: list[Epoch] = []
    for number in range(epochs):
        mean_loss = steps.epoch()
        epoch = _judge(trainee, held_out, validation.human_scores, scale, number, mean_loss)
        history.append(epoch)
        if on_epoch is not None:
            on_epoch(epoch, epochs)
        if stopping.is_due(epoch.validation_qwk_raw):
            break
    kept = stopping.keep()
    return [replace(epoch, kept=epoch.number == kept) for epoch in history]


def optimizer_for(
    groups: list[dict[str, Any]], recipe: Schedule, steps: int
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


def human_loss(human_scores: NDArray[np.float64], scale: Scale, power: float) -> Loss:
    """The ordinal loss against n human scores, float64 [n]; for power see ``class_weights``."""
    targets = torch.from_numpy(ordinal_targets(human_scores, scale))
    weights = class_weights(human_scores, power)
    return lambda logits, chosen: ordinal_loss(logits, targets[chosen], weights[chosen])


class _Steps:
    """The optimiser, its schedule and the shuffled batches of one training."""

    def __init__(
        self, trainee: Trainee, training: Examples, loss: Loss, recipe: Schedule, epochs: int
    ):
        self.trainee, self.loss, self.n = trainee, loss, len(training.token_ids)
        self.texts = prepared(trainee, training)
        self.lengths = np.array([len(ids) for ids in training.token_ids], dtype=np.int64)
        self.shuffle = np.random.default_rng(recipe.seed)
        self.batches = -(-self.n // recipe.batch_size)
        self.optimizer, self.schedule = optimizer_for(trainee.groups, recipe, epochs * self.batches)

    def epoch(self) -> float:
        """One pass over all responses in a new order; returns the mean loss of its batches."""
        losses = []
        for batch in np.array_split(self.shuffle.permutation(self.n), self.batches):
            batch = batch[np.argsort(self.lengths[batch], kind="stable")]
            loss = self.loss(self.trainee.logits(self.texts, batch), torch.from_numpy(batch))
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


def _packed(token_ids: Sequence[NDArray[np.int64]], position_offset: int) -> Packed:
    return pack(
        token_ids,
        position_offset=position_offset,
        slack_tokens=TRAINING_SLACK_TOKENS,
        round_to=TRAINING_ROUND_TO,
    )


def _laid_out(rows: Sequence[Tensor], packed: Packed) -> Tensor:
    """States of the packed texts end to end, and zeros for its filler: [tokens, hidden_size]."""
    return torch.cat([*rows, rows[0].new_zeros(packed.filler, rows[0].shape[1])])
