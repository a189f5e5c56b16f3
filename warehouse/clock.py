"""The time that is written down: the system's, and none before what stands in the warehouse."""

from datetime import UTC, datetime

import duckdb

from warehouse.db import rows


def moment(connection: duckdb.DuckDBPyConnection) -> datetime:
    """Now, in UTC; just after the latest time of any run or score where the clock was set back.

    Which score of a response is the current one goes by time, and so does the order of runs. A
    clock that was put right, or a battery that ran out, must not let an older score come last.
    """
    (found,) = rows(connection, "clock_moment", {"now": datetime.now(UTC)})
    at: datetime = found["moment"]
    return at.astimezone(UTC)
