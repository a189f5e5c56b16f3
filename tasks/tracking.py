"""Everything MLflow: the registry of adapters, and the runs that reviewers open.

Metric steps are the administration date as yyyymmdd, so a backfill draws in its right place.
Only item ids, counts and figures are logged: never a response's text, never a student.
"""

import hashlib
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from mlflow import MlflowClient, artifacts
from mlflow.entities import Metric, Param, RunTag
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from models.adapters import AdapterError, adapter_sha256

CHAMPION = "champion"
CHALLENGER = "challenger"
PAGE = 1000
# Tells the UI to show metrics and models first, not language-model traces.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

logger = logging.getLogger(__name__)


class TrackingError(RuntimeError):
    """MLflow's store or server cannot be used."""


Does = TypeVar("Does", bound=Callable[..., Any])


def _told(function: Does) -> Does:
    """Turn the many errors of an unreachable or broken store into one that says what to do."""

    @wraps(function)
    def told(tracking: "Tracking", *args: Any, **kwargs: Any) -> Any:
        try:
            return function(tracking, *args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            raise TrackingError(
                f"MLflow at {tracking.uri} cannot be used ({type(error).__name__}): see that its "
                "server runs, or unset MLFLOW_TRACKING_URI to use the workspace's own store"
            ) from error

    return cast("Does", told)


@dataclass(frozen=True)
class Tracking:
    """Where MLflow keeps its runs; plain data, so that tasks and processes can be given it."""

    uri: str
    home: Path
    programme: str

    def client(self) -> MlflowClient:
        """A client of the tracking store and of the registry beside it."""
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment_id(self, client: MlflowClient, subject: str) -> str:
        """The experiment ``<programme> <subject>``, made on first use."""
        name = f"{self.programme} {subject}"
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        local = self.uri.startswith("sqlite:")
        location = (self.home / "mlartifacts").as_uri() if local else None
        try:
            return str(
                client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS)
            )
        except MlflowException:  # another process made it first
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
            return str(experiment.experiment_id)


@dataclass(frozen=True)
class RegisteredAdapter:
    """One version of one (item, trait)'s adapter in the registry."""

    item_id: str
    trait: str
    version: int
    sha256: str
    training_data_sha256: str
    recipe_sha256: str
    backbone_sha256: str
    source: str


@dataclass(frozen=True)
class NewAdapter:
    """A trained adapter on its way into the registry."""

    item_id: str
    trait: str
    folder: Path
    sha256: str
    training_data_sha256: str
    recipe_sha256: str
    backbone_sha256: str
    metrics: Mapping[str, float]


