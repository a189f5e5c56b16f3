"""The items that ``benchmarks.distillation`` is run on: public ones, and the sample bank's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from benchmarks.public_data import PublicItem, quality_items, read_items
from benchmarks.quality import DATA, ROOT, folds_of
from tasks import item_bank
from tasks.exports import IngestOptions, ingest_export
from warehouse import db, items, training
from warehouse.texts import read_texts

EXAMPLES = ROOT / "examples"
# One of the five parts of a public item's answers is scored by all ways and learned from by none.
FOLD = 0
SEASONS = {"training": "2025-fall", "inbox": "2026-spring"}


@dataclass(frozen=True)
class Case:
    """One item, or one trait of it.

    Attributes:
        name: of item and trait.
        source: ``semeval``, ``saf`` or ``examples``.
        score_min, score_max: its scale.
        ids: n, of the responses to learn from.
        texts: n texts.
        scores: n human scores.
        unlabelled: responses of the item that nobody has scored.
        unknown: m texts to score.
        truth: m human scores.
    """

    name: str
    source: str
    score_min: int
    score_max: int
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    scores: tuple[float, ...]
    unlabelled: tuple[str, ...]
    unknown: tuple[str, ...]
    truth: tuple[float, ...]


def all_cases() -> list[Case]:
    """The public items of ``benchmarks.quality``, where the data is there, and the sample bank."""
    public = quality_items(read_items(DATA)) if DATA.is_dir() else []
    with TemporaryDirectory() as folder:
        return [*map(_public_case, public), *_example_cases(Path(folder))]


def _public_case(item: PublicItem) -> Case:
    folds = folds_of(item.scores)
    known, unknown = np.flatnonzero(folds != FOLD), np.flatnonzero(folds == FOLD)
    return Case(
        name=item.item_id,
        source="saf" if item.score_max == 4 else "semeval",
        score_min=0,
        score_max=item.score_max,
        ids=tuple(item.response_ids[i] for i in known),
        texts=tuple(item.texts[i] for i in known),
        scores=tuple(item.scores[known].astype(float).tolist()),
        unlabelled=(),
        unknown=tuple(item.texts[i] for i in unknown),
        truth=tuple(item.scores[unknown].astype(float).tolist()),
    )


def _example_cases(home: Path) -> list[Case]:
    """Learned from is last season, scored is the night; the rest of the night is unlabelled."""
    warehouse, responses = home / "warehouse.duckdb", home / "responses"
    with db.connect(warehouse) as connection:
        bank = item_bank.item_rows(item_bank.read_bank(EXAMPLES / "bank.yaml"))
        items.add_items(connection, bank)
    for folder, season in SEASONS.items():
        options = IngestOptions(season=season, mapping_file=None, student_key=b"k" * 32)
        for path in sorted((EXAMPLES / folder).iterdir()):
            ingest_export(warehouse, responses, path, "benchmark", options)
    with db.connect(warehouse, read_only=True) as connection:
        rows = training.human_scored(connection, None, None)
        everything = connection.sql(
            "SELECT response_id, item_id, season, export_sha256, text_sha256 FROM responses "
            "WHERE characters > 0 ORDER BY response_id"
        ).to_arrow_table()
    texts = read_texts(responses, everything)
    return [_example_case(row.item_id, row.trait, rows, everything, texts) for row in bank]


def _example_case(
    item_id: str, trait: str, rows: pa.Table, everything: pa.Table, texts: dict[str, str]
) -> Case:
    mine = [row for row in rows.to_pylist() if row["item_id"] == item_id and row["trait"] == trait]
    known = [row for row in mine if row["season"] == SEASONS["training"]]
    unknown = [row for row in mine if row["season"] == SEASONS["inbox"]]
    rated = {row["response_id"] for row in mine}
    unrated = [
        row["response_id"]
        for row in everything.to_pylist()
        if row["item_id"] == item_id and row["response_id"] not in rated
    ]
    return Case(
        name=f"{item_id} ({trait})" if trait != "overall" else item_id,
        source="examples",
        score_min=mine[0]["score_min"],
        score_max=mine[0]["score_max"],
        ids=tuple(row["response_id"] for row in known),
        texts=_texts(known, texts),
        scores=tuple(float(row["human_score"]) for row in known),
        unlabelled=tuple(texts[name] for name in unrated),
        unknown=_texts(unknown, texts),
        truth=tuple(float(row["human_score"]) for row in unknown),
    )


def _texts(rows: Sequence[dict[str, str]], texts: dict[str, str]) -> tuple[str, ...]:
    return tuple(texts[row["response_id"]] for row in rows)
