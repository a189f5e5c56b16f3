"""A season's nights in one page: agreement, drift, decisions and cost over time."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow

from flows.scoring import tracking_of
from flows.settings import load_settings
from tasks import season as seasons
from tasks.season_log import log_season
from tasks.thresholds import read_thresholds
from tasks.workspace import locked


@dataclass(frozen=True)
class SeasonResult:
    """A season's summary: what there is to say, and the MLflow run that shows it."""

    season: str
    sentences: tuple[str, ...]
    mlflow_run_id: str


@flow(name="season")
def season(name: str, home: Path | None = None) -> SeasonResult:
    """Sum up all runs that scored responses of a season, and log it to MLflow as one run.

    Args:
        name: the season.
        home: the workspace; from the settings where not given.

    Raises:
        UnknownSeasonError: nothing of that season has been scored.
        TrackingError: MLflow cannot be used.
    """
    settings = load_settings(home)
    with locked(settings.home, wait_s=settings.lock_wait_s):
        found = seasons.read_season(settings.warehouse, name)
        thresholds = read_thresholds(settings.thresholds)
        mlflow_run_id = log_season(tracking_of(settings), found, thresholds)
    return SeasonResult(name, tuple(seasons.season_sentences(found)), mlflow_run_id)
