"""Attention within the texts of a packed sequence: no padding, no copies, one pass per head.

The softmax of up to two vectors of queries runs side by side, one query per lane, so no
sum crosses lanes; keys and values of one head of one text stay in the nearest caches. A
library's attention is built for long sequences and spends most of its time, on texts of fifty
tokens, around the products rather than in them; see docs/experiments.md for the measurements.
"""

import ctypes
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from models.jit import (
    F32,
    I64,
    PAIR_LANES,
    POINTER,
    VectorCode,
    c_function,
    compiled,
    host_has_pairs,
    host_lanes,
)

# Scores of this many keys are summed side by side: as many chains as hide a product's latency.
KEYS = 8
# Words of a head that one turn of the innermost loop takes.
UNROLLED = 4
# Vectors of queries that are in hand at once: each key and value loaded is used that often.
MOST_VECTORS = 2

_ARGUMENTS = [POINTER] * 4 + [I64] * 3 + [POINTER] + [I64] * 2 + [F32, POINTER]
_SIGNATURE = c_function(
    *[ctypes.c_void_p] * 4,
    *[ctypes.c_int64] * 3,
    ctypes.c_void_p,
    *[ctypes.c_int64] * 2,
    ctypes.c_float,
    ctypes.c_void_p,
)


def supports(states: Tensor, head_size: int) -> bool:
    """Whether ``attend`` can run on these rows: on the CPU, heads of whole vectors."""
    whole = math.gcd(head_size, host_lanes()) >= UNROLLED
    return states.device.type == "cpu" and whole and states.dtype in (torch.float32, torch.bfloat16)


def attend(
    query: Tensor, key: Tensor, value: Tensor, spans: Tensor, heads: int, scale: float
) -> Tensor:
    """softmax(scale * Q K^T) V, for each text and head by itself.

    Args:
        query: float32 or bfloat16 [queries, heads * head_size]; rows may lie apart.
        key: [tokens, heads * head_size].
        value: the same, its rows as far apart as the keys'.
        spans: int64 [texts, 4]: first query, number of queries, first key, number of keys.
        heads: attention heads.
        scale: factor on the scores before the softmax.

    Returns:
        [queries, heads * head_size]; rows after the last span's are zero, rows between spans are
        not written. Sums are float32; weights are
        rounded to bfloat16 where the processor multiplies that in pairs.
    """
    rows, width = query.shape
    output = query.new_empty(rows, width)
    output[int(spans[-1, 0] + spans[-1, 1]) :] = 0
    longest = int(spans[:, 3].max()) + KEYS
    head_size = width // heads
    lanes = math.gcd(head_size, host_lanes())
    in_hand = MOST_VECTORS * lanes
    scratch = torch.empty(longest * (2 * head_size + in_hand) + head_size * in_hand)
    _kernel(head_size, lanes, query.dtype == torch.bfloat16)(
        query.data_ptr(),
        key.data_ptr(),
        value.data_ptr(),
        output.data_ptr(),
        query.stride(0),
        key.stride(0),
        width,
        spans.data_ptr(),
        len(spans),
        heads,
        scale * math.log2(math.e),
        scratch.data_ptr(),
    )
    return output


@cache
def _kernel(head_size: int, lanes: int, half: bool) -> Any:
    paired = half and lanes == PAIR_LANES and head_size % (2 * lanes) == 0 and host_has_pairs()
    kind = _PairedAttention if paired else _Attention
    return compiled(kind(head_size, lanes, half).module, "attend", _SIGNATURE)


