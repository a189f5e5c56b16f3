"""The registry and runs, on a SQLite store as a workspace has it."""

import json
import logging
import math
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from models.adapter_files import FILES_OF
from models.adapter_folders import adapter_sha256
from tasks.metric_names import slug, subgroup_metric
from tasks.tracking import (
    CHALLENGER,
    CHAMPION,
    Child,
    DataInput,
    NewAdapter,
    RegisteredAdapter,
    Tracking,
    TrackingError,
    amend_run,
    failing_with,
    list_adapters,
    log_children,
    log_run,
    read_registry,
    register_adapter,
    registered_name,
    set_alias,
    sound_adapters,
    start_run,
    tag_adapter,
)

DAY = date(2026, 3, 12)
NASTY = (
    "Español",
    "espanol",
    "L1=Navi|Vulcan",
    "50% (half)",
    "..",
    "a/b",
    "a//b",
    "日本語",
    "#",
    "",
)


def store(home: Path, programme: str) -> Tracking:
    return Tracking(f"sqlite:///{home / 'mlflow.db'}", home, programme)


def adapter_folder(parent: Path, content: str) -> Path:
    """A folder of the four files; the registry looks at their names and bytes only."""
    written = parent / f"written-{content}"
    written.mkdir(parents=True)
    for name in FILES_OF["lora"]:
        (written / name).write_text(content, "utf-8")
    return written.rename(parent / adapter_sha256(written))


def register(where: Tracking, item_id: str, content: str, **more: Any) -> RegisteredAdapter:
    folder = adapter_folder(where.home / "made" / where.programme, content)
    parent = start_run(where, "training", f"run-{content}", {})
    given = {"metrics": {}, **more}
    new = NewAdapter(item_id, "overall", folder, folder.name, "data", "recipe", "backbone", **given)
    return register_adapter(where, parent, new, DAY)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is migrated once; each test has programmes of its own in it."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """MLflow's migrations are many log lines."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    yield


@pytest.mark.parametrize(
    ("mine", "other"), [("state", "state-b"), ("a_c", "abc"), ("a%", "ab"), ("o'brien", "o")]
)
def test_a_programme_sees_its_own_adapters_only(shared: Path, mine: str, other: str) -> None:
    first = register(store(shared, mine), "007", "mine")
    second = register(store(shared, other), "007", "other")
    set_alias(store(shared, mine), first, CHAMPION)
    set_alias(store(shared, other), second, CHAMPION)
    for alias in (None, CHAMPION):
        assert list_adapters(store(shared, mine), alias) == [first]
        assert list_adapters(store(shared, other), alias) == [second]


def test_a_model_says_its_programme_and_one_without_ids_is_none_of_ours(shared: Path) -> None:
    where = store(shared, "tagged")
    found = register(where, "007", "tagged")
    name = registered_name("tagged", "007", "overall")
    assert where.client().get_registered_model(name).tags["programme"] == "tagged"
    where.client().create_registered_model("tagged-by-hand")
    assert list_adapters(where) == [found]


