"""Fit a student's network to texts with targets; the same texts and recipe give the same network.

The loss is L = CE(y, f) + lambda * (1/N) sum CE(p_i, f), with people's scores y, the student's
probabilities f and the teacher's p_i (Latif, Fang, Ma and Zhai, arXiv 2312.15842; written from the
equation). For an ordinal student CE is the mean of the binary cross-entropies over its thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from models.agreement import quadratic_weighted_kappa
from models.fitting import class_weights
from models.heads import ordinal_targets
from models.scores import Scale
from models.stopping import Stopping
from models.student import MOST_TRAINED
from models.student_net import Reading, StudentNet, WordTable, reading
from models.training_data import TrainingSet

# Texts of so many batches are sorted by length before they are divided.
BATCHES_SORTED = 8
# Probabilities nearer to 0 or 1 are taken to be this far from it.
LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True, kw_only=True)
class StudentRecipe:
    """How a student is trained. What was tried is in ``docs/experiments.md``.

    Attributes:
        variants: made-up texts that the teacher is asked about, at most.
        variant_words: of all these together, so that long answers cost no more than short ones.
        near: words of like meaning that each word of the item may be exchanged for.
        known_words: words that get a frozen vector, at most: the item's, then those most like it.
        soft_weight: lambda; 0 learns from human scores alone.
        temperature: the teacher's logits are divided by it.
        parts: the responses are divided into so many; see ``models.distillation``.
        buckets, width, dims, filters, units: see ``models.student.Student``.
        epochs, updates: passes over all texts, and steps at least.
        batch_size: texts per step.
        learning_rate, table_rate: peak rates of the network and of its table of pieces.
        warmup: share of the steps in which the rate rises; then it falls to zero.
        weight_decay: AdamW's, of all but the table.
        dropout: share of the pooled answers left out in each step.
        class_weight_power: of human scores, see ``models.recipes``.
        patience: see ``models.stopping``.
        seed: of variants, start, order and dropout.
    """

    variants: int = 3000
    variant_words: int = 90_000
    near: int = 6
    known_words: int = 4000
    soft_weight: float = 16.0
    temperature: float = 1.0
    parts: int = 4
    buckets: int = 2048
    width: int = 8
    dims: int = 32
    filters: int = 48
    units: int = 24
    epochs: int = 48
    updates: int = 300
    batch_size: int = 128
    learning_rate: float = 5e-3
    table_rate: float = 1e-2
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.3
    class_weight_power: float = 0.5
    patience: int = 5
    seed: int = 20


@dataclass(frozen=True)
class Lesson:
    """Texts to learn from: targets float32 [n, K - 1], and what each weighs, float32 [n]."""

    texts: Sequence[str]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]


def lesson(
    texts: Sequence[str],
    human: NDArray[np.float64],
    probabilities: ArrayLike | None,
    scale: Scale,
    recipe: StudentRecipe,
) -> Lesson:
    """Both terms of the loss as one: cross-entropy is linear in its target.

    Args:
        texts: n texts.
        human: float64 [n], people's scores; NaN where there is none.
        probabilities: the teacher's, [n, K]; None: people's scores alone.
        scale: the item's.
        recipe: what each term weighs.

    Raises:
        ValueError: a human score lies off the scale, or probabilities do not fit it.
    """
    rated = np.isfinite(human)
    targets = np.zeros((len(texts), scale.n_points - 1))
    weights = np.zeros(len(texts))
    if rated.any():
        hard = class_weights(human[rated], recipe.class_weight_power).numpy()
        weights[rated] = hard / hard.sum()
        targets[rated] = ordinal_targets(human[rated], scale) * weights[rated, None]
    if probabilities is not None:
        each = recipe.soft_weight / len(texts)
        targets += each * _soft(
            np.asarray(probabilities, dtype=np.float64), len(texts), scale, recipe
        )
        weights += each
    learned = weights > 0
    return Lesson(
        texts=[text for text, weighs in zip(texts, learned, strict=True) if weighs],
        targets=(targets[learned] / weights[learned, None]).astype(np.float32),
        weights=(weights[learned] / weights[learned].mean()).astype(np.float32),
    )


def fit_student(
    given: Lesson,
    validation: TrainingSet,
    table: WordTable,
    scale: Scale,
    recipe: StudentRecipe,
) -> StudentNet:
    """The network with the weights of the epoch that ``models.stopping`` keeps.

    Args:
        given: one text or more.
        validation: what it is stopped by; may be empty.
        table: frozen vectors.
        scale: the item's.
        recipe: see ``StudentRecipe``.

    Raises:
        ValueError: the recipe has more than ``models.student.MOST_TRAINED`` parameters.
    """
    net = StudentNet(
        buckets=recipe.buckets,
        width=recipe.width,
        dims=recipe.dims,
        filters=recipe.filters,
        units=recipe.units,
        thresholds=scale.n_points - 1,
        dropout=recipe.dropout,
        generator=torch.Generator().manual_seed(recipe.seed),
    )
    trained = sum(parameter.numel() for parameter in net.parameters())
    if trained > MOST_TRAINED:
        raise ValueError(
            f"the recipe has {trained} trained parameters, {MOST_TRAINED} are the most: take "
            "fewer buckets"
        )
    steps = _Steps(net, given, reading(given.texts, recipe.buckets, table), recipe)
    held_out = reading(validation.texts, recipe.buckets, table)
    stopping = Stopping(
        list(net.parameters()),
        len(validation.texts),
        patience=recipe.patience,
        min_epochs=steps.epochs // 2,
    )
    for _ in range(steps.epochs):
        steps.epoch()
        if stopping.is_due(_qwk_raw(net, held_out, validation.human_scores, scale)):
            break
    stopping.keep()
    return net.eval()


def _soft(
    probabilities: NDArray[np.float64], n: int, scale: Scale, recipe: StudentRecipe
) -> NDArray[np.float64]:
    """The teacher's probability that a text's score lies above each threshold, [n, K - 1]."""
    if probabilities.shape != (n, scale.n_points) or not np.isfinite(probabilities).all():
        raise ValueError(
            f"the teacher gave probabilities of the shape {probabilities.shape}, or some that are "
            f"no numbers; {n} texts on a scale of {scale.n_points} points need "
            f"{(n, scale.n_points)}"
        )
    above = 1 - np.cumsum(probabilities, axis=1)[:, :-1]
    above = np.clip(above, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    tempered = np.log(above / (1 - above)) / recipe.temperature
    return np.asarray(1 / (1 + np.exp(-tempered)))


def _qwk_raw(
    net: StudentNet, texts: Reading, human_scores: NDArray[np.float64], scale: Scale
) -> float:
    """Of raw scores; NaN where it is not defined."""
    if not len(human_scores):
        return float("nan")
    net.eval()
    with torch.no_grad():
        logits = net(texts, torch.arange(len(human_scores)))
    net.train()
    raw = scale.score_min + torch.sigmoid(logits).sum(dim=1).numpy()
    return float(quadratic_weighted_kappa(human_scores, raw))


class _Steps:
    """The optimiser, its rate that rises and falls, and batches in a new order every epoch."""

    def __init__(self, net: StudentNet, given: Lesson, texts: Reading, recipe: StudentRecipe):
        self.net, self.texts = net.train(), texts
        self.targets, self.weights = map(torch.from_numpy, (given.targets, given.weights))
        self.n, self.batches = len(given.texts), -(-len(given.texts) // recipe.batch_size)
        self.epochs = max(recipe.epochs, -(-recipe.updates // self.batches))
        self.shuffle = np.random.default_rng(recipe.seed)
        others = [value for name, value in net.named_parameters() if name != "table"]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": others, "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
                {"params": [net.table], "lr": recipe.table_rate, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.99),
        )
        steps = self.epochs * self.batches
        rising = max(1, round(recipe.warmup * steps))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising)),
        )

    def epoch(self) -> None:
        """One pass over all texts."""
        for batch in self._batches():
            rows = torch.from_numpy(batch)
            losses = nn.functional.binary_cross_entropy_with_logits(
                self.net(self.texts, rows), self.targets[rows], reduction="none"
            )
            loss = (losses.mean(dim=1) * self.weights[rows]).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.schedule.step()

    def _batches(self) -> list[NDArray[np.int64]]:
        """All texts in a new order; a batch's are of like length, for the longest sets its cost."""
        order = self.shuffle.permutation(self.n)
        lengths, batches = self.texts.lengths.numpy(), []
        step = BATCHES_SORTED * -(-self.n // self.batches)
        for start in range(0, self.n, step):
            some = order[start : start + step]
            some = some[np.argsort(lengths[some], kind="stable")]
            batches += np.array_split(some, -(-len(some) * BATCHES_SORTED // step))
        return [batches[i] for i in self.shuffle.permutation(len(batches))]
