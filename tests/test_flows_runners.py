"""The same plan, whoever scores it and wherever it lies: the same scores, and none is lost."""

import importlib.util
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from object_stores import bucket
from prefect import flow
from workspaces import NIGHT, ingest_only, outcome

from flows import spreading
from flows.settings import Settings, load_settings
from tasks import planning, runners
from tasks.part_files import ShardResult
from tasks.planning import Plan
from tasks.runners import Runner, RunnerNotInstalledError, runner_of, task_runner
from tasks.shards import part_path
from warehouse import parts
from warehouse.storage import Location, location, url_of

__all__ = ["bucket"]

TOLERANCE = 1e-4  # of a raw score
CACHE_OFF = {"trunk_cache_gb": 0.0}


@dataclass(frozen=True)
class Night:
    """A workspace whose night is planned, in three shards, and its scores."""

    home: Path
    plan: Plan
    scores: pa.Table

    def copied_to(self, home: Path, **settings: Any) -> tuple[Settings, Plan]:
        """The same night elsewhere, nothing of it scored."""
        shutil.copytree(self.home, home)
        there = load_settings(home).model_copy(update={**CACHE_OFF, **settings})
        if there.storage is not None:
            for path in (home / "responses").rglob("*.parquet"):
                kept = there.responses / path.parent.name / path.name
                with parts.whole_file(kept) as temporary:
                    shutil.copy(path, temporary)
            shutil.rmtree(home / "responses")
            parts.write_bytes(there.plans / self.plan.path.name, self.plan.path.read_bytes())
            (home / "parts" / self.plan.path.name).unlink()
        return there, replace(self.plan, path=there.plans / self.plan.path.name)