def registered_name(programme: str, item_id: str, trait: str) -> str:
    """The registry's name for an (item, trait).

    MLflow refuses ``/`` and ``:`` in names and two ids may look alike once cleaned, so a short
    hash of the exact ids follows; the ids themselves are tags.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{item_id}.{trait}").strip("-")[:80]
    exact = hashlib.sha256(f"{item_id}\x1f{trait}".encode()).hexdigest()[:8]
    return f"{programme}-{readable}-{exact}"


def metric_step(day: date) -> int:
    """The step of a metric: yyyymmdd of the administration."""
    return day.year * 10_000 + day.month * 100 + day.day


@_told
def list_adapters(tracking: Tracking, alias: str | None = None) -> list[RegisteredAdapter]:
    """Every adapter of this programme, or those that carry an alias, in the order of their ids.

    Programmes may share a server, and one's name may begin with the other's. So all models are
    looked through and their programme compared here, not in a pattern of MLflow's.
    """
    client = tracking.client()
    aliases = {
        model.name: model.aliases
        for model in _pages(client.search_registered_models)
        if _is_of(model, tracking.programme)
    }
    found = [
        _registered(version)
        for version in _pages(client.search_model_versions)
        if version.name in aliases
        and (alias is None or str(aliases[version.name].get(alias)) == str(version.version))
    ]
    return sorted(found, key=lambda adapter: (adapter.item_id, adapter.trait, adapter.version))


def fetch_adapter(tracking: Tracking, adapter: RegisteredAdapter, adapters: Path) -> Path:
    """The folder of an adapter, copied from the registry where it is not here yet.

    Raises:
        AdapterError: the registry's copy is not the one that was registered.
    """
    folder = adapters / adapter.sha256
    if folder.exists():
        return folder
    adapters.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=adapters, prefix=".fetch-") as temporary:
        try:
            fetched = Path(
                artifacts.download_artifacts(
                    artifact_uri=adapter.source,
                    dst_path=temporary,
                    tracking_uri=tracking.uri,
                )
            )
        except (MlflowException, OSError) as error:
            raise AdapterError(
                f"adapter v{adapter.version} of item {adapter.item_id!r} ({adapter.trait}) could "
                f"not be fetched from {adapter.source}: {type(error).__name__}"
            ) from error
        copy = Path(temporary) / adapter.sha256
        shutil.copytree(fetched, copy)
        found = adapter_sha256(copy)
        if found != adapter.sha256:
            raise AdapterError(
                f"adapter v{adapter.version} of item {adapter.item_id!r} ({adapter.trait}) has "
                f"sha256 {found[:12]} in the registry's store, but {adapter.sha256[:12]} was "
                "registered: restore the store from its backup, or train the item again"
            )
        copy.replace(folder)
    return folder


def fetch_adapters(tracking: Tracking, wanted: Iterable[RegisteredAdapter], adapters: Path) -> None:
    """Fetch what is not here yet; one that cannot be had is logged, and its item is not scored."""
    for adapter in wanted:
        try:
            fetch_adapter(tracking, adapter, adapters)
        except AdapterError as error:
            logger.error("%s", error)


def sound_adapters(
    tracking: Tracking, wanted: Iterable[RegisteredAdapter], adapters: Path
) -> frozenset[str]:
    """Hashes of the adapters whose files are here and as they were registered.

    A damaged folder is fetched again first. One that cannot be had is logged and left out.
    """
    sound = set()
    for adapter in wanted:
        folder = adapters / adapter.sha256
        try:
            if folder.exists() and not _is_whole(folder):
                logger.warning("%s is damaged: it is fetched from the registry again", folder)
                shutil.rmtree(folder)
            fetch_adapter(tracking, adapter, adapters)
        except (AdapterError, OSError) as error:
            logger.error("%s", error)
        else:
            sound.add(adapter.sha256)
    return frozenset(sound)


def _is_whole(folder: Path) -> bool:
    try:
        return adapter_sha256(folder) == folder.name
    except AdapterError:
        return False


@_told
def register_adapter(
    tracking: Tracking, parent_run_id: str, new: NewAdapter, day: date
) -> RegisteredAdapter:
    """Log a trained adapter as a child run, and enter it in the registry as a new version."""
    client = tracking.client()
    run_id = _start_child(client, parent_run_id, f"{new.item_id} {new.trait}", _item_tags(new))
    _log_metrics(client, run_id, new.metrics, day)
    client.log_artifacts(run_id, str(new.folder), "adapter")
    name = registered_name(tracking.programme, new.item_id, new.trait)
    tags = {"programme": tracking.programme, "item_id": new.item_id, "trait": new.trait}
    try:
        client.create_registered_model(name, tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        for key, value in tags.items():
            client.set_registered_model_tag(name, key, value)
    version = client.create_model_version(
        name,
        source=f"{client.get_run(run_id).info.artifact_uri}/adapter",
        run_id=run_id,
        tags={**_item_tags(new), **{f"metric.{key}": str(v) for key, v in new.metrics.items()}},
    )
    client.set_terminated(run_id)
    return _registered(version)


@_told
def set_alias(tracking: Tracking, adapter: RegisteredAdapter, alias: str) -> None:
    """Make an adapter its item's champion, or its challenger.

    A champion that was the challenger until now stops being that.
    """
    client = tracking.client()
    name = registered_name(tracking.programme, adapter.item_id, adapter.trait)
    client.set_registered_model_alias(name, alias, str(adapter.version))
    if alias == CHAMPION:
        aliases = client.get_registered_model(name).aliases
        if str(aliases.get(CHALLENGER)) == str(adapter.version):
            client.delete_registered_model_alias(name, CHALLENGER)


@_told
def start_run(tracking: Tracking, subject: str, run_id: str, tags: Mapping[str, str]) -> str:
    """Begin the parent run of a flow run; returns MLflow's id for it."""
    client = tracking.client()
    run = client.create_run(
        tracking.experiment_id(client, subject), run_name=run_id, tags=dict(tags)
    )
    return str(run.info.run_id)


@contextmanager
def failing_with(tracking: Tracking, mlflow_run_id: str) -> Iterator[None]:
    """End a parent run as failed where what is inside raises; no run is left as running."""
    try:
        yield
    except BaseException:
        try:
            _end_failed(tracking, mlflow_run_id)
        except TrackingError as error:
            logger.warning("%s", error)
        raise


