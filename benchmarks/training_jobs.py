"""Training one set of answers both ways, one after the other."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.public_data import PublicItem, quality_items
from benchmarks.quality import FOLDS, folds_of
from benchmarks.quality_arms import SEED, Fold, Scores

ITEMS, LARGE_ROUNDS = 30, 3
N_KNOWN, N_UNKNOWN = 1700, 425
SMALL, LARGE = 100, 1700
ARMS = {
    "ours": "gradeline",
    "peft": "PEFT + autocast, adapters in all blocks",
    "upper": "PEFT + autocast, adapters in the upper three blocks, as ours",
}
# With the recipe's 1.5e-3 it never learns 1,700 answers; of 5e-4 and 7.5e-4 this was better.
PEFT_RATES = {SMALL: 1.5e-3, LARGE: 5e-4}


@dataclass(frozen=True)
class Job:
    """Answers to train on, one way after the other.

    Attributes:
        answers: SMALL or LARGE.
        round, group: which round this is; what is resampled together: a question or a draw.
        fold: the answers, and those to score.
        truth: human scores of the latter, int64 [n].
        arms: in the order in which they are run.
    """

    answers: int
    round: int
    group: str
    fold: Fold
    truth: Scores
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What one way made of a job: time, epochs, and scores of the unknown answers, int64 [n]."""

    job: Job
    arm: str
    cpu_s: float
    wall_s: float
    epochs: int
    scores: Scores


def small_jobs(items: Sequence[PublicItem]) -> list[Job]:
    """The SemEval questions with most answers, every fold of each in turn unknown."""
    jobs = []
    for item in quality_items(items, ITEMS)[:ITEMS]:
        folds = folds_of(item.scores)
        for number in range(FOLDS):
            known, unknown = np.flatnonzero(folds != number), np.flatnonzero(folds == number)
            fold = _fold(item.item_id, item.response_ids, item.texts, item.scores, known, unknown)
            arms = _arms(len(jobs), upper=number == 0)
            jobs.append(Job(SMALL, number, item.item_id, fold, item.scores[unknown], arms))
    return jobs


def large_jobs(items: Sequence[PublicItem]) -> list[Job]:
    """Answers to all of Beetle, pooled as in ``benchmarks.large_item``, drawn anew each round."""
    beetle = [item for item in items if item.item_id.startswith("beetle.")]
    ids = [name for item in beetle for name in item.response_ids]
    texts = [text for item in beetle for text in item.texts]
    scores = np.concatenate([item.scores for item in beetle])
    jobs = []
    for number in range(LARGE_ROUNDS):
        drawn = np.random.default_rng(SEED + number).permutation(len(texts))
        known, unknown = drawn[:N_KNOWN], drawn[N_KNOWN : N_KNOWN + N_UNKNOWN]
        fold = _fold("beetle-pooled", ids, texts, scores, known, unknown)
        arms = _arms(number, upper=number == 0)
        jobs.append(Job(LARGE, number, f"draw {number}", fold, scores[unknown], arms))
    return jobs


def _fold(
    item_id: str,
    ids: Sequence[str],
    texts: Sequence[str],
    scores: Scores,
    known: NDArray[np.int64],
    unknown: NDArray[np.int64],
) -> Fold:
    """All the questions are on SemEval's scale, 0 to 2."""
    return Fold(
        item_id=item_id,
        score_max=2,
        ids=[ids[i] for i in known],
        texts=[texts[i] for i in known],
        scores=scores[known],
        unknown=[texts[i] for i in unknown],
    )


def _arms(number: int, *, upper: bool) -> tuple[str, ...]:
    arms = ("ours", "peft", "upper") if upper else ("ours", "peft")
    return arms if number % 2 == 0 else arms[::-1]


def run_job(job: Job) -> list[Result]:
    """Train a job's answers every way; only the training is timed, not what it then scores."""
    from benchmarks.quality_arms import hold_out
    from models.scores import Scale

    training, validation = hold_out(job.fold)
    scale = Scale(0, job.fold.score_max)
    results = []
    for arm in job.arms:
        with TemporaryDirectory() as folder:
            started, started_cpu = time.perf_counter(), time.process_time()
            score, epochs = _train(arm, job.answers, training, validation, scale, Path(folder))
            cpu_s, wall_s = time.process_time() - started_cpu, time.perf_counter() - started
            results.append(Result(job, arm, cpu_s, wall_s, epochs, score(job.fold.unknown)))
    return results


def _train(
    arm: str, answers: int, training: Any, validation: Any, scale: Any, folder: Path
) -> tuple[Callable[[Sequence[str]], Scores], int]:
    """From texts to files in ``folder``; gives what scores texts, and the epochs it took."""
    from benchmarks.plain_peft import train_plain_peft
    from benchmarks.quality_arms import shared_backbone
    from models.training import Recipe, train_adapter

    recipe = Recipe()
    if arm == "ours":
        trained = train_adapter(
            training,
            validation,
            scale,
            shared_backbone(),
            recipe,
            folder / "adapter",
            training_data_sha256="",
        )
        return lambda texts: _scored_by(trained.folder, texts), len(trained.history)
    rate = PEFT_RATES[answers]
    recipe = replace(recipe, learning_rate=rate, head_learning_rate=rate)
    first_block = 3 if arm == "upper" else 0
    score, epochs = train_plain_peft(training, validation, scale, recipe, folder, first_block)
    return lambda texts: score(texts).score.astype(np.int64), epochs


def _scored_by(folder: Path, texts: Sequence[str]) -> Scores:
    """By the saved adapter, as a night would."""
    from benchmarks.quality_arms import shared_backbone
    from models.adapters import load_adapter
    from models.scorer import Scorer

    scorer = Scorer(shared_backbone(), threads=1)
    scored = scorer.score(load_adapter(folder, shared_backbone()), texts)
    return scored.score.astype(np.int64)


def warm_up(job: Job) -> None:
    """Once per process: load both backbones, compile the kernels, meet the commonest shapes."""
    run_job(replace(job, arms=("ours", "peft")))