def test_a_version_that_was_made_by_hand_stops_no_night(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = store(shared, "by-hand")
    found = register(where, "007", "by-hand")
    set_alias(where, found, CHAMPION)
    name = registered_name("by-hand", "007", "overall")
    where.client().create_model_version(name, source=(shared / "mine").as_uri())
    assert list_adapters(where, CHAMPION) == [found]
    assert "version 2" in caplog.text
    assert "lacks the tags" in caplog.text


def test_experiments_open_among_metrics_those_made_by_hand_too(shared: Path) -> None:
    where, tag = store(shared, "kinds"), "mlflow.experimentKind"
    client = where.client()
    client.create_experiment("kinds scoring")
    for subject in ("scoring", "training"):
        start_run(where, subject, "run", {})
        found = client.get_experiment_by_name(f"kinds {subject}")
        assert found is not None
        assert found.tags[tag] == "custom_model_development"


def test_a_deleted_experiment_is_named_with_what_to_do(shared: Path) -> None:
    where = store(shared, "deleted")
    start_run(where, "scoring", "run", {})
    experiment = where.client().get_experiment_by_name("deleted scoring")
    assert experiment is not None
    where.client().delete_experiment(experiment.experiment_id)
    with pytest.raises(TrackingError, match=r"'deleted scoring' has been deleted .*restore"):
        start_run(where, "scoring", "run", {})


def test_one_look_at_the_registry_tells_champions_from_challengers(shared: Path) -> None:
    where = store(shared, "looks")
    first, second = register(where, "a", "v1"), register(where, "a", "v2")
    other = register(where, "b", "w1")
    set_alias(where, first, CHAMPION)
    set_alias(where, second, CHALLENGER)
    registry = read_registry(where)
    assert registry.adapters == (first, second, other)
    assert (first.version, second.version) == (1, 2)
    assert registry.having(CHAMPION) == list_adapters(where, CHAMPION) == [first]
    assert registry.having(CHALLENGER) == [second]
    set_alias(where, second, CHAMPION)
    registry = read_registry(where)
    assert (registry.having(CHAMPION), registry.having(CHALLENGER)) == ([second], [])


def test_a_registered_adapter_has_its_card_its_figures_and_why_it_was_promoted(
    shared: Path,
) -> None:
    where = store(shared, "cards")
    card = "# Model card: item 007\n\n" + "It scores item 007.\n" * 500
    given = {"metrics": {"validation/qwk": 0.81, "lost": math.nan}, "card": card}
    adapter = register(where, "007", "carded", tags={"promotion": "promote"}, **given)
    client = where.client()
    name = registered_name("cards", "007", "overall")
    version = client.get_model_version(name, "1")
    assert version.description.startswith("# Model card: item 007")
    assert len(version.description) <= 5000
    assert version.description.endswith("(cut)")
    assert version.tags["promotion"] == "promote"
    assert version.tags["metric.validation/qwk"] == "0.81"
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"validation/qwk": 0.81}
    assert run.data.tags["adapter_sha256"] == adapter.sha256
    kept = Path(client.download_artifacts(version.run_id, "model_card.md"))
    assert kept.read_text("utf-8") == card
    tag_adapter(where, adapter, {"promotion": "ask"})
    assert client.get_model_version(name, "1").tags["promotion"] == "ask"


def test_damaged_files_are_fetched_again(shared: Path, tmp_path: Path) -> None:
    where = store(shared, "damage")
    whole, damaged, absent = (register(where, item, item) for item in ("a", "b", "c"))
    adapters = tmp_path / "adapters"
    assert len(sound_adapters(where, [whole, damaged], adapters)) == 2
    (adapters / damaged.sha256 / "scoring.json").write_text("{}", "utf-8")
    wanted = [whole, damaged, absent]
    assert sound_adapters(where, wanted, adapters) == {one.sha256 for one in wanted}
    assert adapter_sha256(adapters / damaged.sha256) == damaged.sha256


def test_files_that_cannot_be_had_are_not_sound(shared: Path, tmp_path: Path) -> None:
    where = store(shared, "lost")
    whole, lost = register(where, "a", "x"), register(where, "b", "y")
    adapters = tmp_path / "adapters"
    sound_adapters(where, [lost], adapters)
    (adapters / lost.sha256 / "scoring.json").unlink()
    for path in (shared / "mlartifacts").rglob("scoring.json"):
        if path.read_text("utf-8") == "y":
            path.write_text("changed", "utf-8")
    assert sound_adapters(where, [whole, lost], adapters) == {whole.sha256}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_run_that_raises_is_marked_as_failed(shared: Path, error: type[BaseException]) -> None:
    where = store(shared, "failing")
    run_id = start_run(where, "training", "run", {})
    with pytest.raises(error), failing_with(where, run_id):
        raise error
    assert where.client().get_run(run_id).info.status == "FAILED"


