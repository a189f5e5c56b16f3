"""Champions teach small students, which score alone or before them."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from prefect import flow

from flows.forms import AdministrationDate, Home, Items, Seasons, titled
from flows.settings import load_settings
from flows.train import TrainResult, train_with
from tasks.distilling import Distillation
from tasks.planning import chosen
from tasks.workspace import locked, recorded_run

MOST_LOSS = 0.005


@flow(name="distill")
def distill(
    seasons: Seasons = None,
    items: Items = None,
    method: Annotated[Literal["student", "cascade"], titled("Method")] = "cascade",
    most_loss: Annotated[float, titled("Most QWK that a cascade may lose")] = MOST_LOSS,
    administration_date: AdministrationDate = None,
    home: Home = None,
) -> TrainResult:
    """Distil a student from the champion of every (item, trait), and register it.

    It is compared with the champion on responses that neither has learned from, as any challenger
    is. A student gives up accuracy for time: where it gives up little, a person is asked.

    Args:
        seasons: learn from these only; from all where not given.
        items: distil these only; all where not given.
        method: ``student``: it scores alone; ``cascade``: its teacher scores what it is not sure
            enough of.
        most_loss: of quadratic weighted kappa, that a cascade may lose against its teacher alone.
        administration_date: the day the run counts for; today where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    day = administration_date or datetime.now(UTC).date()
    selected = {"seasons": chosen(seasons), "items": chosen(items)}
    recipe = Distillation(most_loss=most_loss if method == "cascade" else None)
    parameters = {**selected, "method": method, "most_loss": recipe.most_loss}
    with (
        locked(settings.home, wait_s=settings.lock_wait_s),
        recorded_run(settings.warehouse, "distill", day, parameters) as run,
    ):
        return train_with(settings, run, day, method, recipe, **selected)
