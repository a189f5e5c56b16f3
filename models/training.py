"""Train one item's adapter and head on human-scored responses, and write them down."""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import nn

from models.adapters import Adapter, Scoring, library_versions, load_adapter, save_adapter
from models.agreement import quadratic_weighted_kappa
from models.backbone import Backbone
from models.bert import supports_model
from models.bert_training import FrozenBlocks, TrainedBlocks
from models.calibration import fitted_calibration
from models.fitting import Epoch, Examples, Recipe, Trainee, fit
from models.heads import Head, Scale
from models.kernels import DTYPES, fastest_precision
from models.lora import LowRank, add_branches, block_linears, block_of
from models.postprocessing import Reported, fitted_scaling
from models.probes import with_probes
from models.scorer import Scored, Scorer, exact_scorer
from models.text import encode, with_limit
from models.trunk import split

__all__ = [
    "FEWEST_RESPONSES",
    "Recipe",
    "TooFewResponsesError",
    "TrainedAdapter",
    "TrainingSet",
    "split_validation",
    "train_adapter",
]

FEWEST_RESPONSES = 10


class TooFewResponsesError(ValueError):
    """An item has too few human scores to train on, or they are all the same."""


@dataclass(frozen=True)
class TrainingSet:
    """Human-scored responses of one item.

    Attributes:
        texts: n texts, none of them blank.
        human_scores: float64 [n], whole or half points on the item's scale.
    """

    texts: Sequence[str]
    human_scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.texts) != len(self.human_scores):
            raise ValueError(f"{len(self.texts)} texts but {len(self.human_scores)} scores")


@dataclass(frozen=True)
class TrainedAdapter:
    """An adapter directory that has been written, and how it did on the held-out responses.

    Attributes:
        folder, sha256: the directory and its ``adapter_sha256``.
        scoring: the directory's scoring record, calibration and scaling included.
        validation: scores of the validation responses, in their order, by the saved adapter.
        validation_qwk: of the reported scores; NaN without validation responses.
        history: one entry per epoch that was run.
        seconds: wall time of it all.
    """

    folder: Path
    sha256: str
    scoring: Scoring
    validation: Scored
    validation_qwk: float
    history: tuple[Epoch, ...]
    seconds: float


def split_validation(
    response_ids: Sequence[str],
    human_scores: NDArray[np.float64],
    fraction: float = 0.15,
    seed: int = 20,
) -> NDArray[np.bool_]:
    """Choose the held-out responses: by a hash of their ids, alike for every score point.

    A response keeps its rank under the hash whatever else is in the set. Every score point
    gives ``fraction`` of its responses, the parts of responses left over going to the points
    in turn, and never its last one.

    Args:
        response_ids: n ids.
        human_scores: float64 [n].
        fraction: share to hold out, in 0..1.
        seed: changes the choice.

    Returns:
        bool [n], true where held out.
    """
    ranks = [hashlib.sha256(f"{seed}\n{name}".encode()).digest() for name in response_ids]
    points = np.floor(np.asarray(human_scores, dtype=np.float64) + 0.5)
    held_out = np.zeros(len(response_ids), dtype=np.bool_)
    owed = 0.5
    for point in np.unique(points):
        members = sorted(np.flatnonzero(points == point), key=lambda member: ranks[member])
        owed += fraction * len(members)
        taken = min(math.floor(owed), len(members) - 1)
        held_out[members[:taken]] = True
        owed -= taken
    return held_out


