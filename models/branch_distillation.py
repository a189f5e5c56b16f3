"""An item's own blocks distilled into fewer: its branch above the shared blocks gets shorter.

Wei, Qi and He (2021), arXiv 2107.05377: the student's blocks start as the teacher's lowest own
ones, and learn from people and from the teacher,

    CE(y, s) + T^2 CE(softmax(t / T), softmax(s / T)),    T = 2,

with t and s the logits. An ordinal head has K-1 logits, each the log-odds of one question with two
answers, so both terms are means of K-1 binary cross-entropies. Responses that nobody scored serve
the second term.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.finishing import Fitted, Progress, TrainedAdapter, trained
from models.fitting import (
    Examples,
    Loss,
    class_weights,
    predict,
    predicted_logits,
    prepared,
)
from models.heads import Head, ordinal_loss, ordinal_targets
from models.lora import LowRank
from models.lora_training import fit_lora
from models.own_blocks import KEPT_IN, OwnBlocks
from models.partial import BlockTraining, Trial, chosen
from models.postprocessing import Reported
from models.recipes import CompressionRecipe, Recipe
from models.scores import Scale
from models.text import encode, with_limit
from models.trained_blocks import SharedBlocks, shared_blocks
from models.training_data import TrainingSet
from models.trunk import blocks_of


def compress_adapter(
    teacher: Adapter,
    training: TrainingSet,
    validation: TrainingSet,
    backbone: Backbone,
    recipe: CompressionRecipe,
    folder: Path,
    *,
    training_data_sha256: str,
    unlabelled: Sequence[str] = (),
    reported: Reported = "rounded",
    progress: Progress | None = None,
) -> TrainedAdapter:
    """Distil an adapter's blocks into fewer, and write the adapter that has these.

    The fewest blocks whose validation QWK is as good as the best one's are taken; the teacher's
    own are among those that are tried, so nothing need be lost.

    Args:
        teacher: a ``partial`` adapter, or a ``lora`` one that edits upper blocks only; of it the
            blocks from the lowest edited one up are taken.
        training: what the teacher was trained on.
        validation: what was held out; may be empty.
        backbone: the teacher's; left as it is.
        recipe: how.
        folder: where the adapter directory goes; an older one there is replaced.
        training_data_sha256: hash of the data, written into ``scoring.json``.
        unlabelled: more responses of the item.
        reported: which score of the validation responses counts.
        progress: called after each epoch with it and the number of planned ones.

    Raises:
        TooFewResponsesError: see ``models.training.train_adapter``.
        AdapterError: the teacher's head is not of the kind that is trained here, it edits what
            is no block, or the backbone's blocks cannot be replaced.
    """
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    more = encode(tokenizer, unlabelled).token_ids

    def fit(known: Examples, held_out: Examples) -> Fitted:
        scale = teacher.scale
        return fit_compressed(
            teacher, known, held_out, scale, backbone, recipe, progress, unlabelled=more
        )

    return trained(
        fit,
        training,
        validation,
        teacher.scale,
        backbone,
        recipe,
        folder,
        training_data_sha256=training_data_sha256,
        trait=teacher.scoring.trait,
        reported=reported,
    )


def fit_low_rank_compressed(
    training: Examples,
    validation: Examples,
    scale: Scale,
    backbone: Backbone,
    recipe: CompressionRecipe,
    progress: Progress | None = None,
) -> Fitted:
    """Train low-rank edits of the upper half by their own recipe, then distil those blocks.

    Args:
        training: what is learned from.
        validation: held out, and chosen by.
        scale: the item's score scale.
        backbone: left as it is.
        recipe: how to distil.
        progress: called after each epoch of either.

    Raises:
        AdapterError: the backbone's blocks cannot be replaced.
    """
    shared_blocks(backbone.model)  # refused before anything is trained
    teacher = fit_lora(training, validation, scale, backbone, Recipe(seed=recipe.seed), progress)
    return fit_compressed(teacher, training, validation, scale, backbone, recipe, progress)


def fit_compressed(
    teacher: Adapter | Fitted,
    training: Examples,
    validation: Examples,
    scale: Scale,
    backbone: Backbone,
    recipe: CompressionRecipe,
    progress: Progress | None = None,
    unlabelled: Sequence[NDArray[np.int64]] = (),
) -> Fitted:
    """Distil into every number of blocks that the recipe names, and take the fewest that will do.

    Args:
        teacher: see ``compress_adapter``.
        training: what the teacher was trained on.
        validation: held out, and chosen by; without any, the fewest blocks are taken.
        scale: the item's score scale.
        backbone: left as it is.
        recipe: how.
        progress: called after each epoch.
        unlabelled: token ids of more responses.

    Raises:
        AdapterError: see ``compress_adapter``.
    """
    shared = shared_blocks(backbone.model)
    own = own_blocks_of(teacher, backbone, shared)
    nobody = np.full(len(unlabelled), np.nan)
    every = Examples(
        [*training.token_ids, *unlabelled], np.concatenate([training.human_scores, nobody])
    )
    work = BlockTraining(
        shared, every, validation, scale, recipe, backbone.position_offset, progress=progress
    ).risen(own.first_block)
    taught = work.trainee(shared.trained(own), _layer_of(teacher.head))
    logits = predicted_logits(taught, prepared(taught, work.training), scale)
    loss = distillation_loss(
        logits, every.human_scores, scale, recipe.temperature, recipe.class_weight_power
    )
    counts = range(recipe.least_depth, min(recipe.most_depth, len(own.blocks) - 1) + 1)
    trials = [work.fit(own.blocks[:count], _layer_of(teacher.head), loss) for count in counts]
    if recipe.keep_teacher or not trials:
        as_it_is = predict(taught, prepared(taught, work.validation), scale)
        history = teacher.history if isinstance(teacher, Fitted) else ()
        trials.append(Trial(own, teacher.head, history, as_it_is))
    return chosen(trials, validation.human_scores)


def distillation_loss(
    teacher_logits: Tensor,
    human_scores: NDArray[np.float64],
    scale: Scale,
    temperature: float,
    power: float,
) -> Loss:
    """The loss above; a response without a human score has its second term only.

    Args:
        teacher_logits: float32 [n, K-1].
        human_scores: float64 [n], NaN where nobody scored.
        scale: the item's.
        temperature: T.
        power: of the weights in the first term, see ``models.fitting.class_weights``.
    """
    scored = ~np.isnan(human_scores)
    targets, weights = torch.zeros_like(teacher_logits), torch.zeros(len(human_scores))
    targets[scored] = torch.from_numpy(ordinal_targets(human_scores[scored], scale))
    weights[scored] = class_weights(human_scores[scored], power)
    softened = torch.sigmoid(teacher_logits / temperature)

    def loss(logits: Tensor, chosen: Tensor) -> Tensor:
        everyone = torch.ones(len(chosen))
        taught = ordinal_loss(logits / temperature, softened[chosen], everyone)
        mine = weights[chosen]
        if not mine.any():
            return temperature**2 * taught
        share = float((mine > 0).float().mean())
        return share * ordinal_loss(logits, targets[chosen], mine) + temperature**2 * taught

    return loss


def own_blocks_of(teacher: Adapter | Fitted, backbone: Backbone, shared: SharedBlocks) -> OwnBlocks:
    """An adapter's blocks as the item's own: those it has, or the edited ones, edits written in.

    Raises:
        AdapterError: see ``compress_adapter``.
    """
    head = teacher.head
    if head.kind != "ordinal" or head.pooling != "mean" or head.dense is not None:
        raise AdapterError(
            f"the teacher has a {head.kind} head over the {head.pooling} token: blocks are "
            "distilled from adapters that were trained here; train the item first"
        )
    if teacher.own is not None:
        return teacher.own
    blocks = blocks_of(backbone.model) or ()
    numbers = {id(block): number for number, block in enumerate(blocks)}
    paths = {
        f"{path}.": numbers[id(module)]
        for path, module in backbone.modules.items()
        if id(module) in numbers
    }
    placed = {name: _place(name, paths) for name in teacher.edits}
    lowest = min((number for number, _ in placed.values()), default=shared.depth - 1)
    tensors = [dict(block) for block in shared.pristine(lowest, shared.depth).blocks]
    for name, (number, layer) in placed.items():
        _write(tensors[number - lowest], layer, teacher.edits[name])
    kept = tuple(
        {name: tensor.to(KEPT_IN).float() for name, tensor in block.items()} for block in tensors
    )
    return OwnBlocks(lowest, kept)


def _place(name: str, paths: Mapping[str, int]) -> tuple[int, str]:
    """The block that a layer of the backbone lies in, and its name there."""
    for path, number in paths.items():
        if name.startswith(path):
            return number, name.removeprefix(path)
    raise AdapterError(
        f"the teacher edits {name}, which lies in no block of the backbone: train the item first"
    )


def _write(block: dict[str, Tensor], layer: str, edit: LowRank) -> None:
    weight, bias = f"{layer}.weight", f"{layer}.bias"
    block[weight] = edit.weight(block[weight])
    merged = edit.merged_bias(block.get(bias))
    if merged is not None:
        block[bias] = merged


def _layer_of(head: Head) -> nn.Linear:
    """The head as a layer that can be trained; an ordinal one without a bias gets zeros."""
    outputs, inputs = head.weight.shape
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(head.weight)
        layer.bias.copy_(torch.zeros(outputs) if head.bias is None else head.bias)
    return layer
