"""A student learns from its teacher: human scores, and the teacher's opinion of far more texts.

It learns from the item's responses that the teacher learned from, from those that nobody has
scored, and from variants made of both, see ``models.variants``. What it knows of responses that it
has not learned from is measured by cross-fitting, for an item holds out a dozen as a rule: the
responses are divided into parts, variants mix responses of one part alone, and each part is scored
by a student that learned from the others. On these scores, and on those of the validation
responses, its confidence is calibrated and the limit of a cascade can be chosen.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.agreement import quadratic_weighted_kappa
from models.calibration import Calibration, confidences, fitted_calibration
from models.cascade import Limit, choose_limit
from models.features import shared_words, spellings
from models.scores import Scale, ScoreColumns, of_thresholds
from models.student import Student
from models.student_fitting import StudentRecipe, fit_student, lesson
from models.training_data import TrainingSet
from models.variants import variants
from models.word_table import word_table
from models.word_vectors import WordVectors

Floats = NDArray[np.float64]

# Fewer cannot be divided into two parts.
FEWEST_RESPONSES = 2


class Opinion(Protocol):
    """What a teacher says of n texts; ``ScoreColumns`` and the scorer's ``Scored`` are such."""

    @property
    def raw_score(self) -> Floats:
        """The expected score, [n]."""

    @property
    def score(self) -> NDArray[np.int32]:
        """The reported score, [n]."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Per score point from score_min up, [n, K]."""


Teacher = Callable[[Sequence[str]], Opinion]


@dataclass(frozen=True)
class HeldOut:
    """Responses, and a student's scores of them that had not learned from them.

    Attributes:
        human: float64 [n]; NaN where nobody has scored one.
        student: ScoreColumns of students.
        teacher_score: int32 [n], the teacher's.
        teacher_raw: float64 [n], the teacher's.
    """

    human: Floats
    student: ScoreColumns
    teacher_score: NDArray[np.int32]
    teacher_raw: Floats


@dataclass(frozen=True)
class Distilled:
    """A student, and how it did on responses that it did not learn from.

    Attributes:
        student: in whole numbers: what is measured is what is stored.
        calibration: of its confidence, fitted to all held-out responses with a human score.
        validation: its scores of the validation responses.
        validation_qwk: with people's; NaN where it is not defined.
        held_out: the validation responses and the cross-fitted ones.
        record: the recipe, and how many parameters were trained on how many texts.
        seconds: wall time of it all.
        teacher_seconds: of that, what the teacher took.
    """

    student: Student
    calibration: Calibration
    validation: ScoreColumns
    validation_qwk: float
    held_out: HeldOut
    record: dict[str, int | float | str | bool | None]
    seconds: float
    teacher_seconds: float

    def limit(self, scale: Scale, most_loss: float) -> Limit:
        """The cascade's limit on its calibrated confidence, see ``models.cascade``.

        People's scores count where they are of validation responses: the teacher knows the others.
        """
        found = self.held_out
        known = len(found.human) - len(self.validation.score)
        points = found.student.score - scale.score_min
        temperature = self.calibration.temperature
        return choose_limit(
            np.where(np.arange(len(found.human)) < known, np.nan, found.human),
            found.student.score,
            found.teacher_score,
            found.student.raw_score,
            found.teacher_raw,
            confidences(found.student.probabilities, points, temperature),
            most_loss,
        )


@dataclass(frozen=True)
class _Rows:
    """All that a student learns from.

    Attributes:
        texts: n texts: responses, then variants of these.
        part: int64 [n], which part of the responses each belongs to.
        responses: how many are no variants.
        human: float64 [n]; NaN where nobody has scored one.
        opinion: the teacher's.
    """

    texts: Sequence[str]
    part: NDArray[np.int64]
    responses: int
    human: Floats
    opinion: Opinion

    def student(
        self,
        learned: NDArray[np.bool_],
        validation: TrainingSet,
        vectors: WordVectors,
        scale: Scale,
        recipe: StudentRecipe,
    ) -> Student:
        """A student of some of the texts."""
        texts = [self.texts[int(i)] for i in np.flatnonzero(learned)]
        own = [self.texts[int(i)] for i in np.flatnonzero(learned[: self.responses])]
        # A word of one response alone may be a name, and adapters travel: who guesses a word could
        # tell by its hash that it is in the table. Words of the backbone's vocabulary tell nothing.
        told = {*shared_words(own), *vectors.vocabulary[0]}
        words = [word for word in spellings(texts) if word in told]
        table = word_table(words, spellings(own), vectors, recipe)
        probabilities = np.asarray(self.opinion.probabilities)[learned]
        given = lesson(texts, self.human[learned], probabilities, scale, recipe)
        return fit_student(given, validation, table, scale, recipe).student(table)


