"""A scoring run in MLflow, read back as a reviewer would."""

import csv
import json
import logging
from dataclasses import replace
from datetime import date, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import made_evaluations as made
import pytest
from mlflow.entities import Run

from tasks.run_log import by_urgency, log_decision, log_scoring_run
from tasks.run_metrics import item_metrics, run_metrics
from tasks.run_tables import run_tables
from tasks.thresholds import read_thresholds
from tasks.tracking import Child, RegisteredAdapter, Tracking, log_children, start_run

ADAPTER = RegisteredAdapter("plants", "overall", 2, "ad" * 32, "da" * 32, "re" * 32, "ba" * 32, "")
LOAD_MS = {"plants overall": 12.5}


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tracking, str]:
    """A night as it was logged."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    home = tmp_path_factory.mktemp("mlflow")
    where = Tracking(f"sqlite:///{home / 'mlflow.db'}", home, "test")
    html = home / "nightly.html"
    html.write_text("<p>held", "utf-8")
    parent = log_scoring_run.fn(
        where,
        made.REPORT,
        made.BY_DAY,
        LOAD_MS,
        html,
        adapters=[ADAPTER],
        thresholds=read_thresholds(None),
        data_sha256="fe" * 32,
    )
    return where, parent


def parent_of(logged: tuple[Tracking, str]) -> Run:
    where, parent = logged
    return where.client().get_run(parent)


def child_of(logged: tuple[Tracking, str], item_id: str) -> Run:
    where, parent = logged
    experiments = [parent_of(logged).info.experiment_id]
    wanted = f"tags.`mlflow.parentRunId` = '{parent}' AND tags.item_id = '{item_id}'"
    (child,) = where.client().search_runs(experiments, wanted)
    return child


def table(logged: tuple[Tracking, str], path: str) -> list[dict[str, Any]]:
    where, parent = logged
    found = json.loads(Path(where.client().download_artifacts(parent, path)).read_text("utf-8"))
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def paths(logged: tuple[Tracking, str], run_id: str, folder: str = "") -> set[str]:
    client = logged[0].client()
    found = set()
    for file in client.list_artifacts(run_id, folder):
        found |= paths(logged, run_id, file.path) if file.is_dir else {file.path}
    return found


def test_the_parent_says_what_was_decided_and_what_it_was_made_with(
    logged: tuple[Tracking, str],
) -> None:
    run = parent_of(logged)
    tags = run.data.tags
    assert (run.info.status, run.info.run_name) == ("FINISHED", made.RUN.run_id)
    assert (tags["run_kind"], tags["release_status"]) == ("nightly", "held")
    assert tags["season"] == "2026-spring"
    assert (tags["administration_date"], tags["code_version"]) == ("2026-03-12", "0.1.0")
    assert (tags["backbone_sha"], tags["data_sha"]) == ("5f" * 32, "fe" * 32)
    assert "operator" not in tags  # the gate decided, nobody else
    note = tags["mlflow.note.content"]
    assert "**Held**" in note
    assert made.REASON in note
    assert "1,213 received = 1,200 accepted" in note
    assert "FAIL plants" in note
    assert run.data.params["season"] == "2026-spring"
    (data,) = run.inputs.dataset_inputs
    assert json.loads(data.dataset.profile)["rated"] == 120 + 9 + 120


def test_figures_are_at_the_date_of_the_administration(logged: tuple[Tracking, str]) -> None:
    where, parent = logged
    (entry,) = where.client().get_metric_history(parent, "n/scored")
    assert (entry.value, entry.step) == (1240, 20260312)


def test_agreement_is_told_over_items_and_never_of_few_responses(
    logged: tuple[Tracking, str],
) -> None:
    metrics = parent_of(logged).data.metrics
    assert metrics["n/items"] == 4
    assert metrics["n/items_rated"] == 2  # plants and seeds; maps has 9 rated responses
    assert metrics["n/items_enough_rated"] == 2
    assert metrics["qwk/min_over_items"] == pytest.approx(0.791)  # not the .31 of maps
    assert (metrics["rules/fail"], metrics["drift/alarms"]) == (2, 1)
    assert metrics["mem_mb/peak_rss"] == 812.4
    assert metrics["load_ms/all_adapters"] == 12.5


def test_tables_and_pictures_are_there(logged: tuple[Tracking, str]) -> None:
    found = paths(logged, logged[1])
    for name in ("decisions", "rules", "items", "figures", "subgroups", "risk_coverage", "trend"):
        assert f"eval/{name}.json" in found
    for name in ("agreement_by_item", "confusion_matrices", "distributions", "calibration",
                 "mean_differences", "drift"):  # fmt: skip
        assert f"figures/{name}/page_01.png" in found
    assert {"figures/latency_and_memory.png", "report.html", "effective_thresholds.json"} <= found
    assert "eval/threshold_changes.json" not in found  # there are none


def test_tables_hold_intervals_and_leave_out_few_responses(logged: tuple[Tracking, str]) -> None:
    items = {row["item_id"]: row for row in table(logged, "eval/items.json")}
    assert items["plants"]["qwk"] == 0.791
    assert items["plants"]["qwk_low"] == pytest.approx(0.741)
    assert items["maps"]["n_rated"] == 9
    assert items["maps"]["qwk"] is None
    assert items["maps"]["exact"] is None
    assert items["maps"]["mean_human"] is None
    rows = table(logged, "eval/rules.json")
    assert [row["status"] for row in rows] == ["FAIL", "FAIL", "FLAG", "PASS", "INSUFFICIENT_N"]
    rules = {(row["item_id"], row["rule"]): row for row in rows}
    assert rules["plants", "qwk"]["status"] == "FAIL"
    assert rules["plants", "qwk"]["limit"] == 0.7
    assert rules["maps", "qwk"]["value"] is None  # 9 responses
    assert {row["item_id"] for row in table(logged, "eval/confusion.json")} == {"plants", "seeds"}
    decisions = table(logged, "eval/decisions.json")
    assert [(row["decision"], row["decided_by"]) for row in decisions] == [("held", "gate")]


def text(logged: tuple[Tracking, str], path: str) -> str:
    where, parent = logged
    return Path(where.client().download_artifacts(parent, path)).read_text("utf-8")


def test_every_table_is_there_as_csv_and_none_can_be_taken_for_a_formula(
    logged: tuple[Tracking, str],
) -> None:
    found = paths(logged, logged[1])
    tables = {Path(path).stem for path in found if path.startswith(("eval/", "run/"))}
    assert {Path(path).stem for path in found if path.startswith("csv/")} == tables
    rows = list(csv.DictReader(text(logged, "csv/items.csv").splitlines()))
    assert (rows[0]["item_id"], rows[0]["qwk"]) == ("plants", "0.791")
    assert [row["item_id"] for row in rows] == ["plants", "seeds", "maps", "poems"]
    assert rows[2]["qwk"] == ""  # nine responses
    far = list(csv.DictReader(text(logged, "csv/far_apart.csv").splitlines()))
    assert [row["response_id"] for row in far] == ["'=R-0007", "R-0031"]


def test_files_adapters_and_what_was_in_force_are_told_whole(logged: tuple[Tracking, str]) -> None:
    (export,) = table(logged, "run/exports.json")
    assert (export["file"], export["export_sha256"]) == ("a.csv", "ab" * 32)
    (waiting,) = table(logged, "run/without_score.json")
    assert (waiting["item_id"], waiting["n"]) == ("lanterns", 4)
    (adapter,) = table(logged, "run/adapters.json")
    assert (adapter["version"], adapter["sha256"]) == (2, "ad" * 32)
    far = table(logged, "eval/far_apart.json")
    assert [list(row) for row in far] == [["item_id", "trait", "response_id"]] * 2
    configuration = json.loads(text(logged, "effective_config.json"))
    assert configuration["settings"]["backbone"] == "tiny"
    assert configuration["parameters"] == {"season": "2026-spring"}
    assert configuration["thresholds"]["rules"]["qwk"]["at_least"] == 0.7
    libraries = text(logged, "environment.txt").splitlines()
    assert libraries[0].startswith("# Python 3.")
    assert f"mlflow=={version('mlflow')}" in libraries


def test_a_name_that_mlflow_refuses_is_found_in_the_mapping(logged: tuple[Tracking, str]) -> None:
    (row,) = [r for r in table(logged, "eval/metric_names.json") if r["level"]]
    assert (row["attribute"], row["level"]) == ("first language", "Español/Català")
    assert child_of(logged, "plants").data.metrics[row["metric"]] == 0.12
    assert row["metric"].isascii()


def test_a_child_has_its_adapter_its_series_and_its_rules(logged: tuple[Tracking, str]) -> None:
    where, _ = logged
    run = child_of(logged, "plants")
    assert run.data.tags["adapter_sha256"] == "ad" * 32
    assert run.data.tags["item_status"] == "FAIL"
    assert run.data.params["training_data_sha256"] == "da" * 32
    metrics = run.data.metrics
    assert metrics["qwk/rounded"] == 0.791
    assert metrics["qwk/rounded_low"] == pytest.approx(0.741)
    assert metrics["human_human/qwk"] == 0.846
    assert (metrics["latency_ms/p95"], metrics["load_ms"]) == (7.6, 12.5)
    assert metrics["rules/fail"] == 2
    series = where.client().get_metric_history(run.info.run_id, "by_date/qwk")
    assert [(entry.step, entry.value) for entry in series] == [(20260310, 0.8), (20260311, 0.78)]


def test_only_failed_and_flagged_items_have_pictures_of_their_own(
    logged: tuple[Tracking, str],
) -> None:
    drawn = {"figures/item.png"}
    for item_id, expected in (("plants", drawn), ("seeds", drawn), ("maps", set())):
        assert paths(logged, child_of(logged, item_id).info.run_id) == expected


def test_few_responses_have_counts_and_no_agreement(logged: tuple[Tracking, str]) -> None:
    metrics = child_of(logged, "maps").data.metrics
    assert metrics["n/rated"] == 9
    assert metrics["by_date/n_rated"] == 9
    withheld = (
        "qwk", "exact", "smd", "mean_score", "by_date/qwk", "human_human", "confidence",
        "n/far_apart",
    )  # fmt: skip
    assert [name for name in metrics if name.startswith(withheld)] == []


def test_a_person_decides_and_the_same_run_says_so(
    logged: tuple[Tracking, str], tmp_path: Path
) -> None:
    where, parent = logged
    html = tmp_path / "nightly.html"
    html.write_text("<p>released", "utf-8")
    person = made.decided("released", "A. Rater", "seen by the panel, memo 7")
    later = replace(
        made.REPORT,
        run=replace(made.RUN, mlflow_run_id=parent, status="released"),
        decisions=(*made.REPORT.decisions, person),
    )
    for _ in range(2):  # repeatable
        log_decision.fn(where, parent, later, html)
    run = parent_of(logged)
    assert run.data.tags["release_status"] == "released"
    assert run.data.tags["operator"] == "A. Rater"
    assert "**Released** by A. Rater" in run.data.tags["mlflow.note.content"]
    decisions = table(logged, "eval/decisions.json")
    assert [row["decided_by"] for row in decisions] == ["gate", "A. Rater"]
    assert text(logged, "report.html") == "<p>released"
    assert "A. Rater" in text(logged, "csv/decisions.csv")
    experiment = run.info.experiment_id
    parents = where.client().search_runs([experiment], "tags.run_kind = 'nightly'")
    assert len(parents) == 1


def test_a_decision_about_a_run_that_mlflow_has_lost_is_no_error(
    logged: tuple[Tracking, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    html = tmp_path / "nightly.html"
    html.write_text("<p>", "utf-8")
    log_decision.fn(logged[0], "0" * 32, made.REPORT, html)
    assert "any more" in caplog.text


def test_a_log_that_fails_leaves_no_run_behind_as_running(
    logged: tuple[Tracking, str], tmp_path: Path
) -> None:
    where, _ = logged
    backfill = replace(made.REPORT, run=replace(made.RUN, kind="backfill", run_id="backfill-1"))
    with pytest.raises(FileNotFoundError):
        log_scoring_run.fn(where, backfill, (), {}, tmp_path / "absent.html")
    experiment = parent_of(logged).info.experiment_id
    (run,) = where.client().search_runs([experiment], "tags.run_kind = 'backfill'")
    assert run.info.status == "FAILED"


def test_a_log_that_was_killed_is_replaced_and_not_doubled(
    logged: tuple[Tracking, str], tmp_path: Path
) -> None:
    """Killed after the run had begun; the next run tells of it again."""
    where, _ = logged
    html = tmp_path / "report.html"
    html.write_text("<p>", "utf-8")
    again = replace(made.REPORT, run=replace(made.RUN, run_id="nightly-killed"))
    tags = {"run_kind": "killed"}
    killed = start_run(where, "scoring", "nightly-killed", tags)
    log_children(where, killed, [Child("plants overall", {"item_id": "plants"})])
    parent = log_scoring_run.fn(where, again, (), {}, html)
    client, experiment = where.client(), parent_of(logged).info.experiment_id
    runs = client.search_runs([experiment], "attributes.run_name = 'nightly-killed'")
    assert [run.info.run_id for run in runs] == [parent]
    assert client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{killed}'") == []


def test_what_needs_eyes_comes_first() -> None:
    assert [item.item_id for item in by_urgency(made.REPORT)] == [
        "plants", "seeds", "maps", "poems"
    ]  # fmt: skip


def test_a_scaled_score_has_lines_of_its_own() -> None:
    metrics = item_metrics(made.item(reported="scaled"), (), None)
    assert metrics["qwk/scaled"] == 0.791
    assert "qwk/rounded" not in metrics


def test_a_run_without_items_can_be_told() -> None:
    empty = replace(made.REPORT, evaluations=(), rules=(), trend=(), decisions=())
    metrics = run_metrics(empty, {})
    assert metrics["n/items"] == 0
    assert metrics["load_ms/all_adapters"] is None
    assert run_tables(empty)["eval/items.json"] == {}


def test_trend_of_few_responses_has_no_means() -> None:
    small = replace(made.REPORT, trend=made.trend("a", {date(2026, 3, 1): 0.4}), small_cell=101)
    table = run_tables(small)["eval/trend.json"]
    assert (table["n"], table["mean_score"], table["shares"]) == ([100], [None], [None])


def test_the_table_of_trends_does_not_grow_with_every_night() -> None:
    nights = {date(2026, 3, 1) + timedelta(days=n): 0.4 for n in range(50)}
    table = run_tables(replace(made.REPORT, trend=made.trend("a", nights)))["eval/trend.json"]
    assert (len(table["day"]), table["day"][-1]) == (30, max(nights).isoformat())


def test_tables_of_groups_hold_no_digits_that_would_give_a_small_one_away() -> None:
    groups = (made.group("L1", "a", 0.0512, 900), made.group("L1", "b", -0.0613, 700))
    item = made.item(subgroups=groups, n_rated=1604)
    rules = (made.rule("plants", "dsm", "PASS", 0.0512, 0.1, subject="L1: a"),)
    tables = run_tables(replace(made.REPORT, evaluations=(item,), rules=rules))
    assert tables["eval/subgroups.json"]["dsm"] == [0.05, -0.06]
    assert all(value != value for value in tables["eval/subgroups.json"]["mean_human"])
    assert tables["eval/rules.json"]["value"] == [0.05]
    assert item_metrics(item, (), None)["dsm/L1__b"] == -0.06


def test_agreement_over_items_is_of_those_with_enough_ratings_as_in_the_report() -> None:
    barely = made.item("barely", n_rated=99, figures=made.figures(99, 0, qwk=0.2))
    metrics = run_metrics(replace(made.REPORT, evaluations=(made.item(), barely)), {})
    assert (metrics["n/items_rated"], metrics["n/items_enough_rated"]) == (2, 1)
    assert metrics["qwk/min_over_items"] == pytest.approx(0.791)
