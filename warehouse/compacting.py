"""The warehouse written anew, so that nothing of what was deleted is left in the file."""

from pathlib import Path

import duckdb

from warehouse.db import WarehouseLockedError, connect, let_in
from warehouse.parts import whole_file


def compact(warehouse: Path) -> None:
    """Write the warehouse anew, row by row, in its place: what was deleted is in no byte of it.

    DuckDB marks deleted rows and reuses their blocks some time; only a new file is sure to hold
    nothing but what is there. Nobody can write meanwhile; who is reading goes on with the old
    file, which no folder names any more.

    Raises:
        WarehouseLockedError: another process has it open for writing and keeps it so, or died
            writing just now.
        OSError: the disk has no room for a second file.
    """
    with connect(warehouse) as connection:
        connection.execute("CHECKPOINT")
    with (
        let_in(warehouse, lambda: _attached(warehouse)) as connection,
        whole_file(warehouse) as temporary,
    ):
        if Path(f"{warehouse}.wal").exists():  # it would be played into the new file
            raise WarehouseLockedError(
                f"{warehouse} was written to meanwhile, and not to the end: run the command again"
            )
        connection.execute("ATTACH $new AS new", {"new": str(temporary)})
        connection.execute("COPY FROM DATABASE old TO new")
        connection.execute("DETACH new")
        temporary.chmod(warehouse.stat().st_mode)


def _attached(warehouse: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    try:
        connection.execute("ATTACH $old AS old (READ_ONLY)", {"old": str(warehouse)})
    except duckdb.IOException:
        connection.close()
        raise
    return connection
