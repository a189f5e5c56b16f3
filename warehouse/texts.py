"""The texts of responses, read from the Parquet files that hold them."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.storage import Location, readable

logger = logging.getLogger(__name__)


class MissingResponsesError(RuntimeError):
    """The Parquet files under ``responses/`` do not hold what the warehouse says they do."""


def response_file(responses: Location, season: str, export_sha256: str) -> Location:
    """The Parquet file that holds one export's responses of one season."""
    return responses / f"season={quote(season, safe='')}" / f"{export_sha256[:12]}.parquet"


def read_texts(responses: Location, rows: pa.Table) -> dict[str, str]:
    """The text of every response in ``rows``, by response id; see ``find_texts``.

    Raises:
        MissingResponsesError: one is missing, or is another text than was ingested.
    """
    texts = find_texts(responses, rows)
    require_texts(texts, pc.unique(rows["response_id"]).to_pylist(), responses)
    return texts


def find_texts(responses: Location, rows: pa.Table) -> dict[str, str]:
    """The texts that are there, by response id; files that cannot be read are passed over.

    A text whose sha256 is not the one in ``rows`` is not there: it was damaged, or is another.

    Args:
        responses: the folder ``responses/``, on this machine or in an object store.
        rows: columns response_id, item_id, season, export_sha256, text_sha256.
    """
    items, wanted = pc.unique(rows["item_id"]), pc.unique(rows["response_id"])
    expected = dict(
        zip(rows["response_id"].to_pylist(), rows["text_sha256"].to_pylist(), strict=True)
    )
    texts: dict[str, str] = {}
    for season, export in _files(rows):
        path = response_file(responses, season, export)
        try:
            table = pq.read_table(
                readable(path),
                columns=["response_id", "text"],
                filters=pc.field("item_id").isin(items) & pc.field("response_id").isin(wanted),
            )
        except (pa.ArrowInvalid, OSError) as error:
            logger.error("%s cannot be read (%s)", path, type(error).__name__)
            continue
        for response_id, text in zip(*table.to_pydict().values(), strict=True):
            if hashlib.sha256(text.encode()).hexdigest() == expected[response_id]:
                texts[response_id] = text
    return texts


def require_texts(texts: Mapping[str, str], ids: Sequence[str], responses: Location) -> list[str]:
    """The texts of these responses, in their order.

    Raises:
        MissingResponsesError: one is not there.
    """
    absent = sum(response_id not in texts for response_id in ids)
    if absent:
        raise MissingResponsesError(
            f"{absent} of {len(ids)} texts are not in the Parquet files under {responses} as they "
            "were ingested: restore that folder from its backup"
        )
    return [texts[response_id] for response_id in ids]


def _files(rows: pa.Table) -> list[tuple[str, str]]:
    pairs = rows.select(["season", "export_sha256"]).group_by(["season", "export_sha256"])
    files = pairs.aggregate([]).to_pydict()
    return sorted(zip(files["season"], files["export_sha256"], strict=True))
