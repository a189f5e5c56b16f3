"""Low-rank branches beside a product, of many adapters in one call.

Each token's row is multiplied by its own adapter's narrow matrices and the result added to the
row that the shared product made of it. The middle of a branch, a few numbers per token, stays
in registers and the first-level cache; a library's two products and a sum write it, and a
float32 copy of everything else, to memory.
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
    I16,
    I64,
    PAIR_LANES,
    POINTER,
    VectorCode,
    c_function,
    compiled,
    host_has_pairs,
    host_lanes,
)

# Tokens that are multiplied side by side: as many chains as hide a product's latency.
TOKENS = 8
# What the kernel needs to know of a segment, and of a part of a branch.
SEGMENT_FIELDS, PART_FIELDS = 7, 5
# Narrower vectors than these are not worth having.
FEWEST_LANES = 4

_ARGUMENTS = [POINTER, I64, POINTER, I64, I64, POINTER, I64, POINTER]
_SIGNATURE = c_function(
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_void_p,
    *[ctypes.c_int64] * 2,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_void_p,
)


def lanes_for(sizes: Sequence[int]) -> int:
    """Floats per vector, for a branch whose inputs and outputs come in these numbers."""
    return math.gcd(host_lanes(), *sizes)


def takes_pairs(dtype: torch.dtype, lanes: int) -> bool:
    """Whether the kernel wants a branch's matrices as pairs of bfloat16."""
    return dtype == torch.bfloat16 and lanes == PAIR_LANES and host_has_pairs()


def add_low_rank(
    rows: Tensor, output: Tensor, segments: Tensor, lanes: int, rank: int, *, paired: bool
) -> None:
    """Add branches to a product's rows, in place; sums are float32.

    Args:
        rows: float32 or bfloat16 [tokens, inputs], what the product was given.
        output: [tokens, outputs], what it gave; the same type.
        segments: int64 [n, SEGMENT_FIELDS], see ``models.edits.Branch``.
        lanes: from ``lanes_for``, the same for all of them.
        rank: the largest padded rank among them.
        paired: whether their matrices are pairs; then the middle is rounded to bfloat16 too.

    Raises:
        IndexError: the last segment ends after the rows do.
    """
    stop = int(segments[-1, 0] + segments[-1, 1])
    if stop > len(rows) or len(rows) != len(output):
        raise IndexError(f"a branch of {stop} tokens on {len(rows)} and {len(output)} rows")
    rows, inputs = rows.contiguous(), rows.shape[1]
    scratch = torch.empty(TOKENS * (inputs + rank))
    _kernel(lanes, rows.dtype == torch.bfloat16, paired)(
        rows.data_ptr(),
        rows.stride(0),
        output.data_ptr(),
        output.stride(0),
        inputs,
        segments.data_ptr(),
        len(segments),
        scratch.data_ptr(),
    )


@cache
def _kernel(lanes: int, half: bool, paired: bool) -> Any:
    kind = _PairedBranches if paired else _Branches
    return compiled(kind(lanes, half).module, "add_low_rank", _SIGNATURE)


