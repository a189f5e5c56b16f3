"""Train adapters, several items at once, and decide which of them becomes champion."""

import multiprocessing
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.adapter_files import AdapterError
from models.adapter_folders import read_scoring
from models.agreement import (
    Floats,
    Statistic,
    adjacent_agreement,
    bootstrap,
    exact_agreement,
    kappa,
    pearson_r,
    percentile_interval,
    quadratic_weighted_kappa,
    root_mean_squared_error,
    sample_values,
    standardized_mean_difference,
)
from models.backbone import Backbone, load_backbone
from models.postprocessing import Reported
from models.scored import Scored
from models.scores import Scale
from models.scoring_record import Record, StudentRecord
from models.training import (
    FEWEST_RESPONSES,
    TooFewResponsesError,
    TrainedAdapter,
    TrainingSet,
    Tried,
    split_validation,
    train_adapter,
)
from tasks.distilling import (
    AnyRecipe,
    Distillation,
    DistilledAdapter,
    NothingToTellError,
    distil_adapter,
    scores_of,
)
from tasks.evaluation import Figure
from tasks.progress import progress
from tasks.promotion import Comparison, Flaw, compare, unopposed
from tasks.telling import told

SEED = 20
ON_REPORTED: dict[str, Statistic] = {
    "qwk": quadratic_weighted_kappa,
    "exact": exact_agreement,
    "adjacent": adjacent_agreement,
    "kappa": kappa,
    "smd": standardized_mean_difference,
}
ON_RAW: dict[str, Statistic] = {"pearson_r": pearson_r, "rmse": root_mean_squared_error}


class NothingToTrainError(LookupError):
    """No human-scored response is among what was asked for."""


@dataclass(frozen=True)
class TrainingJob:
    """One (item, trait) to train, with all a worker process needs.

    Attributes:
        response_ids, texts, human_scores: n each, the human-scored responses.
        champion: the folder of the champion, where there is one.
        champion_saw: ids of the responses it was fitted to.
        champion_flaw: why it cannot be compared with, where that is known.
        reported, cut_scores: the item's.
        students: n codes, whose response each is, -1 where that is not known; empty: not known.
        teacher: the folder of the adapter that a student learns from.
        teacher_saw: ids of the responses that the teacher was fitted to.
        unscored: texts of the item that nobody has scored, for a student.
    """

    item_id: str
    trait: str
    scale: Scale
    response_ids: tuple[str, ...]
    texts: tuple[str, ...]
    human_scores: tuple[float, ...]
    data_sha256: str
    folder: Path
    backbone: str
    max_tokens: int
    recipe: AnyRecipe
    champion: Path | None
    champion_saw: frozenset[str]
    champion_flaw: Flaw | None = None
    reported: Reported = "rounded"
    cut_scores: tuple[int, ...] = ()
    students: tuple[int, ...] = ()
    teacher: Path | None = None
    teacher_saw: frozenset[str] = frozenset()
    unscored: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainedItem:
    """An adapter that a worker has written, and how it did on its validation part.

    Attributes:
        figures: agreement on the validation part, by the names of ON_REPORTED and ON_RAW.
        scoring: the adapter's record.
        reported, cut_scores: the item's.
        comparison: with the champion; None where the item has none yet.
        teacher_sha256: hash of the adapter that a student learned from; empty of others.
        tried: the numbers of own blocks that were tried; empty where there was no choice.
    """

    item_id: str
    trait: str
    folder: Path
    sha256: str
    data_sha256: str
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    figures: Mapping[str, Figure]
    epochs: int
    seconds: float
    scoring: Record
    reported: Reported
    cut_scores: tuple[int, ...]
    comparison: Comparison | None
    teacher_sha256: str = ""
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class UntrainedItem:
    """An (item, trait) for which no adapter came about, and why."""

    item_id: str
    trait: str
    reason: str
    failed: bool


