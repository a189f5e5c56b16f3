"""Human-scored responses go in, registered adapters come out."""

import logging
import shutil
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime
from typing import Annotated, Any

from prefect import flow

from flows.forms import AdministrationDate, Home, Items, Seasons, titled
from flows.scoring import tracking_of
from flows.settings import Settings, load_settings
from models.adapter_folders import read_scoring
from models.backbone import resolve_backbone
from models.scoring_record import taught_by
from models.training import RECIPES, TrainedMethod
from tasks import promotion, tracking, training, training_plan
from tasks.distilling import AnyRecipe
from tasks.model_card import Training, model_card
from tasks.planning import chosen
from tasks.promotion import Verdict
from tasks.tracking import CHALLENGER, CHAMPION, NewAdapter, RegisteredAdapter
from tasks.training import TrainedItem, UntrainedItem
from tasks.workspace import locked, recorded_run
from warehouse import db, runs
from warehouse.training import record_seen

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRow:
    """One trained adapter as the summary shows it."""

    item_id: str
    trait: str
    version: int
    alias: str
    n_training: int
    n_validation: int
    qwk: float
    exact: float
    seconds: float
    verdict: str
    reason: str


@dataclass(frozen=True)
class TrainResult:
    """What a training run did."""

    run_id: str
    status: str
    trained: tuple[TrainedRow, ...]
    untrained: tuple[UntrainedItem, ...]
    unchanged: int
    crowned: int = 0  # registered before, but champion only now


@flow(name="train")
def train(
    seasons: Seasons = None,
    items: Items = None,
    method: Annotated[TrainedMethod, titled("Method")] = "lora",
    administration_date: AdministrationDate = None,
    home: Home = None,
) -> TrainResult:
    """Train an adapter for every (item, trait) whose human-scored data is new.

    The first adapter of an item becomes its champion. A later one is compared with the champion
    on the same held-out responses; whether it is promoted, or the champion kept, or a person
    asked, is said in ``tasks.promotion`` and recorded with the figures in the registry.

    Args:
        seasons: learn from these only; from all where not given.
        items: train these only; all where not given.
        method: what of the backbone is the item's own: low-rank edits of its upper half, copies
            of one to three topmost blocks, or the upper half in one to three blocks.
        administration_date: the day the run counts for; today where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    day = administration_date or datetime.now(UTC).date()
    selected = {"seasons": chosen(seasons), "items": chosen(items)}
    parameters = {**selected, "method": method}
    with (
        locked(settings.home, wait_s=settings.lock_wait_s),
        recorded_run(settings.warehouse, "train", day, parameters) as run,
    ):
        return train_with(settings, run, day, method, RECIPES[method](), **selected)


def train_with(
    settings: Settings,
    run_id: str,
    day: date,
    method: str,
    recipe: AnyRecipe,
    seasons: tuple[str, ...] | None,
    items: tuple[str, ...] | None,
) -> TrainResult:
    """Make, register and compare adapters by one recipe.

    Args:
        settings: the settings.
        run_id: the run, already begun.
        day: the administration date.
        method: by which method, for people.
        recipe: how.
        seasons: learn from these only.
        items: make those of these only.
    """
    where = tracking_of(settings)
    registry = tracking.read_registry(where)
    registered, champions = list(registry.adapters), registry.having(CHAMPION)
    backbone_sha256 = resolve_backbone(settings.backbone).sha256  # reads all its weights: once
    sound = _sound(settings, registered, champions, backbone_sha256)
    folder = settings.parts / run_id
    plan = training_plan.plan_training(
        settings.warehouse,
        settings.responses,
        folder,
        seasons=seasons,
        items=items,
        registered=registered,
        champions=champions,
        sound=sound,
        adapters=settings.adapters,
        backbone=settings.backbone,
        max_tokens=settings.max_tokens,
        recipe=recipe,
    )
    tags = {"run_kind": "train", "method": method, "administration_date": day.isoformat()}
    parent = tracking.take_up_run(where, "training", run_id, tags)
    rows: list[TrainedRow] = []
    untrained = list(plan.without_teacher)
    with tracking.failing_with(where, parent):
        for one in plan.crowned:
            logger.info("item %s: v%d becomes champion", one.adapter.item_id, one.adapter.version)
            tracking.tag_adapter(where, one.adapter, promotion.tags("promote", one.reason))
            tracking.set_alias(where, one.adapter, CHAMPION)
        for outcome in training.train_items(plan.jobs, settings.workers):
            if isinstance(outcome, UntrainedItem):
                logger.warning("item %s (%s): %s", outcome.item_id, outcome.trait, outcome.reason)
                untrained.append(outcome)
            else:
                new = _new_adapter(settings, outcome, day, recipe, backbone_sha256, seasons or ())
                rows.append(_register(settings, parent, outcome, new, day))
        shutil.rmtree(folder, ignore_errors=True)
        rows.sort(key=lambda row: (row.item_id, row.trait))
        status = "held" if any(outcome.failed for outcome in untrained) else "done"
        _finish(settings, run_id, parent, day, method, recipe, status, rows, untrained)
    crowned = len(plan.crowned)
    return TrainResult(run_id, status, tuple(rows), tuple(untrained), plan.unchanged, crowned)


def _sound(
    settings: Settings,
    registered: list[RegisteredAdapter],
    champions: list[RegisteredAdapter],
    backbone_sha256: str,
) -> frozenset[str]:
    """Hashes of the adapters with whole files: champions, their teachers, and stand-ins."""
    where = tracking_of(settings)
    sound = tracking.sound_adapters(where, champions, settings.adapters)
    served = {
        (champion.item_id, champion.trait)
        for champion in champions
        if champion.sha256 in sound and champion.backbone_sha256 == backbone_sha256
    }
    teachers = {
        taught_by(read_scoring(settings.adapters / champion.sha256))
        for champion in champions
        if champion.sha256 in sound
    }
    others = [
        adapter
        for adapter in registered
        if ((adapter.item_id, adapter.trait) not in served or adapter.sha256 in teachers)
        and adapter not in champions
        and adapter.backbone_sha256 == backbone_sha256
    ]
    return sound | tracking.sound_adapters(where, others, settings.adapters)


def _new_adapter(
    settings: Settings,
    trained: TrainedItem,
    day: date,
    recipe: AnyRecipe,
    backbone_sha256: str,
    seasons: tuple[str, ...],
) -> NewAdapter:
    """Keep a trained adapter's files, and write its card."""
    recipe_sha256 = training_plan.recipe_sha256(recipe, trained.teacher_sha256)
    about = Training(
        item_id=trained.item_id,
        made_on=day,
        adapter_sha256=trained.sha256,
        recipe_sha256=recipe_sha256,
        n_training=len(trained.training_ids),
        n_validation=len(trained.validation_ids),
        figures=trained.figures,
        seasons=seasons,
        reported=trained.reported,
        cut_scores=trained.cut_scores,
        comparison=trained.comparison,
    )
    return NewAdapter(
        item_id=trained.item_id,
        trait=trained.trait,
        folder=training.keep_adapter(trained, settings.adapters),
        sha256=trained.sha256,
        training_data_sha256=trained.data_sha256,
        recipe_sha256=recipe_sha256,
        backbone_sha256=backbone_sha256,
        metrics=_metrics(trained),
        tags=promotion.tags(*_verdict(trained)),
        card=model_card(about, trained.scoring),
    )


