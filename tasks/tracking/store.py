"""Where MLflow keeps its runs, and what is said when it cannot be reached."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import OperationalError, SQLAlchemyError

# Tells the UI to show metrics and models first, not language-model traces. That of MLflow 3.17 goes
# by a switch of its own, or by `?workflowType=machine_learning` in its address.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
PAGE = 1000

Given = ParamSpec("Given")
Result = TypeVar("Result")


# What MLflow says where its server could not be reached, or had a fault of its own.
PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"}


class TrackingError(RuntimeError):
    """MLflow's store or server cannot be used."""


class UnreachableError(TrackingError):
    """MLflow's store or server cannot be used now; it may be, a little later."""


@dataclass(frozen=True)
class Tracking:
    """Where MLflow keeps its runs; plain data, so that tasks and processes can be given it.

    Attributes:
        uri: of the tracking store, and of the registry beside it.
        home: the workspace; artifacts of a SQLite store lie in its ``mlartifacts``.
        programme: first word of all experiments, and of all models' names.
    """

    uri: str
    home: Path
    programme: str

    def client(self) -> MlflowClient:
        """A client of the tracking store and of the registry beside it."""
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def experiment_id(self, client: MlflowClient, subject: str) -> str:
        """The experiment ``<programme> <subject>``, made on first use.

        Raises:
            TrackingError: somebody has deleted it; MLflow keeps its name.
        """
        name = f"{self.programme} {subject}"
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return self._created(client, name)
        if experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"the experiment {name!r} has been deleted in MLflow at {self.uri}: restore it "
                f"(`mlflow experiments restore --experiment-id {experiment.experiment_id}`)"
            )
        # Made by hand, or by a gradeline that did not set it.
        for tag, value in EXPERIMENT_TAGS.items():
            if experiment.tags.get(tag) != value:
                client.set_experiment_tag(experiment.experiment_id, tag, value)
        return str(experiment.experiment_id)

    def _created(self, client: MlflowClient, name: str) -> str:
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


def told(
    function: Callable[Concatenate[Tracking, Given], Result],
) -> Callable[Concatenate[Tracking, Given], Result]:
    """Turn the many errors of an unreachable or broken store into one that says what to do."""

    @wraps(function)
    def telling(tracking: Tracking, /, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        try:
            return function(tracking, *args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError) as error:
            kind = UnreachableError if _may_pass(error) else TrackingError
            raise kind(
                f"MLflow at {tracking.uri} cannot be used ({type(error).__name__}): see that its "
                "server runs, or unset MLFLOW_TRACKING_URI to use the workspace's own store"
            ) from error

    return telling


def _may_pass(error: Exception) -> bool:
    if isinstance(error, MlflowException):
        return error.error_code in PASSING
    return isinstance(error, ConnectionError | TimeoutError | RequestException | OperationalError)


def pages(search: Any) -> list[Any]:
    """Everything that one of the client's searches finds, page by page."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(max_results=PAGE, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found