def train_items(jobs: Sequence[TrainingJob], workers: int) -> Iterator[TrainedItem | UntrainedItem]:
    """Train in several processes, one thread each; yields each item as it is done.

    An item that cannot be trained is yielded with its reason and stops no other. Where a worker
    dies, as when the system runs out of memory, the items that were in work then are tried once
    more at the end, one at a time.
    """
    waiting = sorted(jobs, key=lambda job: -sum(map(len, job.texts)))
    suspects: list[TrainingJob] = []
    with progress("training", len(jobs)) as advance:
        while waiting:
            finished = set()
            size = max(1, min(workers, len(waiting)))
            for outcome in _train_together(waiting, size):
                finished.add((outcome.item_id, outcome.trait))
                yield outcome
                advance(1)
            waiting = [job for job in waiting if (job.item_id, job.trait) not in finished]
            # Jobs begin in their order: those in work when a worker died come first.
            suspects += waiting[:size]
            waiting = waiting[size:]
        for job in suspects:
            yield from list(_train_together([job], 1)) or [_lost(job)]
            advance(1)


def _train_together(
    jobs: Sequence[TrainingJob], workers: int
) -> Iterator[TrainedItem | UntrainedItem]:
    """Train in a pool of its own; what a dying worker takes with it is not yielded."""
    with ProcessPoolExecutor(
        max_workers=workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_work,
    ) as pool:
        futures = [pool.submit(train_item, job) for job in jobs]
        for future in as_completed(futures):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                continue
            yield outcome


def _begin_work() -> None:
    """In a worker: one thread, and no life after that of the process that started it.

    A pool's workers wait for work for ever, each with its gigabyte, where that process is killed.
    """
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(process: BaseProcess) -> None:
    process.join()
    os._exit(1)


def _lost(job: TrainingJob) -> UntrainedItem:
    reason = (
        "its worker process died twice, as when the system runs out of memory: free memory, or "
        "shorten the longest texts, and train again"
    )
    return UntrainedItem(job.item_id, job.trait, reason, failed=True)


def train_item(job: TrainingJob) -> TrainedItem | UntrainedItem:
    """Train one item in this process."""
    try:
        return _train(job)
    except (TooFewResponsesError, NothingToTellError) as error:
        return UntrainedItem(job.item_id, job.trait, str(error), failed=False)
    except (AdapterError, ValueError, RuntimeError, MemoryError) as error:
        return UntrainedItem(job.item_id, job.trait, told(error), failed=True)


def keep_adapter(trained: TrainedItem, adapters: Path) -> Path:
    """Move a trained adapter to the folder named by its hash."""
    folder = adapters / trained.sha256
    adapters.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(trained.folder)
    else:
        trained.folder.rename(folder)
    return folder


def _train(job: TrainingJob) -> TrainedItem:
    human_scores = np.asarray(job.human_scores, np.float64)
    held_out = split_validation(job.response_ids, human_scores)
    _check_enough(human_scores, held_out)
    # What the teacher has learned says nothing of a student that is like it.
    held_out &= np.array([row not in job.teacher_saw for row in job.response_ids], dtype=np.bool_)
    if isinstance(job.recipe, Distillation) and not held_out.any():
        raise NothingToTellError(
            "its teacher has learned from every response that would be held out, so nothing could "
            "be said of the student: ingest more human scores"
        )
    backbone = _backbone(job.backbone, job.max_tokens)
    adapter, epochs = _made(job, held_out, backbone)
    return TrainedItem(
        item_id=job.item_id,
        trait=job.trait,
        folder=adapter.folder,
        sha256=adapter.sha256,
        data_sha256=job.data_sha256,
        training_ids=_learned_from(job, held_out),
        validation_ids=tuple(compress(job.response_ids, held_out)),
        figures=_figures(
            human_scores[held_out], adapter.validation, list(compress(job.students, held_out))
        ),
        epochs=epochs,
        seconds=adapter.seconds,
        scoring=adapter.scoring,
        reported=job.reported,
        cut_scores=job.cut_scores,
        comparison=_compare(job, held_out, adapter, backbone),
        teacher_sha256="" if job.teacher is None else job.teacher.name,
        tried=adapter.tried if isinstance(adapter, TrainedAdapter) else (),
    )


def _learned_from(job: TrainingJob, held_out: NDArray[np.bool_]) -> tuple[str, ...]:
    """What an adapter has learned from; what its teacher has is behind a student's scores too."""
    own = list(compress(job.response_ids, ~held_out))
    return (*own, *sorted(job.teacher_saw.difference(own)))