def _register(
    settings: Settings, parent: str, trained: TrainedItem, new: NewAdapter, day: date
) -> TrainedRow:
    """Enter a trained adapter in the registry and make it champion or challenger.

    What it has seen is noted first: an adapter that the registry knows never lacks that note.
    """
    where = tracking_of(settings)
    verdict, reason = _verdict(trained)
    with db.connect(settings.warehouse) as connection:
        record_seen(
            connection,
            trained.sha256,
            trained.trait,
            trained.training_ids,
            trained.validation_ids,
        )
    adapter = tracking.register_adapter(where, parent, new, day)
    alias = CHAMPION if verdict == "promote" else CHALLENGER
    tracking.set_alias(where, adapter, alias)
    level = logging.WARNING if verdict == "ask" else logging.INFO
    logger.log(level, "item %s (%s): %s: %s", new.item_id, new.trait, verdict, reason)
    return TrainedRow(
        item_id=trained.item_id,
        trait=trained.trait,
        version=adapter.version,
        alias=alias,
        n_training=len(trained.training_ids),
        n_validation=len(trained.validation_ids),
        qwk=trained.figures["qwk"].value,
        exact=trained.figures["exact"].value,
        seconds=trained.seconds,
        verdict=verdict,
        reason=reason,
    )


def _verdict(trained: TrainedItem) -> tuple[Verdict, str]:
    if trained.comparison is None:
        return promotion.of_first(trained.figures["qwk"].value, len(trained.validation_ids))
    return trained.comparison.verdict, trained.comparison.reason


def _metrics(trained: TrainedItem) -> dict[str, float]:
    metrics = {
        "validation/qwk": trained.figures["qwk"].value,
        "validation/exact_agreement": trained.figures["exact"].value,
        "n/training": len(trained.training_ids),
        "n/validation": len(trained.validation_ids),
        "epochs": trained.epochs,
        "training_s": trained.seconds,
    }
    metrics |= {f"validation/qwk_{one.depth}_blocks": one.validation_qwk for one in trained.tried}
    calibration = trained.scoring.calibration
    if calibration is not None:
        metrics |= {f"calibration/{name}": value for name, value in calibration.figures.items()}
    if trained.comparison is not None:
        metrics |= promotion.metrics(trained.comparison)
    return metrics


def _finish(
    settings: Settings,
    run_id: str,
    parent: str,
    day: date,
    method: str,
    recipe: AnyRecipe,
    status: str,
    rows: list[TrainedRow],
    untrained: list[UntrainedItem],
) -> None:
    judged = [row.qwk for row in rows if row.qwk == row.qwk]
    tracking.log_run(
        tracking_of(settings),
        parent,
        metrics={
            "n/trained": len(rows),
            "n/untrained": len(untrained),
            "n/asked": sum(row.verdict == "ask" for row in rows),
            "validation/qwk_mean_over_items": sum(judged) / len(judged) if judged else None,
            "training_s": sum(row.seconds for row in rows),
        },
        params={"backbone": settings.backbone, "method": method, **_flat(asdict(recipe))},
        day=day,
        tables={"tables/adapters.json": _columns(rows)} if rows else {},
        failed=status != "done",
    )
    reasons = [f"{one.item_id} ({one.trait}): {one.reason}" for one in untrained]
    with db.connect(settings.warehouse) as connection, db.transaction(connection):
        runs.finish_run(connection, run_id, status, runs.RunCounts(), message="; ".join(reasons))
        runs.set_mlflow_run(connection, run_id, parent)


def _flat(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters by one name each; a recipe within another loses its own name."""
    inner = parameters.pop("recipe", {})
    return {**inner, **parameters}


def _columns(rows: list[TrainedRow]) -> dict[str, list[Any]]:
    return {field.name: [getattr(row, field.name) for row in rows] for field in fields(TrainedRow)}
