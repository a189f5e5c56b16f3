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

from models.jit import F32, I64, POINTER, VectorCode, c_function, compiled, host_lanes

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


def add_low_rank(rows: Tensor, output: Tensor, segments: Tensor, lanes: int, rank: int) -> None:
    """Add branches to a product's rows, in place; sums are float32.

    Args:
        rows: float32 or bfloat16 [tokens, inputs], what the product was given.
        output: [tokens, outputs], what it gave; the same type.
        segments: int64 [n, SEGMENT_FIELDS], see ``models.edits.Branch``.
        lanes: from ``lanes_for``, the same for all of them.
        rank: the largest padded rank among them.

    Raises:
        IndexError: the last segment ends after the rows do.
    """
    stop = int(segments[-1, 0] + segments[-1, 1])
    if stop > len(rows) or len(rows) != len(output):
        raise IndexError(f"a branch of {stop} tokens on {len(rows)} and {len(output)} rows")
    rows, inputs = rows.contiguous(), rows.shape[1]
    scratch = torch.empty(TOKENS * (inputs + rank))
    _kernel(lanes, rows.dtype == torch.bfloat16)(
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
def _kernel(lanes: int, half: bool) -> Any:
    return compiled(_Branches(lanes, half).module, "add_low_rank", _SIGNATURE)


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
        sources = [build.mul(place, self.rows_stride) for place in self.places]
        copies = [build.mul(self.inputs, self.index(t)) for t in range(TOKENS)]

        def copy(column: Any, _: Sequence[Any]) -> None:
            for source, target in zip(sources, copies, strict=True):
                row = self.load_row(self.rows, build.add(source, column))
                self.store(row, self.copies, build.add(target, column))

        self.loop(self.inputs, self.lanes, [], copy)
        self.copy_starts = copies
        self.loop(self.rank, self.lanes, [], self._down)
        self.loop(self.n_parts, 1, [], self._part)

    def _down(self, rank: Any, _: Sequence[Any]) -> None:
        """The middle's next ``lanes`` numbers, for the tokens in hand."""
        build = self.build

        def add(column: Any, sums: list[Any]) -> list[Any]:
            weights = self.load(self.down, build.add(build.mul(column, self.rank), rank))
            return [
                self.multiply_add(
                    self.splat(self.scalar(self.copies, build.add(start, column), F32)),
                    weights,
                    total,
                )
                for start, total in zip(self.copy_starts, sums, strict=True)
            ]

        sums = self.loop(self.inputs, 1, [self.floats(0.0)] * TOKENS, add)
        for token, total in enumerate(sums):
            start = build.mul(self.rank, self.index(token))
            self.store(total, self.middle, build.add(start, rank))

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
            def add(rank: Any, sums: list[Any]) -> list[Any]:
                row = self.load(up, build.add(build.mul(rank, columns), column))
                return [
                    self.multiply_add(
                        self.splat(self.scalar(self.middle, build.add(middle, rank), F32)),
                        row,
                        total,
                    )
                    for middle, total in zip(middles, sums, strict=True)
                ]

            targets = [build.add(start, column) for start in starts]
            given = [self.load_row(self.output, target) for target in targets]
            sums = self.loop(ranks, 1, given, add)
            steps = [
                lambda total=total, target=target: self.store_row(total, self.output, target)
                for total, target in zip(sums, targets, strict=True)
            ]
            self.until(self.left, steps)

        self.loop(columns, self.lanes, [], widen)
