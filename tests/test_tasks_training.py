"""Training: what is planned, what a dying worker costs, and who becomes champion."""

import csv
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import save_tiny_encoder

from flows.settings import load_settings
from models.adapter_folders import adapter_sha256
from models.adapters import load_adapter, save_adapter
from models.backbone import load_backbone
from models.scores import Scale
from models.training import Recipe
from tasks import promotion, training
from tasks.promotion import FEWEST_ROWS, Comparison, Flaw
from tasks.training import (
    NothingToTrainError,
    TrainedItem,
    TrainingJob,
    UntrainedItem,
    train_item,
    train_items,
)
from warehouse import db
from warehouse.training import known_adapters, record_seen

WORDS = {0: "cold dark nothing", 1: "wire lamp maybe", 2: "current flows closed circuit"}
QUICK = Recipe(min_epochs=2, max_epochs=2)
ENOUGH = 80  # of these, 12 are held out: more than FEWEST_ROWS


def text(points: int, seed: int) -> str:
    return f"{' '.join(random.Random(seed).choices(WORDS[points].split(), k=5))} {seed}"


def a_job(folder: Path, backbone: Path, n: int = 40, item_id: str = "007") -> TrainingJob:
    return TrainingJob(
        item_id=item_id,
        trait="overall",
        scale=Scale(0, 2),
        response_ids=tuple(f"r{number:03}" for number in range(n)),
        texts=tuple(text(number % 3, number) for number in range(n)),
        human_scores=tuple(float(number % 3) for number in range(n)),
        data_sha256="data",
        folder=folder / "made",
        backbone=str(backbone),
        max_tokens=64,
        recipe=QUICK,
        champion=None,
        champion_saw=frozenset(),
    )


def train_or_die(job: TrainingJob) -> UntrainedItem:
    """Runs in the worker: an item called deadly ends it as the system does when memory is short."""
    if job.item_id.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGKILL)
    return UntrainedItem(job.item_id, job.trait, "alive", failed=False)


def test_a_worker_that_dies_takes_its_own_item_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "train_item", train_or_die)
    ids = ["deadly", "a", "b", "c"]
    jobs = [a_job(tmp_path, tmp_path, item_id=item_id) for item_id in ids]
    outcomes = [one for one in train_items(jobs, workers=2) if isinstance(one, UntrainedItem)]
    assert sorted(one.item_id for one in outcomes) == sorted(ids)
    (lost,) = [one for one in outcomes if one.failed]
    assert lost.item_id == "deadly"
    assert "died twice" in lost.reason


def test_no_jobs_start_no_worker() -> None:
    assert list(train_items([], workers=2)) == []


@pytest.mark.parametrize(("n", "scores"), [(11, 3), (9, 3), (30, 1)])
def test_too_few_are_counted_before_the_hold_out(
    tmp_path: Path, tiny_backbone_folder: Path, n: int, scores: int
) -> None:
    job = a_job(tmp_path, tiny_backbone_folder, n)
    outcome = train_item(
        replace(job, human_scores=tuple(float(number % scores) for number in range(n)))
    )
    assert isinstance(outcome, UntrainedItem)
    assert not outcome.failed
    assert f"found {n} human-scored responses with {scores} different" in outcome.reason


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory, tiny_backbone_folder: Path) -> TrainedItem:
    outcome = train_item(a_job(tmp_path_factory.mktemp("champion"), tiny_backbone_folder))
    assert isinstance(outcome, TrainedItem)
    assert outcome.comparison is None
    return outcome


def against(champion: TrainedItem, job: TrainingJob) -> Comparison:
    saw = frozenset(champion.training_ids)
    outcome = train_item(replace(job, champion=champion.folder, champion_saw=saw))
    assert isinstance(outcome, TrainedItem), outcome.reason
    assert outcome.comparison is not None
    return outcome.comparison


def test_a_sound_champion_stays_where_too_little_is_held_out(
    tmp_path: Path, tiny_backbone_folder: Path, champion: TrainedItem
) -> None:
    comparison = against(champion, a_job(tmp_path, tiny_backbone_folder))
    assert (comparison.n, comparison.verdict, comparison.flaw) == (6, "keep", None)


