"""What a run tells Prefect: never worth failing it for."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext

logger = logging.getLogger(__name__)


@contextmanager
def told_to_prefect(what: str) -> Iterator[None]:
    """Tell Prefect something; where its server cannot be reached, a warning is all that happens.

    The scores are in the warehouse by then, or on their way there without Prefect.
    """
    try:
        yield
    except Exception as error:  # of whatever library: only its kind is told
        logger.warning("Prefect does not show this run's %s (%s)", what, type(error).__name__)


def name_flow_run(run_id: str) -> None:
    """Give Prefect's run the name that the run has everywhere else; outside a flow, do nothing."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return
    with told_to_prefect("name"):
        get_client(sync_client=True).update_flow_run(context.flow_run.id, name=run_id)
