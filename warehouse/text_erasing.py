"""Texts leave the Parquet files: a student's rows, or a season's files."""

import hashlib
import shutil
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse import schema
from warehouse.parts import clear_unfinished, open_parquet, whole_file
from warehouse.storage import Location

WHOSE = ["response_id", "student_pseudo"]


def erase_texts(responses: Location, pseudo_sha256: str, ids: Collection[str] = ()) -> int:
    """Write every file that holds rows of a student again without them.

    All files are looked through, also those that nothing refers to since their ingest was killed.
    A file is replaced whole or not at all, so this can be repeated.

    Args:
        responses: the folder ``responses/``, on this machine or in an object store. A store that
            keeps old versions keeps the rows, too: that is its owner's to clear.
        pseudo_sha256: SHA-256 of the student's pseudonym.
        ids: response ids of the student, as far as they are known.

    Returns:
        how many rows there were.

    Raises:
        OSError: a file cannot be read, or written again.
        pa.ArrowInvalid: a file is no Parquet file.
    """
    clear_unfinished(responses)
    files: list[Location] = sorted(responses.rglob("*.parquet"), key=str)
    return sum(_without(path, pseudo_sha256, set(ids)) for path in files)


def remove_season(responses: Location, season: str) -> int:
    """Remove the files of a season; returns how many there were."""
    clear_unfinished(responses)
    folder: Location = responses / f"season={quote(season, safe='')}"
    files: list[Location] = list(folder.glob("*.parquet"))
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def _without(path: Location, pseudo_sha256: str, ids: set[str]) -> int:
    with open_parquet(path) as file:
        whose = file.read(columns=WHOSE)
        gone = _is_gone(whose, pseudo_sha256, ids)
        count = int(pc.sum(gone).as_py() or 0)
        if not count:
            return 0
        if count < len(whose):
            _write_rest(path, file, gone)
            return count
    path.unlink(missing_ok=True)
    return count


def _is_gone(whose: pa.Table, pseudo_sha256: str, ids: set[str]) -> pa.ChunkedArray:
    pseudonyms = pc.unique(whose["student_pseudo"]).drop_null().to_pylist()
    theirs = [
        one for one in pseudonyms if hashlib.sha256(one.encode()).hexdigest() == pseudo_sha256
    ]
    by_student = pc.is_in(whose["student_pseudo"], pa.array(theirs, pa.string()))
    return pc.or_(by_student, pc.is_in(whose["response_id"], pa.array(sorted(ids), pa.string())))


def _write_rest(path: Location, file: pq.ParquetFile, gone: pa.ChunkedArray) -> None:
    """Write the rows that stay, a row group at a time: a file may be larger than memory."""
    stays, start = pc.invert(gone), 0
    with (
        whole_file(path) as temporary,
        pq.ParquetWriter(temporary, schema.RESPONSES, compression="zstd") as written,
    ):
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            rest = rows.filter(stays.slice(start, len(rows)))
            start += len(rows)
            if len(rest):
                written.write_table(rest.select(schema.RESPONSES.names).cast(schema.RESPONSES))


def remove_spilled(warehouse: Path) -> None:
    """Remove what a killed process has staged, spilled or half written beside the warehouse."""
    for folder in (*warehouse.parent.glob(".ingest-*"), Path(f"{warehouse}.tmp")):
        shutil.rmtree(folder, ignore_errors=True)
    for file in warehouse.parent.glob(f".{warehouse.name}.*.tmp*"):
        file.unlink(missing_ok=True)