class _Attention(VectorCode):
    """Writes the kernel; the methods go from the outer loop to the inner ones.

    Keys, values, queries and weights lie in scratch memory as words of 32 bits, here one float
    each. ``vectors`` counts the vectors of queries in hand.
    """

    def __init__(self, head_size: int, lanes: int, half: bool):
        super().__init__("attend", _ARGUMENTS, lanes, half)
        self.size = head_size
        (
            self.query,
            self.key,
            self.value,
            self.output,
            self.query_stride,
            self.key_stride,
            self.output_stride,
            self.spans,
            texts,
            self.heads,
            factor,
            self.keys,
        ) = self.function.args
        self.factor = self.splat(factor)
        self.words = self._words_per_key()
        self.loop(texts, 1, [], self._text)
        self.build.ret_void()

    def _words_per_key(self) -> int:
        return self.size

    def _text(self, text: Any, _: Sequence[Any]) -> None:
        build, index = self.build, self.index
        first = build.mul(text, index(4))
        self.query_start, self.queries, self.key_start, self.n_keys = (
            self.scalar(self.spans, build.add(first, index(part)), I64) for part in range(4)
        )
        self.padded = build.mul(
            build.sdiv(build.add(self.n_keys, index(KEYS - 1)), index(KEYS)), index(KEYS)
        )
        # Scratch: keys, values, turned queries, and the scores of the queries in hand.
        size = build.mul(self.padded, index(self.size))
        self.values = self.at(self.keys, size)
        self.turned = self.at(self.values, size)
        self.scores = self.at(self.turned, index(self.size * self.lanes * MOST_VECTORS))
        self.loop(self.heads, 1, [], self._head)

    def _head(self, head: Any, _: Sequence[Any]) -> None:
        build, index = self.build, self.index
        self.offset = build.mul(head, index(self.size))
        self._gather()
        whole = build.sdiv(
            build.add(self.queries, index(self.lanes - 1)), index(MOST_VECTORS * self.lanes)
        )
        whole = build.mul(whole, index(MOST_VECTORS * self.lanes))
        self.loop(
            whole,
            MOST_VECTORS * self.lanes,
            [],
            lambda first, _: self._queries(first, MOST_VECTORS),
        )
        rest = build.sub(self.queries, whole)
        self.loop(rest, self.lanes, [], lambda first, _: self._queries(build.add(whole, first), 1))

    def _gather(self) -> None:
        """Copy keys and values; the last ones stand again in the padding, which adds nothing."""

        def copy(number: Any, _: Sequence[Any]) -> None:
            row = self._key_row(number)
            target = self.build.mul(number, self.index(self.size))
            for part in range(0, self.size, self.lanes):
                places = (self.build.add(place, self.index(part)) for place in (row, target))
                read, written = places
                self.store(self.load_row(self.key, read), self.keys, written)
                self.store(self.load_row(self.value, read), self.values, written)

        self.loop(self.padded, 1, [], copy)

    def _key_row(self, number: Any) -> Any:
        build = self.build
        row = self.at_most(number, build.sub(self.n_keys, self.index(1)))
        row = build.mul(build.add(self.key_start, row), self.key_stride)
        return build.add(row, self.offset)

    def _queries(self, first: Any, vectors: int) -> None:
        build, index = self.build, self.index
        for vector in range(vectors):
            self._turn_queries(build.add(first, index(vector * self.lanes)), vector, vectors)
        start = [self.floats(-math.inf)] * vectors
        largest = self.loop(
            self.padded, KEYS, start, lambda number, found: self._scores(number, found)
        )
        self.shift = [build.fneg(build.fmul(one, self.factor)) for one in largest]
        totals = self._weigh(vectors)
        width = self.lanes // vectors
        for part in range(0, self.size, width):
            self._mix(part, width, vectors)
        for vector, total in enumerate(totals):
            inverse = build.fdiv(self.floats(1.0), total)
            for part in range(0, self.size, self.lanes):
                place = build.add(first, index(vector * self.lanes))
                self._write(place, part, vector, vectors, inverse)

    def _turn_queries(self, first: Any, vector: int, vectors: int) -> None:
        """Lay a vector's queries down word by word: a query per lane."""
        build = self.build
        last = build.sub(self.queries, self.index(1))
        rows = [self.at_most(build.add(first, self.index(r)), last) for r in range(self.lanes)]
        starts = [
            build.add(build.mul(build.add(self.query_start, row), self.query_stride), self.offset)
            for row in rows
        ]
        for part in range(0, self.words, self.lanes):
            loaded = [self._query_words(start, part) for start in starts]
            for place, column in enumerate(self.transpose(loaded)):
                word = (part + place) * vectors + vector
                self.store(column, self.turned, self.index(word * self.lanes))

    def _query_words(self, start: Any, part: int) -> Any:
        return self.load_row(self.query, self.build.add(start, self.index(part)))

    def _scores(self, number: Any, largest: list[Any]) -> list[Any]:
        """Scores of KEYS keys for every query in hand; returns the largest so far."""
        build, index, vectors = self.build, self.index, len(largest)
        keys = self.at(self.keys, build.mul(number, index(self.words)))

        def products(start: Any, sums: list[Any]) -> list[Any]:
            for step in range(UNROLLED):
                place = build.add(start, index(step))
                first = build.mul(place, index(self.lanes * vectors))
                queries = [
                    self.load(self.turned, build.add(first, index(vector * self.lanes)))
                    for vector in range(vectors)
                ]
                for k in range(KEYS):
                    key = self.splat(
                        self.scalar(keys, build.add(place, index(k * self.words)), F32)
                    )
                    for vector, query in enumerate(queries):
                        chain = k * vectors + vector
                        sums[chain] = self._dot(query, key, sums[chain])
            return sums

        start = [self.floats(0.0)] * (KEYS * vectors)
        sums = self.loop(index(self.words), UNROLLED, start, products)
        scores = self.at(self.scores, build.mul(number, index(self.lanes * vectors)))
        for place, score in enumerate(sums):
            self.store(score, scores, index(place * self.lanes))
        for vector in range(vectors):
            found = sums[vector::vectors]
            while len(found) > 1:
                found = [self.larger(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]
            largest[vector] = self.larger(largest[vector], found[0])
        return largest

    def _dot(self, a: Any, b: Any, total: Any) -> Any:
        """Products of words, added up."""
        return self.multiply_add(a, b, total)

    def _weigh(self, vectors: int) -> list[Any]:
        """Turn scores into weights; returns their sums."""

        def weigh(number: Any, totals: list[Any]) -> list[Any]:
            for vector in range(vectors):
                place = self._score_place(number, vector, vectors)
                share = self._share(place, vector)
                self.store(share, self.scores, place)
                totals[vector] = self.build.fadd(totals[vector], share)
            return totals

        return self.loop(self.n_keys, 1, [self.floats(0.0)] * vectors, weigh)

    def _score_place(self, number: Any, vector: int, vectors: int) -> Any:
        place = self.build.mul(number, self.index(self.lanes * vectors))
        return self.build.add(place, self.index(vector * self.lanes))

    def _share(self, place: Any, vector: int) -> Any:
        score = self.load(self.scores, place)
        return self.exp2(self.multiply_add(score, self.factor, self.shift[vector]))

    def _value_rows(self) -> Any:
        return self.n_keys

    def _mix(self, part: int, width: int, vectors: int) -> None:
        """Weighted sums of ``width`` of the values' dimensions, laid down where queries were."""
        build, index = self.build, self.index

        def add(number: Any, sums: list[Any]) -> list[Any]:
            row = build.add(build.mul(number, index(self.size)), index(part))
            values = self.at(self.values, row)
            shares = [
                self.load(self.scores, self._score_place(number, vector, vectors))
                for vector in range(vectors)
            ]
            for d in range(width):
                value = self.splat(self.scalar(values, index(d), F32))
                for vector, share in enumerate(shares):
                    chain = d * vectors + vector
                    sums[chain] = self._dot(share, value, sums[chain])
            return sums

        start = [self.floats(0.0)] * (width * vectors)
        sums = self.loop(self._value_rows(), 1, start, add)
        for place, total in enumerate(sums):
            self.store(total, self.turned, index((part * vectors + place) * self.lanes))

    def _write(self, first: Any, part: int, vector: int, vectors: int, inverse: Any) -> None:
        build, index = self.build, self.index
        columns = [
            self.load(self.turned, index(((part + d) * vectors + vector) * self.lanes))
            for d in range(self.lanes)
        ]
        rows = self.transpose([build.fmul(column, inverse) for column in columns])

        def write(row: int) -> None:
            place = build.add(build.add(self.query_start, first), index(row))
            target = build.add(build.mul(place, self.output_stride), self.offset)
            self.store_row(rows[row], self.output, build.add(target, index(part)))

        steps = [lambda row=row: write(row) for row in range(self.lanes)]
        self.until(build.sub(self.queries, first), steps)


class _PairedAttention(_Attention):
    """The kernel for processors that multiply pairs of bfloat16 and add both products at once.

    A word is a pair: two dimensions of a query or key, the weights of two keys, or one
    dimension of both their values. The weights are rounded to bfloat16, their sum is not.
    """

    def _words_per_key(self) -> int:
        return self.size // 2

    def _query_words(self, start: Any, part: int) -> Any:
        return self.load_words(self.query, self.build.add(start, self.index(2 * part)))

    def _dot(self, a: Any, b: Any, total: Any) -> Any:
        return self.multiply_add_pairs(a, b, total)

    def _gather(self) -> None:
        build, index = self.build, self.index

        def copy(pair: Any, _: Sequence[Any]) -> None:
            numbers = [build.add(build.mul(pair, index(2)), index(k)) for k in range(2)]
            rows = [self._key_row(number) for number in numbers]
            for number, row in zip(numbers, rows, strict=True):
                target = build.mul(number, index(self.words))
                for part in range(0, self.words, self.lanes):
                    words = self.load_words(self.key, build.add(row, index(2 * part)))
                    self.store(words, self.keys, build.add(target, index(part)))
            target = build.mul(pair, index(self.size))
            for part in range(0, self.size, self.lanes):
                first, second = (
                    self.load_row(self.value, build.add(row, index(part))) for row in rows
                )
                self.store(self.paired(first, second), self.values, build.add(target, index(part)))

        self.loop(build.sdiv(self.padded, index(2)), 1, [], copy)

    def _value_rows(self) -> Any:
        return self.build.sdiv(self.build.add(self.n_keys, self.index(1)), self.index(2))

    def _weigh(self, vectors: int) -> list[Any]:
        build, index = self.build, self.index

        def weigh(pair: Any, totals: list[Any]) -> list[Any]:
            number = build.mul(pair, index(2))
            has_second = build.icmp_signed("<", build.add(number, index(1)), self.n_keys)
            for vector in range(vectors):
                place = self._score_place(number, vector, vectors)
                first = self._share(place, vector)
                second = self._share(build.add(place, index(self.lanes * vectors)), vector)
                second = build.select(has_second, second, self.floats(0.0))
                self.store(
                    self.paired(first, second),
                    self.scores,
                    self._score_place(pair, vector, vectors),
                )
                totals[vector] = build.fadd(totals[vector], build.fadd(first, second))
            return totals

        return self.loop(self._value_rows(), 1, [self.floats(0.0)] * vectors, weigh)
