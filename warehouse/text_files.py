"""Accepted texts go from the staged export to one sorted Parquet file per season.

A sort of whole texts is what would not fit in memory, so the rows are first dealt out to pieces
that do (a bucket sort): the staged file is read once, and each piece sorted by itself.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse import parts, schema
from warehouse.db import execute, rows, table
from warehouse.storage import Location

PIECE_CHARACTERS = 16_000_000
BATCH_ROWS = 8192


@dataclass(frozen=True)
class Season:
    """A season that an export brings, and the pieces that its responses are in, in order."""

    season: str
    first_piece: int
    last_piece: int


def plan_pieces(connection: duckdb.DuckDBPyConnection) -> list[Season]:
    """Divide the accepted rows into pieces; needs the tables staged and outcomes."""
    execute(connection, "ingest_pieces", {"characters": PIECE_CHARACTERS})
    return [Season(**row) for row in rows(connection, "ingest_seasons")]


def deal_out(
    connection: duckdb.DuckDBPyConnection, staged: Path, seasons: Sequence[Season]
) -> list[Path]:
    """Write every accepted row to the file of its piece, beside the staged file.

    Returns:
        The files, by the number of the piece; rows are in the export's order.
    """
    count = max((season.last_piece + 1 for season in seasons), default=0)
    files = [staged.with_name(f"piece-{number}.arrows") for number in range(count)]
    piece_of = _piece_of(connection)
    # Arrow streams, since each open Parquet writer would hold megabytes of buffers.
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as stack, pq.ParquetFile(staged) as source:
        writers = [
            stack.enter_context(pa.ipc.new_stream(file, schema.RESPONSES, options=options))
            for file in files
        ]
        names = ["row", *schema.RESPONSES.names]
        for batch in source.iter_batches(BATCH_ROWS, columns=names):
            _deal(batch, piece_of, writers)
    return files


def write_season(path: Location, pieces: Sequence[Path]) -> None:
    """Sort the pieces one after another into ``path``, by item_id and response_id."""
    with (
        parts.whole_file(path) as temporary,
        pq.ParquetWriter(temporary, schema.RESPONSES, compression="zstd") as file,
    ):
        for piece in pieces:
            with pa.ipc.open_stream(piece) as stream:
                read = stream.read_all()
            ordered = read.sort_by([("item_id", "ascending"), ("response_id", "ascending")])
            file.write_table(ordered, row_group_size=BATCH_ROWS)


def _piece_of(connection: duckdb.DuckDBPyConnection) -> NDArray[np.int32]:
    """The piece of each row of the export, by its number; -1 where it was not accepted."""
    found = table(connection, "ingest_piece_rows")
    numbers = found["row"].to_numpy()
    piece_of = np.full(numbers.max(initial=0) + 1, -1, dtype=np.int32)
    piece_of[numbers] = found["piece"].to_numpy()
    return piece_of


def _deal(
    batch: pa.RecordBatch,
    piece_of: NDArray[np.int32],
    writers: Sequence[pa.ipc.RecordBatchStreamWriter],
) -> None:
    numbers = batch["row"].to_numpy()
    known = numbers < len(piece_of)
    pieces = np.where(known, piece_of[np.where(known, numbers, 0)], -1)
    for piece in np.unique(pieces[pieces >= 0]):
        chosen = batch.filter(pa.array(pieces == piece)).select(schema.RESPONSES.names)
        writers[piece].write_batch(chosen.cast(schema.RESPONSES))
