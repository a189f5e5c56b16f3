"""The registry, on a SQLite store as a workspace has it."""

import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from models.adapters import FILES, adapter_sha256
from tasks.tracking import (
    CHAMPION,
    NewAdapter,
    RegisteredAdapter,
    Tracking,
    TrackingError,
    failing_with,
    list_adapters,
    register_adapter,
    registered_name,
    set_alias,
    sound_adapters,
    start_run,
)

DAY = date(2026, 3, 12)


def store(home: Path, programme: str) -> Tracking:
    return Tracking(f"sqlite:///{home / 'mlflow.db'}", home, programme)


def adapter_folder(parent: Path, content: str) -> Path:
    """A folder of the four files; the registry looks at their names and bytes only."""
    written = parent / f"written-{content}"
    written.mkdir(parents=True)
    for name in FILES:
        (written / name).write_text(content, "utf-8")
    return written.rename(parent / adapter_sha256(written))


def register(where: Tracking, item_id: str, content: str) -> RegisteredAdapter:
    folder = adapter_folder(where.home / "made" / where.programme, content)
    parent = start_run(where, "training", f"run-{content}", {})
    new = NewAdapter(item_id, "overall", folder, folder.name, "data", "recipe", "backbone", {})
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
