"""Shards on whichever host they are sent to: the same few lines for every runner.

A host needs the plan's URL, its own settings (home, backbone) and nothing of the warehouse, MLflow
or the inbox. It refuses to score where it would compute anything else than what was planned.
"""

import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows.engine import engine_name, engine_with
from flows.settings import load_settings
from models.backbone import resolve_backbone
from tasks import shared_adapters
from tasks.inference import Engine, score_shard
from tasks.part_files import ShardResult
from tasks.shards import Shard, backbone_in, shards_in
from warehouse.parts import DamagedFileError
from warehouse.storage import location

_one_at_a_time = threading.Lock()


class OtherEngineError(RuntimeError):
    """A host would compute with another backbone, precision or version than was planned."""


@dataclass(frozen=True)
class Order:
    """What is to be scored, and how; everything else a host knows itself.

    Attributes:
        plan: URL of the plan.
        shared: URL of the folder that holds responses and published adapters.
        max_tokens, precision, device: what the plan was made for.
        threads: batches side by side; None: one per core.
        home: the workspace, where the scoring process may use the same; None: the host's own.
    """

    plan: str
    shared: str
    max_tokens: int
    precision: Literal["bf16", "fp32"]
    device: Literal["cpu", "cuda"]
    threads: int | None = None
    home: Path | None = None


@task(cache_policy=NO_CACHE, name="score-shard-there")
def score_there(order: Order, name: str) -> ShardResult:
    """Score a shard of a plan in this process, whichever host it runs on.

    Raises:
        OtherEngineError: this host would compute something else than what was planned.
        DamagedFileError: the plan cannot be read, or has no such shard.
    """
    return _score_alone(order, name)


@flow(name="score-shards")
def score_shards(
    plan: Annotated[str, Field(description="URL of the plan")],
    shards: Annotated[list[str], Field(description="names of the shards to score; of all if none")],
    shared: Annotated[str, Field(description="URL that holds responses and adapters")],
    max_tokens: Annotated[int, Field(description="longest input, as planned", ge=8)],
    precision: Annotated[Literal["bf16", "fp32"], Field(description="as planned")],
    device: Annotated[Literal["cpu", "cuda"], Field(description="as planned")] = "cpu",
) -> int:
    """Score shards of a plan on this host; started by a night or a backfill, not by people.

    Returns:
        how many shards have a part now.
    """
    order = Order(plan, shared, max_tokens, precision, device)
    names = shards or [shard.name for shard in shards_in(location(plan))]
    for name in names:
        score_there(order, name)
    return len(names)


def _score_alone(order: Order, name: str) -> ShardResult:
    """Dask's workers may have threads: a shard has the process to itself.

    A function of its own: what a task's body names is pickled with it, and a lock cannot be.
    """
    with _one_at_a_time:
        return _score(order, name)


def _score(order: Order, name: str) -> ShardResult:
    settings = load_settings(order.home)
    engine = engine_with(
        settings,
        order.precision,
        max_tokens=order.max_tokens,
        device=order.device,
        threads=order.threads,
    )
    if order.home is None:  # what erases a student reaches the caches of the workspace alone
        engine = replace(engine, trunk_cache=None)
    plan, shared = location(order.plan), location(order.shared)
    shard = _planned(order, engine, name)
    wanted = {unit.adapter_sha256 for unit in shard.units}
    shared_adapters.fetch(settings.adapters, wanted, shared / "adapters")
    return score_shard.fn(plan, shard, shared / "responses", settings.adapters, engine)


def _planned(order: Order, engine: Engine, name: str) -> Shard:
    """The shard, if this host computes what was planned."""
    plan = location(order.plan)
    shards = {shard.name: shard for shard in shards_in(plan)}
    if name not in shards:
        raise DamagedFileError(f"{plan} has no shard {name}: it is another run's plan")
    planned, own = (backbone_in(plan), shards[name].engine), _own_engine(engine)
    if planned != own:
        raise OtherEngineError(
            f"this host would score with {own[1]} on backbone {own[0][:12]}, but planned is "
            f"{planned[1]} on {planned[0][:12]}: install the same version of gradeline on all "
            "hosts, and set GRADELINE_BACKBONE"
        )
    return shards[name]


@lru_cache(maxsize=4)
def _own_engine(engine: Engine) -> tuple[str, str]:
    """Hash of this host's backbone, and its engine's name; reads all the weights, so only once."""
    return resolve_backbone(engine.backbone).sha256, engine_name(engine)