def test_the_error_itself_passes_where_mlflow_is_gone(shared: Path, tmp_path: Path) -> None:
    run_id = start_run(store(shared, "failing"), "training", "run", {})
    (tmp_path / "file").write_text("", "utf-8")
    gone = Tracking(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", tmp_path, "failing")
    with pytest.raises(TrackingError):
        list_adapters(gone)
    with pytest.raises(KeyError, match="first"), failing_with(gone, run_id):
        raise KeyError("first")


def test_a_child_has_all_its_dates_in_their_places(shared: Path) -> None:
    where = store(shared, "children")
    parent = start_run(where, "scoring", "nightly-1", {"run_kind": "nightly"})
    earlier = date(2026, 3, 9)
    child = Child(
        name="007 overall",
        tags={"item_id": "007"},
        params={"adapter_version": 3, "long": "x" * 7000},
        metrics={
            earlier: {"by_date/qwk": 0.7},
            DAY: {"by_date/qwk": 0.8, "qwk": 0.79, "none": None, "nan": math.nan, "inf": math.inf},
        },
        figures={"figures/empty.png": Figure(figsize=(1, 1))},
    )
    log_children(where, parent, [child])
    client = where.client()
    (run,) = client.search_runs(
        [client.get_run(parent).info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"by_date/qwk": 0.8, "qwk": 0.79}
    history = client.get_metric_history(run.info.run_id, "by_date/qwk")
    assert [(entry.step, entry.value) for entry in history] == [(20260309, 0.7), (20260312, 0.8)]
    assert run.data.params["adapter_version"] == "3"
    assert run.data.params["long"].endswith("… (cut)")
    assert [file.path for file in client.list_artifacts(run.info.run_id, "figures")] == [
        "figures/empty.png"
    ]


def logged_run(where: Tracking, **more: Any) -> str:
    run_id = start_run(
        where, "scoring", "nightly-1", {"release_status": "held", "note": "y" * 9000}
    )
    given = {"metrics": {"n/scored": 3.0}, "params": {"season": "2026-spring"}, **more}
    log_run(where, run_id, day=DAY, **given)
    return run_id


def content(where: Tracking, run_id: str, path: str) -> str:
    return Path(where.client().download_artifacts(run_id, path)).read_text("utf-8")


def test_a_parent_keeps_figures_tables_texts_and_what_it_looked_at(shared: Path) -> None:
    where = store(shared, "parents")
    run_id = logged_run(
        where,
        series={date(2026, 3, n): {"n/scored": float(n)} for n in range(1, 12)},
        tables={"eval/items.json": {"item_id": ["007"], "qwk": [math.nan]}, "eval/none.json": {}},
        figures=iter([("figures/a.png", Figure(figsize=(1, 1)))]),
        texts={"report.html": "<p>", "effective_thresholds.json": "{}"},
        data=DataInput("responses", "ab" * 32, "scoring", {"run_id": "n"}, {"score": "long"}, {}),
    )
    client = where.client()
    run = client.get_run(run_id)
    assert run.data.metrics["n/scored"] == 3
    assert len(client.get_metric_history(run_id, "n/scored")) == 12
    paths = {file.path for file in client.list_artifacts(run_id)}
    assert paths == {"eval", "figures", "report.html", "effective_thresholds.json"}
    assert [file.path for file in client.list_artifacts(run_id, "eval")] == ["eval/items.json"]
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.digest == ("ab" * 32)[:36]
    assert {tag.key: tag.value for tag in data.tags} == {"mlflow.data.context": "scoring"}
    assert len(run.data.tags["note"]) <= 8000


def test_a_run_is_amended_in_place_and_a_lost_one_is_not(shared: Path) -> None:
    where = store(shared, "amended")
    first = {"decision": ["held"], "value": [0.5]}
    run_id = logged_run(where, tables={"eval/decisions.json": first})
    both = {"decision": ["held", "released"], "value": [0.5, math.nan]}
    for _ in range(2):  # repeatable: nothing is appended
        assert amend_run(
            where,
            run_id,
            tags={"release_status": "released", "operator": "A. Rater"},
            tables={"eval/decisions.json": both},
            texts={"report.html": "new"},
        )
    tags = where.client().get_run(run_id).data.tags
    assert (tags["release_status"], tags["operator"]) == ("released", "A. Rater")
    assert json.loads(content(where, run_id, "eval/decisions.json")) == {
        "columns": ["decision", "value"],
        "data": [["held", 0.5], ["released", None]],
    }
    assert content(where, run_id, "report.html") == "new"
    assert not amend_run(where, "0" * 32, tags={"release_status": "released"})


@given(st.text(max_size=300))
def test_a_slug_is_a_name_that_mlflow_takes(name: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9.-]+(_[A-Za-z0-9.-]+)*", slug(name))
    assert len(slug(name)) <= 60
    assert slug(slug(name)) == slug(name)


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_two_subgroups_never_share_a_metric(a: str, b: str, c: str, d: str) -> None:
    same = subgroup_metric("dsm", a, b) == subgroup_metric("dsm", c, d)
    assert same == ((a, b) == (c, d))


def test_plain_names_stay_as_they_are() -> None:
    assert subgroup_metric("dsm", "first_language", "Navi") == "dsm/first_language__Navi"


def test_mlflow_takes_every_level_that_people_think_of(shared: Path) -> None:
    where = store(shared, "levels")
    names = [subgroup_metric("dsm", attribute, level) for attribute in NASTY for level in NASTY]
    run_id = logged_run(where, metrics={name: float(n) for n, name in enumerate(names)})
    logged = where.client().get_run(run_id).data.metrics
    assert logged == {name: float(n) for n, name in enumerate(names)}
    assert len(logged) == len(NASTY) ** 2
