"""The gradient of attention within the texts of a packed sequence, for training.

Laid out like ``models.attention``: one query per lane of a vector, one head of one text at a
time. The softmax is computed again from queries and keys, as in FlashAttention (Dao et al. 2022,
appendix B): with S = scale * Q K^T, P = softmax(S) and the output's gradient G,

    dV = P^T G,                          dP = G V^T,
    dS = P * (dP - rowsum(P * dP)),      dQ = scale * dS K,      dK = scale * dS^T Q.
"""

import ctypes
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from models.attention import KEYS, UNROLLED
from models.jit import F32, I64, POINTER, VectorCode, c_function, compiled, host_lanes

_ARGUMENTS = [POINTER] * 4 + [I64] * 2 + [F32] * 2 + [POINTER]
_SIGNATURE = c_function(
    *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 2, *[ctypes.c_float] * 2, ctypes.c_void_p
)


def attention_gradient(
    gradient: Tensor, qkv: Tensor, spans: Tensor, heads: int, scale: float
) -> Tensor:
    """From the gradient of ``models.attention.attend``'s output to that of what it was given.

    Args:
        gradient: [tokens, heads * head_size], float32 or bfloat16, contiguous.
        qkv: [tokens, 3 * heads * head_size], of the same type, contiguous: queries, keys and
            values side by side, as they were given to ``attend``.
        spans: int64 [texts, 2], contiguous: each text's first token and number of tokens.
        heads: attention heads.
        scale: factor on the scores before the softmax.

    Returns:
        [tokens, 3 * heads * head_size]; rows after the last text are zero. Sums are float32.
    """
    head_size = gradient.shape[1] // heads
    kernel, lanes = _kernel(head_size, qkv.dtype == torch.bfloat16)
    output = torch.empty_like(qkv)
    output[int(spans[-1].sum()) :] = 0
    longest = int(spans[:, 1].max()) + max(lanes, KEYS)
    scratch = torch.empty(longest * (6 * head_size + 2 * lanes) + 2 * head_size * lanes)
    kernel(
        qkv.data_ptr(),
        gradient.data_ptr(),
        output.data_ptr(),
        spans.data_ptr(),
        len(spans),
        heads,
        scale * math.log2(math.e),
        scale,
        scratch.data_ptr(),
    )
    return output


@cache
def _kernel(head_size: int, half: bool) -> tuple[Any, int]:
    lanes = math.gcd(head_size, host_lanes())
    return compiled(_Gradient(head_size, lanes, half).module, "gradient", _SIGNATURE), lanes


