"""The rival in training: plain PEFT under bfloat16 autocast, as a careful user writes it.

It has the recipe's rank, steps, warm-up, decay, class weights, head and stopping rule. Where a
careful user has a choice, the fastest that was measured is taken: eager attention (the fused one
is slower backward on CPUs), batches of texts of like length as the library's Trainer makes them,
padded to the longest in the batch, and a multiple of 8.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoModel
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import logging

from benchmarks.quality_arms import shared_backbone
from models.agreement import quadratic_weighted_kappa
from models.fitting import Recipe, class_weights, optimizer_for
from models.heads import ordinal_loss, ordinal_targets, read_out
from models.kernels import fastest_precision
from models.scores import Scale, ScoreColumns
from models.stopping import Stopping
from models.text import encode, with_limit
from models.training import TrainingSet

PAD_TO = 8
VALIDATION_BATCH = 32
LAYERS = "query|key|value|dense"

Row = tuple[NDArray[np.int64], Tensor, Tensor]  # token ids, targets, weight
Batch = tuple[Tensor, Tensor, Tensor, Tensor]  # ids, mask, targets, weights


def train_plain_peft(
    training: TrainingSet,
    validation: TrainingSet,
    scale: Scale,
    recipe: Recipe,
    folder: Path,
    first_block: int = 0,
) -> tuple[Callable[[Sequence[str]], ScoreColumns], int]:
    """From texts to a saved adapter and head.

    Args:
        training: learned from.
        validation: judged by after each epoch.
        scale: the item's.
        recipe: the adapters', perhaps with another rate.
        folder: a new folder for what is saved.
        first_block: the lowest block that gets adapters.

    Returns:
        what scores texts with the trained model, and how many epochs were run.
    """
    torch.manual_seed(recipe.seed)
    model = _model(recipe, first_block)
    head = nn.Linear(model.config.hidden_size, scale.n_points - 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    classifier = _Classifier(model, head)
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    loader = _loader(training, scale, recipe)
    epochs = recipe.epochs_for(len(training.texts))
    groups = [{"params": parameters, "lr": recipe.learning_rate}]
    optimizer, schedule = optimizer_for(groups, recipe, epochs * len(loader))
    stopping = Stopping(
        parameters,
        len(validation.texts),
        patience=recipe.patience,
        min_epochs=recipe.min_epochs,
    )
    ran, is_due = 0, False
    while ran < epochs and not is_due:
        for ids, mask, targets, weights in loader:
            loss = ordinal_loss(classifier(ids, mask), targets, weights)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        ran += 1
        raw_scores = classifier.scores(validation.texts, scale).raw_score
        is_due = stopping.is_due(quadratic_weighted_kappa(validation.human_scores, raw_scores))
    stopping.keep()
    model.save_pretrained(folder)
    save_file(
        {name: t.detach() for name, t in head.state_dict().items()}, folder / "head.safetensors"
    )
    return lambda texts: classifier.scores(texts, scale), ran


class _Classifier(nn.Module):
    """The adapted model and an ordinal head over the mean of the real tokens' states."""

    def __init__(self, model: Any, head: nn.Linear):
        super().__init__()
        self.model, self.head = model, head

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=fastest_precision() == "bf16"):
            states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        real = mask[..., None].float()
        return self.head((states.float() * real).sum(1) / real.sum(1))

    def scores(self, texts: Sequence[str], scale: Scale) -> ScoreColumns:
        token_ids = _encoded(texts)
        order = np.argsort([len(ids) for ids in token_ids], kind="stable")
        logits = torch.empty(len(token_ids), scale.n_points - 1)
        with torch.inference_mode():
            for places in np.array_split(order, -(-len(order) // VALIDATION_BATCH)):
                batch = _padded([token_ids[i] for i in places])
                logits[torch.from_numpy(places)] = self(*batch)
        return read_out(logits, scale)


@dataclass(frozen=True)
class _Rows:
    """A data set of rows."""

    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Row:
        return self.rows[place]


def _loader(training: TrainingSet, scale: Scale, recipe: Recipe) -> Any:
    token_ids = _encoded(training.texts)
    targets = torch.from_numpy(ordinal_targets(training.human_scores, scale))
    weights = class_weights(training.human_scores, recipe.class_weight_power)
    lengths = [len(ids) for ids in token_ids]
    return DataLoader(
        _Rows(list(zip(token_ids, targets, weights, strict=True))),
        batch_size=recipe.batch_size,
        sampler=LengthGroupedSampler(recipe.batch_size, lengths=lengths),
        collate_fn=_collated,
    )


def _collated(rows: Sequence[Row]) -> Batch:
    ids, mask = _padded([row[0] for row in rows])
    return ids, mask, torch.stack([row[1] for row in rows]), torch.stack([row[2] for row in rows])


def _padded(token_ids: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    width = -(-max(map(len, token_ids)) // PAD_TO) * PAD_TO
    ids = torch.zeros(len(token_ids), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, text in enumerate(token_ids):
        ids[row, : len(text)] = torch.from_numpy(text)
        mask[row, : len(text)] = 1
    return ids, mask


def _encoded(texts: Sequence[str]) -> tuple[NDArray[np.int64], ...]:
    backbone = shared_backbone()
    return encode(with_limit(backbone.tokenizer, backbone.max_tokens), texts).token_ids


def _model(recipe: Recipe, first_block: int) -> Any:
    """In evaluation mode, so without dropout, like the adapters' own training."""
    model = copy.deepcopy(_pristine())
    blocks = "|".join(map(str, range(first_block, len(model.encoder.layer))))
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=rf"encoder\.layer\.({blocks})\..*({LAYERS})",
    )
    with warnings.catch_warnings():
        # PEFT asks the model for a flag by its old name.
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config).eval()


@cache
def _pristine() -> Any:
    """Loaded once per process, as ours is."""
    logging.set_verbosity_error()
    model = AutoModel.from_pretrained(
        shared_backbone().folder,
        dtype=torch.float32,
        attn_implementation="eager",
        add_pooling_layer=False,
    )
    return model.requires_grad_(False)
