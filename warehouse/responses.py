"""Ingest: a staged export is compared with what is known, and taken in whole or not at all."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from warehouse import text_files
from warehouse.clock import moment
from warehouse.db import execute, rows, transaction
from warehouse.storage import Location
from warehouse.text_files import Season
from warehouse.texts import response_file

MEMORY_LIMIT = "300MB"  # of DuckDB; what does not fit is spilled beside the warehouse
THREADS = 2
MOST_SEASONS = 50
MOST_LEVELS = 500  # of an attribute: more are no groups but, perhaps, students
MOST_POINTS = 101  # of a scale that is inferred: 0 to 100

# One row per row of an export. Where fault is set, everything after item_id is null.
STAGED_ROWS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("fault", pa.string()),
        pa.field("found", pa.string()),
        pa.field("response_id", pa.string()),
        pa.field("item_id", pa.string()),
        pa.field("trait", pa.string()),
        pa.field("season", pa.string()),
        pa.field("student_pseudo", pa.string()),
        pa.field("submitted_at", pa.timestamp("us", tz="UTC")),
        pa.field("text", pa.string()),
        pa.field("text_sha256", pa.string()),
        pa.field("characters", pa.int32()),
    ]
)

# One row per human score; a null trait is the item's only one, or `overall`.
STAGED_RATINGS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("trait", pa.string()),
        pa.field("rater", pa.int8(), nullable=False),
        pa.field("human_score", pa.float64(), nullable=False),
    ]
)

# One row per subgroup that a response's student is known to belong to.
STAGED_SUBGROUPS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("attribute", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
    ]
)


class UnusableExportError(ValueError):
    """The rows of an export, taken together, cannot be what they were taken for."""


@dataclass(frozen=True)
class StagedExport:
    """An export whose rows have been read and checked one by one.

    Attributes:
        rows: Parquet of ``STAGED_ROWS``.
        ratings: Parquet of ``STAGED_RATINGS``.
        subgroups: Parquet of ``STAGED_SUBGROUPS``.
        export_sha256: of the export's bytes.
        file: its name, without folders.
        run_id: the run that ingests it.
        mapping: canonical column name to the export's.
        validity: its rows are validity responses, whose scores are known.
    """

    rows: Path
    ratings: Path
    subgroups: Path
    export_sha256: str
    file: str
    run_id: str
    mapping: Mapping[str, str]
    validity: bool = False

    @property
    def purpose(self) -> str:
        """What its responses are there for."""
        return _purpose(validity=self.validity)


@dataclass(frozen=True)
class RowCounts:
    """What became of an export's rows; received is the sum of the next four."""

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    rated: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def is_ingested(
    connection: duckdb.DuckDBPyConnection, export_sha256: str, *, validity: bool = False
) -> bool:
    """Whether an export with the same bytes has been taken in.

    Raises:
        UnusableExportError: it has, and as what it is not taken for now; if that passed for
            "unchanged", students' responses that were once called validity responses would never
            be scored, and nobody would be told.
    """
    found = rows(connection, "ingest_known_export", {"export_sha256": export_sha256})
    known_as = {row["purpose"] for row in found if row["purpose"]}
    if known_as - {_purpose(validity=validity)}:
        raise UnusableExportError(
            f"these bytes were taken in before, with their rows as {known_as.pop()} responses; "
            "what a response is there for does not change: ingest it as that, or give the rows "
            "ids of their own"
        )
    return bool(found)


def ingested_by(
    connection: duckdb.DuckDBPyConnection, export_sha256: str, run_id: str, file: str
) -> RowCounts | None:
    """What a run has taken in of an export before it was killed; None where it has not.

    The reasons of rejected rows are not counted again.
    """
    sought = {"export_sha256": export_sha256, "run_id": run_id, "file": file}
    found = rows(connection, "ingest_of_run", sought)
    return RowCounts(**found[0]) if found else None


def _purpose(*, validity: bool) -> str:
    """What responses are there for."""
    return "validity" if validity else "operational"


def ingest(
    connection: duckdb.DuckDBPyConnection,
    folder: Location,
    staged: StagedExport,
    sentences: Mapping[str, str],
    *,
    infer_items: bool = False,
) -> RowCounts:
    """Take in a staged export: its responses, human scores and rejects, in one transaction.

    Texts go to ``season=<season>/<first 12 of the hash>.parquet`` below ``folder`` before the
    transaction ends. A process killed in between leaves files that nothing refers to; ingesting
    the same export again replaces them.

    Args:
        connection: the warehouse, open for writing.
        folder: the folder ``responses/``, on this machine or in an object store.
        staged: the export.
        sentences: reason code to the sentence that is kept with a reject.
        infer_items: first add items that are not there, with the scale their scores span.

    Raises:
        UnusableExportError: more than 50 seasons or 500 levels of an attribute in one export, no
            row of a known item, or scores that span no likely scale where items are inferred.
    """
    _limit_memory(connection, staged.rows.parent)
    with transaction(connection), _written_files() as written:
        _classify(connection, staged, infer_items=infer_items)
        counts = _count(connection)
        _check_levels(connection, staged)
        seasons = _seasons(connection)
        pieces = text_files.deal_out(connection, staged.rows, seasons)
        for season in seasons:
            path = response_file(folder, season.season, staged.export_sha256)
            written.append(path)
            text_files.write_season(path, pieces[season.first_piece : season.last_piece + 1])
        _insert(connection, staged, sentences, counts)
    return counts


