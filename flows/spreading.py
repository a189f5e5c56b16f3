"""Have a plan's shards scored wherever the settings say, and see that every part is sound.

Whatever happens elsewhere, a shard whose part is not there in the end, or is refused, is scored by
this process: a host that dies costs time and nothing else.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import cast
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling

from flows.engine import engine_with
from flows.settings import Settings
from flows.shards import Order, score_there
from models.kernels import Precision
from tasks import inference, shared_adapters
from tasks.inference import ShardResult
from tasks.part_files import read_part, unsound
from tasks.runners import Runner, runner_of, task_runner
from tasks.shards import Plan, Shard, part_path
from tasks.telling import told
from warehouse.parts import DamagedFileError
from warehouse.storage import url_of

DEPLOYMENT = "score-shards/score-shards"
POLL_S = 2.0
PATIENCE_S = 900.0  # without a new part: then no worker is there, or all of them have died

logger = logging.getLogger(__name__)


class NoDeploymentError(LookupError):
    """Prefect workers are to score, but nothing was deployed for them."""


def score_plan(
    settings: Settings, plan: Plan, precision: Precision, advance: Callable[[int], None]
) -> list[ShardResult]:
    """Score all shards of a plan; each has a sound part when this returns.

    Args:
        settings: the settings; ``runner`` says who scores.
        plan: what.
        precision: of the backbone's arithmetic.
        advance: told how many more rows have been scored.

    Raises:
        NoDeploymentError: see there.
        RunnerNotInstalledError: the library of the runner is not installed.
        DamagedFileError: a part is damaged as often as it is written.
    """
    runner = runner_of(settings.runner)
    results: dict[str, ShardResult] = {}
    if runner.kind != "here" and plan.shards:
        results = _elsewhere(settings, runner, plan, precision, advance)
    rest = [shard for shard in plan.shards if shard.name not in results]
    results |= _here(settings, plan, rest, precision, advance)
    refused = unsound(plan.path, plan.shards)
    for shard, why in refused.items():
        logger.warning("%s: the shard is scored again", why)
        part_path(plan.path, shard).unlink(missing_ok=True)
    results |= _here(settings, plan, list(refused), precision, lambda _: None)
    for why in unsound(plan.path, list(refused)).values():
        raise DamagedFileError(f"{why}, twice: check the disk or the store of {plan.path.parent}")
    return [results[shard.name] for shard in plan.shards]


def _here(
    settings: Settings,
    plan: Plan,
    shards: Sequence[Shard],
    precision: Precision,
    advance: Callable[[int], None],
) -> dict[str, ShardResult]:
    engine = engine_with(settings, precision)
    return {
        shard.name: inference.score_shard(
            plan.path, shard, settings.responses, settings.adapters, engine, advance
        )
        for shard in shards
    }


def _elsewhere(
    settings: Settings,
    runner: Runner,
    plan: Plan,
    precision: Precision,
    advance: Callable[[int], None],
) -> dict[str, ShardResult]:
    if settings.storage is not None:
        wanted = {unit.adapter_sha256 for shard in plan.shards for unit in shard.units}
        shared_adapters.publish(settings.adapters, wanted, settings.shared / "adapters")
    order = Order(
        plan=url_of(plan.path),
        shared=url_of(settings.shared),
        max_tokens=settings.max_tokens,
        precision=precision,
        device=settings.device,
        threads=runner.threads,
        home=None if runner.is_elsewhere else settings.home,
    )
    if runner.kind == "workers":
        return _by_workers(runner, order, plan, advance)
    return _by_tasks(runner, order, plan, advance)


def _by_tasks(
    runner: Runner, order: Order, plan: Plan, advance: Callable[[int], None]
) -> dict[str, ShardResult]:
    """Through one of Prefect's task runners: a task per shard."""
    results: dict[str, ShardResult] = {}
    chosen = task_runner(runner)
    try:
        with _same_server(), chosen as running:
            futures = [
                running.submit(score_there, {"order": order, "name": shard.name})
                for shard in plan.shards
            ]
            for shard, future in zip(plan.shards, futures, strict=True):
                try:
                    results[shard.name] = future.result()
                except Exception as error:  # whatever befell the host, the shard is scored here
                    logger.warning("shard %s is scored here: %s", shard.name, told(error))
                else:
                    advance(shard.rows)
    except Exception as error:  # a cluster that cannot be reached, or cannot be stopped
        logger.warning("%s failed: %s", runner.kind, told(error))
    return results


