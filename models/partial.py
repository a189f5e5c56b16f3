"""Partial fine-tuning: an item's own copies of the topmost blocks, trained in full.

Wei, Qi and He (2021), "A flexible multi-task model for BERT serving", arXiv 2107.05377. The blocks
below stay as they are: all items share them, and what they make of a text is computed once. How
many blocks are the item's own is chosen by its validation responses, the fewest that will do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from models.agreement import bootstrap, quadratic_weighted_kappa
from models.backbone import Backbone
from models.finishing import Fitted, Progress, Tried, new_head, trained_head
from models.fitting import Epoch, Examples, Loss, Trainee, fit, predict, prepared, states_of
from models.heads import Head
from models.own_blocks import OwnBlocks
from models.recipes import BlockRecipe, PartialRecipe
from models.scores import Scale, ScoreColumns
from models.trained_blocks import BlocksInTraining, SharedBlocks, shared_blocks

RESAMPLES = 1000


@dataclass(frozen=True)
class Trial:
    """Own blocks that have been trained, and what they say of the validation responses.

    Attributes:
        own: as they will be kept.
        head: trained with them.
        history: one entry per epoch.
        validation: scores of the validation responses.
    """

    own: OwnBlocks
    head: Head
    history: tuple[Epoch, ...]
    validation: ScoreColumns


@dataclass(frozen=True)
class BlockTraining:
    """An item's responses, at the depth at which its own blocks begin.

    Attributes:
        shared: the backbone's blocks.
        training: what is learned from.
        validation: held out; may be empty.
        scale: the item's score scale.
        recipe: how to train.
        position_offset: the backbone's.
        first_block: the responses' states below this block are known, where they can be kept.
        progress: called after each epoch.
    """

    shared: SharedBlocks
    training: Examples
    validation: Examples
    scale: Scale
    recipe: BlockRecipe
    position_offset: int
    first_block: int = 0
    progress: Progress | None = None

    def risen(self, first_block: int) -> "BlockTraining":
        """The same at a block farther up: the shared ones on the way are run once."""
        frozen = self.shared.frozen(self.first_block, first_block)
        if frozen is None:
            return self
        training, validation = (
            self._through(frozen, part) for part in (self.training, self.validation)
        )
        return replace(self, training=training, validation=validation, first_block=first_block)

    def trainee(self, blocks: BlocksInTraining, head: nn.Linear) -> Trainee:
        """Own blocks and a head, ready to be trained, or to say what they think."""
        recipe = self.recipe.for_depth(blocks.depth)
        groups = [
            {"params": blocks.trained(), "lr": recipe.learning_rate},
            {"params": list(head.parameters()), "lr": recipe.head_learning_rate},
        ]
        known = self.training.below is not None and self.validation.below is not None
        lower = None if known else self.shared.frozen(0, self.first_block)
        return Trainee(lower, blocks, head, groups, self.position_offset)

    def fit(
        self, start: Sequence[Mapping[str, Tensor]], head: nn.Linear, loss: Loss | None = None
    ) -> Trial:
        """Train own blocks and a head.

        Args:
            start: where the blocks' weights start.
            head: where the head starts; changed in place.
            loss: see ``models.fitting.fit``.
        """
        blocks = self.shared.trained(OwnBlocks(self.first_block, tuple(start)))
        trainee = self.trainee(blocks, head)
        history = fit(
            trainee,
            self.training,
            self.validation,
            self.scale,
            self.recipe,
            self.progress,
            loss,
        )
        blocks.settle()
        scored = predict(trainee, prepared(trainee, self.validation), self.scale)
        return Trial(blocks.own(), trained_head(head), tuple(history), scored)

    def _through(self, frozen: nn.Module, part: Examples) -> Examples:
        if self.first_block > 0 and part.below is None:  # too many to keep
            return part
        below = states_of(frozen, part.token_ids, self.position_offset, part.below)
        return replace(part, below=below)


def fit_partial(
    training: Examples,
    validation: Examples,
    scale: Scale,
    backbone: Backbone,
    recipe: PartialRecipe,
    progress: Progress | None = None,
) -> Fitted:
    """Train every number of own blocks that the recipe names, and take the fewest that will do.

    Args:
        training: what is learned from.
        validation: held out, and chosen by; without any, the fewest blocks are taken.
        scale: the item's score scale.
        backbone: left as it is.
        recipe: how to train; numbers that the backbone does not have are left out.
        progress: called after each epoch.

    Raises:
        AdapterError: the backbone's blocks cannot be replaced.
    """
    shared = shared_blocks(backbone.model)
    work = BlockTraining(
        shared,
        training,
        validation,
        scale,
        recipe,
        backbone.position_offset,
        progress=progress,
    )
    most = min(recipe.most_depth, shared.depth)
    trials = []
    for depth in range(most, min(recipe.least_depth, most) - 1, -1):
        work = work.risen(shared.depth - depth)
        start = shared.pristine(work.first_block, shared.depth).blocks
        trials.append(work.fit(start, new_head(backbone.hidden_size, scale)))
    return chosen(trials[::-1], validation.human_scores)


def chosen(trials: Sequence[Trial], human_scores: NDArray[np.float64]) -> Fitted:
    """The cheapest trial that will do, see ``cheapest``; trials by number of blocks, ascending."""
    best = cheapest([trial.validation.raw_score for trial in trials], human_scores)
    tried = tuple(
        Tried(
            depth=len(trial.own.blocks),
            validation_qwk=quadratic_weighted_kappa(human_scores, trial.validation.score),
            validation_qwk_raw=quadratic_weighted_kappa(human_scores, trial.validation.raw_score),
            chosen=place == best,
        )
        for place, trial in enumerate(trials)
    )
    trial = trials[best]
    return Fitted(trial.head, trial.history, own=trial.own, tried=tried)


def cheapest(raw_scores: Sequence[NDArray[np.float64]], human_scores: NDArray[np.float64]) -> int:
    """The first of several ways of scoring whose validation QWK is as good as the best one's.

    As good: within one standard error of the difference (the rule of Breiman, Friedman, Olshen
    and Stone 1984, section 3.4.3, for pruning trees), which is estimated by a paired bootstrap
    over the validation responses. QWK is of raw scores, which on a dozen responses moves less.

    Args:
        raw_scores: float64 [n] each, the cheapest way first.
        human_scores: float64 [n].

    Returns:
        its place; 0 where QWK is not defined.
    """
    qwk = quadratic_weighted_kappa
    values = np.array([qwk(human_scores, raw) for raw in raw_scores])
    if np.isnan(values).all():
        return 0
    best = int(np.nanargmax(values))
    statistics = {
        str(place): qwk.resampled(human_scores, raw) for place, raw in enumerate(raw_scores)
    }
    order = (human_scores, *raw_scores)
    drawn = bootstrap(statistics, len(human_scores), seed=0, samples=RESAMPLES, order=order)
    for place in range(best):
        gains = drawn[str(best)] - drawn[str(place)]
        gains = gains[~np.isnan(gains)]
        if gains.size and values[best] - values[place] <= gains.std():
            return place
    return best
