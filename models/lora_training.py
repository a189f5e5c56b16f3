"""Low-rank edits of the backbone's upper blocks, trained on one item."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from models.backbone import Backbone
from models.bert import supports_model
from models.bert_training import FrozenBlocks, TrainedBlocks
from models.finishing import Fitted, Progress, new_head, trained_head
from models.fitting import Examples, Trainee, fit
from models.kernels import DTYPES, fastest_precision
from models.lora import LowRank, add_branches, block_linears, block_of
from models.recipes import Recipe
from models.scores import Scale
from models.trunk import split


def fit_lora(
    training: Examples,
    validation: Examples,
    scale: Scale,
    backbone: Backbone,
    recipe: Recipe,
    progress: Progress | None = None,
) -> Fitted:
    """Train edits and a head.

    Args:
        training: what is learned from.
        validation: held out; may be empty.
        scale: the item's score scale.
        backbone: left as it is.
        recipe: how to train.
        progress: called after each epoch.
    """
    n_blocks = 1 + max(block_of(name) for name in block_linears(backbone.model))
    first_block = min(int(n_blocks * recipe.frozen_share), n_blocks - 1)
    cut = _own_halves if supports_model(backbone.model) else _library_halves
    halves = cut(backbone.model, first_block, recipe)
    head = new_head(backbone.hidden_size, scale)
    groups = [
        {"params": halves.low_rank, "lr": recipe.learning_rate},
        {"params": list(head.parameters()), "lr": recipe.head_learning_rate},
    ]
    trainee = Trainee(halves.lower, halves.upper, head, groups, backbone.position_offset)
    history = fit(trainee, training, validation, scale, recipe, progress)
    return Fitted(trained_head(head), tuple(history), edits=halves.edits())


@dataclass(frozen=True)
class _Halves:
    """A backbone cut below its lowest trained block.

    Attributes:
        lower, upper: see ``models.fitting.Trainee``.
        low_rank: the trained weights of the upper half.
        edits: copies of them as they stand, by layer.
    """

    lower: nn.Module | None
    upper: nn.Module
    low_rank: list[nn.Parameter]
    edits: Callable[[], dict[str, LowRank]]


def _own_halves(model: nn.Module, first_block: int, recipe: Recipe) -> _Halves:
    """For the BERT family: our own forward and backward, which leave the model as it is."""
    precision, generator = fastest_precision(), torch.Generator().manual_seed(recipe.seed)
    lower, _ = split(model, first_block)
    upper = TrainedBlocks(
        model, first_block, recipe.rank, recipe.alpha / recipe.rank, generator, precision
    )
    frozen = None if lower is None else FrozenBlocks(lower, precision)
    return _Halves(frozen, upper, [upper.low_rank], upper.edits)


def _library_halves(model: nn.Module, first_block: int, recipe: Recipe) -> _Halves:
    """For the other families: the library's forward, cast once, with branches in it."""
    generator = torch.Generator().manual_seed(recipe.seed)
    cast = copy.deepcopy(model).to(DTYPES[fastest_precision()])
    scaling = recipe.alpha / recipe.rank
    branches = add_branches(cast, recipe.rank, scaling, generator, first_block)
    lower, upper = split(cast, first_block)
    low_rank = [side for branch in branches.values() for side in (branch.a, branch.b)]
    return _Halves(
        lower, upper, low_rank, lambda: {name: branch.edit() for name, branch in branches.items()}
    )
