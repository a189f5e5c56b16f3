"""Try again what may pass by itself: MLflow out of reach, the warehouse held by a reader."""

from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from tasks.tracking import UnreachableError
from warehouse.db import WarehouseLockedError

Given = ParamSpec("Given")
Result = TypeVar("Result")
# A bad response, a damaged file or a full disk is as bad the second time.
MAY_PASS = (UnreachableError, WarehouseLockedError)
PAUSES = (1, 3, 9)  # times the first one


def patient(task: Task[Given, Result], first_pause_s: float) -> Task[Given, Result]:
    """The same task, tried three times more where its error may pass by itself.

    Args:
        task: its effects can be repeated.
        first_pause_s: seconds before it is tried again, then three and nine times as long; 0: it
            is tried once.
    """
    if not first_pause_s:
        return task
    return task.with_options(
        retries=len(PAUSES),
        retry_delay_seconds=[first_pause_s * times for times in PAUSES],
        retry_condition_fn=may_pass,
    )


def may_pass(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try."""
    return isinstance(state.result(raise_on_failure=False), MAY_PASS)
