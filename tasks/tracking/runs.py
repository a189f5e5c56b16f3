"""Runs that reviewers open: a parent for a flow run, cheap children for its items.

A child takes three calls, whatever it holds: create it with its tags, log all its metrics and
parameters in one batch, end it. The rest of a child's time is the pictures it may have.
"""

import json
import logging
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from tasks.metric_names import LONGEST_PARAM, LONGEST_TAG, fitting, metric_step
from tasks.tracking.store import Tracking, TrackingError, pages, told

LONGEST_DIGEST = 36
TABLES = "mlflow.loggedArtifacts"  # which files the UI shows as tables

logger = logging.getLogger(__name__)

Series = Mapping[date, Mapping[str, float | None]]


@dataclass(frozen=True)
class Child:
    """One item's run under a parent.

    Attributes:
        name: what it is called in the list of runs.
        tags: what it can be searched by.
        params: what does not change within it.
        metrics: administration date to metric to value; what is None or not finite is left out.
        figures: artifact path to picture.
        texts: artifact path to content.
        folders: artifact path to a folder that is copied there.
    """

    name: str
    tags: Mapping[str, str]
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: Series = field(default_factory=dict)
    figures: Mapping[str, Figure] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class DataInput:
    """What a run looked at, as MLflow's ``Dataset``: a fingerprint and counts, no rows.

    Attributes:
        name: what to call it.
        digest: of its rows; MLflow keeps the first 36 characters.
        context: what it served for, such as ``scoring``.
        source: where it came from; no path of this machine.
        columns: column to MLflow type (``double``, ``long``, ``string``).
        profile: counts.
    """

    name: str
    digest: str
    context: str
    source: Mapping[str, object]
    columns: Mapping[str, str]
    profile: Mapping[str, object]


@told
def start_run(tracking: Tracking, subject: str, run_id: str, tags: Mapping[str, str]) -> str:
    """Begin the parent run of a flow run; returns MLflow's id for it."""
    client = tracking.client()
    experiment_id = tracking.experiment_id(client, subject)
    run = client.create_run(experiment_id, run_name=run_id, tags=_fitting_tags(tags))
    return str(run.info.run_id)


@told
def run_page(tracking: Tracking, mlflow_run_id: str, pages: str) -> str:
    """The address of a run's page, beneath that of MLflow's pages."""
    experiment_id = tracking.client().get_run(mlflow_run_id).info.experiment_id
    where = f"experiments/{experiment_id}/runs/{mlflow_run_id}"
    return f"{pages.rstrip('/')}/#/{where}?workflowType=machine_learning"


@told
def withdraw_run(tracking: Tracking, subject: str, run_id: str) -> int:
    """Delete what an earlier attempt to log a flow run has left, killed half way, say.

    MLflow keeps deleted runs, children too, until ``mlflow gc``.

    Args:
        tracking: where.
        subject: of the experiment.
        run_id: the flow run.

    Returns:
        How many attempts there were.
    """
    client = tracking.client()
    experiments = [tracking.experiment_id(client, subject)]

    def found(filter_string: str) -> list[Run]:
        return pages(partial(client.search_runs, experiments, filter_string))

    attempts = found(f"attributes.run_name = '{run_id}'")
    for attempt in attempts:
        children = found(f"tags.`mlflow.parentRunId` = '{attempt.info.run_id}'")
        for run in (*children, attempt):
            client.delete_run(run.info.run_id)
    return len(attempts)


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


@told
def log_run(
    tracking: Tracking,
    mlflow_run_id: str,
    *,
    metrics: Mapping[str, float | None],
    params: Mapping[str, Any],
    day: date,
    series: Series | None = None,
    tables: Mapping[str, Mapping[str, list[Any]]] | None = None,
    figures: Iterable[tuple[str, Figure]] = (),
    texts: Mapping[str, str] | None = None,
    data: DataInput | None = None,
    failed: bool = False,
) -> None:
    """Fill a parent run and end it.

    Args:
        tracking: where.
        mlflow_run_id: the run, from `start_run`.
        metrics: name to value; what is None or not finite is left out.
        params: configuration and hashes.
        day: the administration date, the step of every metric.
        series: further metrics, by the administration date they are about.
        tables: artifact path to columns; tables without rows are left out.
        figures: artifact path and picture, drawn one after the other.
        texts: artifact path to content.
        data: what the run looked at.
        failed: mark the run as failed.
    """
    client = tracking.client()
    client.log_batch(
        mlflow_run_id,
        metrics=_metrics({day: metrics}) + _metrics(series or {}),
        params=_params(params),
        tags=[RunTag("administration_date", day.isoformat())],
    )
    if data is not None:
        client.log_inputs(mlflow_run_id, datasets=[_dataset_input(data)])
    filled = {path: columns for path, columns in (tables or {}).items() if any(columns.values())}
    _log_files(client, mlflow_run_id, filled, figures, texts or {})
    client.set_terminated(mlflow_run_id, "FAILED" if failed else "FINISHED")


@told
def log_children(tracking: Tracking, parent_run_id: str, children: Iterable[Child]) -> None:
    """Log the runs of a parent's items; they are made one at a time, so their pictures may be."""
    client = tracking.client()
    experiment_id = client.get_run(parent_run_id).info.experiment_id
    for child in children:
        _log_child(client, experiment_id, parent_run_id, child)


