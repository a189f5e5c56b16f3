"""From weights that have been trained to an adapter directory: measured, probed, written."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from models.adapters import Adapter, Scoring, library_versions, load_adapter, save_adapter
from models.agreement import quadratic_weighted_kappa
from models.backbone import Backbone
from models.calibration import fitted_calibration
from models.fitting import Epoch, Examples
from models.heads import Head
from models.lora import LowRank
from models.own_blocks import OwnBlocks
from models.postprocessing import Reported, fitted_scaling
from models.probes import with_probes
from models.recipes import Schedule
from models.scored import Scored
from models.scorer import Scorer, exact_scorer
from models.scores import Scale
from models.text import with_limit
from models.training_data import TrainingSet, check_enough, examples_of

# Called after each epoch with it and the number of planned ones.
Progress = Callable[[Epoch, int], None]


@dataclass(frozen=True)
class Tried:
    """A number of own blocks that was tried.

    Attributes:
        depth: how many.
        validation_qwk: of the reported scores of the validation responses.
        validation_qwk_raw: of the raw scores.
        chosen: this one was taken.
    """

    depth: int
    validation_qwk: float
    validation_qwk_raw: float
    chosen: bool


@dataclass(frozen=True)
class Fitted:
    """What a method's training leaves.

    Attributes:
        head: from pooled hidden states to logits.
        history: one entry per epoch that was run for what was taken.
        edits: low-rank edits by the name of the backbone's layer.
        own: the item's own blocks, in place of edits.
        tried: the numbers of own blocks that were tried, ascending.
    """

    head: Head
    history: tuple[Epoch, ...]
    edits: Mapping[str, LowRank] = field(default_factory=dict)
    own: OwnBlocks | None = None
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class TrainedAdapter:
    """An adapter directory that has been written, and how it did on the held-out responses.

    Attributes:
        folder, sha256: the directory and its ``adapter_sha256``.
        scoring: the directory's scoring record, calibration and scaling included.
        validation: scores of the validation responses, in their order, by the saved adapter.
        validation_qwk: of the reported scores; NaN without validation responses.
        history: one entry per epoch that was run.
        tried: the numbers of own blocks that were tried, ascending; empty for low-rank edits.
        seconds: wall time of it all.
    """

    folder: Path
    sha256: str
    scoring: Scoring
    validation: Scored
    validation_qwk: float
    history: tuple[Epoch, ...]
    tried: tuple[Tried, ...]
    seconds: float


def new_head(hidden_size: int, scale: Scale) -> nn.Linear:
    """An ordinal head that gives every threshold even odds."""
    head = nn.Linear(hidden_size, scale.n_points - 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def trained_head(head: nn.Linear) -> Head:
    """A copy of a trained head, as adapters hold it."""
    weight, bias = (part.detach().clone() for part in (head.weight, head.bias))
    return Head("ordinal", "mean", None, weight, bias)


def _record_of(
    fitted: Fitted,
    backbone: Backbone,
    scale: Scale,
    recipe: Schedule,
    training_data_sha256: str,
    trait: str,
) -> Scoring:
    """The scoring record of what was trained, as yet without probes and figures."""
    return Scoring(
        method="lora" if fitted.own is None else "partial",
        backbone=backbone.name,
        backbone_sha256=backbone.sha256,
        score_min=scale.score_min,
        score_max=scale.score_max,
        trait=trait,
        max_tokens=backbone.max_tokens,
        training_data_sha256=training_data_sha256,
        recipe=_told(recipe, fitted),
        versions=library_versions(),
        probes=(),
        first_block=None if fitted.own is None else fitted.own.first_block,
    )


def _told(recipe: Schedule, fitted: Fitted) -> dict[str, Any]:
    if fitted.own is None:
        return asdict(recipe)
    return {**asdict(recipe), "own_blocks": len(fitted.own.blocks)}


def trained(
    fit: Callable[[Examples, Examples], Fitted],
    training: TrainingSet,
    validation: TrainingSet,
    scale: Scale,
    backbone: Backbone,
    recipe: Schedule,
    folder: Path,
    *,
    training_data_sha256: str,
    trait: str,
    reported: Reported,
) -> TrainedAdapter:
    """Train by some method, measure what came of it with exact products, write its directory.

    Args:
        fit: the method, from what is learned from and what is held out.
        training: what it is trained on: scaling is of these.
        validation: what is held out: calibration is of these.
        scale: the item's score scale.
        backbone: what it is trained on top of.
        recipe: how, for the record.
        folder: where the directory goes; an older one there is replaced.
        training_data_sha256: hash of the data, for the record.
        trait: for the record.
        reported: which score of the validation responses counts.

    Raises:
        TooFewResponsesError: too few to train on, or all of one score.
        AdapterError: scaled scores are to be reported, and scores that are all alike allow none.
    """
    started = time.perf_counter()
    check_enough(training)
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    fitted = fit(examples_of(training, tokenizer), examples_of(validation, tokenizer))
    scoring = _record_of(fitted, backbone, scale, recipe, training_data_sha256, trait)
    adapter = Adapter(edits=fitted.edits, head=fitted.head, scoring=scoring, own=fitted.own)
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
        history=fitted.history,
        tried=fitted.tried,
        seconds=time.perf_counter() - started,
    )


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