def _made(
    job: TrainingJob, held_out: NDArray[np.bool_], backbone: Backbone
) -> tuple[TrainedAdapter | DistilledAdapter, int]:
    """The job's adapter, and in how many epochs it was trained; a student counts none."""
    if isinstance(job.recipe, Distillation):
        if job.teacher is None:
            raise ValueError("a student needs a teacher")
        return distil_adapter(
            _part(job, ~held_out),
            _part(job, held_out),
            job.unscored,
            job.teacher,
            job.scale,
            backbone,
            job.recipe,
            job.folder,
            reported=job.reported,
            training_data_sha256=job.data_sha256,
        ), 0
    adapter = train_adapter(
        _part(job, ~held_out),
        _part(job, held_out),
        job.scale,
        backbone,
        job.recipe,
        job.folder,
        trait=job.trait,
        reported=job.reported,
        training_data_sha256=job.data_sha256,
    )
    return adapter, len(adapter.history)


def _check_enough(human_scores: NDArray[np.float64], held_out: NDArray[np.bool_]) -> None:
    """As ``train_adapter`` checks its part, but with the counts that people can look up.

    Args:
        human_scores: float64 [n].
        held_out: bool [n], from ``split_validation``.

    Raises:
        TooFewResponsesError: too few are left to train on, or all of one score.
    """
    rest = human_scores[~held_out]
    if len(rest) >= FEWEST_RESPONSES and len(np.unique(rest)) >= 2:
        return
    raise TooFewResponsesError(
        f"found {len(human_scores)} human-scored responses with {len(np.unique(human_scores))} "
        f"different scores, {held_out.sum()} of them held out to check the adapter; training "
        f"needs {FEWEST_RESPONSES} and 2 at least beside those: score more responses by hand"
    )


def _part(job: TrainingJob, chosen: NDArray[np.bool_]) -> TrainingSet:
    texts = list(compress(job.texts, chosen))
    return TrainingSet(texts, np.asarray(job.human_scores, np.float64)[chosen])


def _figures(human: Floats, scored: Scored, students: Sequence[int]) -> dict[str, Figure]:
    """Agreement on the validation part with 95% intervals, over students where they are known."""
    resampled = {
        **{name: one.resampled(human, scored.score) for name, one in ON_REPORTED.items()},
        **{name: one.resampled(human, scored.raw_score) for name, one in ON_RAW.items()},
    }
    n, clusters = len(human), np.asarray(students) if students else None
    values = sample_values(resampled, n)
    order = (human, scored.raw_score)
    drawn = bootstrap(resampled, n, seed=SEED, clusters=clusters, order=order)
    return {name: Figure(values[name], *percentile_interval(drawn[name]), n) for name in resampled}


def _compare(
    job: TrainingJob,
    held_out: NDArray[np.bool_],
    adapter: TrainedAdapter | DistilledAdapter,
    backbone: Backbone,
) -> Comparison | None:
    """Score the held-out rows that the champion was not fitted to with the champion as well."""
    if job.champion is None:
        return None
    human, challenger = _part(job, held_out).human_scores, adapter.validation.score
    flaw = job.champion_flaw
    if flaw is not None and not flaw.usable:
        return unopposed(human, challenger, flaw)
    unseen = held_out & np.array([row not in job.champion_saw for row in job.response_ids])
    rows = _part(job, unseen)
    try:
        record = read_scoring(job.champion)
        champion = scores_of(job.champion, rows.texts, backbone, record, job.reported)
    except AdapterError as error:
        return unopposed(human, challenger, Flaw(str(error), usable=False))
    return compare(
        rows.human_scores,
        champion.score,
        challenger[unseen[held_out]],
        cut_scores=job.cut_scores,
        students=list(compress(job.students, unseen)),
        flaw=flaw,
        saving="" if _saving(record) else _saving(adapter.scoring),
    )


def _saving(record: Record) -> str:
    """What scoring with an adapter saves against its teacher, if it has one."""
    if isinstance(record, StudentRecord):
        return "a student takes a small part of its time"
    if record.cascade is None:
        return ""
    return f"its student keeps {record.cascade.limit.kept_share:.0%} of the responses to itself"


@lru_cache(maxsize=1)
def _backbone(name: str, max_tokens: int) -> Backbone:
    """The backbone, loaded once per worker process."""
    return load_backbone(name, max_tokens=max_tokens)