def test_both_are_compared_on_what_neither_was_fitted_to_as_it_is_reported(
    tmp_path: Path, tiny_backbone_folder: Path, champion: TrainedItem
) -> None:
    job = replace(
        a_job(tmp_path, tiny_backbone_folder, ENOUGH),
        cut_scores=(1, 2),
        reported="scaled",
        students=tuple(number // 2 for number in range(ENOUGH)),
    )
    outcome = train_item(
        replace(job, champion=champion.folder, champion_saw=frozenset(champion.training_ids))
    )
    assert isinstance(outcome, TrainedItem), outcome.reason
    comparison = outcome.comparison
    assert comparison is not None
    assert comparison.n == len(set(outcome.validation_ids) - set(champion.training_ids))
    assert comparison.n >= FEWEST_ROWS
    assert comparison.low <= comparison.difference <= comparison.high
    assert [one.cut_score for one in comparison.crossings] == [1, 2]


def test_a_champion_of_another_backbone_gives_way(tmp_path: Path, champion: TrainedItem) -> None:
    other = save_tiny_encoder(tmp_path / "other", layers=1)
    comparison = against(champion, a_job(tmp_path, other, ENOUGH))
    assert comparison.verdict == "promote"
    assert "was trained on tiny-bert" in comparison.reason


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_champion_with_damaged_files_gives_way(
    tmp_path: Path, tiny_backbone_folder: Path, champion: TrainedItem, damage: str
) -> None:
    folder = tmp_path / "damaged"
    if damage == "cut":
        shutil.copytree(champion.folder, folder)
        (folder / "head.safetensors").write_bytes(b"")
    job = a_job(tmp_path, tiny_backbone_folder, ENOUGH)
    comparison = against(replace(champion, folder=folder), job)
    assert comparison.verdict == "promote"
    assert "damaged" in comparison.reason  # the folder's name is in the message


def test_a_flaw_that_is_known_beforehand_is_passed_on(
    tmp_path: Path, tiny_backbone_folder: Path, champion: TrainedItem
) -> None:
    lost = Flaw("its files are lost", usable=False)
    for n, verdict in ((ENOUGH, "promote"), (40, "ask")):
        job = replace(a_job(tmp_path, tiny_backbone_folder, n), champion_flaw=lost)
        comparison = against(champion, job)
        assert (comparison.verdict, comparison.flaw) == (verdict, lost)


def test_an_error_of_a_library_is_told_without_its_words(
    tmp_path: Path, tiny_backbone_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise ValueError(f"cannot read {text(0, 0)!r}")

    monkeypatch.setattr(training, "train_adapter", failing)
    outcome = train_item(a_job(tmp_path, tiny_backbone_folder))
    assert isinstance(outcome, UntrainedItem)
    assert outcome.failed
    assert "ValueError at training.py" in outcome.reason
    assert text(0, 0) not in outcome.reason


def test_an_item_that_scales_gets_no_adapter_that_cannot(
    tmp_path: Path, tiny_backbone_folder: Path
) -> None:
    """At a rate of zero nothing is learned, and every answer gets the same raw score."""
    still = replace(QUICK, learning_rate=0.0, head_learning_rate=0.0)
    job = a_job(tmp_path, tiny_backbone_folder)
    outcome = train_item(replace(job, reported="scaled", recipe=still))
    assert isinstance(outcome, UntrainedItem)
    assert outcome.failed
    assert "holds no means and deviations to scale by" in outcome.reason


def test_the_warehouse_knows_which_adapters_it_has_noted(tmp_path: Path) -> None:
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        assert known_adapters(connection) == set()
        record_seen(connection, "one", "overall", ["r1", "r2"], ["r3"])
        record_seen(connection, "two", "overall", ["r1"], [])
        assert known_adapters(connection) == {"one", "two"}


def in_this_process(
    jobs: tuple[TrainingJob, ...], workers: int
) -> Iterator[TrainedItem | UntrainedItem]:
    return map(train_item, jobs)


def write_scored(path: Path, numbers: range) -> Path:
    """Human-scored responses of students who have written two each."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["response_id", "item_id", "text", "human_score", "student_id"])
        writer.writerows([f"r{n:03}", "007", text(n % 3, n), n % 3, f"s{n // 2}"] for n in numbers)
    return path


@pytest.fixture(scope="module")
def trained(tiny_backbone_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace whose only item has a champion; Prefect runs for as long as the module."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.ingest import ingest
    from flows.train import train

    home = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch, prefect_test_harness(server_startup_timeout=120):
        patch.setenv("GRADELINE_BACKBONE", str(tiny_backbone_folder))
        patch.setattr(training, "train_items", in_this_process)
        with db.connect(load_settings(home).warehouse) as connection:
            connection.execute(
                "INSERT INTO items (item_id, trait, score_min, score_max, added_at) "
                "VALUES ('007', 'overall', 0, 2, ?)",
                [datetime(2026, 3, 12, tzinfo=UTC)],
            )
        export = write_scored(home / "scored.csv", range(ENOUGH))
        assert ingest([export], season="2025-fall", home=home).status == "done"
        assert [row.alias for row in train(home=home).trained] == ["champion"]
        yield home


@pytest.fixture
def home(trained: Path, tmp_path: Path) -> Path:
    """A copy; what the registry has stored stays with the original, by its absolute path."""
    return Path(shutil.copytree(trained, tmp_path / "home"))


def counts(home: Path, **chosen: Any) -> tuple[int, int, int]:
    """Train again: how many were trained, unchanged and crowned."""
    from flows.train import train

    result = train(home=home, **chosen)
    assert result.status == "done"
    return len(result.trained), result.unchanged, result.crowned


def champion_version(home: Path) -> int:
    from flows.scoring import tracking_of
    from tasks.tracking import CHAMPION, list_adapters

    (found,) = list_adapters(tracking_of(load_settings(home)), CHAMPION)
    return found.version


def promotions(home: Path) -> list[tuple[str, str]]:
    """Verdict and reason of every version in the registry, oldest first."""
    from flows.scoring import tracking_of

    found = tracking_of(load_settings(home)).client().search_model_versions()
    versions = sorted(found, key=lambda one: int(one.version))
    return [(one.tags["promotion"], one.tags["promotion_reason"]) for one in versions]


def test_the_registry_keeps_what_a_promotion_rests_on(home: Path) -> None:
    from flows.ingest import ingest
    from flows.scoring import tracking_of

    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute("UPDATE items SET cut_scores = [1, 2]")
    more = write_scored(home / "more.csv", range(ENOUGH, 3 * ENOUGH))
    assert ingest([more], season="2026-spring", home=home).status == "done"
    assert counts(home) == (1, 0, 0)
    found = tracking_of(load_settings(home)).client().search_model_versions()
    first, second = sorted(found, key=lambda one: int(one.version))
    assert (first.tags["promotion"], first.tags["metric.n/validation"]) == ("promote", "12")
    assert "metric.comparison/n" not in first.tags
    figures = {
        name.removeprefix("metric.comparison/"): float(value)
        for name, value in second.tags.items()
        if name.startswith("metric.comparison/")
    }
    assert figures["n"] >= FEWEST_ROWS
    assert figures["difference_low"] <= figures["difference"] <= figures["difference_high"]
    assert {"scores_changed", "cut_1_upwards", "cut_2_downwards"} <= figures.keys()
    assert f"{figures['difference']:+.3f}" in second.tags["promotion_reason"]
    promoted = second.tags["promotion"] == "promote"
    assert champion_version(home) == (2 if promoted else 1)
    assert second.tags["metric.calibration/temperature"]
    assert "# Model card: item 007" in second.description


def test_killed_before_the_alias_the_next_run_sets_it(home: Path) -> None:
    from flows.scoring import tracking_of
    from tasks.tracking import CHAMPION

    where = tracking_of(load_settings(home))
    (model,) = where.client().search_registered_models()
    where.client().delete_registered_model_alias(model.name, CHAMPION)
    assert counts(home) == (0, 0, 1)
    assert champion_version(home) == 1
    assert promotions(home)[0] == ("promote", "the item had no champion")
    assert counts(home) == (0, 1, 0)


def test_a_damaged_folder_is_mended_without_training(home: Path) -> None:
    (folder,) = (home / "adapters").iterdir()
    (folder / "scoring.json").write_text("{}", "utf-8")
    assert counts(home) == (0, 1, 0)
    assert adapter_sha256(folder) == folder.name


def test_a_champion_whose_files_are_lost_is_trained_again(home: Path) -> None:
    from flows.scoring import tracking_of
    from tasks.tracking import CHAMPION, list_adapters

    (folder,) = (home / "adapters").iterdir()
    where = tracking_of(load_settings(home))
    (adapter,) = list_adapters(where, CHAMPION)
    shutil.rmtree(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.tracking.fetching.artifacts.download_artifacts", _lost)
        assert counts(home) == (1, 0, 0)
    assert champion_version(home) == adapter.version + 1
    verdict, reason = promotions(home)[-1]
    assert verdict == "promote"
    assert "the champion cannot be used (its files are missing or damaged)" in reason
    assert counts(home) == (0, 1, 0)


def test_with_too_few_responses_a_person_is_asked_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in ("promotion", "training_plan"):
        monkeypatch.setattr(f"tasks.{module}.FEWEST_ROWS", ENOUGH)
    monkeypatch.setenv("GRADELINE_BACKBONE", str(save_tiny_encoder(tmp_path / "other", layers=1)))
    assert counts(home) == (1, 0, 0)
    assert champion_version(home) == 1
    assert promotions(home)[-1][0] == "ask"
    assert counts(home) == (0, 1, 0)
    assert champion_version(home) == 1
    assert "v2 waits for an answer" in caplog.text


def _lost(**_: object) -> str:
    raise FileNotFoundError


def test_another_backbone_crowns_anew_and_the_way_back_needs_no_training(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        other = save_tiny_encoder(tmp_path / "other", layers=1)
        patch.setenv("GRADELINE_BACKBONE", str(other))
        assert counts(home) == (1, 0, 0)
        assert champion_version(home) == 2
    assert counts(home) == (0, 0, 1)
    assert champion_version(home) == 1


def test_a_warehouse_built_anew_learns_again_what_its_adapters_saw(home: Path) -> None:
    """The same data makes the same adapter: the champion stays, and is known from now on."""
    champion = champion_version(home)
    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute("DELETE FROM training_rows")
    assert counts(home) == (1, 0, 0)
    assert champion_version(home) == champion
    assert promotions(home)[-1][0] == "keep"
    assert counts(home) == (0, 1, 0)


def test_an_item_that_begins_to_scale_is_trained_again(home: Path) -> None:
    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute("UPDATE items SET reported = 'scaled'")
    assert counts(home) == (0, 1, 0)
    crown_one_without_scaling(home)
    assert counts(home) == (1, 0, 0)
    assert champion_version(home) == 3
    assert "it has no scaling, and the item reports scaled scores" in promotions(home)[-1][1]
    assert counts(home) == (0, 1, 0)


def crown_one_without_scaling(home: Path) -> None:
    """Make the champion's twin champion, as it would have been made before there were scalings."""
    from flows.scoring import tracking_of
    from tasks.tracking import (
        CHAMPION,
        NewAdapter,
        list_adapters,
        register_adapter,
        set_alias,
        start_run,
    )

    settings = load_settings(home)
    where = tracking_of(settings)
    (champion,) = list_adapters(where, CHAMPION)
    loaded = load_adapter(settings.adapters / champion.sha256, load_backbone(settings.backbone, 64))
    record = loaded.scoring.model_copy(update={"scaling": None})
    sha256 = save_adapter(settings.adapters / "twin", replace(loaded, scoring=record))
    folder = (settings.adapters / "twin").rename(settings.adapters / sha256)
    with db.connect(settings.warehouse) as connection:
        record_seen(connection, sha256, "overall", ["r000"], ["r001"])
    new = NewAdapter(
        item_id=champion.item_id,
        trait=champion.trait,
        folder=folder,
        sha256=sha256,
        training_data_sha256=champion.training_data_sha256,
        recipe_sha256=champion.recipe_sha256,
        backbone_sha256=champion.backbone_sha256,
        metrics={},
        tags=promotion.tags("promote", "by hand"),
    )
    parent = start_run(where, "training", "by hand", {})
    set_alias(where, register_adapter(where, parent, new, date(2026, 3, 12)), CHAMPION)


def test_mlflow_shows_a_training_that_broke_as_failed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.scoring import tracking_of
    from flows.train import train

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(training, "train_items", broken)
    with pytest.raises(OSError, match="disk full"):
        train(home=home, administration_date=date(2026, 3, 13))
    where = tracking_of(load_settings(home))
    client = where.client()
    found = client.search_runs(
        [where.experiment_id(client, "training")], "tags.administration_date = '2026-03-13'"
    )
    assert [run.info.status for run in found] == ["FAILED"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"items": ["8", "007"], "seasons": ["1999"]}, "response of item '8', season '1999'"),
        ({"items": ["8"]}, "response of item '8'"),
        ({"seasons": ["1999"]}, "response of season '1999'"),
    ],
)
def test_what_matches_nothing_is_named(home: Path, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(NothingToTrainError, match=message):
        counts(home, **chosen)


def test_a_part_that_matches_nothing_is_a_warning(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert counts(home, items=["007", "8"]) == (0, 1, 0)
    assert "item '8'" in caplog.text


def test_nothing_scored_by_people_says_what_to_ingest(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(NothingToTrainError, match="ingest an export with a column of human"):
        counts(tmp_path / "empty")