@contextmanager
def _same_server() -> Iterator[None]:
    """Tell processes which server Prefect uses here, or each starts a temporary one of its own."""
    with get_client(sync_client=True) as client:
        api = str(client.api_url).rstrip("/")
    with temporary_settings({PREFECT_API_URL: api}):
        yield


def _by_workers(
    runner: Runner, order: Order, plan: Plan, advance: Callable[[int], None]
) -> dict[str, ShardResult]:
    """By flow runs of the deployment, each with its share of the shards."""
    given = asdict(order)
    parameters = {name: given[name] for name in ("plan", "shared", "max_tokens", "precision")}
    started = []
    for share in _shares(plan.shards, runner.side_by_side):
        names = [shard.name for shard in share]
        try:
            run = run_deployment(  # it awaits nothing here: this is no coroutine
                DEPLOYMENT,
                parameters={**parameters, "device": order.device, "shards": names},
                timeout=0,
            )
        except ObjectNotFound as error:
            raise NoDeploymentError(
                f"there is no deployment {DEPLOYMENT!r} for Prefect workers: deploy prefect.yaml, "
                "and start workers of its pool, or set GRADELINE_RUNNER=here"
            ) from error
        started.append(cast("FlowRun", run).id)
    return _awaited(started, plan, advance)


def _shares(shards: Sequence[Shard], number: int) -> list[list[Shard]]:
    """Shards in as many shares of about the same rows, the large ones first."""
    shares: list[list[Shard]] = [[] for _ in range(min(number, len(shards)))]
    for shard in sorted(shards, key=lambda shard: shard.rows, reverse=True):
        min(shares, key=lambda share: sum(one.rows for one in share)).append(shard)
    return shares


def _awaited(
    flow_runs: Sequence[UUID], plan: Plan, advance: Callable[[int], None]
) -> dict[str, ShardResult]:
    """Wait until flow runs have ended, telling of parts as they come.

    Runs that bring nothing for a long time are cancelled: nobody may be there to score them.
    """
    results: dict[str, ShardResult] = {}
    heard = time.monotonic()
    with get_client(sync_client=True) as client:
        while True:
            ended = all(_has_ended(client, run_id) for run_id in flow_runs)
            came = _came(plan, results)
            for shard, result in came:
                results[shard.name] = result
                advance(shard.rows)
                heard = time.monotonic()
            if ended or len(results) == len(plan.shards):
                return results
            if time.monotonic() - heard > PATIENCE_S:
                logger.warning("no part came for %.0f s: the rest is scored here", PATIENCE_S)
                for run_id in flow_runs:
                    _cancel(client, run_id)
                return results
            time.sleep(POLL_S)


def _has_ended(client: SyncPrefectClient, run_id: UUID) -> bool:
    """Whether nothing more is to be expected; while the server is out of reach, it may be."""
    try:
        state = client.read_flow_run(run_id).state
    except ObjectNotFound:
        return True
    except httpx.HTTPError as error:
        logger.info("Prefect's server cannot be asked (%s)", type(error).__name__)
        return False
    return state is not None and state.is_final()


def _cancel(client: SyncPrefectClient, run_id: UUID) -> None:
    try:
        client.set_flow_run_state(run_id, Cancelling(), force=True)
    except (ObjectNotFound, httpx.HTTPError) as error:
        logger.warning("a run of %s is not cancelled (%s)", DEPLOYMENT, type(error).__name__)


def _came(plan: Plan, known: dict[str, ShardResult]) -> list[tuple[Shard, ShardResult]]:
    """Sound parts that were not there before."""
    there = {place.name for place in plan.path.parent.glob("*.part.parquet")}
    came = []
    for shard in plan.shards:
        if shard.name not in known and part_path(plan.path, shard).name in there:
            try:
                came.append((shard, read_part(plan.path, shard)))
            except DamagedFileError as error:
                logger.warning("%s", error)
    return came
