"""Attention within the texts of a packed sequence: no padding, no copies, one pass per head.

The softmax of up to ``lanes`` queries runs side by side, one query per lane of a vector, so no
sum crosses lanes; keys and values of one head of one text stay in the first-level cache. A
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

from models.jit import F32, I64, POINTER, VectorCode, c_function, compiled, host_lanes

# Scores of this many keys are summed side by side: as many chains as hide a product's latency.
KEYS = 8
# Dimensions of a head that one turn of the innermost loop takes.
UNROLLED = 4

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
        [queries, heads * head_size]; rows in no span are zero. Sums are float32.
    """
    rows, width = query.shape
    output = query.new_empty(rows, width)
    output[int(spans[-1, 0] + spans[-1, 1]) :] = 0
    longest = int(spans[:, 3].max()) + KEYS
    head_size = width // heads
    lanes = math.gcd(head_size, host_lanes())
    scratch = torch.empty(longest * (2 * head_size + lanes) + head_size * lanes)
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
    return compiled(_Attention(head_size, lanes, half).module, "attend", _SIGNATURE)


class _Attention(VectorCode):
    """Writes the kernel; the methods go from the outer loop to the inner ones."""

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
            self.factor,
            self.keys,
        ) = self.function.args
        self.loop(texts, 1, [], self._text)
        self.build.ret_void()

    def _text(self, text: Any, _: Sequence[Any]) -> None:
        build, index = self.build, self.index
        first = build.mul(text, index(4))
        self.query_start, self.queries, self.key_start, self.n_keys = (
            self.scalar(self.spans, build.add(first, index(part)), I64) for part in range(4)
        )
        self.padded = build.mul(
            build.sdiv(build.add(self.n_keys, index(KEYS - 1)), index(KEYS)), index(KEYS)
        )
        # Scratch: keys, values, transposed queries, and the scores of the queries in hand.
        size = build.mul(self.padded, index(self.size))
        self.values = self.at(self.keys, size)
        self.turned = self.at(self.values, size)
        self.scores = self.at(self.turned, index(self.size * self.lanes))
        self.loop(self.heads, 1, [], self._head)

    def _head(self, head: Any, _: Sequence[Any]) -> None:
        self.offset = self.build.mul(head, self.index(self.size))
        self.loop(self.padded, 1, [], self._gather)
        self.loop(self.queries, self.lanes, [], self._queries)

    def _gather(self, number: Any, _: Sequence[Any]) -> None:
        """Copy a key and a value; the last ones stand again in the padding, which adds nothing."""
        build = self.build
        row = self.at_most(number, build.sub(self.n_keys, self.index(1)))
        row = build.mul(build.add(self.key_start, row), self.key_stride)
        source = build.add(row, self.offset)
        target = build.mul(number, self.index(self.size))
        for part in range(0, self.size, self.lanes):
            places = (build.add(place, self.index(part)) for place in (source, target))
            read, written = places
            self.store(self.load_row(self.key, read), self.keys, written)
            self.store(self.load_row(self.value, read), self.values, written)

    def _queries(self, first: Any, _: Sequence[Any]) -> None:
        build = self.build
        self._turn_queries(first)
        (largest,) = self.loop(self.padded, KEYS, [self.floats(-math.inf)], self._scores)

        def weight(number: Any, total: list[Any]) -> list[Any]:
            place = build.mul(number, self.index(self.lanes))
            share = self.exp2(build.fsub(self.load(self.scores, place), largest))
            self.store(share, self.scores, place)
            return [build.fadd(total[0], share)]

        (total,) = self.loop(self.n_keys, 1, [self.floats(0.0)], weight)
        inverse = build.fdiv(self.floats(1.0), total)
        for part in range(0, self.size, self.lanes):
            self._mix(first, part, inverse)

    def _turn_queries(self, first: Any) -> None:
        build = self.build
        last = build.sub(self.queries, self.index(1))
        rows = [self.at_most(build.add(first, self.index(r)), last) for r in range(self.lanes)]
        starts = [
            build.add(build.mul(build.add(self.query_start, row), self.query_stride), self.offset)
            for row in rows
        ]
        factor = self.splat(self.factor)
        for part in range(0, self.size, self.lanes):
            loaded = [
                self.load_row(self.query, build.add(start, self.index(part))) for start in starts
            ]
            for place, column in enumerate(self.transpose(loaded)):
                target = self.index((part + place) * self.lanes)
                self.store(build.fmul(column, factor), self.turned, target)

    def _scores(self, number: Any, largest: list[Any]) -> list[Any]:
        """Scores of KEYS keys for every query in hand; returns the largest so far."""
        build, index = self.build, self.index
        keys = self.at(self.keys, build.mul(number, index(self.size)))

        def products(dimension: Any, sums: list[Any]) -> list[Any]:
            for step in range(UNROLLED):
                place = build.add(dimension, index(step))
                query = self.load(self.turned, build.mul(place, index(self.lanes)))
                for k in range(KEYS):
                    key = self.scalar(keys, build.add(place, index(k * self.size)), F32)
                    sums[k] = self.multiply_add(query, self.splat(key), sums[k])
            return sums

        sums = self.loop(index(self.size), UNROLLED, [self.floats(0.0)] * KEYS, products)
        scores = self.at(self.scores, build.mul(number, index(self.lanes)))
        for k, score in enumerate(sums):
            self.store(score, scores, index(k * self.lanes))
        while len(sums) > 1:
            sums = [self.larger(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        return [self.larger(largest[0], sums[0])]

    def _mix(self, first: Any, part: int, inverse: Any) -> None:
        """Weighted means of ``lanes`` of the values' dimensions, for the queries in hand."""
        build, index = self.build, self.index

        def add(number: Any, sums: list[Any]) -> list[Any]:
            share = self.load(self.scores, build.mul(number, index(self.lanes)))
            row = build.add(build.mul(number, index(self.size)), index(part))
            values = self.at(self.values, row)
            return [
                self.multiply_add(share, self.splat(self.scalar(values, index(d), F32)), total)
                for d, total in enumerate(sums)
            ]

        sums = self.loop(self.n_keys, 1, [self.floats(0.0)] * self.lanes, add)
        rows = self.transpose([build.fmul(total, inverse) for total in sums])

        def write(row: int) -> None:
            place = build.add(build.add(self.query_start, first), index(row))
            target = build.add(build.mul(place, self.output_stride), self.offset)
            self.store_row(rows[row], self.output, build.add(target, index(part)))

        steps = [lambda row=row: write(row) for row in range(self.lanes)]
        self.until(build.sub(self.queries, first), steps)
