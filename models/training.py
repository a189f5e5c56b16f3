"""Train one item's adapter and head on human-scored responses, and write them down."""

from pathlib import Path

from models.backbone import Backbone
from models.branch_distillation import fit_low_rank_compressed
from models.finishing import Fitted, Progress, TrainedAdapter, Tried, trained
from models.fitting import Examples
from models.lora_training import fit_lora
from models.partial import fit_partial
from models.postprocessing import Reported
from models.recipes import RECIPES, CompressionRecipe, PartialRecipe, Recipe, TrainedMethod
from models.scores import Scale
from models.training_data import (
    FEWEST_RESPONSES,
    TooFewResponsesError,
    TrainingSet,
    split_validation,
)

__all__ = [
    "FEWEST_RESPONSES",
    "RECIPES",
    "CompressionRecipe",
    "PartialRecipe",
    "Recipe",
    "TooFewResponsesError",
    "TrainedAdapter",
    "TrainedMethod",
    "TrainingSet",
    "Tried",
    "split_validation",
    "train_adapter",
]


def train_adapter(
    training: TrainingSet,
    validation: TrainingSet,
    scale: Scale,
    backbone: Backbone,
    recipe: Recipe | PartialRecipe | CompressionRecipe,
    folder: Path,
    *,
    training_data_sha256: str,
    trait: str = "overall",
    reported: Reported = "rounded",
    progress: Progress | None = None,
) -> TrainedAdapter:
    """Train an adapter and write its directory.

    Args:
        training: at least FEWEST_RESPONSES, of two scores or more.
        validation: held out by ``split_validation``; may be empty.
        scale: the item's score scale.
        backbone: loaded once per process; left as it is.
        recipe: how, and by which method: see ``models.recipes``.
        folder: where the adapter directory goes; an older one there is replaced.
        training_data_sha256: hash of the data, written into ``scoring.json``.
        trait: written into ``scoring.json``.
        reported: which score of the validation responses counts.
        progress: called after each epoch with it and the number of planned ones.

    Raises:
        TooFewResponsesError: fewer than FEWEST_RESPONSES, or all of one score.
        AdapterError: scaled scores are to be reported, and scores that are all alike allow none;
            or the item is to have blocks of its own, and this backbone's cannot be replaced.
        ValueError: a human score lies outside the scale.
    """
    return trained(
        lambda known, held_out: _fit(known, held_out, scale, backbone, recipe, progress),
        training,
        validation,
        scale,
        backbone,
        recipe,
        folder,
        training_data_sha256=training_data_sha256,
        trait=trait,
        reported=reported,
    )


def _fit(
    training: Examples,
    validation: Examples,
    scale: Scale,
    backbone: Backbone,
    recipe: Recipe | PartialRecipe | CompressionRecipe,
    progress: Progress | None,
) -> Fitted:
    if isinstance(recipe, CompressionRecipe):
        return fit_low_rank_compressed(training, validation, scale, backbone, recipe, progress)
    if isinstance(recipe, PartialRecipe):
        return fit_partial(training, validation, scale, backbone, recipe, progress)
    return fit_lora(training, validation, scale, backbone, recipe, progress)
