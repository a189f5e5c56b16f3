"""Agreement of the latest scores, released or not, with the human scores known now."""

from datetime import UTC, datetime

from prefect import flow

from flows.forms import AdministrationDate, Home, Items, Seasons
from flows.scoring import RunResult, last_day_of, tell
from flows.settings import load_settings
from tasks.planning import Selection
from tasks.workspace import locked, recorded_run
from warehouse import db, runs


@flow(name="evaluate")
def evaluate(
    seasons: Seasons = None,
    items: Items = None,
    administration_date: AdministrationDate = None,
    home: Home = None,
) -> RunResult:
    """Evaluate the latest scores against all human scores; responses trained on are left out.

    The scores of a held run are among them: the question is how the machine does, whoever sees it.

    Args:
        seasons: only these; all where not given.
        items: only these; all where not given.
        administration_date: the day the run counts for; today where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    day = administration_date or datetime.now(UTC).date()
    selection = Selection(tuple(seasons) if seasons else None, tuple(items) if items else None)
    last_day_of(settings, selection)
    parameters = {"seasons": selection.seasons, "items": selection.items}
    with (
        locked(settings.home, wait_s=settings.lock_wait_s),
        recorded_run(settings.warehouse, "evaluate", day, parameters) as run_id,
    ):
        with db.connect(settings.warehouse) as connection, db.transaction(connection):
            runs.finish_run(connection, run_id, "done", runs.RunCounts())
        return tell(settings, run_id)