def _limit_memory(connection: duckdb.DuckDBPyConnection, spill: Path) -> None:
    execute(connection, "ingest_memory_limit", {"limit": MEMORY_LIMIT})
    execute(connection, "ingest_threads", {"threads": THREADS})
    execute(connection, "ingest_spill", {"folder": str(spill)})
    execute(connection, "ingest_any_order")


def _classify(
    connection: duckdb.DuckDBPyConnection, staged: StagedExport, *, infer_items: bool
) -> None:
    """Decide what becomes of each row; leaves the tables staged, outcomes and new_scores."""
    execute(connection, "ingest_staged", {"rows": str(staged.rows)})
    if infer_items:
        _infer_items(connection, staged)
    execute(connection, "ingest_ratings", {"ratings": str(staged.ratings)})
    execute(connection, "ingest_checked", {"validity": staged.validity})
    execute(connection, "ingest_matched", {"purpose": staged.purpose})
    for step in ("ingest_rated", "ingest_new_scores", "ingest_outcomes"):
        execute(connection, step)


def _infer_items(connection: duckdb.DuckDBPyConnection, staged: StagedExport) -> None:
    """Add the items that are not there, unless a number stands for "no score", such as -99."""
    now = moment(connection)
    execute(connection, "ingest_infer_items", {"ratings": str(staged.ratings), "now": now})
    unlikely = rows(connection, "ingest_unlikely_scales", {"now": now, "points": MOST_POINTS})
    if unlikely:
        low, high = unlikely[0]["score_min"], unlikely[0]["score_max"]
        raise UnusableExportError(
            f"the human scores of {len(unlikely)} items and traits span no likely scale, such as "
            f"{low} to {high}: leave cells without a score empty, or write the scales in a bank "
            "and add it with `gradeline items add`"
        )


def _check_levels(connection: duckdb.DuckDBPyConnection, staged: StagedExport) -> None:
    """A column of names or numbers of students is no subgroup; its levels would be shown."""
    bound = {"subgroups": str(staged.subgroups), "most": MOST_LEVELS}
    for found in rows(connection, "ingest_many_levels", bound):
        raise UnusableExportError(
            f"the column of the subgroup {found['attribute']!r} holds {found['levels']} different "
            f"values, more than {MOST_LEVELS}: name one that puts students into groups"
        )


def _seasons(connection: duckdb.DuckDBPyConnection) -> list[Season]:
    found = text_files.plan_pieces(connection)
    if len(found) > MOST_SEASONS:
        raise UnusableExportError(
            f"the season column holds {len(found)} different values, more than {MOST_SEASONS}: "
            "name the right one in a mapping file"
        )
    return found


@contextmanager
def _written_files() -> Iterator[list[Location]]:
    """Collects paths; removes these files again if the work fails."""
    written: list[Location] = []
    try:
        yield written
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _count(connection: duckdb.DuckDBPyConnection) -> RowCounts:
    outcomes = {row["outcome"]: row["n"] for row in rows(connection, "ingest_counts")}
    brought = ("accepted", "rated")
    reasons = {name: n for name, n in outcomes.items() if name not in brought}
    duplicate, received = outcomes.get("duplicate", 0), sum(outcomes.values())
    if received and reasons.get("unknown_item") == received:  # else it would count as ingested
        raise UnusableExportError(
            "no row belongs to an item of the bank: add the items with `gradeline items add`"
        )
    return RowCounts(
        received=received,
        accepted=outcomes.get("accepted", 0),
        rejected=sum(reasons.values()) - duplicate,
        duplicate=duplicate,
        rated=outcomes.get("rated", 0),
        reasons=reasons,
    )


def _insert(
    connection: duckdb.DuckDBPyConnection,
    staged: StagedExport,
    sentences: Mapping[str, str],
    counts: RowCounts,
) -> None:
    kept = {"export_sha256": staged.export_sha256, "now": moment(connection)}
    run = {**kept, "run_id": staged.run_id, "file": staged.file}
    execute(connection, "ingest_insert_responses", {**kept, "purpose": staged.purpose})
    subgroups = {"export_sha256": staged.export_sha256, "subgroups": str(staged.subgroups)}
    execute(connection, "ingest_insert_subgroups", subgroups)
    execute(connection, "ingest_insert_human_scores", kept)
    words = {"codes": list(sentences), "sentences": list(sentences.values())}
    execute(connection, "ingest_insert_rejects", {**run, **words})
    execute(
        connection,
        "ingest_insert_export",
        {
            **run,
            "mapping": json.dumps(dict(staged.mapping), ensure_ascii=False),
            "received": counts.received,
            "accepted": counts.accepted,
            "rejected": counts.rejected,
            "duplicate": counts.duplicate,
            "rated": counts.rated,
        },
    )
