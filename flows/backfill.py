"""A season again: with the champions, a pinned version, or the adapters whose scores stand."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated

from prefect import flow
from pydantic import BeforeValidator, WithJsonSchema

from flows.estimate import estimate_backfill
from flows.forms import AdministrationDate, FromDate, Home, Items, Seasons, ToDate, titled
from flows.scoring import (
    NothingSelectedError,
    RunResult,
    last_day_of,
    score_and_report,
    tracking_of,
)
from flows.settings import Settings, load_settings
from tasks import estimate_told
from tasks.estimate import BackfillEstimate
from tasks.planning import Selection, chosen
from tasks.tracking import CHAMPION, RegisteredAdapter, Tracking, list_adapters
from tasks.workspace import locked, recorded_run
from warehouse import db, estimates

AS_SCORED_THEN = "as-scored-then"
CHOICES = re.compile(rf"{CHAMPION}|{AS_SCORED_THEN}|v[1-9][0-9]*")


class UnknownVersionError(LookupError):
    """Somebody names an adapter version that is not registered."""


def _named(given: object) -> str:
    """An adapter choice as it is written; a number is a version, too."""
    choice = f"v{given}" if isinstance(given, int) else str(given)
    if not CHOICES.fullmatch(choice):
        raise ValueError(f"{choice!r} is neither {CHAMPION}, {AS_SCORED_THEN} nor a version as v2")
    return choice


AdapterChoice = Annotated[
    str,
    BeforeValidator(_named),
    WithJsonSchema({"type": "string", "pattern": f"^({CHOICES.pattern})$"}),
    titled("Adapter", CHAMPION, AS_SCORED_THEN, "v2"),
]


@flow(name="backfill")
def backfill(
    seasons: Seasons = None,
    items: Items = None,
    from_date: FromDate = None,
    to_date: ToDate = None,
    adapter: AdapterChoice = CHAMPION,
    dry_run: Annotated[bool, titled("Only count and estimate")] = False,
    administration_date: AdministrationDate = None,
    home: Home = None,
) -> RunResult | BackfillEstimate:
    """Score responses that the chosen adapters have not scored last.

    A killed backfill that is started again with the same choices goes on where it was. One that
    would change a score that is released is held with a comparison, until a person releases it.

    Args:
        seasons: only these; all where not given.
        items: only these; all where not given.
        from_date: only responses submitted on this day or later.
        to_date: only responses submitted on this day or earlier.
        adapter: ``champion``; ``v2`` for the version that every item is scored with; or
            ``as-scored-then``, each response with the adapter whose score of it stands, such as
            for scoring a season again in another precision.
        dry_run: say what would be done and how long it would take, and do nothing.
        administration_date: the day the run counts for; the last day of the responses it
            scores where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    selection = chosen_by(seasons, items, from_date, to_date, adapter)
    if dry_run:
        found = rehearse(settings, selection, adapter)
        estimate_told.publish(found)
        return found
    parameters = {**selection.bound(), "adapter": adapter}
    with locked(settings.home, wait_s=settings.lock_wait_s):
        adapters = adapters_for(settings, selection, adapter)
        day = administration_date or last_day_of(settings, selection)
        with recorded_run(settings.warehouse, "backfill", day, parameters) as run_id:
            return score_and_report(settings, run_id, adapters, selection)


def chosen_by(
    seasons: Sequence[str] | None,
    items: Sequence[str] | None,
    from_date: date | None,
    to_date: date | None,
    adapter: str,
) -> Selection:
    """The responses that a backfill looks at."""
    return Selection(
        chosen(seasons),
        chosen(items),
        from_date,
        to_date,
        rescore=True,
        as_then=adapter == AS_SCORED_THEN,
    )


def rehearse(settings: Settings, selection: Selection, adapter: str) -> BackfillEstimate:
    """What a backfill would do and take; the workspace is read, and left as it is.

    Raises:
        UnknownVersionError: no item has that version.
        NothingSelectedError: an item or a season that nobody knows, or no response chosen.
    """
    adapters = adapters_for(settings, selection, adapter)
    return estimate_backfill(settings, adapters, selection, adapter)


def adapters_for(settings: Settings, selection: Selection, adapter: str) -> list[RegisteredAdapter]:
    """The adapters that a backfill scores with: one of each item and trait, or those that did.

    An adapter whose scores stand and which the registry holds no more is among them, without a
    source: what it scored fails, unless its files are here yet.

    Raises:
        UnknownVersionError: no item has that version.
        NothingSelectedError: an item or a season that nobody knows.
    """
    _refuse_unknown(settings, selection)
    tracking = tracking_of(settings)
    if adapter == CHAMPION:
        return list_adapters(tracking, CHAMPION)
    if adapter == AS_SCORED_THEN:
        return _standing(settings, tracking, selection)
    pinned = [found for found in list_adapters(tracking) if f"v{found.version}" == adapter]
    if not pinned:
        raise UnknownVersionError(f"no item has an adapter of version {adapter[1:]}")
    return pinned


def _refuse_unknown(settings: Settings, selection: Selection) -> None:
    with db.connect(settings.warehouse, read_only=True) as connection:
        unknown = estimates.unknown_names(connection, selection.bound())
    if unknown:
        named = ", ".join(f"{kind} {name}" for kind, name in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise NothingSelectedError(
            f"this warehouse knows no {named}{more}: `gradeline items list` shows the items"
        )


def _standing(
    settings: Settings, tracking: Tracking, selection: Selection
) -> list[RegisteredAdapter]:
    with db.connect(settings.warehouse, read_only=True) as connection:
        standing = estimates.standing(connection, selection.bound())
    known = {(one.item_id, one.trait, one.sha256): one for one in list_adapters(tracking)}
    return [
        known.get(
            (one.item_id, one.trait, one.sha256),
            RegisteredAdapter(one.item_id, one.trait, one.version, one.sha256, *[""] * 4),
        )
        for one in standing
    ]
