"""What an export left in the warehouse and under ``responses/``, against what it should have."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from faults.mutations import Case
from faults.values import MARK

TABLES = ("responses", "human_scores", "rejects", "exports")


def left_by_refused(home: Path, warehouse: Any, sha256: str, said: str) -> list[str]:
    """A refused export leaves nothing, and its refusal quotes nothing."""
    faults = []
    if MARK in said:
        faults.append("the refusal quotes a row")
    if _files(home, sha256):
        faults.append("refused, but there are texts")
    for table in TABLES:
        left = _count(warehouse, table, sha256)
        if left:
            faults.append(f"refused, but {left} rows in {table}")
    return faults


def left_by_accepted(case: Case, home: Path, warehouse: Any, counts: Any) -> list[str]:
    """Every row of an export is in one place, and untouched ones are there word for word."""
    faults = []
    kept = counts.accepted + counts.rejected + counts.duplicate + counts.rated
    if counts.received != kept:
        faults.append(f"{counts.received} received are not {kept} accounted for")
    if case.rows is not None and counts.received != case.rows and counts.status == "accepted":
        faults.append(f"{counts.received} rows were received of {case.rows}")
    return (
        faults
        + _rejects(warehouse, counts)
        + _responses(case, home, warehouse, counts)
    )  # fmt: skip


def _rejects(warehouse: Any, counts: Any) -> list[str]:
    found = warehouse.execute(
        "SELECT row, CAST(rejects AS VARCHAR) FROM rejects WHERE export_sha256 = ?",
        [counts.export_sha256],
    ).fetchall()
    faults = []
    if len(found) != counts.rejected + counts.duplicate:
        faults.append(f"{len(found)} rows are in rejects")
    if len({row for row, _ in found}) < len(found):
        faults.append("a row was rejected twice")
    if any(MARK in words for _, words in found):
        faults.append("rejects quote a row")
    return faults


def _responses(case: Case, home: Path, warehouse: Any, counts: Any) -> list[str]:
    held = warehouse.execute(
        "SELECT response_id, text_sha256 FROM responses WHERE export_sha256 = ?",
        [counts.export_sha256],
    ).fetchall()
    texts: dict[str, tuple[str, str]] = {}
    for path in _files(home, counts.export_sha256):
        with pq.ParquetFile(path) as file:
            rows = file.read(["response_id", "text", "text_sha256"]).to_pylist()
        texts |= {row["response_id"]: (row["text"], row["text_sha256"]) for row in rows}
    faults = []
    same = {name: sha256 for name, (_, sha256) in texts.items()} == dict(held)
    if not same or len(held) != counts.accepted:
        faults.append(f"{len(texts)} texts, {len(held)} responses, {counts.accepted} accepted")
    lost = [name for name, text in case.sound if texts.get(name, ("",))[0] != text]
    if lost and counts.status == "accepted":
        faults.append(f"sound rows were not taken in: {lost[:5]}")
    return faults


def _files(home: Path, sha256: str) -> list[Path]:
    return list((home / "responses").glob(f"*/*{sha256[:12]}*.parquet"))


def _count(warehouse: Any, table: str, sha256: str) -> int:
    ((found,),) = warehouse.execute(
        f"SELECT count(*) FROM {table} WHERE export_sha256 = ?",  # noqa: S608 - our own names
        [sha256],
    ).fetchall()
    return int(found)
