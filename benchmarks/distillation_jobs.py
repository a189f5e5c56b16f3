"""What ``benchmarks.distillation`` does with one item, and how fast teacher and student are."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation_cases import Case
from benchmarks.quality_arms import Fold, shared_backbone, tfidf_ridge

# Of a speed round: the student is so much faster that it reads the texts several times.
SPEED_TEXTS, STUDENT_TIMES, ROUNDS = 1000, 20, 7


def judge(case: Case) -> dict[str, Any]:
    """Scores of the unknown texts by every way of scoring, and what each cost."""
    with TemporaryDirectory() as folder:
        trained, training, validation, scorer, adapter = _teacher(case, Path(folder))
        files = sum(path.stat().st_size for path in trained.folder.iterdir())
        return {
            "n": len(case.texts),
            "unlabelled": len(case.unlabelled),
            "truth": list(case.truth),
            "teacher_bytes": files,
            "teacher_train_s": trained.seconds,
            **_students(case, training, validation, partial(scorer.score, adapter)),
            "tfidf": _tfidf(case).tolist(),
        }


def _teacher(case: Case, folder: Path) -> tuple[Any, Any, Any, Any, Any]:
    """The item's adapter by the default recipe, and what it learned from."""
    from models.adapters import load_adapter
    from models.scorer import Scorer
    from models.scores import Scale
    from models.training import Recipe, train_adapter
    from models.training_data import TrainingSet, split_validation

    scores = np.array(case.scores)
    held_out = split_validation(case.ids, scores)
    training, validation = (
        TrainingSet([case.texts[i] for i in np.flatnonzero(part)], scores[part])
        for part in (~held_out, held_out)
    )
    trained = train_adapter(
        training,
        validation,
        Scale(case.score_min, case.score_max),
        shared_backbone(),
        Recipe(),
        folder / "adapter",
        training_data_sha256="",
    )
    adapter = load_adapter(trained.folder, shared_backbone())
    return trained, training, validation, Scorer(shared_backbone(), threads=1), adapter


def _students(case: Case, training: Any, validation: Any, teacher: Any) -> dict[str, Any]:
    """The distilled student, the same one without a teacher, and what a cascade is made by."""
    from models.distillation import distil
    from models.features import spellings
    from models.scores import Scale
    from models.student import written
    from models.student_fitting import StudentRecipe, fit_student, lesson
    from models.word_table import word_table
    from models.word_vectors import word_vectors

    scale, recipe = Scale(case.score_min, case.score_max), StudentRecipe()
    vectors = word_vectors(shared_backbone())
    vectors.vocabulary  # noqa: B018 - made once for all items, so not this item's to pay
    started = time.process_time()
    made = distil(training, validation, case.unlabelled, teacher, scale, vectors, recipe)
    cpu_s = time.process_time() - started
    columns = made.student.score(case.unknown, scale)
    own = spellings(training.texts)
    table = word_table(own, own, vectors, recipe)
    alone = lesson(training.texts, training.human_scores, None, scale, recipe)
    hard = fit_student(alone, validation, table, scale, recipe).student(table)
    opinion, held_out = teacher(case.unknown), made.held_out
    return {
        "teacher": opinion.score.tolist(),
        "teacher_raw": opinion.raw_score.tolist(),
        "student": columns.score.tolist(),
        "hard": hard.score(case.unknown, scale).score.tolist(),
        "cascade_of": {
            "temperature": made.calibration.temperature,
            "student": _told(columns),
            "held_out": _told(held_out.student)
            | {
                "human": [None if np.isnan(score) else score for score in held_out.human],
                "teacher_score": held_out.teacher_score.tolist(),
                "teacher_raw": held_out.teacher_raw.tolist(),
            },
        },
        "distil_cpu_s": cpu_s,
        "distil_teacher_s": made.teacher_seconds,
        "student_bytes": len(written(made.student)),
        "trained_parameters": made.student.trained_parameters,
    }


def _told(columns: Any) -> dict[str, Any]:
    """Scores as numbers that JSON can hold."""
    return {
        "score": columns.score.tolist(),
        "raw_score": columns.raw_score.tolist(),
        "probabilities": columns.probabilities.round(6).tolist(),
    }


def _tfidf(case: Case) -> NDArray[np.int64]:
    """On a scale from 0, as that way of scoring has it."""
    scores = np.array(case.scores) - case.score_min
    fold = Fold(
        item_id=case.name,
        score_max=case.score_max - case.score_min,
        ids=case.ids,
        texts=case.texts,
        scores=scores,  # type: ignore[arg-type] - half points are as good
        unknown=case.unknown,
    )
    return tfidf_ridge(fold) + case.score_min


def speed(cases: Sequence[Case]) -> dict[str, Any]:
    """CPU seconds of teacher, student and cascade for the same texts, in turns, on one core.

    The first case's teacher and student read answers to many items, no two alike: more different
    words than one item's answers have.
    """
    from models.cascade import cascaded
    from models.distillation import distil
    from models.scores import Scale
    from models.student_fitting import StudentRecipe
    from models.word_vectors import word_vectors

    case = cases[0]
    texts = sorted({text for one in cases for text in (*one.texts, *one.unknown)})
    chosen = np.random.default_rng(1).permutation(len(texts))[:SPEED_TEXTS]
    texts = [texts[i] for i in chosen]
    scale = Scale(case.score_min, case.score_max)
    with TemporaryDirectory() as folder:
        _, training, validation, scorer, adapter = _teacher(case, Path(folder))
        teacher = partial(scorer.score, adapter)
        vectors = word_vectors(shared_backbone())
        student = distil(training, validation, (), teacher, scale, vectors, StudentRecipe()).student
        confidence = student.score(texts, scale).confidence
        limit = float(np.quantile(confidence, 0.2))  # four in five are kept

        def cascade() -> None:
            columns = student.score(texts, scale)
            cascaded(columns, columns.confidence, limit, lambda at: teacher([texts[i] for i in at]))

        def students() -> None:
            for _ in range(STUDENT_TIMES):
                student.score(texts, scale)

        ways = {"teacher": lambda: teacher(texts), "student": students, "cascade": cascade}
        return {"texts": len(texts), "words": _words(texts), "rounds": _rounds(ways)}


def _rounds(ways: dict[str, Callable[[], Any]]) -> list[dict[str, dict[str, float]]]:
    """CPU and wall seconds of every way per round, the first round left out; the order turns."""
    found = []
    for number in range(ROUNDS + 1):
        order = list(ways)[:: 1 if number % 2 else -1]
        found.append({name: _timed(ways[name]) for name in order})
    for one in found:
        one["student"] = {name: value / STUDENT_TIMES for name, value in one["student"].items()}
    return found[1:]


def _timed(work: Callable[[], Any]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}


def _words(texts: Sequence[str]) -> float:
    """Words per text in the mean."""
    return float(np.mean([len(text.split()) for text in texts]))
