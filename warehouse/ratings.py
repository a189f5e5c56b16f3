"""Scores beside human ratings, read as columns: a million rows take a second."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from warehouse import db

Floats = NDArray[np.float64]
REPORTED = np.array(["", "rounded", "scaled"], dtype=object)  # as ratings_scores numbers them


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
        trimmed_score: the raw score, brought between the ends of the scale.
        score: as reported.
        reported: what that is, ``rounded`` or ``scaled``; empty without a score.
        confidence: of the reported score, 0 to 1.
        truncated: longer than the model reads.
        by_student: a distilled student gave the score.
        adapter_version: in the model registry.
        latency_ms: its share of its batch's time; none where the score was copied.
        human_score: the first rater's.
        human_score_2: the second rater's.
        student: the same number for responses of one student; -1 where the student is not known.
        day: when it was handed in (UTC), or ingested where the export does not say.
        groups: attribute to the level of each response, None where it is not known.
    """

    scored: NDArray[np.bool_]
    reused: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    raw_score: Floats
    trimmed_score: Floats
    score: Floats
    reported: NDArray[np.object_]
    confidence: Floats
    truncated: NDArray[np.bool_]
    by_student: NDArray[np.bool_]
    adapter_version: Floats
    latency_ms: Floats
    human_score: Floats
    human_score_2: Floats
    student: NDArray[np.int64]
    day: NDArray[np.datetime64]
    groups: Mapping[str, NDArray[np.object_]]

    def __len__(self) -> int:
        return int(self.scored.size)

    def __getitem__(self, chosen: slice | NDArray[np.bool_]) -> "RatedScores":
        columns = {
            field.name: getattr(self, field.name)[chosen]
            for field in fields(self)
            if field.name != "groups"
        }
        groups = {attribute: levels[chosen] for attribute, levels in self.groups.items()}
        return RatedScores(**columns, groups=groups)


def rated_scores(
    connection: duckdb.DuckDBPyConnection,
    run_id: str | None,
    *,
    seasons: Sequence[str] | None = None,
    items: Sequence[str] | None = None,
    adapters_of: str | None = None,
) -> Iterator[tuple[Scale, RatedScores]]:
    """Yield every item and trait that has scored or coded responses, by their ids.

    Validity responses are not among them.

    Args:
        connection: the warehouse.
        run_id: what this run scored; None is the current score of everything.
        seasons: only these; None is all.
        items: only these item ids; None is all.
        adapters_of: instead of the current scores of everything, those that the adapters of this
            run gave in it and in released runs.
    """
    chosen = {
        "run_id": run_id,
        "seasons": None if seasons is None else list(seasons),
        "items": None if items is None else list(items),
    }
    wanted = {**chosen, "adapters_of": adapters_of}
    columns = db.execute(connection, "ratings_scores", wanted).fetchnumpy()
    everything = _rated_scores(columns, _groups(connection, columns["response"], chosen))
    for scale, rows in scales_with_rows(connection, columns["scale"]):
        yield scale, everything[rows]


def scales_with_rows(
    connection: duckdb.DuckDBPyConnection, positions: NDArray[np.int32]
) -> Iterator[tuple[Scale, slice]]:
    """Which rows belong to which item and trait.

    Args:
        connection: the warehouse.
        positions: of each row's item and trait among all of them, ascending.
    """
    scales = [Scale(**row) for row in db.rows(connection, "ratings_scales")]
    starts = np.searchsorted(positions, np.arange(len(scales) + 1)).tolist()
    for scale, start, end in zip(scales, starts[:-1], starts[1:], strict=True):
        if end > start:
            yield scale, slice(start, end)


def filled(column: NDArray[Any]) -> Floats:
    """A column as DuckDB gives it, with NaN where it is null."""
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def _rated_scores(
    columns: Mapping[str, NDArray[Any]], groups: Mapping[str, NDArray[np.object_]]
) -> RatedScores:
    return RatedScores(
        scored=np.asarray(columns["scored"]),
        reused=np.asarray(columns["reused"]),
        seen=np.asarray(columns["seen"]),
        raw_score=filled(columns["raw_score"]),
        trimmed_score=filled(columns["trimmed_score"]),
        score=filled(columns["score"]),
        reported=REPORTED[np.asarray(columns["reported"])],
        confidence=filled(columns["confidence"]),
        truncated=filled(columns["truncated"]) > 0,
        by_student=filled(columns["by_student"]) > 0,
        adapter_version=filled(columns["adapter_version"]),
        latency_ms=filled(columns["latency_ms"]),
        human_score=filled(columns["human_score"]),
        human_score_2=filled(columns["human_score_2"]),
        student=_numbered(np.asarray(columns["student"], dtype=np.int64)),
        day=np.asarray(columns["day"], dtype="datetime64[D]"),
        groups=groups,
    )


def _numbered(hashes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Students counted from 0 in the order they appear in; -1 stays.

    A library's hash may change with its version; that two rows share one does not, and what is
    drawn at random by student rests on these numbers.
    """
    _, first, places = np.unique(hashes, return_index=True, return_inverse=True)
    ranks = np.empty(len(first), dtype=np.int64)
    ranks[np.argsort(np.where(hashes[first] < 0, -1, first))] = np.arange(len(first))
    return ranks[places] - bool((hashes < 0).any())


def _groups(
    connection: duckdb.DuckDBPyConnection,
    responses: NDArray[np.int64],
    chosen: Mapping[str, Any],
) -> dict[str, NDArray[np.object_]]:
    """Attribute to the level of each response.

    Args:
        connection: the warehouse.
        responses: the number of each row's response.
        chosen: as for the rows.
    """
    levels = db.rows(connection, "ratings_levels")
    found = db.execute(connection, "ratings_groups", chosen).fetchnumpy()
    attributes = [row["attribute"] for row in levels]
    names = np.array([row["level"] for row in levels] + [None], dtype=object)
    groups = {}
    for attribute in dict.fromkeys(attributes):
        first, count = attributes.index(attribute), attributes.count(attribute)
        of_attribute = (found["level"] >= first) & (found["level"] < first + count)
        if of_attribute.any():
            known, level = found["response"][of_attribute], found["level"][of_attribute]
            groups[attribute] = names[_matched(responses, known, level, len(levels))]
    return groups


def _matched(
    wanted: NDArray[np.int64], known: NDArray[np.int64], values: NDArray[Any], absent: int
) -> NDArray[np.int64]:
    """The value of each wanted key; ``absent`` where it is not among the known ones, ascending."""
    places = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[places] == wanted, values[places], absent)
