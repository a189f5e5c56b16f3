"""The texts of responses, read from the Parquet files that hold them."""

from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


class MissingResponsesError(RuntimeError):
    """The Parquet files under ``responses/`` do not hold what the warehouse says they do."""


def response_file(responses: Path, season: str, export_sha256: str) -> Path:
    """The Parquet file that holds one export's responses of one season."""
    return responses / f"season={quote(season, safe='')}" / f"{export_sha256[:12]}.parquet"


def read_texts(responses: Path, rows: pa.Table) -> dict[str, str]:
    """The text of every response in ``rows``, by response id.

    Args:
        responses: the folder ``responses/``.
        rows: columns response_id, item_id, season, export_sha256, text_sha256.

    Raises:
        MissingResponsesError: a file or a row is missing, or holds another text than was ingested.
    """
    items, wanted = pc.unique(rows["item_id"]), pc.unique(rows["response_id"])
    expected = dict(
        zip(rows["response_id"].to_pylist(), rows["text_sha256"].to_pylist(), strict=True)
    )
    texts: dict[str, str] = {}
    for season, export in _files(rows):
        path = response_file(responses, season, export)
        if not path.exists():
            raise MissingResponsesError(f"{path} is missing: restore it from its backup")
        table = pq.read_table(
            path,
            columns=["response_id", "text", "text_sha256"],
            filters=pc.field("item_id").isin(items) & pc.field("response_id").isin(wanted),
        )
        for response_id, text, sha256 in zip(*table.to_pydict().values(), strict=True):
            if expected[response_id] == sha256:
                texts[response_id] = text
    if len(texts) < len(wanted):
        raise MissingResponsesError(
            f"{len(wanted) - len(texts)} responses are not in the Parquet files under {responses} "
            "as they were ingested: restore that folder from its backup"
        )
    return texts


def _files(rows: pa.Table) -> list[tuple[str, str]]:
    pairs = rows.select(["season", "export_sha256"]).group_by(["season", "export_sha256"])
    files = pairs.aggregate([]).to_pydict()
    return sorted(zip(files["season"], files["export_sha256"], strict=True))
