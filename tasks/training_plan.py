"""Plan what a training run does: which items to train, which adapters to crown, what rests."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.adapter_files import AdapterError
from models.adapter_folders import read_scoring
from models.backbone import resolve_backbone
from models.postprocessing import Reported
from models.scores import Scale
from models.scoring_record import taught_by
from models.training import split_validation
from tasks.distilling import MOST_UNSCORED, AnyRecipe, Distillation
from tasks.promotion import FEWEST_ROWS, Flaw
from tasks.spans import spans
from tasks.tracking import RegisteredAdapter
from tasks.training import NothingToTrainError, TrainingJob, UntrainedItem
from warehouse import db, training
from warehouse.items import ItemRow, list_items
from warehouse.storage import Location
from warehouse.texts import read_texts

logger = logging.getLogger(__name__)

NO_TEACHER = (
    "it has no champion that a student could learn from, its files are not here, or nobody knows "
    "what it was trained on: `gradeline train` it first"
)
Key = tuple[str, str]  # item_id and trait


@dataclass(frozen=True)
class Crowned:
    """An adapter of this very data that becomes champion without being trained again, and why."""

    adapter: RegisteredAdapter
    reason: str


@dataclass(frozen=True)
class TrainingPlan:
    """What a run has to do.

    Attributes:
        jobs: the (item, trait)s to train.
        unchanged: how many are trained on this very data already.
        crowned: adapters whose item has no champion that can be used, as after a run that was
            killed between registering and naming them.
        without_teacher: items that can have no student, as there is nothing to learn from.
    """

    jobs: tuple[TrainingJob, ...]
    unchanged: int
    crowned: tuple[Crowned, ...] = ()
    without_teacher: tuple[UntrainedItem, ...] = ()


@dataclass(frozen=True)
class _Registry:
    """The registered adapters as the plan looks them up, by (item_id, trait)."""

    champions: Mapping[Key, RegisteredAdapter]
    versions: Mapping[Key, Sequence[RegisteredAdapter]]
    folder: Path
    sound: frozenset[str]
    saw: Mapping[str, frozenset[str]]
    known: frozenset[str]
    recipe: AnyRecipe
    backbone_sha256: str

    def flaw(self, champion: RegisteredAdapter, item: ItemRow) -> Flaw | None:
        """Why a champion cannot be used, or not be compared with; None where it can."""
        if champion.backbone_sha256 != self.backbone_sha256:
            reason = f"it was made for the backbone {champion.backbone_sha256[:12]}"
            return Flaw(reason, usable=False)
        if champion.sha256 not in self.sound:
            return Flaw("its files are missing or damaged", usable=False)
        if not self._can_report(champion, item):
            return Flaw("it has no scaling, and the item reports scaled scores", usable=False)
        if champion.sha256 not in self.known:
            return Flaw("the warehouse does not know what it was trained on", usable=True)
        return None

    def same(self, item: ItemRow, data_sha256: str) -> RegisteredAdapter | None:
        """The newest adapter of this very data, recipe and backbone, if there is one."""
        teacher = self.teacher((item.item_id, item.trait))
        recipe = recipe_sha256(self.recipe, "" if teacher is None else teacher.sha256)
        made = (data_sha256, recipe, self.backbone_sha256)
        found = [
            a
            for a in self.versions.get((item.item_id, item.trait), ())
            if (a.training_data_sha256, a.recipe_sha256, a.backbone_sha256) == made
            and a.sha256 in self.known
            and self._can_report(a, item)
        ]
        return max(found, key=lambda adapter: adapter.version, default=None)

    def teacher(self, key: Key) -> RegisteredAdapter | None:
        """The adapter that a student of an item learns from: the champion, or what taught it.

        None where the recipe is no student's, or there is none that can be used.
        """
        champion = self.champions.get(key)
        if not isinstance(self.recipe, Distillation) or champion is None:
            return None
        try:
            wanted = taught_by(read_scoring(self.folder / champion.sha256)) or champion.sha256
        except AdapterError:
            return None
        usable = self.sound & self.known  # one whose past nobody knows would make it look clean
        found = [one for one in self.versions.get(key, ()) if one.sha256 == wanted]
        return next((one for one in found if one.sha256 in usable), None)

    def _can_report(self, adapter: RegisteredAdapter, item: ItemRow) -> bool:
        """Whether it can give the kind of score that the item reports."""
        if item.reported != "scaled":
            return True
        try:
            return read_scoring(self.folder / adapter.sha256).scaling is not None
        except AdapterError:
            return False


def recipe_sha256(recipe: AnyRecipe, teacher_sha256: str = "") -> str:
    """Hash of a recipe: the same data and recipe are not trained twice.

    Args:
        recipe: how.
        teacher_sha256: of a student's teacher.
    """
    content = asdict(recipe) | ({"teacher": teacher_sha256} if teacher_sha256 else {})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@task(cache_policy=NO_CACHE)
def plan_training(
    warehouse: Path,
    responses: Location,
    folder: Path,
    *,
    seasons: tuple[str, ...] | None,
    items: tuple[str, ...] | None,
    registered: Sequence[RegisteredAdapter],
    champions: Sequence[RegisteredAdapter],
    sound: frozenset[str],
    adapters: Path,
    backbone: str,
    max_tokens: int,
    recipe: AnyRecipe,
) -> TrainingPlan:
    """What has to be trained: every (item, trait) whose data, recipe or backbone is new.

    One whose champion cannot be used, or that has none, is never unchanged. Texts travel inside
    the jobs to the worker processes, never to Prefect's or MLflow's store.

    Args:
        warehouse: where the human scores are.
        responses: where the texts are.
        folder: where the workers write.
        seasons: learn from these only.
        items: train these only.
        registered: all adapters of the registry.
        champions: those among them that are champions.
        sound: hashes of the adapters whose files are here and whole.
        adapters: the folder of adapters.
        backbone: its name or folder.
        max_tokens: longer texts are cut.
        recipe: how to train.

    Raises:
        NothingToTrainError: no human-scored response is among what was asked for.
    """
    is_student = isinstance(recipe, Distillation)
    with db.connect(warehouse) as connection:
        rows = _human_scored(connection, seasons, items)
        unscored = (
            training.unscored(connection, seasons, items, MOST_UNSCORED) if is_student else None
        )
        bank = {(item.item_id, item.trait): item for item in list_items(connection)}
        registry = _Registry(
            champions={(one.item_id, one.trait): one for one in champions},
            versions=_by_key(registered),
            folder=adapters,
            sound=sound,
            saw={
                adapter.sha256: frozenset(training.trained_on(connection, adapter.sha256))
                for adapter in (registered if is_student else champions)
            },
            known=frozenset(training.known_adapters(connection)),
            recipe=recipe,
            backbone_sha256=resolve_backbone(backbone).sha256,
        )
    texts = read_texts(responses, rows)
    unscored_texts = {} if unscored is None else _texts_by_item(responses, unscored)
    without_teacher: list[UntrainedItem] = []
    jobs: list[TrainingJob] = []
    crowned: list[Crowned] = []
    unchanged = 0
    for key, table in _by_item(rows):
        item, data_sha256 = bank[key], _data_sha256(table)
        champion, same = registry.champions.get(key), registry.same(item, data_sha256)
        flaw = None if champion is None else registry.flaw(champion, item)
        if same is not None and champion is not None and (flaw is None or flaw.usable):
            unchanged += 1
            continue
        if same is not None and same.sha256 in sound:
            if flaw is None:
                crowned.append(Crowned(same, "the item had no champion"))
            elif _held_out(table) >= FEWEST_ROWS:
                crowned.append(Crowned(same, f"the champion cannot be used ({flaw.reason})"))
            else:
                logger.warning("item %s (%s): v%d waits for an answer", *key, same.version)
                unchanged += 1
            continue
        teacher = registry.teacher(key)
        if is_student and teacher is None:
            without_teacher.append(UntrainedItem(*key, NO_TEACHER, failed=False))
            continue
        ids = tuple(table["response_id"].to_pylist())
        jobs.append(
            TrainingJob(
                item_id=item.item_id,
                trait=item.trait,
                scale=Scale(item.score_min, item.score_max),
                response_ids=ids,
                texts=tuple(texts[response_id] for response_id in ids),
                human_scores=tuple(table["human_score"].to_pylist()),
                data_sha256=data_sha256,
                folder=folder / hashlib.sha256("\x1f".join(key).encode()).hexdigest()[:16],
                backbone=backbone,
                max_tokens=max_tokens,
                recipe=recipe,
                champion=None if champion is None else adapters / champion.sha256,
                champion_saw=frozenset() if champion is None else registry.saw[champion.sha256],
                champion_flaw=flaw,
                reported=cast("Reported", item.reported),
                cut_scores=item.cut_scores,
                students=_students(table),
                teacher=None if teacher is None else adapters / teacher.sha256,
                teacher_saw=frozenset() if teacher is None else registry.saw[teacher.sha256],
                unscored=unscored_texts.get(key, ()),
            )
        )
    return TrainingPlan(tuple(jobs), unchanged, tuple(crowned), tuple(without_teacher))


def _texts_by_item(responses: Location, rows: pa.Table) -> dict[Key, tuple[str, ...]]:
    texts = read_texts(responses, rows)
    return {
        key: tuple(texts[response_id] for response_id in part["response_id"].to_pylist())
        for key, part in _by_item(rows)
    }


def _held_out(table: pa.Table) -> int:
    """How many of an item's responses are held out, whenever it is trained on these."""
    scores = np.asarray(table["human_score"].to_pylist(), dtype=np.float64)
    return int(split_validation(table["response_id"].to_pylist(), scores).sum())