@_told
def log_run(
    tracking: Tracking,
    mlflow_run_id: str,
    *,
    metrics: Mapping[str, float | None],
    params: Mapping[str, Any],
    day: date,
    tables: Mapping[str, Mapping[str, list[Any]]] | None = None,
    figures: Mapping[str, Any] | None = None,
    files: Iterable[Path] = (),
    failed: bool = False,
) -> None:
    """Fill a parent run and end it.

    Args:
        tracking: where.
        mlflow_run_id: the run, from `start_run`.
        metrics: name to value; those that are None are left out.
        params: configuration and hashes.
        day: the administration date, the step of every metric.
        tables: artifact path to columns.
        figures: artifact path to matplotlib figure.
        files: files kept as artifacts under their own names.
        failed: mark the run as failed.
    """
    client = tracking.client()
    _log_metrics(client, mlflow_run_id, metrics, day)
    client.log_batch(mlflow_run_id, params=[Param(k, str(v)) for k, v in params.items()])
    for path, columns in (tables or {}).items():
        _log_table(client, mlflow_run_id, columns, path)
    for path, figure in (figures or {}).items():
        client.log_figure(mlflow_run_id, figure, path)
    for file in files:
        client.log_artifact(mlflow_run_id, str(file))
    client.set_terminated(mlflow_run_id, "FAILED" if failed else "FINISHED")


@_told
def log_item(
    tracking: Tracking,
    parent_run_id: str,
    name: str,
    *,
    tags: Mapping[str, str],
    metrics: Mapping[str, float | None],
    by_day: Mapping[date, Mapping[str, float | None]],
    day: date,
    figures: Mapping[str, Any],
) -> str:
    """Log one item's child run: figures of the whole run at its date, and a series by date."""
    client = tracking.client()
    run_id = _start_child(client, parent_run_id, name, tags)
    _log_metrics(client, run_id, metrics, day)
    for date_of, values in by_day.items():
        _log_metrics(client, run_id, values, date_of)
    for path, figure in figures.items():
        client.log_figure(run_id, figure, path)
    client.set_terminated(run_id)
    return run_id


@_told
def _end_failed(tracking: Tracking, mlflow_run_id: str) -> None:
    tracking.client().set_terminated(mlflow_run_id, "FAILED")


def _start_child(
    client: MlflowClient, parent_run_id: str, name: str, tags: Mapping[str, str]
) -> str:
    experiment_id = client.get_run(parent_run_id).info.experiment_id
    run = client.create_run(
        experiment_id, run_name=name, tags={**tags, "mlflow.parentRunId": parent_run_id}
    )
    return str(run.info.run_id)


def _log_metrics(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float | None], day: date
) -> None:
    stamp = int(datetime.combine(day, time(12), UTC).timestamp() * 1000)
    step = metric_step(day)
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, float(value), stamp, step)
            for name, value in metrics.items()
            if value is not None and value == value
        ],
        tags=[RunTag("administration_date", day.isoformat())],
    )


def _log_table(
    client: MlflowClient, run_id: str, columns: Mapping[str, list[Any]], path: str
) -> None:
    with warnings.catch_warnings():
        # MLflow selects columns in a way that pandas 3 announces to change: not our user's affair.
        warnings.filterwarnings("ignore", message=".*select_dtypes")
        client.log_table(run_id, dict(columns), path)


def _item_tags(new: NewAdapter) -> dict[str, str]:
    return {
        "item_id": new.item_id,
        "trait": new.trait,
        "adapter_sha256": new.sha256,
        "training_data_sha256": new.training_data_sha256,
        "recipe_sha256": new.recipe_sha256,
        "backbone_sha256": new.backbone_sha256,
    }


def _registered(version: ModelVersion) -> RegisteredAdapter:
    tags = version.tags
    return RegisteredAdapter(
        item_id=tags["item_id"],
        trait=tags["trait"],
        version=int(version.version),
        sha256=tags["adapter_sha256"],
        training_data_sha256=tags["training_data_sha256"],
        recipe_sha256=tags["recipe_sha256"],
        backbone_sha256=tags["backbone_sha256"],
        source=str(version.source),
    )


def _is_of(model: RegisteredModel, programme: str) -> bool:
    """Whether a model is the programme's: its name is the one that its ids have there.

    The ids being given, no other programme leads to that name.
    """
    tags = model.tags
    if not {"item_id", "trait"} <= tags.keys():
        return False
    name = registered_name(programme, tags["item_id"], tags["trait"])
    return bool(model.name == name and tags.get("programme", programme) == programme)


def _pages(search: Any) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(max_results=PAGE, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found
