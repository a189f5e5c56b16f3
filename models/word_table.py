"""Frozen vectors of an item's words: a backbone's, projected to a few dimensions and rounded."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.features import single_words, word_keys
from models.student import VECTOR_BITS
from models.student_fitting import StudentRecipe
from models.student_net import WordTable
from models.word_vectors import WordVectors


def word_table(
    words: Sequence[str], own: Sequence[str], vectors: WordVectors, recipe: StudentRecipe
) -> WordTable:
    """Vectors of some words and of those of the vocabulary that are most like an item's own.

    The backbone's vectors are projected to the directions in which the item's own words differ
    most, their principal components.

    Args:
        words: as ``models.features.spellings`` gives them, the most frequent first; where there
            are too many, the last are left out.
        own: the item's own words, to which the directions are fitted.
        vectors: of a backbone.
        recipe: how many words and dimensions.
    """
    if not recipe.dims or not own:
        return WordTable(np.empty(0, dtype=np.uint64), np.empty((0, recipe.dims), dtype=np.int8))
    more = vectors.nearest_to_any(own, recipe.known_words)
    # Some rare signs are other words once they are in small letters.
    chosen = single_words(list(dict.fromkeys([*words, *more])))[: recipe.known_words]
    keys, first = np.unique(word_keys(chosen), return_index=True)
    rows = _projected(vectors.of([chosen[i] for i in first]), vectors.of(own), recipe.dims)
    whole = np.clip(np.rint(rows * 2**VECTOR_BITS), -127, 127).astype(np.int8)
    return WordTable(keys, whole)


def _projected(
    rows: NDArray[np.float32], fitted_to: NDArray[np.float32], dims: int
) -> NDArray[np.float64]:
    """Rows along the principal components of others, whose spread there is 1 in the mean."""
    mean = fitted_to.mean(axis=0, dtype=np.float64)
    _, _, components = np.linalg.svd(fitted_to - mean, full_matrices=False)
    spread = float(((fitted_to - mean) @ components[:dims].T).std())
    found = (rows - mean) @ components[:dims].T / max(spread, 1e-6)
    projected = np.zeros((len(rows), dims))
    projected[:, : found.shape[1]] = found
    return projected
