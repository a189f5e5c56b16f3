"""Agreement of the latest scores, released or not, with the human scores known now."""

from datetime import UTC, date, datetime
from pathlib import Path

from prefect import flow

from flows.scoring import RunResult, last_day_of, tell
from flows.settings import load_settings
from tasks.planning import Selection
from tasks.workspace import locked, recorded_run
from warehouse import db, runs


@flow(name="evaluate")
def evaluate(
    seasons: list[str] | None = None,
    items: list[str] | None = None,
    administration_date: date | None = None,
    home: Path | None = None,
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
        locked(settings.home),
        recorded_run(settings.warehouse, "evaluate", day, parameters) as run_id,
    ):
        with db.connect(settings.warehouse) as connection, db.transaction(connection):
            runs.finish_run(connection, run_id, "done", runs.RunCounts())
        return tell(settings, run_id)