def log_child(client: MlflowClient, parent_run_id: str, child: Child) -> tuple[str, str]:
    """Log one child; returns MLflow's id and the address of its artifacts."""
    experiment_id = client.get_run(parent_run_id).info.experiment_id
    return _log_child(client, experiment_id, parent_run_id, child)


@told
def add_metrics(
    tracking: Tracking, mlflow_run_id: str, metrics: Mapping[str, float | None], day: date
) -> None:
    """Log metrics to a run that has ended; one that has them already gets a second value."""
    tracking.client().log_batch(mlflow_run_id, metrics=_metrics({day: metrics}))


@told
def amend_run(
    tracking: Tracking,
    mlflow_run_id: str,
    *,
    tags: Mapping[str, str],
    tables: Mapping[str, Mapping[str, list[Any]]] | None = None,
    texts: Mapping[str, str] | None = None,
) -> bool:
    """Change what can change of a run that has ended, as when a person has decided about it.

    Args:
        tracking: where.
        mlflow_run_id: the run.
        tags: new values; those not named stay.
        tables: artifact path to columns, in the place of what was there.
        texts: artifact path to content, in the place of what was there.

    Returns:
        False where there is no such run any more.
    """
    client = tracking.client()
    fitted = _fitting_tags(tags)
    try:
        client.log_batch(mlflow_run_id, tags=[RunTag(*pair) for pair in fitted.items()])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    for path, columns in (tables or {}).items():
        # `log_table` would append to the table that is there.
        client.log_text(mlflow_run_id, json.dumps(_split(columns)), path)
    for path, content in (texts or {}).items():
        client.log_text(mlflow_run_id, content, path)
    return True


@told
def _end_failed(tracking: Tracking, mlflow_run_id: str) -> None:
    tracking.client().set_terminated(mlflow_run_id, "FAILED")


def _log_child(
    client: MlflowClient, experiment_id: str, parent_run_id: str, child: Child
) -> tuple[str, str]:
    tags = {**_fitting_tags(child.tags), "mlflow.parentRunId": parent_run_id}
    info = client.create_run(experiment_id, run_name=child.name, tags=tags).info
    run_id, artifact_uri = str(info.run_id), str(info.artifact_uri)
    client.log_batch(run_id, metrics=_metrics(child.metrics), params=_params(child.params))
    for path, figure in child.figures.items():
        client.log_figure(run_id, figure, path)
    for path, content in child.texts.items():
        client.log_text(run_id, content, path)
    for path, folder in child.folders.items():
        client.log_artifacts(run_id, str(folder), path)
    client.set_terminated(run_id)
    return run_id, artifact_uri


def _metrics(series: Series) -> list[Metric]:
    """Stamped with noon of their administration date (UTC), as their step says."""
    found = []
    for day, metrics in series.items():
        stamp = int(datetime.combine(day, time(12), UTC).timestamp() * 1000)
        step = metric_step(day)
        for name, value in metrics.items():
            # MLflow would store infinity as 1.8e308, and NaN as a gap that cannot be searched.
            if value is not None and math.isfinite(value):
                found.append(Metric(name, float(value), stamp, step))
    return found


def _params(params: Mapping[str, object]) -> list[Param]:
    return [Param(name, fitting(value, LONGEST_PARAM)) for name, value in params.items()]


def _fitting_tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: fitting(value, LONGEST_TAG) for name, value in tags.items()}


def _dataset_input(data: DataInput) -> DatasetInput:
    columns = [
        {"name": name, "type": kind, "required": False} for name, kind in data.columns.items()
    ]
    dataset = Dataset(
        name=data.name,
        digest=data.digest[:LONGEST_DIGEST],
        source_type="gradeline",
        source=json.dumps(dict(data.source), default=str),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(dict(data.profile)),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", data.context)])


def _log_files(
    client: MlflowClient,
    run_id: str,
    tables: Mapping[str, Mapping[str, list[Any]]],
    figures: Iterable[tuple[str, Figure]],
    texts: Mapping[str, str],
) -> None:
    """Log all files of a run in one go.

    `log_table` searches all models of the experiment, over and over, for a table that could be
    appended to; with a hundred items that took longer than all the rest. What makes the UI show a
    file as a table is a tag.
    """
    with tempfile.TemporaryDirectory(prefix="gradeline-") as folder:
        for path, columns in tables.items():
            _place(folder, path).write_text(json.dumps(_split(columns)), encoding="utf-8")
        for path, figure in figures:
            figure.savefig(_place(folder, path))
        for path, content in texts.items():
            _place(folder, path).write_text(content, encoding="utf-8")
        client.log_artifacts(run_id, folder)
    if tables:
        shown = [{"path": path, "type": "table"} for path in tables]
        client.set_tag(run_id, TABLES, json.dumps(shown))


def _place(folder: str, path: str) -> Path:
    """Where in the folder a file goes; its own folder is made."""
    place = Path(folder, path)
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _split(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns as `log_table` writes them: pandas' "split", with null for what is no number."""
    rows = zip(*columns.values(), strict=True)
    return {"columns": list(columns), "data": [[_or_null(cell) for cell in row] for row in rows]}


def _or_null(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_or_null(one) for one in cell]
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