def _students(table: pa.Table) -> tuple[int, ...]:
    """A number for each student, no pseudonym; -1 where a student is not known."""
    codes = table["student_pseudo"].combine_chunks().dictionary_encode().indices
    return tuple(pc.fill_null(codes, -1).to_pylist())


def _human_scored(
    connection: duckdb.DuckDBPyConnection,
    seasons: tuple[str, ...] | None,
    items: tuple[str, ...] | None,
) -> pa.Table:
    """The chosen responses; an id that leads to none is named in the error, or in a warning."""
    rows = training.human_scored(connection, seasons, items)
    if len(rows) == 0:
        everything = training.human_scored(connection, None, None)
        raise NothingToTrainError(_nothing(everything, seasons, items))
    for unknown in (*_absent(rows, "item_id", items), *_absent(rows, "season", seasons)):
        logger.warning("nothing to train for %s: it has no human-scored response", unknown)
    return rows


def _nothing(
    everything: pa.Table, seasons: tuple[str, ...] | None, items: tuple[str, ...] | None
) -> str:
    if len(everything) == 0:
        return (
            "nothing to train: no response has a human score yet; ingest an export with a column "
            "of human scores first"
        )
    unknown = [*_absent(everything, "item_id", items), *_absent(everything, "season", seasons)]
    if unknown:
        return f"nothing to train: no human-scored response of {', '.join(unknown)}"
    return "nothing to train: no human-scored response of these items in these seasons"


def _absent(rows: pa.Table, column: str, wanted: tuple[str, ...] | None) -> list[str]:
    """Those of the wanted ids that no row has, each with what it is: "season '2025-fall'"."""
    found = set(pc.unique(rows[column]).to_pylist())
    kind = column.removesuffix("_id")
    return [f"{kind} {name!r}" for name in wanted or () if name not in found]


def _by_key(
    adapters: Sequence[RegisteredAdapter],
) -> dict[tuple[str, str], list[RegisteredAdapter]]:
    found: dict[tuple[str, str], list[RegisteredAdapter]] = {}
    for adapter in adapters:
        found.setdefault((adapter.item_id, adapter.trait), []).append(adapter)
    return found


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
