"""Train adapters, several items at once, and decide which of them becomes champion."""

import hashlib
import json
import logging
import multiprocessing
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import compress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.adapters import AdapterError, load_adapter
from models.agreement import exact_agreement, quadratic_weighted_kappa
from models.backbone import Backbone, load_backbone, resolve_backbone
from models.heads import Scale
from models.scorer import Scorer
from models.training import (
    Recipe,
    TooFewResponsesError,
    TrainedAdapter,
    TrainingSet,
    split_validation,
    train_adapter,
)
from tasks.progress import progress
from tasks.spans import spans
from tasks.tracking import RegisteredAdapter
from warehouse import db, training
from warehouse.texts import read_texts

FEWEST_COMMON_ROWS = 10  # fewer held-out rows than this cannot tell two adapters apart
BOOTSTRAP_SAMPLES = 2_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """One (item, trait) to train, with all a worker process needs."""

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


@dataclass(frozen=True)
class Comparison:
    """Challenger against champion on the same held-out rows; QWK differences, 95% interval."""

    n: int
    champion_qwk: float
    challenger_qwk: float
    difference_low: float

    @property
    def better(self) -> bool:
        """Whether the challenger is ahead by more than noise."""
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


@dataclass(frozen=True)
class TrainingPlan:
    """The jobs of a run, and how many (item, trait)s are trained on this very data already."""

    jobs: tuple[TrainingJob, ...]
    unchanged: int


def recipe_sha256(recipe: Recipe) -> str:
    """Hash of a recipe: the same data and recipe are not trained twice."""
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()


@task(cache_policy=NO_CACHE)
def plan_training(
    warehouse: Path,
    responses: Path,
    folder: Path,
    *,
    seasons: tuple[str, ...] | None,
    items: tuple[str, ...] | None,
    registered: Sequence[RegisteredAdapter],
    champions: Sequence[RegisteredAdapter],
    adapters: Path,
    backbone: str,
    max_tokens: int,
    recipe: Recipe,
) -> TrainingPlan:
    """What has to be trained: every (item, trait) whose data, recipe or backbone is new.

    Texts travel inside the jobs to the worker processes, never to Prefect's or MLflow's store.
    """
    with db.connect(warehouse) as connection:
        rows = training.human_scored(connection, seasons, items)
        saw = {
            champion.sha256: frozenset(training.trained_on(connection, champion.sha256))
            for champion in champions
        }
    done = {
        (a.item_id, a.trait, a.training_data_sha256, a.recipe_sha256, a.backbone_sha256)
        for a in registered
    }
    of_item = {(champion.item_id, champion.trait): champion for champion in champions}
    texts = read_texts(responses, rows)
    backbone_sha256 = resolve_backbone(backbone).sha256
    jobs: list[TrainingJob] = []
    unchanged = 0
    for (item_id, trait), table in _by_item(rows):
        data_sha256 = _data_sha256(table)
        if (item_id, trait, data_sha256, recipe_sha256(recipe), backbone_sha256) in done:
            unchanged += 1
            continue
        ids = tuple(table["response_id"].to_pylist())
        champion = of_item.get((item_id, trait))
        jobs.append(
            TrainingJob(
                item_id=item_id,
                trait=trait,
                scale=Scale(table["score_min"][0].as_py(), table["score_max"][0].as_py()),
                response_ids=ids,
                texts=tuple(texts[response_id] for response_id in ids),
                human_scores=tuple(table["human_score"].to_pylist()),
                data_sha256=data_sha256,
                folder=folder / hashlib.sha256(f"{item_id}\x1f{trait}".encode()).hexdigest()[:16],
                backbone=backbone,
                max_tokens=max_tokens,
                recipe=recipe,
                champion=None if champion is None else adapters / champion.sha256,
                champion_saw=frozenset() if champion is None else saw[champion.sha256],
            )
        )
    return TrainingPlan(tuple(jobs), unchanged)


def train_items(jobs: Sequence[TrainingJob], workers: int) -> Iterator[TrainedItem | UntrainedItem]:
    """Train in several processes, one thread each; yields each item as it is done.

    An item that cannot be trained is yielded with its reason and stops no other.
    """
    context = multiprocessing.get_context("spawn")
    largest_first = sorted(jobs, key=lambda job: -sum(map(len, job.texts)))
    with (
        progress("training", len(jobs)) as advance,
        ProcessPoolExecutor(
            max_workers=max(1, min(workers, len(jobs))),
            mp_context=context,
            initializer=torch.set_num_threads,
            initargs=(1,),
        ) as pool,
    ):
        futures = [pool.submit(train_item, job) for job in largest_first]
        for future in as_completed(futures):
            yield future.result()
            advance(1)


def train_item(job: TrainingJob) -> TrainedItem | UntrainedItem:
    """Train one item in this process."""
    try:
        return _train(job)
    except TooFewResponsesError as error:
        return UntrainedItem(job.item_id, job.trait, str(error), failed=False)
    except (AdapterError, ValueError, RuntimeError) as error:
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
    backbone = _backbone(job.backbone, job.max_tokens)
    human_scores = np.asarray(job.human_scores, np.float64)
    held_out = split_validation(job.response_ids, human_scores)
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


def _part(job: TrainingJob, chosen: NDArray[np.bool_]) -> TrainingSet:
    texts = list(compress(job.texts, chosen))
    return TrainingSet(texts, np.asarray(job.human_scores, np.float64)[chosen])


def _compare(
    job: TrainingJob, held_out: NDArray[np.bool_], adapter: TrainedAdapter, backbone: Backbone
) -> Comparison | None:
    """Score the held-out rows that the champion was not fitted to with the champion as well."""
    if job.champion is None:
        return None
    unseen = held_out & np.array([row not in job.champion_saw for row in job.response_ids])
    rows = _part(job, unseen)
    human = rows.human_scores
    if len(human) < FEWEST_COMMON_ROWS:
        return Comparison(len(human), float("nan"), float("nan"), float("nan"))
    scorer = Scorer(backbone)
    scorer.apply(load_adapter(job.champion, backbone))
    champion = scorer.score(rows.texts).score
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


def _by_item(rows: pa.Table) -> Iterator[tuple[tuple[str, str], pa.Table]]:
    items, traits = rows["item_id"].to_pylist(), rows["trait"].to_pylist()
    for start, stop in spans(items, traits):
        yield (items[start], traits[start]), rows.slice(start, stop - start)


def _data_sha256(table: pa.Table) -> str:
    """Hash of ids, texts, scores and scale: any change of the data changes it."""
    digest = hashlib.sha256()
    for name in ("response_id", "text_sha256", "human_score", "score_min", "score_max"):
        column = pc.cast(table[name], pa.string()).to_pylist()
        digest.update("\x1f".join(column).encode() + b"\x1e")
    return digest.hexdigest()
