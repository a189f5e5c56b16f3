"""Cascades: a student scores a group first, its teacher those texts of which it is not sure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from models.adapters import Adapter
from models.jobs import Group
from models.scored import Scored
from models.student_adapter import score_with_student


@dataclass(frozen=True)
class Screened:
    """What a student says of n texts, and which of them go on to the teacher.

    Attributes:
        scored: the student's scores of all texts.
        unsure: int64 [m], positions of those that go on.
    """

    scored: Scored
    unsure: NDArray[np.int64]

    def rest(self, texts: Sequence[str]) -> list[str]:
        """The texts that go on."""
        return [texts[position] for position in self.unsure]

    def completed(self, teacher: Scored) -> Scored:
        """Scores of all texts, the teacher's of those that went on to it."""
        return self.scored.with_rows(self.unsure, teacher)


def screen(adapter: Adapter, group: Group, tokenizer: Tokenizer, unknown: int | None) -> Screened:
    """Let a cascade's student score a group.

    Args:
        adapter: of a cascade.
        group: its texts.
        tokenizer: see ``models.student_adapter.score_with_student``.
        unknown: see there.

    Raises:
        AdapterError: see there.
        ValueError: the adapter is of no cascade.
    """
    if adapter.student is None or adapter.scoring.cascade is None:
        raise ValueError("an adapter without a student screens nothing")
    scored = score_with_student(
        adapter.student,
        group.texts,
        tokenizer,
        unknown,
        verify=group.verify,
        reported=group.reported,
    )
    return Screened(scored, np.flatnonzero(scored.confidence < adapter.scoring.cascade.limit.limit))
