"""Distil a student from an item's adapter, to score alone or as the first of a cascade."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from models.adapters import (
    Adapter,
    AdapterError,
    library_versions,
    load_adapter,
    save_adapter,
)
from models.backbone import Backbone
from models.distillation import Distilled, distil
from models.postprocessing import Reported, fitted_scaling
from models.probes import PROBE_TEXTS
from models.recipes import CompressionRecipe, PartialRecipe, Recipe
from models.scored import Scored
from models.scorer import Scorer, exact_scorer
from models.scores import Scale
from models.scoring_record import CascadeRecord, Record, StudentRecord
from models.student_adapter import (
    StudentAdapter,
    load_student,
    save_student,
    score_with_student,
)
from models.student_fitting import StudentRecipe
from models.text import unknown_token, with_limit
from models.training import TrainingSet
from models.word_vectors import WordVectors

# Responses without a human score that a student learns from, at most, of each item.
MOST_UNSCORED = 2_000


class NothingToTellError(ValueError):
    """A student, or the limit of a cascade, would rest on nothing that was measured."""


@dataclass(frozen=True)
class Distillation:
    """How a student comes about, and what it is for.

    Attributes:
        recipe: see ``models.student_fitting``.
        most_loss: of quadratic weighted kappa against the teacher alone, in a cascade; None: the
            student scores alone.
    """

    recipe: StudentRecipe = field(default_factory=StudentRecipe)
    most_loss: float | None = None


AnyRecipe = Recipe | PartialRecipe | CompressionRecipe | Distillation


@dataclass(frozen=True)
class DistilledAdapter:
    """A directory that has been written, and how it did on the held-out responses.

    Attributes:
        folder: the directory.
        sha256: its hash.
        scoring: its record.
        validation: its scores of the validation responses.
        seconds: wall time of it all.
    """

    folder: Path
    sha256: str
    scoring: Record
    validation: Scored
    seconds: float


def distil_adapter(
    training: TrainingSet,
    validation: TrainingSet,
    unscored: Sequence[str],
    teacher: Path,
    scale: Scale,
    backbone: Backbone,
    distillation: Distillation,
    folder: Path,
    *,
    training_data_sha256: str,
    reported: Reported = "rounded",
) -> DistilledAdapter:
    """Distil a student and write its directory, or that of a cascade with its teacher.

    Args:
        training: human-scored responses to learn from.
        validation: held out from the teacher as well; may be empty.
        unscored: responses that nobody has scored; may be none.
        teacher: an adapter's directory; of a cascade, its teacher teaches again.
        scale: the item's.
        backbone: the teacher's.
        distillation: how.
        folder: where the directory goes; an older one there is replaced.
        training_data_sha256: hash of the human-scored responses.
        reported: which score of the validation responses counts.

    Raises:
        AdapterError: the teacher cannot be used.
        NothingToTellError: the cascade's loss allows the student to keep nothing, or its limit
            would be of other scores than those that the item reports.
        ValueError: too little to learn from.
    """
    started = time.perf_counter()
    known = _alone(load_adapter(teacher, backbone))
    if known.scale != scale:
        raise AdapterError(
            f"its champion scores {known.scale.score_min} to {known.scale.score_max}, the item's "
            f"scale is {scale.score_min} to {scale.score_max}: train the item first"
        )
    if distillation.most_loss is not None and reported == "scaled":
        raise NothingToTellError(
            "the item reports scaled scores, and a cascade's limit is chosen on rounded ones: "
            "distil a student that scores alone, or have the item report rounded scores"
        )
    scorer = exact_scorer(backbone)
    distilled = distil(
        training,
        validation,
        unscored,
        lambda texts: scorer.score(known, texts, verify=False),
        known.scale,
        _vectors(backbone),
        distillation.recipe,
    )
    student = _recorded(distilled, known, training, training_data_sha256)
    if distillation.most_loss is None:
        sha256 = save_student(folder, student)
        record: Record = student.scoring
        scored = _by_student(folder, validation.texts, backbone, reported)
    else:
        cascade = _cascade(known, student, distilled, distillation.most_loss)
        sha256, record = save_adapter(folder, cascade), cascade.scoring
        scored = scorer.score(load_adapter(folder, backbone), validation.texts, reported=reported)
    return DistilledAdapter(folder, sha256, record, scored, time.perf_counter() - started)


def scores_of(
    folder: Path, texts: Sequence[str], backbone: Backbone, record: Record, reported: Reported
) -> Scored:
    """What an adapter of any method says of texts, in float32.

    Args:
        folder: its directory.
        texts: n texts.
        backbone: what it was made for, or with.
        record: its record.
        reported: which score is reported.

    Raises:
        AdapterError: it cannot be used.
    """
    if isinstance(record, StudentRecord):
        return _by_student(folder, texts, backbone, reported)
    scorer: Scorer = exact_scorer(backbone)
    return scorer.score(load_adapter(folder, backbone), texts, reported=reported)


def _by_student(
    folder: Path, texts: Sequence[str], backbone: Backbone, reported: Reported
) -> Scored:
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    unknown = unknown_token(backbone.tokenizer)
    return score_with_student(load_student(folder), texts, tokenizer, unknown, reported=reported)


def _alone(adapter: Adapter) -> Adapter:
    """The adapter without the student that may score before it."""
    scoring = adapter.scoring.model_copy(update={"cascade": None})
    return replace(adapter, scoring=scoring, student=None)


def _recorded(
    distilled: Distilled, teacher: Adapter, training: TrainingSet, training_data_sha256: str
) -> StudentAdapter:
    """The student with its record: its scaling is of the responses that it learned from."""
    raw = distilled.student.score(training.texts, teacher.scale).raw_score
    record = StudentRecord(
        score_min=teacher.scoring.score_min,
        score_max=teacher.scoring.score_max,
        trait=teacher.scoring.trait,
        backbone=teacher.scoring.backbone,
        backbone_sha256=teacher.scoring.backbone_sha256,
        training_data_sha256=training_data_sha256,
        recipe=distilled.record,
        versions=library_versions(),
        probes=(),
        calibration=distilled.calibration,
        scaling=fitted_scaling(training.human_scores, raw),
        teacher_sha256=teacher.sha256,
        trained_parameters=distilled.student.trained_parameters,
    )
    return StudentAdapter(distilled.student, record).with_probes(PROBE_TEXTS)


def _cascade(
    teacher: Adapter, student: StudentAdapter, distilled: Distilled, most_loss: float
) -> Adapter:
    limit = distilled.limit(teacher.scale, most_loss)
    if not limit.kept_share:
        raise NothingToTellError(
            f"the student may keep no response if its cascade is to lose {most_loss:g} of QWK at "
            f"most, by {limit.n} responses that it had not learned from: allow more, or let the "
            "teacher go on alone"
        )
    record = CascadeRecord(student=student.scoring, limit=limit, most_loss=most_loss)
    scoring = teacher.scoring.model_copy(update={"cascade": record})
    return replace(teacher, scoring=scoring, student=student)


@lru_cache(maxsize=1)
def _vectors(backbone: Backbone) -> WordVectors:
    """Words' vectors, read once per process."""
    return WordVectors(backbone)
