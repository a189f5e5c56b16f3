"""Train adapters, several items at once, and decide which of them becomes champion."""

import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.adapters import AdapterError, load_adapter
from models.agreement import exact_agreement, quadratic_weighted_kappa
from models.backbone import Backbone, load_backbone
from models.heads import Scale
from models.scorer import Scorer
from models.training import (
    FEWEST_RESPONSES,
    Recipe,
    TooFewResponsesError,
    TrainedAdapter,
    TrainingSet,
    split_validation,
    train_adapter,
)
from tasks.progress import progress

FEWEST_COMMON_ROWS = 10  # fewer held-out rows than this cannot tell two adapters apart
BOOTSTRAP_SAMPLES = 2_000


class NothingToTrainError(LookupError):
    """No human-scored response is among what was asked for."""


@dataclass(frozen=True)
class TrainingJob:
    """One (item, trait) to train, with all a worker process needs.

    ``champion_flaw`` says why the champion cannot be compared with, where that is known.
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
    recipe: Recipe
    champion: Path | None
    champion_saw: frozenset[str]
    champion_flaw: str = ""


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the same held-out rows; QWK differences, 95% interval.

    ``flaw`` says why the champion could not be compared with: it loses by default then.
    """

    n: int
    champion_qwk: float
    challenger_qwk: float
    difference_low: float
    flaw: str = ""

    @property
    def better(self) -> bool:
        """Whether the challenger is ahead by more than noise, or the champion of no use."""
        if self.flaw:
            return True
        return self.n >= FEWEST_COMMON_ROWS and self.difference_low > 0


@dataclass(frozen=True)
class TrainedItem:
    """An adapter that a worker has written, and how it did on its validation part."""

    item_id: str
    trait: str
    folder: Path
    sha256: str
    data_sha256: str
    training_ids: tuple[str, ...]
    validation_ids: tuple[str, ...]
    qwk: float
    exact: float
    epochs: int
    seconds: float
    comparison: Comparison | None


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
        initializer=torch.set_num_threads,
        initargs=(1,),
    ) as pool:
        futures = [pool.submit(train_item, job) for job in jobs]
        for future in as_completed(futures):
            try:
                outcome = future.result()
            except BrokenProcessPool:
                continue
            yield outcome


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
    except TooFewResponsesError as error:
        return UntrainedItem(job.item_id, job.trait, str(error), failed=False)
    except (AdapterError, ValueError, RuntimeError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}"
        return UntrainedItem(job.item_id, job.trait, reason, failed=True)


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
    backbone = _backbone(job.backbone, job.max_tokens)
    adapter = train_adapter(
        _part(job, ~held_out),
        _part(job, held_out),
        job.scale,
        backbone,
        job.recipe,
        job.folder,
        trait=job.trait,
        training_data_sha256=job.data_sha256,
    )
    return TrainedItem(
        item_id=job.item_id,
        trait=job.trait,
        folder=adapter.folder,
        sha256=adapter.sha256,
        data_sha256=job.data_sha256,
        training_ids=tuple(compress(job.response_ids, ~held_out)),
        validation_ids=tuple(compress(job.response_ids, held_out)),
        qwk=adapter.validation_qwk,
        exact=float(exact_agreement(human_scores[held_out], adapter.validation.score)),
        epochs=len(adapter.history),
        seconds=adapter.seconds,
        comparison=_compare(job, held_out, adapter, backbone),
    )


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


def _compare(
    job: TrainingJob, held_out: NDArray[np.bool_], adapter: TrainedAdapter, backbone: Backbone
) -> Comparison | None:
    """Score the held-out rows that the champion was not fitted to with the champion as well."""
    if job.champion is None:
        return None
    nan = float("nan")
    if job.champion_flaw:
        return Comparison(0, nan, nan, nan, job.champion_flaw)
    unseen = held_out & np.array([row not in job.champion_saw for row in job.response_ids])
    rows = _part(job, unseen)
    human = rows.human_scores
    try:
        scorer = Scorer(backbone, precision="fp32", threads=1)
        champion = scorer.score(load_adapter(job.champion, backbone), rows.texts).score
    except AdapterError as error:
        return Comparison(0, nan, nan, nan, str(error))
    if len(human) < FEWEST_COMMON_ROWS:
        return Comparison(len(human), nan, nan, nan)
    challenger = adapter.validation.score[unseen[held_out]]
    return Comparison(
        n=len(human),
        champion_qwk=float(quadratic_weighted_kappa(human, champion)),
        challenger_qwk=float(quadratic_weighted_kappa(human, challenger)),
        difference_low=_difference_low(human, champion, challenger),
    )


def _difference_low(
    human: NDArray[np.float64], champion: NDArray[np.int32], challenger: NDArray[np.int32]
) -> float:
    """Lower end of the 95% interval of the QWK difference: paired bootstrap over responses."""
    generator = np.random.default_rng(0)
    differences = []
    for _ in range(BOOTSTRAP_SAMPLES):
        rows = generator.integers(len(human), size=len(human))
        ahead = quadratic_weighted_kappa(human[rows], challenger[rows])
        differences.append(ahead - quadratic_weighted_kappa(human[rows], champion[rows]))
    return float(np.nanquantile(differences, 0.025))


@lru_cache(maxsize=1)
def _backbone(name: str, max_tokens: int) -> Backbone:
    """The backbone, loaded once per worker process."""
    return load_backbone(name, max_tokens=max_tokens)