def distil(
    training: TrainingSet,
    validation: TrainingSet,
    unlabelled: Sequence[str],
    teacher: Teacher,
    scale: Scale,
    vectors: WordVectors,
    recipe: StudentRecipe,
) -> Distilled:
    """Train a student.

    Args:
        training: what the teacher learned from.
        validation: held out from teacher and student; may be empty.
        unlabelled: responses of the item without a human score; may be none.
        teacher: is asked twice: of what is learned from, and of the validation responses.
        scale: the item's.
        vectors: words' vectors, of any backbone.
        recipe: see ``StudentRecipe``; the same on the same data gives the same student.

    Raises:
        ValueError: too little to learn from, a human score off the scale, probabilities that do not
            fit the scale, or a recipe of too many parameters.
    """
    started = time.perf_counter()
    rows, judged, teacher_s = _asked(training, validation, unlabelled, teacher, vectors, recipe)
    everything = np.ones(len(rows.texts), dtype=np.bool_)
    student = rows.student(everything, validation, vectors, scale, recipe)
    columns = student.score(validation.texts, scale)
    human = np.asarray(validation.human_scores, dtype=np.float64)
    held_out = _cross_fitted(rows, validation, vectors, scale, recipe)
    if judged is not None:
        held_out.append(HeldOut(human, columns, judged.score, judged.raw_score))
    found = _joined(held_out)
    rated = np.isfinite(found.human)
    return Distilled(
        student=student,
        calibration=fitted_calibration(
            found.student.probabilities[rated],
            found.student.score[rated],
            found.human[rated],
            scale,
        ),
        validation=columns,
        validation_qwk=float(quadratic_weighted_kappa(human, columns.score)),
        held_out=found,
        record=asdict(recipe)
        | {"trained_parameters": student.trained_parameters, "texts": len(rows.texts)},
        seconds=time.perf_counter() - started,
        teacher_seconds=teacher_s,
    )


def gated(opinions: Sequence[Opinion], scale: Scale) -> ScoreColumns:
    """One opinion of several teachers: the surer one is of a response, the more it counts there.

    Args:
        opinions: of n texts, each.
        scale: the item's.

    Returns:
        of the mean probabilities, weighted by each teacher's greatest one; the expected score,
        rounded, is reported.
    """
    stacked = np.stack([np.asarray(one.probabilities, dtype=np.float64) for one in opinions])
    weights = stacked.max(axis=2, keepdims=True)
    mean = (stacked * weights).sum(axis=0) / weights.sum(axis=0)
    return of_thresholds(1 - np.cumsum(mean, axis=1)[:, :-1], scale)


def _asked(
    training: TrainingSet,
    validation: TrainingSet,
    unlabelled: Sequence[str],
    teacher: Teacher,
    vectors: WordVectors,
    recipe: StudentRecipe,
) -> tuple[_Rows, Opinion | None, float]:
    """All that is learned from, the teacher's opinion of the validation responses, its seconds."""
    own = [*training.texts, *unlabelled]
    if len(own) < FEWEST_RESPONSES:
        raise ValueError(
            f"a student needs {FEWEST_RESPONSES} responses to learn from, found {len(own)}"
        )
    human = np.full(len(own), np.nan)
    human[: len(training.texts)] = training.human_scores
    near = vectors.near(spellings(own), recipe.near) if recipe.near else {}
    parts = max(FEWEST_RESPONSES, min(recipe.parts, len(own)))
    part = np.random.default_rng(recipe.seed).permutation(len(own)) % parts
    texts, part_of = list(own), [part]
    words = sum(len(text.split()) for text in own) / len(own)
    count = min(recipe.variants, round(recipe.variant_words / max(words, 1))) // parts
    for number in range(parts):
        members = [own[int(i)] for i in np.flatnonzero(part == number)]
        made = variants(members, count, seed=recipe.seed + number, near=near)
        texts += made
        part_of.append(np.full(len(made), number))
    human = np.concatenate([human, np.full(len(texts) - len(own), np.nan)])
    asked = time.perf_counter()
    opinion = teacher(texts)
    judged = teacher(validation.texts) if len(validation.texts) else None
    seconds = time.perf_counter() - asked
    return _Rows(texts, np.concatenate(part_of), len(own), human, opinion), judged, seconds


def _cross_fitted(
    rows: _Rows,
    validation: TrainingSet,
    vectors: WordVectors,
    scale: Scale,
    recipe: StudentRecipe,
) -> list[HeldOut]:
    """Each part's responses, scored by a student of the others."""
    found = []
    own = np.arange(rows.responses)
    for number in np.unique(rows.part):
        student = rows.student(rows.part != number, validation, vectors, scale, recipe)
        members = own[rows.part[: rows.responses] == number]
        columns = student.score([rows.texts[int(i)] for i in members], scale)
        score, raw = np.asarray(rows.opinion.score), np.asarray(rows.opinion.raw_score)
        found.append(HeldOut(rows.human[members], columns, score[members], raw[members]))
    return found


def _joined(parts: Sequence[HeldOut]) -> HeldOut:
    columns = {
        name: np.concatenate([getattr(part.student, name) for part in parts])
        for name in ("raw_score", "score", "confidence", "probabilities")
    }
    return HeldOut(
        human=np.concatenate([part.human for part in parts]),
        student=ScoreColumns(**columns),
        teacher_score=np.concatenate([part.teacher_score for part in parts]),
        teacher_raw=np.concatenate([part.teacher_raw for part in parts]),
    )
