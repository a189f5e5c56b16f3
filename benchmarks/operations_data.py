"""A made-up season for ``benchmarks.operations``: bank, exports, adapters with random weights.

Texts are random words, so no two are alike and nothing is copied from the ledger. One response in
ten has a human score; a student has answered five questions. Prefect and MLflow read their settings
when they are imported, so what imports them is imported late.
"""

import csv
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.engine.adapters import POINTS, adapter_folder
from flows.settings import Settings
from models.adapter_folders import adapter_sha256, read_scoring
from warehouse import db
from warehouse.items import ItemRow, add_items
from warehouse.training import record_seen

SEASON = "2026-spring"
FIRST_DAY = date(2026, 3, 2)
EXPORTS = 20  # nights that the season took
RATED = 10  # one response in so many has a human score
APART = 5  # and of these one in so many is a point away from the stand-in's
ANSWERS = 5  # of one student
WORDS = (
    "because the water heat moves plant light energy changed since more less river people "
    "number graph it was they would could shadow sun metal cell friction speed reason evidence"
)
HEADER = ("response_id", "item_id", "student_id", "submitted_at", "human_score", "text")


def item_name(number: int) -> str:
    """The id of an item."""
    return f"I{number:03}"


def make_bank(settings: Settings, items: int) -> None:
    """Add the items; their scales are those of the adapters."""
    bank = [
        ItemRow(item_name(number), "overall", 0, POINTS[number % len(POINTS)] - 1)
        for number in range(items)
    ]
    with db.connect(settings.warehouse) as connection:
        add_items(connection, bank)


def write_exports(folder: Path, rows: int, items: int, exports: int = EXPORTS) -> list[Path]:
    """Write the season's exports, one a night; returns their paths."""
    draw = random.Random(20260302)  # noqa: S311 - not for secrets
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"night-{night:02}.csv" for night in range(exports)]
    for night, path in enumerate(paths):
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(HEADER)
            for number in range(night * rows // exports, (night + 1) * rows // exports):
                writer.writerow(_row(draw, number, items, FIRST_DAY + timedelta(night)))
    return paths


def ingest(settings: Settings, exports: list[Path]) -> None:
    """Take the exports in, outside any run that is measured."""
    from tasks.exports import IngestOptions, ingest_export

    options = IngestOptions(season=SEASON, mapping_file=None, student_key=settings.student_key())
    for path in exports:
        ingest_export(settings.warehouse, settings.responses, path, "made", options)


def register(settings: Settings, items: int) -> None:
    """Register an adapter for every item, and make it champion."""
    from flows.scoring import tracking_of
    from tasks import tracking
    from tasks.tracking import CHAMPION, NewAdapter

    where = tracking_of(settings)
    run_id = f"train-made-{items}"
    parent = tracking.start_run(where, "training", run_id, {"run_kind": "train"})
    for number in range(items):
        folder = adapter_folder("minilm", "recipe", number)
        scoring = read_scoring(folder)
        sha256 = adapter_sha256(folder)
        new = NewAdapter(
            item_id=item_name(number),
            trait="overall",
            folder=folder,
            sha256=sha256,
            training_data_sha256="",
            recipe_sha256="",
            backbone_sha256=scoring.backbone_sha256,
            metrics={},
        )
        found = tracking.register_adapter(where, parent, new, FIRST_DAY)
        tracking.set_alias(where, found, CHAMPION)
        with db.connect(settings.warehouse) as connection:
            record_seen(connection, sha256, "overall", [f"made-{number}"], [])
    tracking.log_run(where, parent, metrics={}, params={}, day=FIRST_DAY)


def _row(draw: random.Random, number: int, items: int, day: date) -> tuple[str, ...]:
    item = draw.randrange(items)
    student = f"S-{number // ANSWERS:06}"
    text = " ".join(draw.choices(WORDS.split(), k=draw.randrange(10, 60)))
    score = str(_human_score(draw, item, len(text))) if number % RATED == 0 else ""
    return f"{number:08}", item_name(item), student, f"{day}T10:00:00Z", score, text


def _human_score(draw: random.Random, item: int, characters: int) -> int:
    """What a person would say who nearly always agrees with the stand-in."""
    points = POINTS[item % len(POINTS)]
    score = int(length_score(characters, points) + 0.5)
    away = draw.choice((-1, 1)) if draw.randrange(APART) == 0 else 0
    return min(max(score + away, 0), points - 1)


def length_score(characters: Any, points: int) -> Any:
    """The raw score that the stand-in gives a text of so many characters, or an array of them."""
    return characters % 97 / 96 * (points - 1)
