"""Everything MLflow: the registry of adapters, and the runs that reviewers open.

Metric steps are the administration date as yyyymmdd, so a backfill draws in its right place.
Only item ids, counts and figures are logged: never a response's text, never a student.

    store      where MLflow is, and what is said when it cannot be reached
    runs       parents and their children
    registry   adapters: versions, champions, challengers
    fetching   adapters' files
    attempts   what a killed training has left
    erasing    rows about some responses, taken out of tables
"""

from tasks.tracking.attempts import take_up_run
from tasks.tracking.erasing import erase_rows
from tasks.tracking.fetching import fetch_adapter, fetch_adapters, sound_adapters
from tasks.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    NewAdapter,
    RegisteredAdapter,
    Registry,
    list_adapters,
    read_registry,
    register_adapter,
    registered_name,
    set_alias,
    tag_adapter,
)
from tasks.tracking.runs import (
    Child,
    DataInput,
    Series,
    add_metrics,
    amend_run,
    failing_with,
    log_children,
    log_run,
    run_page,
    start_run,
    withdraw_run,
)
from tasks.tracking.store import Tracking, TrackingError, UnreachableError

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "Child",
    "DataInput",
    "NewAdapter",
    "RegisteredAdapter",
    "Registry",
    "Series",
    "Tracking",
    "TrackingError",
    "UnreachableError",
    "add_metrics",
    "amend_run",
    "erase_rows",
    "failing_with",
    "fetch_adapter",
    "fetch_adapters",
    "list_adapters",
    "log_children",
    "log_run",
    "read_registry",
    "register_adapter",
    "registered_name",
    "run_page",
    "set_alias",
    "sound_adapters",
    "start_run",
    "tag_adapter",
    "take_up_run",
    "withdraw_run",
]
