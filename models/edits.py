"""One adapter's edits as the encoders apply them: merged into weights, or as branches beside.

Merging costs the same for three texts as for three thousand; a branch costs nothing up front
and a little per token. Merged weights are new tensors beside the pristine ones, which nobody
writes to: adapters can be applied in any order, by several threads at once, without a trace.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from models.branches import FEWEST_LANES, add_low_rank, lanes_for, takes_pairs
from models.devices import CPU, sent
from models.grouped import RANK_STEP, GroupedBranch, add_grouped
from models.kernels import Linear, Products
from models.lora import LowRank


@dataclass(frozen=True)
class Unit:
    """Linear layers that are multiplied as one, as they take the same input.

    Attributes:
        names: the backbone's layers, in the order of their outputs.
        layers: the layers, float32, pristine.
    """

    names: tuple[str, ...]
    layers: tuple[nn.Linear, ...]

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(layer.weight.numel() for layer in self.layers)

    @cached_property
    def lanes(self) -> int:
        """Floats per vector with which its branches can be computed."""
        return lanes_for([self.layers[0].in_features, *(one.out_features for one in self.layers)])

    @property
    def takes_branches(self) -> bool:
        """Whether the kernels for branches, of its weights' device, can read its rows."""
        if self.layers[0].weight.device == CPU:
            return self.lanes >= FEWEST_LANES
        sizes = (self.layers[0].in_features, *(one.out_features for one in self.layers))
        return math.gcd(*sizes) % RANK_STEP == 0

    def branch_size(self, edits: Mapping[str, LowRank]) -> int:
        """Multiplications per token of the unit's branch."""
        return sum(
            len(edits[name].a) * (layer.in_features + layer.out_features)
            for name, layer in zip(self.names, self.layers, strict=True)
            if name in edits
        )

    def merged(
        self, edits: Mapping[str, LowRank], products: Products, dtype: torch.dtype
    ) -> Linear:
        """The unit with its edits written into it, laid out for the kernels; sums in float32."""
        weights, biases = [], []
        for name, layer in zip(self.names, self.layers, strict=True):
            edit = edits.get(name)
            bias = layer.bias
            weights.append(layer.weight if edit is None else edit.weight(layer.weight))
            biases.append(bias if edit is None else edit.merged_bias(bias))
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        return Linear(products.lay_out(weight.to(dtype)), self._joined(biases, dtype))

    def branch(self, edits: Mapping[str, LowRank], dtype: torch.dtype) -> "Branch":
        """The unit's edits side by side: each reads its own part of the narrow middle."""
        paired = takes_pairs(dtype, self.lanes)
        down, up, parts = [], [], []
        rank = column = size = 0
        for name, layer in zip(self.names, self.layers, strict=True):
            edit = edits.get(name)
            if edit is not None:
                a, b = edit.a, edit.b * edit.scaling
                if paired and len(a) % 2:
                    a = torch.cat([a, torch.zeros_like(a[:1])])
                    b = torch.cat([b, torch.zeros_like(b[:, :1])], dim=1)
                down.append(a)
                up.append(_words(b, paired))
                parts.append([rank, len(a), column, layer.out_features, size])
                rank, size = rank + len(a), size + len(up[-1])
            column += layer.out_features
        padding = torch.zeros(-rank % self.lanes, self.layers[0].in_features)
        whole = torch.cat([*down, padding])
        return Branch(
            _words(whole, paired),
            torch.cat(up),
            torch.tensor(parts),
            len(whole),
            self.lanes,
            paired,
        )

    def grouped_branch(self, edits: Mapping[str, LowRank], dtype: torch.dtype) -> GroupedBranch:
        """The edit of a unit of one layer, for a GPU's grouped products."""
        edit = edits[self.names[0]]
        return GroupedBranch.of(edit.a, edit.b * edit.scaling, dtype)

    def _joined(self, biases: Sequence[Tensor | None], dtype: torch.dtype) -> Tensor | None:
        if all(bias is None for bias in biases):
            return None
        whole = [
            layer.weight.new_zeros(layer.out_features) if bias is None else bias
            for layer, bias in zip(self.layers, biases, strict=True)
        ]
        return torch.cat(whole).to(dtype)


