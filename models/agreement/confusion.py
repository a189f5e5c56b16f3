"""Which scores people and machine gave the same responses: counts of every combination."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement.pairs import aligned


def confusion_matrix(human: ArrayLike, machine: ArrayLike, labels: ArrayLike) -> NDArray[np.int64]:
    """Count every combination of scores.

    Args:
        human: [N] scores, each one of the labels.
        machine: [N] scores, each one of the labels.
        labels: [K] the score points, ascending: the item's whole range.

    Returns:
        [K, K] counts, a row for each human score and a column for each machine score.

    Raises:
        ValueError: a score is none of the labels, or the arrays are not of one length.
    """
    first, second = aligned(human, machine)
    points = np.asarray(labels, dtype=np.float64)
    for name, scores in (("human", first), ("machine", second)):
        strange = np.setdiff1d(scores, points)
        if strange.size:
            raise ValueError(f"{name} score {strange[0]:g} is not one of the labels {points}")
    cells = np.searchsorted(points, first) * points.size + np.searchsorted(points, second)
    return np.bincount(cells, minlength=points.size**2).reshape(points.size, points.size)
