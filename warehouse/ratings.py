"""Scores beside human ratings, read as columns: a million rows take a second."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from warehouse import db

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """One item and trait with its range of scores."""

    item_id: str
    trait: str
    score_min: int
    score_max: int


@dataclass(frozen=True)
class RatedScores:
    """Responses of one item and trait, an entry each; NaN where there is no value.

    Attributes:
        scored: has a score; the others have a condition code.
        reused: the score was copied from an earlier run.
        seen: the adapter that scored it was trained or validated on it.
        raw_score: before rounding.
        score: as reported.
        truncated: longer than the model reads.
        adapter_version: in the model registry.
        latency_ms: its share of its batch's time; none where the score was copied.
        human_score: the first rater's.
        human_score_2: the second rater's.
        day: when it was handed in (UTC), or ingested where the export does not say.
    """

    scored: NDArray[np.bool_]
    reused: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    raw_score: Floats
    score: Floats
    truncated: NDArray[np.bool_]
    adapter_version: Floats
    latency_ms: Floats
    human_score: Floats
    human_score_2: Floats
    day: NDArray[np.datetime64]

    def __len__(self) -> int:
        return int(self.scored.size)

    def __getitem__(self, chosen: slice | NDArray[np.bool_]) -> "RatedScores":
        return RatedScores(*(getattr(self, field.name)[chosen] for field in fields(self)))


def rated_scores(
    connection: duckdb.DuckDBPyConnection,
    run_id: str | None,
    *,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
) -> Iterator[tuple[Scale, RatedScores]]:
    """Yield every item and trait that has scored or coded responses, by their ids.

    Args:
        connection: the warehouse.
        run_id: what this run scored; None is the current score of everything.
        seasons: only these; None is all.
        items: only these item ids; None is all.
    """
    scales = [Scale(**row) for row in db.rows(connection, "ratings_scales")]
    chosen = {
        "run_id": run_id,
        "seasons": None if seasons is None else list(seasons),
        "items": None if items is None else list(items),
    }
    columns = db.execute(connection, "ratings_scores", chosen).fetchnumpy()
    starts = np.searchsorted(columns["scale"], np.arange(len(scales) + 1))
    everything = _rated_scores(columns)
    for scale, start, end in zip(scales, starts[:-1], starts[1:], strict=True):
        if end > start:
            yield scale, everything[start:end]


def _rated_scores(columns: Mapping[str, NDArray[Any]]) -> RatedScores:
    def floats(name: str) -> Floats:
        return np.ma.filled(np.ma.asarray(columns[name], dtype=np.float64), np.nan)

    return RatedScores(
        scored=np.asarray(columns["scored"]),
        reused=np.asarray(columns["reused"]),
        seen=np.asarray(columns["seen"]),
        raw_score=floats("raw_score"),
        score=floats("score"),
        truncated=floats("truncated") > 0,
        adapter_version=floats("adapter_version"),
        latency_ms=floats("latency_ms"),
        human_score=floats("human_score"),
        human_score_2=floats("human_score_2"),
        day=np.asarray(columns["day"], dtype="datetime64[D]"),
    )
