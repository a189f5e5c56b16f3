"""A made-up night for ``benchmarks.evaluation``: a warehouse of human-scored responses, no texts.

Items differ in scale and in how well the machine agrees. A quarter of the responses has a second
rater; every response has a first language and a sex; each student has answered several items.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from warehouse import db, runs
from warehouse.items import ItemRow, add_items

DAY = date(2026, 3, 12)
NIGHT = datetime(2026, 3, 12, 2, tzinfo=UTC)
SCALES = ((0, 1), (0, 2), (0, 3), (1, 4), (0, 4), (1, 6))
LANGUAGES = ("English", "Esperanto", "Klingon", "Navi", "Vulcan")
SHARES = (0.6, 0.15, 0.12, 0.08, 0.05)
DOUBLE = 0.25  # share of responses that a second rater has read
ANSWERS = 20  # of one student, each to another item
TRIM = 0.4998  # as models.postprocessing
LATENCY_MS = 4.0


INSERTS = {
    "responses": "INSERT INTO responses BY NAME SELECT * FROM made",
    "human_scores": "INSERT INTO human_scores BY NAME SELECT * FROM made",
    "subgroups": "INSERT INTO subgroups BY NAME SELECT * FROM made",
    "scores": "INSERT INTO scores BY NAME SELECT * FROM made",
}

Columns = dict[str, Any]


def make_warehouse(path: Path, items: int, rows: int, seed: int = 20260312) -> str:
    """Write a night of ``rows`` human-scored responses to ``items`` items; returns its run id."""
    rng = np.random.default_rng(seed)
    scales = {f"I{number:04}": SCALES[number % len(SCALES)] for number in range(items)}
    with db.connect(path) as connection:
        add_items(connection, [ItemRow(name, "overall", *scale) for name, scale in scales.items()])
        run_id = runs.start_run(connection, "nightly", DAY, {"season": "2026-spring"})
        with db.transaction(connection):
            for name, columns in _tables(rng, scales, rows, run_id):
                connection.register("made", pa.table(columns))
                connection.execute(INSERTS[name])
                connection.unregister("made")
            runs.finish_run(
                connection,
                run_id,
                "done",
                runs.RunCounts(waiting=rows, scored=rows),
                adapters_loaded=items,
                peak_rss_mb=900.0,
                responses_per_s=250.0,
            )
    return run_id


def _tables(
    rng: np.random.Generator, scales: Mapping[str, tuple[int, int]], rows: int, run_id: str
) -> Iterator[tuple[str, Columns]]:
    """Columns of each table; items take turns, so that all have as many responses."""
    names = np.array(list(scales))
    item = np.arange(rows) % len(names)
    low, high = (np.array([scale[end] for scale in scales.values()])[item] for end in (0, 1))
    truth = rng.uniform(low - 0.4, high + 0.4)
    first, second = (
        np.clip(np.rint(truth + rng.normal(0, 0.45, rows)), low, high) for _ in range(2)
    )
    ids = {
        "response_id": np.array([f"R{number:07}" for number in range(rows)]),
        "item_id": names[item],
    }
    yield "responses", _responses(rng, ids, rows)
    double = rng.random(rows) < DOUBLE
    yield "human_scores", _human_scores(ids, 1, first)
    kept = {name: values[double] for name, values in ids.items()}
    yield "human_scores", _human_scores(kept, 2, second[double])
    for attribute, levels in (
        ("first language", rng.choice(LANGUAGES, rows, p=SHARES)),
        ("sex", rng.choice(("f", "m"), rows)),
    ):
        yield "subgroups", _subgroups(ids["response_id"], attribute, levels)
    raw = truth + rng.normal(0, rng.uniform(0.35, 0.8, len(names))[item])
    yield "scores", _scores(ids, run_id, raw, np.clip(raw, low - TRIM, high + TRIM))


def _responses(rng: np.random.Generator, ids: Columns, rows: int) -> Columns:
    handed_in = [NIGHT - timedelta(days=int(days)) for days in rng.integers(0, 3, rows)]
    return {
        **ids,
        "season": ["2026-spring"] * rows,
        "student_pseudo": [f"s{number // ANSWERS}" for number in range(rows)],
        "submitted_at": handed_in,
        "ingested_at": handed_in,
        "text_sha256": ids["response_id"],
        "characters": np.full(rows, 100),
        "export_sha256": ["e"] * rows,
    }


def _human_scores(ids: Columns, rater: int, scores: NDArray[np.float64]) -> Columns:
    n = len(scores)
    return {
        **ids,
        "trait": ["overall"] * n,
        "rater": np.full(n, rater),
        "human_score": scores,
        "export_sha256": ["e"] * n,
        "recorded_at": [NIGHT] * n,
    }


def _subgroups(response_ids: NDArray[np.str_], attribute: str, levels: NDArray[np.str_]) -> Columns:
    n = len(levels)
    return {
        "response_id": response_ids,
        "attribute": [attribute] * n,
        "level": levels,
        "export_sha256": ["e"] * n,
    }


def _scores(
    ids: Columns, run_id: str, raw: NDArray[np.float64], trimmed: NDArray[np.float64]
) -> Columns:
    n = len(raw)
    texts = {
        "run_id": run_id,
        "shard": "s",
        "trait": "overall",
        "status": "scored",
        "reported": "rounded",
        "language": "en",
        "adapter_sha256": "a",
    }
    return {
        **ids,
        **{name: [text] * n for name, text in texts.items()},
        "raw_score": raw,
        "trimmed_score": trimmed,
        "score": np.rint(trimmed).astype(np.int32),
        "confidence": 0.5 + 0.5 * np.abs(trimmed - np.floor(trimmed) - 0.5),
        "tokens": np.full(n, 80),
        "unknown_tokens": np.full(n, 1),
        "truncated": np.zeros(n, dtype=bool),
        "adapter_version": np.full(n, 1),
        "latency_ms": np.full(n, LATENCY_MS),
        "scored_at": [NIGHT] * n,
    }