class _Gradient(VectorCode):
    """Writes the kernel; the methods go from the outer loop to the inner ones."""

    def __init__(self, head_size: int, lanes: int, half: bool):
        super().__init__("gradient", _ARGUMENTS, lanes, half)
        self.size = head_size
        (
            self.qkv,
            self.gradient,
            self.output,
            self.spans,
            texts,
            self.heads,
            self.factor,
            self.scale,
            self.scratch,
        ) = self.function.args
        self.width = self.build.mul(self.heads, self.index(head_size))
        self.loop(texts, 1, [], self._text)
        self.build.ret_void()

    def _text(self, text: Any, _: Sequence[Any]) -> None:
        build, index = self.build, self.index
        first = build.mul(text, index(2))
        self.start, self.tokens = (
            self.scalar(self.spans, build.add(first, index(part)), I64) for part in range(2)
        )
        step = index(max(self.lanes, KEYS))
        whole = build.add(self.tokens, build.sub(step, index(1)))
        self.padded = build.mul(build.sdiv(whole, step), step)
        self._share_scratch()
        self.loop(self.heads, 1, [], self._head)

    def _share_scratch(self) -> None:
        """Six tables of a head's rows; of the queries in hand two turned ones and two of scores."""
        build = self.build
        rows = build.mul(self.padded, self.index(self.size))
        turned = self.index(self.size * self.lanes)
        scores = build.mul(self.padded, self.index(self.lanes))
        starts = [self.scratch]
        for size in [rows] * 6 + [turned] * 2 + [scores]:
            starts.append(self.at(starts[-1], size))
        self.queries, self.keys, self.values, self.gradients = starts[:4]
        self.key_sums, self.value_sums = starts[4:6]
        self.turned_queries, self.turned_gradients = starts[6:8]
        self.shares, self.changes = starts[8:]

    def _head(self, head: Any, _: Sequence[Any]) -> None:
        self.offset = self.build.mul(head, self.index(self.size))
        self.loop(self.padded, 1, [], self._gather)
        self.loop(self.tokens, self.lanes, [], self._queries)
        self.loop(self.tokens, 1, [], self._write_sums)

    def _places(self, token: Any, part: int) -> tuple[Any, Any, Any]:
        """Where a token's query, key and value lie outside."""
        build = self.build
        row = build.mul(build.add(self.start, token), build.mul(self.width, self.index(3)))
        query = build.add(row, build.add(self.offset, self.index(part)))
        key = build.add(query, self.width)
        return query, key, build.add(key, self.width)

    def _gather(self, number: Any, _: Sequence[Any]) -> None:
        """Copy a token's rows; padding repeats the last, with no gradient, so it adds nothing."""
        build = self.build
        token = self.at_most(number, build.sub(self.tokens, self.index(1)))
        is_real = build.icmp_signed("<", number, self.tokens)
        zero = self.floats(0.0)
        for part in range(0, self.size, self.lanes):
            target = self._row(number, part)
            copies = (self.queries, self.keys, self.values)
            for copy, place in zip(copies, self._places(token, part), strict=True):
                self.store(self.load_row(self.qkv, place), copy, target)
            row = build.mul(build.add(self.start, token), self.width)
            place = build.add(row, build.add(self.offset, self.index(part)))
            change = build.select(is_real, self.load_row(self.gradient, place), zero)
            self.store(change, self.gradients, target)
            self.store(zero, self.key_sums, target)
            self.store(zero, self.value_sums, target)

    def _queries(self, first: Any, _: Sequence[Any]) -> None:
        build = self.build
        self._turn(self.queries, first, self.turned_queries, self.splat(self.factor))
        self._turn(self.gradients, first, self.turned_gradients, self.floats(1.0))
        (largest,) = self.loop(self.padded, KEYS, [self.floats(-math.inf)], self._scores)

        def weight(number: Any, sums: list[Any]) -> list[Any]:
            place = build.mul(number, self.index(self.lanes))
            share = self.exp2(build.fsub(self.load(self.shares, place), largest))
            self.store(share, self.shares, place)
            change = self.load(self.changes, place)
            return [build.fadd(sums[0], share), self.multiply_add(share, change, sums[1])]

        total, common = self.loop(self.tokens, 1, [self.floats(0.0)] * 2, weight)
        inverse = build.fdiv(self.floats(1.0), total)
        common = build.fmul(common, inverse)

        def change(number: Any, _: Sequence[Any]) -> None:
            place = build.mul(number, self.index(self.lanes))
            share = build.fmul(self.load(self.shares, place), inverse)
            self.store(share, self.shares, place)
            above = build.fsub(self.load(self.changes, place), common)
            self.store(build.fmul(share, above), self.changes, place)

        # Past the last token this writes what nobody reads: those keys' sums are not written out.
        self.loop(self.padded, 1, [], change)
        for part in range(0, self.size, self.lanes):
            self._query_gradient(first, part)
            self._add(self.changes, self.queries, first, self.key_sums, part)
            self._add(self.shares, self.gradients, first, self.value_sums, part)

    def _turn(self, rows: Any, first: Any, target: Any, factor: Any) -> None:
        """Rows of ``lanes`` queries to one vector per dimension, times a factor."""
        build, index = self.build, self.index
        for part in range(0, self.size, self.lanes):
            loaded = [
                self.load(rows, self._row(build.add(first, index(lane)), part))
                for lane in range(self.lanes)
            ]
            for place, column in enumerate(self.transpose(loaded)):
                self.store(build.fmul(column, factor), target, index((part + place) * self.lanes))

    def _scores(self, number: Any, largest: list[Any]) -> list[Any]:
        """S and dP of KEYS keys for every query in hand; returns the largest S so far."""
        scores = self._products(self.keys, self.turned_queries, self.shares, number)
        self._products(self.values, self.turned_gradients, self.changes, number)
        while len(scores) > 1:
            pairs = zip(scores[::2], scores[1::2], strict=True)
            scores = [self.larger(a, b) for a, b in pairs]
        return [self.larger(largest[0], scores[0])]

    def _products(self, rows: Any, turned: Any, target: Any, number: Any) -> list[Any]:
        build, index = self.build, self.index
        first = self.at(rows, build.mul(number, index(self.size)))

        def products(dimension: Any, sums: list[Any]) -> list[Any]:
            for step in range(UNROLLED):
                place = build.add(dimension, index(step))
                lane = self.load(turned, build.mul(place, index(self.lanes)))
                for k in range(KEYS):
                    value = self.scalar(first, build.add(place, index(k * self.size)), F32)
                    sums[k] = self.multiply_add(lane, self.splat(value), sums[k])
            return sums

        sums = self.loop(index(self.size), UNROLLED, [self.floats(0.0)] * KEYS, products)
        place = self.at(target, build.mul(number, index(self.lanes)))
        for k, total in enumerate(sums):
            self.store(total, place, index(k * self.lanes))
        return sums

    def _query_gradient(self, first: Any, part: int) -> None:
        """Write dQ of the queries in hand, in ``lanes`` of the dimensions."""
        build, index = self.build, self.index

        def add(number: Any, sums: list[Any]) -> list[Any]:
            change = self.load(self.changes, build.mul(number, index(self.lanes)))
            keys = self.at(self.keys, self._row(number, part))
            return [
                self.multiply_add(change, self.splat(self.scalar(keys, index(d), F32)), total)
                for d, total in enumerate(sums)
            ]

        sums = self.loop(self.tokens, 1, [self.floats(0.0)] * self.lanes, add)
        scale = self.splat(self.scale)
        rows = self.transpose([build.fmul(total, scale) for total in sums])

        def write(lane: int) -> None:
            place, _, _ = self._places(build.add(first, index(lane)), part)
            self.store_row(rows[lane], self.output, place)

        steps = [lambda lane=lane: write(lane) for lane in range(self.lanes)]
        self.until(build.sub(self.tokens, first), steps)

    def _add(self, weights: Any, rows: Any, first: Any, target: Any, part: int) -> None:
        """Add to every key's row the rows of the queries in hand, weighted."""
        build, index = self.build, self.index

        def keys(number: Any, _: Sequence[Any]) -> None:
            weight = self.at(weights, build.mul(number, index(self.lanes)))
            places = [self._row(build.add(number, index(k)), part) for k in range(KEYS)]

            def queries(lane: Any, sums: list[Any]) -> list[Any]:
                for step in range(UNROLLED):
                    query = build.add(lane, index(step))
                    row = self.load(rows, self._row(build.add(first, query), part))
                    for k in range(KEYS):
                        value = self.scalar(weight, build.add(query, index(k * self.lanes)), F32)
                        sums[k] = self.multiply_add(self.splat(value), row, sums[k])
                return sums

            before = [self.load(target, place) for place in places]
            sums = self.loop(index(self.lanes), UNROLLED, before, queries)
            for total, place in zip(sums, places, strict=True):
                self.store(total, target, place)

        self.loop(self.padded, KEYS, [], keys)

    def _write_sums(self, number: Any, _: Sequence[Any]) -> None:
        scale = self.splat(self.scale)
        for part in range(0, self.size, self.lanes):
            source = self._row(number, part)
            _, key, value = self._places(number, part)
            total = self.build.fmul(self.load(self.key_sums, source), scale)
            self.store_row(total, self.output, key)
            self.store_row(self.load(self.value_sums, source), self.output, value)

    def _row(self, number: Any, part: int) -> Any:
        """Where a row of a table in scratch memory begins, from one of its dimensions on."""
        return self.build.add(self.build.mul(number, self.index(self.size)), self.index(part))
