"""A season again: score it with the champions, or with a pinned adapter version."""

from datetime import date
from pathlib import Path
from typing import Literal

from prefect import flow

from flows.scoring import RunResult, last_day_of, score_and_report, tracking_of
from flows.settings import load_settings
from tasks.planning import Selection, chosen
from tasks.tracking import CHAMPION, RegisteredAdapter, Tracking, list_adapters
from tasks.workspace import locked, recorded_run


class UnknownVersionError(LookupError):
    """Somebody names an adapter version that is not registered."""


@flow(name="backfill")
def backfill(
    seasons: list[str] | None = None,
    items: list[str] | None = None,
    from_date: date | None = None,
    to_date: date | None = None,
    adapter: int | Literal["champion"] = "champion",
    administration_date: date | None = None,
    home: Path | None = None,
) -> RunResult:
    """Score responses that the chosen adapters have not scored last.

    A killed backfill that is started again with the same choices goes on where it was.

    Args:
        seasons: only these; all where not given.
        items: only these; all where not given.
        from_date: only responses submitted on this day or later.
        to_date: only responses submitted on this day or earlier.
        adapter: ``champion``, or the number of a version that every item is scored with.
        administration_date: the day the run counts for; the last day of the responses it
            scores where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    selection = Selection(chosen(seasons), chosen(items), from_date, to_date, rescore=True)
    parameters = {**selection.bound(), "adapter": adapter}
    with locked(settings.home):
        adapters = _adapters(tracking_of(settings), adapter)
        day = administration_date or last_day_of(settings, selection)
        with recorded_run(settings.warehouse, "backfill", day, parameters) as run_id:
            return score_and_report(settings, run_id, adapters, selection)


def _adapters(tracking: Tracking, adapter: int | Literal["champion"]) -> list[RegisteredAdapter]:
    if adapter == CHAMPION:
        return list_adapters(tracking, CHAMPION)
    pinned = [found for found in list_adapters(tracking) if found.version == adapter]
    if not pinned:
        raise UnknownVersionError(f"no item has an adapter of version {adapter}")
    return pinned
