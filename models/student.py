"""A distilled student: a small network over a text's words, scored with numpy alone.

A word is the sum of its pieces' rows in a trained table, beside a frozen vector for the words that
are known. Filters look at every word with its neighbours (Kim 2014, "Convolutional neural networks
for sentence classification"). The greatest and the mean answer of each over the text go through a
hidden layer, which can ask for two ideas at once; both it and they decide the thresholds of an
ordinal head, as ``models.heads`` has it.

All weights are whole numbers of a fixed unit, and so is everything that is summed: such sums are
exact in any order, also in a matrix product of float64. A text's score is therefore the same
whatever texts are scored beside it, and on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from models.adapter_files import AdapterError, check_names
from models.features import Words, chunks, read_words
from models.scores import Scale, ScoreColumns, of_thresholds

Floats = NDArray[np.float64]

# A word and its two neighbours.
WINDOW = 3
# Trained numbers of a student, at most.
MOST_TRAINED = 30_000
# Units of what is stored and of what is computed: 1 / 2^n.
TABLE_BITS, VECTOR_BITS, FILTER_BITS, STATE_BITS, OUTPUT_BITS = 8, 4, 12, 10, 12
# A word's own numbers, in table units, are cut here: then all sums stay below 2^53.
MOST_WORD = 1 << 15
# A hidden unit's answer, in state units, is cut here for the same reason.
MOST_HIDDEN = 1 << 30
# Texts are scored in parts of so many characters, whose arrays stay in a processor's caches.
CHARACTERS = 1 << 18

_DTYPES: Mapping[str, type[np.generic]] = {
    "table": np.int16,
    "word_keys": np.uint64,
    "word_vectors": np.int8,
    "filters": np.int16,
    "filter_bias": np.int16,
    "hidden": np.int16,
    "hidden_bias": np.int16,
    "output": np.int16,
    "bias": np.int32,
}


@dataclass(frozen=True)
class Student:
    """A student's weights, whole numbers in the units above.

    Attributes:
        table: int16 [buckets, width], of words' pieces, see ``models.features``.
        word_keys: uint64 [m], ascending: the words that have a frozen vector.
        word_vectors: int8 [m, dims]; not trained.
        filters: int16 [3, width + dims, h], for the word before, the word and the one after.
        filter_bias: int16 [h].
        hidden: int16 [2 h + 1, u]: of each filter's greatest answer, of its mean, and of the
            logarithm of the number of words.
        hidden_bias: int16 [u].
        output: int16 [2 h + 1 + u, K - 1]: of all these, then of the hidden units.
        bias: int32 [K - 1].

    Raises:
        ValueError: an array has another type or a shape that does not fit the others, or the
            words do not ascend.
    """

    table: NDArray[np.int16]
    word_keys: NDArray[np.uint64]
    word_vectors: NDArray[np.int8]
    filters: NDArray[np.int16]
    filter_bias: NDArray[np.int16]
    hidden: NDArray[np.int16]
    hidden_bias: NDArray[np.int16]
    output: NDArray[np.int16]
    bias: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, dtype in _DTYPES.items():
            if getattr(self, name).dtype != dtype:
                raise ValueError(f"{name} holds {getattr(self, name).dtype}, not {dtype.__name__}")
        for name, shape in self._shapes().items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}, not {shape}")
        if not len(self.table) or np.any(self.word_keys[1:] <= self.word_keys[:-1]):
            raise ValueError("the table is empty, or word_keys do not ascend")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """What the shapes must be, by the first length of each array."""
        buckets, width = (*self.table.shape, 0, 0)[:2]
        words, dims = len(self.word_keys.ravel()), (*self.word_vectors.shape, 0, 0)[1]
        filters, thresholds = len(self.filter_bias.ravel()), len(self.bias.ravel())
        units = len(self.hidden_bias.ravel())
        return {
            "table": (buckets, width),
            "word_keys": (words,),
            "word_vectors": (words, dims),
            "filters": (WINDOW, width + dims, filters),
            "filter_bias": (filters,),
            "hidden": (2 * filters + 1, units),
            "hidden_bias": (units,),
            "output": (2 * filters + 1 + units, thresholds),
            "bias": (thresholds,),
        }

    @property
    def trained_parameters(self) -> int:
        """How many of its numbers are trained: all but the words' frozen vectors."""
        frozen = ("word_keys", "word_vectors")
        return sum(getattr(self, name).size for name in _DTYPES if name not in frozen)

    def score(self, texts: Sequence[str], scale: Scale) -> ScoreColumns:
        """Score n texts, any strings at all.

        Raises:
            ValueError: the student is for another number of score points.
        """
        if len(self.bias) != scale.n_points - 1:
            raise ValueError(
                f"the student has {len(self.bias)} thresholds, a scale of {scale.n_points} points "
                f"needs {scale.n_points - 1}"
            )
        with np.errstate(over="ignore"):  # a logit below -709 is a probability of 0
            above = 1 / (1 + np.exp(-self.logits(texts)))
        return of_thresholds(above, scale)

    def logits(self, texts: Sequence[str]) -> Floats:
        """Log-odds that each text's score lies above each threshold, float64 [n, K - 1]."""
        parts = [self._part(texts[part]) for part in chunks(texts, CHARACTERS)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.bias)))

    def _part(self, texts: Sequence[str]) -> Floats:
        words = read_words(texts, len(self.table))
        pooled = self._pooled(words, self._answers(self._word_states(words)))
        pooled = np.concatenate([pooled, self._hidden(pooled)], axis=1)
        summed = pooled @ self.output.astype(np.float64)
        return np.asarray(summed / 2.0 ** (STATE_BITS + OUTPUT_BITS) + self.bias / 2.0**OUTPUT_BITS)

    def _hidden(self, pooled: Floats) -> Floats:
        """What each hidden unit makes of each text, in state units, [n, u]."""
        summed = np.rint(pooled @ self.hidden.astype(np.float64) / 2.0**OUTPUT_BITS)
        return np.clip(summed + self.hidden_bias, 0, MOST_HIDDEN)

    def _word_states(self, words: Words) -> Floats:
        """Every distinct word's numbers in table units, whole ones, [m, width + dims]."""
        rows = self.table[words.buckets].astype(np.int64)
        starts = words.bucket_offsets[:-1]
        sums = np.add.reduceat(rows, starts, axis=0) if len(starts) else rows
        sizes = np.diff(words.bucket_offsets)
        own = np.rint(sums / np.sqrt(sizes)[:, None])
        vectors = np.zeros((len(words.keys), self.word_vectors.shape[1]))
        places = np.searchsorted(self.word_keys, words.keys)
        places = np.minimum(places, max(0, len(self.word_keys) - 1))
        if len(self.word_keys):
            known = self.word_keys[places] == words.keys
            vectors[known] = self.word_vectors[places[known]]
        vectors *= 1 << (TABLE_BITS - VECTOR_BITS)
        states = np.concatenate([own, vectors], axis=1)
        return np.asarray(np.clip(states, -MOST_WORD, MOST_WORD), dtype=np.float64)

    def _answers(self, states: Floats) -> NDArray[np.int32]:
        """What each filter part makes of each distinct word, and of none, [3, m + 1, h]."""
        summed = states @ self.filters.astype(np.float64)
        answers = np.zeros((WINDOW, len(states) + 1, len(self.filter_bias)), dtype=np.int32)
        answers[:, :-1] = np.rint(summed / 2.0 ** (TABLE_BITS + FILTER_BITS - STATE_BITS))
        return answers

    def _pooled(self, words: Words, answers: NDArray[np.int32]) -> Floats:
        """Greatest and mean answer of each filter, and the length, in state units, [n, 2 h + 1]."""
        before, own, after = answers
        lengths, nothing = np.diff(words.offsets), len(words.keys)
        filled = lengths > 0
        starts, stops = words.offsets[:-1][filled], words.offsets[1:][filled]
        left, right = np.roll(words.words, 1), np.roll(words.words, -1)
        left[starts], right[stops - 1] = nothing, nothing
        pooled = np.zeros((len(lengths), 2 * own.shape[1] + 1))
        if not len(starts):
            return pooled
        found = own[words.words]
        found += before[left]
        found += after[right]
        found += self.filter_bias
        np.maximum(found, 0, out=found)
        n = lengths[filled]
        sums = np.add.reduceat(found, starts, axis=0, dtype=np.int64)
        pooled[filled] = np.concatenate(
            [
                np.maximum.reduceat(found, starts, axis=0),
                np.rint(sums / n[:, None]),
                np.rint(np.log(n) * (1 << STATE_BITS))[:, None],
            ],
            axis=1,
        )
        return pooled


def written(student: Student) -> bytes:
    """The content of ``student.safetensors``: the same bytes for the same student."""
    return bytes(
        save(
            {
                field.name: np.ascontiguousarray(getattr(student, field.name))
                for field in fields(student)
            }
        )
    )


def read_student(content: bytes, path: Path, scale: Scale) -> Student:
    """A student from the bytes of its file.

    Args:
        content: the file's.
        path: where it came from, for errors.
        scale: the item's.

    Raises:
        AdapterError: it is no safetensors file, a tensor is missing or one too many, of another
            type or a shape that does not fit, or it is for another number of score points.
    """
    try:
        tensors: dict[str, NDArray[np.generic]] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error
    check_names(path, tensors.keys(), _DTYPES.keys())
    try:
        student = Student(**tensors)  # type: ignore[arg-type]
    except ValueError as error:
        raise AdapterError(f"{path}: {error}") from error
    if len(student.bias) != scale.n_points - 1:
        raise AdapterError(
            f"{path} has {len(student.bias)} thresholds, the scale {scale.score_min}.."
            f"{scale.score_max} needs {scale.n_points - 1}"
        )
    return student
