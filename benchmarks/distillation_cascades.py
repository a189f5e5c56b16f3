"""The cascades of ``benchmarks.distillation``, made of what its jobs have kept of each item."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.distillation_cases import Case
from models.calibration import confidences
from models.cascade import choose_limit
from models.scores import Scale, ScoreColumns
from models.training_data import split_validation

# QWK that a cascade may lose against its teacher.
MOST_LOSS = 0.005


def cascade_of(case: Case, found: Mapping[str, Any]) -> dict[str, Any]:
    """What the cascade reports of the unknown texts, and what its student keeps.

    The limit is chosen as ``models.distillation.Distilled.limit`` chooses it, on responses that
    neither student nor page judges by: of the item's own, and cross-fitted.
    """
    kept, scale = found["cascade_of"], Scale(case.score_min, case.score_max)
    student, held_out = _columns(kept["student"]), _columns(kept["held_out"])
    temperature = kept["temperature"]
    human = np.array(kept["held_out"]["human"], dtype=np.float64)
    human[: len(human) - split_validation(case.ids, np.array(case.scores)).sum()] = np.nan
    limit = choose_limit(
        human,
        held_out.score,
        kept["held_out"]["teacher_score"],
        held_out.raw_score,
        kept["held_out"]["teacher_raw"],
        _sure(held_out, scale, temperature),
        MOST_LOSS,
    )
    stays = _sure(student, scale, temperature) >= limit.limit
    return {
        "cascade": np.where(stays, student.score, found["teacher"]).tolist(),
        "kept": float(stays.mean()),
        "limit": limit.limit,
        "limit_rows": limit.n,
        "limit_kept": limit.kept_share,
    }


def _columns(told: Mapping[str, Any]) -> ScoreColumns:
    score = np.array(told["score"], dtype=np.int32)
    probabilities = np.array(told["probabilities"], dtype=np.float32)
    return ScoreColumns(np.array(told["raw_score"]), score, np.zeros(len(score)), probabilities)


def _sure(columns: ScoreColumns, scale: Scale, temperature: float) -> Any:
    return confidences(columns.probabilities, columns.score - scale.score_min, temperature)