@dataclass(frozen=True)
class Branch:
    """A unit's low-rank edits beside its pristine weight, as ``models.branches`` reads them.

    Attributes:
        down: words [in_features, rank], flat: the edits' A, padded to whole vectors.
        up: words [rank of the edit, its out_features] of each edit's scaled B, flat, end to end.
        parts: int64 [edits, 5]: first column in ``down``, rank, first output, outputs, and where
            its B begins in ``up``, in words.
        rank: columns of ``down``.
        lanes: floats per vector.
        paired: a word is two rows' numbers in bfloat16, and there are half as many rows; else
            it is one float32.
    """

    down: Tensor
    up: Tensor
    parts: Tensor
    rank: int
    lanes: int
    paired: bool

    def segment(self, start: int, stop: int) -> tuple[int, ...]:
        """What the kernel is told of the tokens that the branch applies to."""
        return (
            start,
            stop - start,
            self.down.data_ptr(),
            self.up.data_ptr(),
            self.rank,
            self.parts.data_ptr(),
            len(self.parts),
        )


Branches = Mapping[str, Branch | GroupedBranch]


class Trunk(NamedTuple):
    """What the backbone's first blocks made of a batch's texts, before any edit.

    Attributes:
        depth: number of those blocks.
        states: [tokens, hidden_size], filler included.
    """

    depth: int
    states: Tensor


@dataclass(frozen=True)
class OwnUpper:
    """An item's own upper blocks, laid out by a family's forward, which alone reads them.

    Attributes:
        first_block: number of the backbone's blocks below.
        blocks: what follows them.
    """

    first_block: int
    blocks: Any


@dataclass(frozen=True)
class Segment:
    """Tokens of a batch that one adapter's branches apply to."""

    start: int
    stop: int
    branches: Branches


@dataclass(frozen=True)
class Edits:
    """What a batch's forward uses in place of, or beside, the pristine units.

    Attributes:
        merged: units with one adapter written in, for the whole batch.
        segments: branches for parts of the batch.
        own: blocks that stand in for the backbone's upper ones.
        first_block: number of the backbone's blocks below the lowest that branches edit; a score
            depends on it, as blocks with branches round elsewhere than blocks without.
    """

    merged: Mapping[str, Linear] = field(default_factory=dict)
    segments: Sequence[Segment] = ()
    own: OwnUpper | None = None
    first_block: int = 0
    _sent: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    def add_branches(self, unit: str, rows: Tensor, output: Tensor) -> None:
        """Add the unit's branches to what its product made of the batch's rows, in place."""
        branches = [segment.branches.get(unit) for segment in self.segments]
        if not any(branches):
            return
        if any(isinstance(branch, GroupedBranch) for branch in branches):
            stops = self._stops(rows.device)
            stop = self.segments[-1].stop
            add_grouped(rows[:stop], output[:stop], branches, stops)  # type: ignore[arg-type]
            return
        found = [
            (branch, segment.start, segment.stop)
            for branch, segment in zip(branches, self.segments, strict=True)
            if isinstance(branch, Branch)
        ]
        table = torch.tensor([branch.segment(start, stop) for branch, start, stop in found])
        rank = max(branch.rank for branch, _, _ in found)
        first = found[0][0]
        add_low_rank(rows, output, table, first.lanes, rank, paired=first.paired)

    def _stops(self, device: torch.device) -> Tensor:
        """Where the segments end, copied to the device once."""
        if device not in self._sent:
            stops = torch.tensor([segment.stop for segment in self.segments], dtype=torch.int32)
            self._sent[device] = sent(stops, device)
        return self._sent[device]


NO_EDITS = Edits()


def _words(matrix: Tensor, paired: bool) -> Tensor:
    """A matrix by columns, flat, in words of 32 bits: a float32, or a row's next two bfloat16."""
    words = matrix.to(torch.bfloat16).view(torch.float32) if paired else matrix
    return words.T.contiguous().ravel()