class _Branches(VectorCode):
    """Writes the kernel; the methods go from the outer loop to the inner ones."""

    def __init__(self, lanes: int, half: bool):
        super().__init__("add_low_rank", _ARGUMENTS, lanes, half)
        (
            self.rows,
            self.rows_stride,
            self.output,
            self.output_stride,
            self.inputs,
            self.segments,
            segments,
            self.copies,
        ) = self.function.args
        copied = self.build.mul(self.inputs, self.index(TOKENS))
        self.middle = self.at(self.copies, copied)
        self.loop(segments, 1, [], self._segment)
        self.build.ret_void()

    def _segment(self, number: Any, _: Sequence[Any]) -> None:
        build = self.build
        first = build.mul(number, self.index(SEGMENT_FIELDS))
        fields = [
            self.scalar(self.segments, build.add(first, self.index(field)), I64)
            for field in range(SEGMENT_FIELDS)
        ]
        self.start, self.tokens, down, up, self.rank, parts, self.n_parts = fields
        self.down, self.up, self.parts = (
            build.inttoptr(address, POINTER) for address in (down, up, parts)
        )
        self.loop(self.tokens, TOKENS, [], self._tokens)

    def _tokens(self, first: Any, _: Sequence[Any]) -> None:
        build = self.build
        last = build.sub(self.tokens, self.index(1))
        # Past the segment's end its last token stands again; only real tokens are written.
        self.places = [
            build.add(self.start, self.at_most(build.add(first, self.index(t)), last))
            for t in range(TOKENS)
        ]
        self.left = build.sub(self.tokens, first)
        self.sources = [build.mul(place, self.rows_stride) for place in self.places]
        self._copy_rows()
        self.loop(self.rank, self.lanes, [], self._down)
        self.loop(self.n_parts, 1, [], self._part)

    def _copy_rows(self) -> None:
        """Rows as floats."""
        build = self.build
        targets = [build.mul(self.inputs, self.index(t)) for t in range(TOKENS)]

        def copy(column: Any, _: Sequence[Any]) -> None:
            for source, target in zip(self.sources, targets, strict=True):
                row = self.load_row(self.rows, build.add(source, column))
                self.store(row, self.copies, build.add(target, column))

        self.loop(self.inputs, self.lanes, [], copy)
        self.sources = targets

    def _words_per_row(self) -> Any:
        return self.inputs

    def _row_word(self, token: int, number: Any) -> Any:
        return self.scalar(self.copies, self.build.add(self.sources[token], number), F32)

    def _down(self, rank: Any, _: Sequence[Any]) -> None:
        """The middle's next ``lanes`` numbers, for the tokens in hand."""
        build = self.build

        def add(number: Any, sums: list[Any]) -> list[Any]:
            place = build.add(build.mul(number, self.rank), rank)
            weights = self.load(self.down, place)
            return [
                self._dot(self.splat(self._row_word(token, number)), weights, total)
                for token, total in enumerate(sums)
            ]

        sums = self.loop(self._words_per_row(), 1, [self.floats(0.0)] * TOKENS, add)
        for token, total in enumerate(sums):
            self._keep(total, build.add(build.mul(self.rank, self.index(token)), rank))

    def _keep(self, middle: Any, place: Any) -> None:
        self.store(middle, self.middle, place)

    def _middle_word(self, place: Any, number: Any) -> Any:
        return self.scalar(self.middle, self.build.add(place, number), F32)

    def _words_of(self, ranks: Any) -> Any:
        return ranks

    def _dot(self, a: Any, b: Any, total: Any) -> Any:
        """Products of words, added up."""
        return self.multiply_add(a, b, total)

    def _part(self, number: Any, _: Sequence[Any]) -> None:
        build = self.build
        first = build.mul(number, self.index(PART_FIELDS))
        first_rank, ranks, first_column, columns, weights = (
            self.scalar(self.parts, build.add(first, self.index(field)), I64)
            for field in range(PART_FIELDS)
        )
        up = self.at(self.up, weights)
        starts = [
            build.add(build.mul(place, self.output_stride), first_column) for place in self.places
        ]
        middles = [
            build.add(build.mul(self.rank, self.index(t)), first_rank) for t in range(TOKENS)
        ]

        def widen(column: Any, _: Sequence[Any]) -> None:
            def add(number: Any, sums: list[Any]) -> list[Any]:
                row = self.load(up, build.add(build.mul(number, columns), column))
                return [
                    self._dot(self.splat(self._middle_word(middle, number)), row, total)
                    for middle, total in zip(middles, sums, strict=True)
                ]

            targets = [build.add(start, column) for start in starts]
            given = [self.load_row(self.output, target) for target in targets]
            sums = self.loop(self._words_of(ranks), 1, given, add)
            steps = [
                lambda total=total, target=target: self.store_row(total, self.output, target)
                for total, target in zip(sums, targets, strict=True)
            ]
            self.until(self.left, steps)

        self.loop(columns, self.lanes, [], widen)


class _PairedBranches(_Branches):
    """The kernel for processors that multiply pairs of bfloat16 and add both products at once.

    A pair is two inputs of a row or of A, or two ranks of the middle or of B.
    """

    def _copy_rows(self) -> None:
        """Rows are read as they are."""

    def _words_per_row(self) -> Any:
        return self.build.sdiv(self.inputs, self.index(2))

    def _pair(self, base: Any, place: Any, number: Any) -> Any:
        build = self.build
        place = build.add(place, build.mul(number, self.index(2)))
        return build.load(self.at(base, place, I16), align=2, typ=F32)

    def _row_word(self, token: int, number: Any) -> Any:
        return self._pair(self.rows, self.sources[token], number)

    def _keep(self, middle: Any, place: Any) -> None:
        self.store_row(middle, self.middle, place)

    def _middle_word(self, place: Any, number: Any) -> Any:
        return self._pair(self.middle, place, number)

    def _words_of(self, ranks: Any) -> Any:
        return self.build.sdiv(ranks, self.index(2))

    def _dot(self, a: Any, b: Any, total: Any) -> Any:
        return self.multiply_add_pairs(a, b, total)