def train_adapter(
    training: TrainingSet,
    validation: TrainingSet,
    scale: Scale,
    backbone: Backbone,
    recipe: Recipe,
    folder: Path,
    *,
    training_data_sha256: str,
    trait: str = "overall",
    reported: Reported = "rounded",
    progress: Callable[[Epoch, int], None] | None = None,
) -> TrainedAdapter:
    """Train an adapter and write its directory.

    Args:
        training: at least FEWEST_RESPONSES, of two scores or more.
        validation: held out by ``split_validation``; may be empty.
        scale: the item's score scale.
        backbone: loaded once per process; left as it is.
        recipe: see ``models.fitting.Recipe``.
        folder: where the adapter directory goes; an older one there is replaced.
        training_data_sha256: hash of the data, written into ``scoring.json``.
        trait: written into ``scoring.json``.
        reported: which score of the validation responses counts.
        progress: called after each epoch with it and the number of planned ones.

    Raises:
        TooFewResponsesError: fewer than FEWEST_RESPONSES, or all of one score.
        AdapterError: scaled scores are to be reported, and scores that are all alike allow none.
        ValueError: a human score lies outside the scale.
    """
    started = time.perf_counter()
    _check_enough(training)
    trainee, edits = _lora_trainee(backbone, recipe, scale)
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    history = fit(
        trainee,
        _examples(training, tokenizer),
        _examples(validation, tokenizer),
        scale,
        recipe,
        progress,
    )
    scoring = Scoring(
        backbone=backbone.name,
        backbone_sha256=backbone.sha256,
        score_min=scale.score_min,
        score_max=scale.score_max,
        trait=trait,
        max_tokens=backbone.max_tokens,
        training_data_sha256=training_data_sha256,
        recipe=asdict(recipe),
        versions=library_versions(),
        probes=(),
    )
    adapter = Adapter(edits=edits(), head=_head(trainee), scoring=scoring)
    scorer = exact_scorer(backbone)
    adapter = _measured(with_probes(adapter, scorer), training, validation, scorer)
    sha256 = save_adapter(folder, adapter)
    scored = scorer.score(load_adapter(folder, backbone), validation.texts, reported=reported)
    return TrainedAdapter(
        folder=folder,
        sha256=sha256,
        scoring=adapter.scoring,
        validation=scored,
        validation_qwk=float(quadratic_weighted_kappa(validation.human_scores, scored.score)),
        history=tuple(history),
        seconds=time.perf_counter() - started,
    )


def _check_enough(training: TrainingSet) -> None:
    n, kinds = len(training.texts), len(np.unique(training.human_scores))
    if n < FEWEST_RESPONSES or kinds < 2:
        raise TooFewResponsesError(
            f"found {n} human-scored responses with {kinds} different scores; training needs "
            f"{FEWEST_RESPONSES} and 2 at least: score more responses by hand"
        )


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


def _lora_trainee(
    backbone: Backbone, recipe: Recipe, scale: Scale
) -> tuple[Trainee, Callable[[], dict[str, LowRank]]]:
    n_blocks = 1 + max(block_of(name) for name in block_linears(backbone.model))
    first_block = min(int(n_blocks * recipe.frozen_share), n_blocks - 1)
    cut = _own_halves if supports_model(backbone.model) else _library_halves
    halves = cut(backbone.model, first_block, recipe)
    head = nn.Linear(backbone.hidden_size, scale.n_points - 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    groups = [
        {"params": halves.low_rank, "lr": recipe.learning_rate},
        {"params": list(head.parameters()), "lr": recipe.head_learning_rate},
    ]
    trainee = Trainee(halves.lower, halves.upper, head, groups, backbone.position_offset)
    return trainee, halves.edits


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


def _examples(responses: TrainingSet, tokenizer: Tokenizer) -> Examples:
    scores = np.asarray(responses.human_scores, dtype=np.float64)
    return Examples(encode(tokenizer, responses.texts).token_ids, scores)


def _measured(
    adapter: Adapter, training: TrainingSet, validation: TrainingSet, scorer: Scorer
) -> Adapter:
    """The adapter with what only its own scores can tell: calibration and scaling.

    Scaling is of the responses it was trained on, as is usual, calibration of the others: of the
    answers it has learned, it is surer than of any that are to come.
    """
    n = len(training.texts)
    scored = scorer.score(adapter, [*training.texts, *validation.texts], verify=False)
    calibration = fitted_calibration(
        scored.probabilities[n:], scored.score[n:], validation.human_scores, adapter.scale
    )
    scaling = fitted_scaling(training.human_scores, scored.raw_score[:n])
    measured = {"calibration": calibration, "scaling": scaling}
    return replace(adapter, scoring=adapter.scoring.model_copy(update=measured))


def _head(trainee: Trainee) -> Head:
    weight, bias = (part.detach().clone() for part in (trainee.head.weight, trainee.head.bias))
    return Head("ordinal", "mean", None, weight, bias)
