"""A stand-in for the model: a score from a text's length, at the speed of counting.

It has the interface of ``models.scorer.Scorer`` as ``tasks.inference`` uses it, and is put in its
place here; the product knows nothing of it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine.adapters import POINTS
from benchmarks.operations_data import length_score
from models.backbone import BackboneFiles, resolve_backbone
from models.jobs import Group
from models.scored import Scored

LATENCY_MS = 3.0


class StandIn:
    """Scores texts by their length.

    Args:
        backbone: whose hash the scores carry.
    """

    def __init__(self, backbone: BackboneFiles) -> None:
        self.backbone = backbone
        self.circumstances = "stand-in"
        self.is_unproven = False

    def score_groups(self, groups: Iterable[Group]) -> Iterator[Scored]:
        """Yield the scores of each group; its adapter is not loaded."""
        for group in groups:
            item_id = group.adapter.args[1].item_id  # type: ignore[attr-defined]
            yield _scored(np.array([len(text) for text in group.texts]), int(item_id[1:]))


def _scored(characters: NDArray[np.int64], item: int) -> Scored:
    points = POINTS[item % len(POINTS)]
    n = len(characters)
    raw = length_score(characters, points)
    score = np.clip(np.floor(raw + 0.5), 0, points - 1).astype(np.int32)
    probabilities = np.full((n, points), 0.3 / (points - 1), dtype=np.float32)
    probabilities[np.arange(n), score] = 0.7
    return Scored(
        raw_score=raw,
        trimmed_score=raw,
        scaled_score=np.full(n, np.nan),
        score=score,
        confidence=np.full(n, 0.7),
        probabilities=probabilities,
        by_student=np.zeros(n, dtype=bool),
        truncated=np.zeros(n, dtype=bool),
        latency_ms=np.full(n, LATENCY_MS),
        tokens=characters // 5,
        unknown_tokens=np.zeros(n, dtype=np.int64),
        load_ms=1.0,
    )


@contextmanager
def stand_in() -> Iterator[None]:
    """Inside, shards are scored by the stand-in."""
    from tasks import inference

    def made(engine: Any) -> StandIn:
        return StandIn(resolve_backbone(engine.backbone))

    with patch.object(inference, "_scorer", made):
        yield
