"""Parquet exports as rows of strings; what they would unpack to is looked at before."""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.reasons import ExportRefusedError

NESTED = "\x00nested"  # stands in a cell for a list or an object
BATCH_ROWS = 4096
BATCH_BYTES = 64_000_000  # unpacked: fewer rows at a time where they are long
UNPACKED_BYTES = 1_000_000_000  # of a file that unpacks to over a hundred times its size
MOST_RATIO = 100
ROWS_PER_BYTE = 4  # a row with an id of its own takes half a byte even where it is packed best


def parquet_header(path: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        ExportRefusedError: it is no whole Parquet file, or holds more than its bytes can.
    """
    try:
        with pq.ParquetFile(path) as file:
            _check_size(file.metadata, path.stat().st_size)
            return list(file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise ExportRefusedError("the file is no whole Parquet file: export it again") from error


def parquet_rows(
    path: Path, used: Collection[int], plain: Callable[[object], str]
) -> Iterator[list[str]]:
    """Rows, as strings; the cells of columns that are not used are empty.

    Args:
        path: the file.
        used: positions of the columns that are read.
        plain: makes a string of a typed cell.

    Raises:
        ExportRefusedError: the file is damaged.
    """
    try:
        # A text that is said a thousand times is unpacked and held once.
        with pq.ParquetFile(path) as head:
            names, texts = _read_columns(head.schema_arrow, used)
            batch_rows = _batch_rows(head.metadata)
            width = len(head.schema_arrow.names)
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_rows, columns=names or None):
                batch.validate(full=True)  # of a damaged file, indices may lead anywhere
                columns = {
                    at: _cells(batch.column(name), plain)
                    for at, name in zip(sorted(used), names, strict=True)
                }
                for number in range(len(batch)):
                    yield [columns[at][number] if at in columns else "" for at in range(width)]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ExportRefusedError("the Parquet file is damaged: export it again") from error


def _check_size(metadata: pq.FileMetaData, size: int) -> None:
    unpacked = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    if metadata.num_rows > ROWS_PER_BYTE * size:
        raise ExportRefusedError(
            f"the file says that it has {metadata.num_rows} rows in {size} bytes, so most are "
            "empty: export it again"
        )
    if unpacked > UNPACKED_BYTES and unpacked > MOST_RATIO * size:
        raise ExportRefusedError(
            f"the file unpacks to {unpacked // 1_000_000} MB, over {MOST_RATIO} times its size: "
            "export it again"
        )


def _batch_rows(metadata: pq.FileMetaData) -> int:
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    longest = max((one.total_byte_size / max(one.num_rows, 1) for one in groups), default=0)
    return int(max(1, min(BATCH_ROWS, BATCH_BYTES / max(longest, 1))))


def _read_columns(schema: pa.Schema, used: Collection[int]) -> tuple[list[str], list[str]]:
    """The names of the columns that are read, and of those among them that hold strings."""
    fields = [schema.field(at) for at in sorted(used)]
    texts = [
        field.name
        for field in fields
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    return [field.name for field in fields], texts


def _cells(column: pa.Array, plain: Callable[[object], str]) -> list[str]:
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = _cells(column.dictionary, plain)
        return ["" if at is None else values[at] for at in column.indices.to_pylist()]
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [NESTED] * len(column)
    return [plain(value) for value in column.to_pylist()]