@pytest.fixture(scope="module")
def night(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    from workspaces import rows_of, write_export

    from flows.scoring import computed_with, tracking_of
    from tasks.tracking import CHAMPION, fetch_adapters, list_adapters
    from warehouse import db, runs

    home = tmp_path_factory.mktemp("night") / "home"
    shutil.copytree(trained, home)
    rows = [*rows_of("007", "overall", 0, "n", 12), *rows_of("essay/1", "ideas", 1, "n", 6)]
    write_export(home / "inbox" / "2026-spring" / "night.csv", rows)
    ingest_only(home)
    settings = load_settings(home).model_copy(update=CACHE_OFF)
    with db.connect(settings.warehouse) as connection:
        run_id = runs.start_run(connection, "nightly", NIGHT, {})
    tracking = tracking_of(settings)
    champions = list_adapters(tracking, CHAMPION)
    fetch_adapters(tracking, champions, settings.adapters)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SHARD_ROWS", 6)
        plan = planning.plan_scoring.fn(
            settings.warehouse, settings.plans, run_id, champions, planning.Selection(),
            **computed_with(settings, "fp32"),
        )  # fmt: skip
    assert [shard.rows for shard in plan.shards] == [12, 6, 6]
    score(settings, plan)
    scores = scored(plan)
    for shard in plan.shards:
        part_path(plan.path, shard).unlink()
    return Night(home, plan, scores)


def score(
    settings: Settings, plan: Plan, advance: Callable[[int], None] = lambda _: None
) -> list[ShardResult]:
    """Score a plan as nights do: inside a flow."""

    @flow(name="scoring")
    def scoring() -> list[ShardResult]:
        return spreading.score_plan(settings, plan, "fp32", advance)

    return scoring()


def scored(plan: Plan) -> pa.Table:
    """What the parts of a plan hold."""
    return pa.concat_tables(
        [parts.read(part_path(plan.path, shard)) for shard in plan.shards]
    ).replace_schema_metadata()


def is_the_same(plan: Plan, expected: pa.Table) -> bool:
    found = scored(plan)
    raw, known = found["raw_score"].to_numpy(), expected["raw_score"].to_numpy()
    exact = ["response_id", "item_id", "trait", "score", "adapter_sha256", "engine", "reported"]
    return found.select(exact).equals(expected.select(exact)) and bool(
        (abs(raw - known) <= TOLERANCE).all()
    )


def needs(runner: str) -> None:
    """Skip where a runner's library is not installed."""
    if runner in ("ray", "dask") and importlib.util.find_spec(f"prefect_{runner}") is None:
        pytest.skip(f"the extra {runner!r} is not installed")


@pytest.mark.parametrize("runner", ["processes:2", "ray", "dask"])
def test_a_plan_is_scored_alike_by_every_runner(
    night: Night, tmp_path: Path, runner: str, caplog: pytest.LogCaptureFixture
) -> None:
    needs(runner)
    settings, plan = night.copied_to(tmp_path / "home", runner=runner)
    told: list[int] = []
    results = score(settings, plan, told.append)
    assert "is scored here" not in caplog.text
    assert is_the_same(plan, night.scores)
    assert (sum(told), [result.rows for result in results]) == (24, [12, 6, 6])
    assert all(result.peak_rss_mb > 100 for result in results)


def test_a_host_that_cannot_score_costs_no_score(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings, plan = night.copied_to(tmp_path / "home", runner="processes:1")
    monkeypatch.setenv("GRADELINE_BACKBONE", str(tmp_path))  # of the processes: it holds none
    score(settings, plan)
    assert caplog.text.count("is scored here: BackboneError") == 3
    assert is_the_same(plan, night.scores)


def test_a_cluster_that_cannot_be_reached_costs_no_score(
    night: Night, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    needs("dask")
    settings, plan = night.copied_to(tmp_path / "home", runner="dask:nowhere://127.0.0.1")
    score(settings, plan)
    assert "dask failed: ValueError" in caplog.text
    assert is_the_same(plan, night.scores)


def test_a_host_that_would_compute_something_else_refuses(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.shards import Order, OtherEngineError, score_there

    _, plan = night.copied_to(tmp_path / "home")
    home = tmp_path / "host"
    order = Order(url_of(plan.path), str(tmp_path / "home"), 64, "fp32", "cpu", home=home)
    with pytest.raises(OtherEngineError, match="install the same version"):
        score_there.fn(order, plan.shards[0].name)
    assert not part_path(plan.path, plan.shards[0]).exists()


@pytest.mark.parametrize("damage", ["truncated", "flipped", "of another shard", "absent"])
def test_a_damaged_part_is_scored_again(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    settings, plan = night.copied_to(tmp_path / "home")
    spoilt = part_path(plan.path, plan.shards[1])
    real = spreading.unsound
    calls: list[int] = []

    def after_damage(path: Location, shards: Any) -> Any:
        calls.append(len(shards))
        if len(calls) == 1:
            spoil(spoilt, damage, part_path(plan.path, plan.shards[2]))
        return real(path, shards)

    monkeypatch.setattr(spreading, "unsound", after_damage)
    score(settings, plan)
    assert calls == [3, 1]
    assert is_the_same(plan, night.scores)


def spoil(path: Location, damage: str, other: Location) -> None:
    content = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        path.write_bytes(content[:99] + bytes([content[99] ^ 1]) + content[100:])
    else:
        path.write_bytes(other.read_bytes())


def test_what_an_interrupted_run_has_scored_is_not_scored_again(
    night: Night, tmp_path: Path
) -> None:
    settings, plan = night.copied_to(tmp_path / "home")
    score(settings, plan)
    part_path(plan.path, plan.shards[0]).write_bytes(b"half")
    again = score(settings, plan)
    assert [result.seconds > 0 for result in again] == [True, False, False]
    assert is_the_same(plan, night.scores)


def test_a_host_scores_from_the_store_alone(night: Night, bucket: str, tmp_path: Path) -> None:
    from flows.shards import score_shards

    settings, plan = night.copied_to(tmp_path / "home", storage=f"{bucket}".replace("?", "/a?"))
    spreading.shared_adapters.publish(
        settings.adapters,
        [unit.adapter_sha256 for shard in plan.shards for unit in shard.units],
        settings.shared / "adapters",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADELINE_HOME", str(tmp_path / "host"))
        patch.chdir(tmp_path)
        done = score_shards(url_of(plan.path), [], url_of(settings.shared), 512, "fp32")
    assert done == 3
    assert is_the_same(plan, night.scores)
    assert {path.name for path in (tmp_path / "host").iterdir()} == {"adapters"}


def test_a_night_in_a_store_ends_as_one_on_disk(
    home: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.nightly import nightly

    other = tmp_path / "other"
    shutil.copytree(home, other)
    nightly(administration_date=NIGHT, home=home)
    before = {path.name for path in (other / "responses").rglob("*.parquet")}
    store = bucket.replace("?", "/b?")
    monkeypatch.setenv("GRADELINE_STORAGE", store)
    run = nightly(administration_date=NIGHT, home=other).report.run
    assert (run.status, run.scored, run.reconciled) == ("released", 18, True)
    assert outcome(other) == outcome(home)
    assert {path.name for path in (other / "responses").rglob("*.parquet")} == before
    root = location(store)
    assert len(list(root.rglob("*.parquet"))) == 1  # the night's responses: no plan, no part
    assert not list((other / "parts").rglob("*"))


def test_prefect_workers_that_never_come_cost_time_and_no_score(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from prefect.deployments.runner import EntrypointType

    from flows.shards import score_shards

    settings, plan = night.copied_to(tmp_path / "home", runner="workers:2")
    monkeypatch.setattr(spreading, "PATIENCE_S", 0.5)
    monkeypatch.setattr(spreading, "POLL_S", 0.1)
    with pytest.raises(spreading.NoDeploymentError, match=r"deploy prefect\.yaml"):
        score(settings, plan)
    score_shards.to_deployment("score-shards", entrypoint_type=EntrypointType.MODULE_PATH).apply()
    score(settings, plan)
    assert "the rest is scored here" in caplog.text
    assert is_the_same(plan, night.scores)


def test_how_the_setting_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "_cores", lambda: 8)
    assert runner_of("here") == Runner("here")
    assert runner_of("processes:4").threads == 2
    assert runner_of("processes").side_by_side == 8
    assert runner_of("workers:3").side_by_side == 3
    assert runner_of("ray:ray://head:10001").address == "ray://head:10001"
    assert [runner_of(text).is_elsewhere for text in ("ray", "dask:tcp://a:1", "workers")] == [
        False, True, True
    ]  # fmt: skip
    for wrong in ("threads", "processes:0", "ray:", "here:2"):
        with pytest.raises(ValueError, match="runner"):
            Settings(runner=wrong)


def test_a_runner_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(importlib.import_module("sys").modules, "prefect_ray.task_runners", None)
    with pytest.raises(RunnerNotInstalledError, match=r"gradeline\[ray\]"):
        task_runner(runner_of("ray"))
