"""One adapter's edits as the encoders apply them: merged into weights, or as branches beside.

Merging costs the same for three texts as for three thousand; a branch costs nothing up front
and a little per token. Merged weights are new tensors beside the pristine ones, which nobody
writes to: adapters can be applied in any order, by several threads at once, without a trace.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

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

    def branch_size(self, edits: Mapping[str, LowRank]) -> int:
        """Multiplications per token of the unit's branch."""
        rank = sum(len(edits[name].a) for name in self.names if name in edits)
        width = sum(layer.out_features for layer in self.layers)
        return rank * (self.layers[0].in_features + width)

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

    def branch(self, edits: Mapping[str, LowRank]) -> "Branch":
        """The unit's edits side by side: each reads its own part of the narrow middle."""
        found = [
            (layer, edits.get(name)) for name, layer in zip(self.names, self.layers, strict=True)
        ]
        width = sum(layer.out_features for layer in self.layers)
        down = torch.cat([edit.a for _, edit in found if edit is not None])
        up = torch.zeros(len(down), width)
        row = column = 0
        for layer, edit in found:
            if edit is not None:
                rank = len(edit.a)
                up[row : row + rank, column : column + layer.out_features] = edit.b.T * edit.scaling
                row += rank
            column += layer.out_features
        return Branch(down.T.contiguous(), up)

    def _joined(self, biases: Sequence[Tensor | None], dtype: torch.dtype) -> Tensor | None:
        if all(bias is None for bias in biases):
            return None
        whole = [
            torch.zeros(layer.out_features) if bias is None else bias
            for layer, bias in zip(self.layers, biases, strict=True)
        ]
        return torch.cat(whole).to(dtype)


@dataclass(frozen=True)
class Branch:
    """A unit's low-rank edit beside its pristine weight.

    Attributes:
        down: float32 [in_features, rank].
        up: float32 [rank, out_features], scaled.
    """

    down: Tensor
    up: Tensor

    def add(self, rows: Tensor, output: Tensor) -> None:
        """Add the edit's part to the unit's output, in place."""
        if output.dtype == torch.float32:
            output.addmm_(rows @ self.down, self.up)
        else:
            output.add_((rows.float() @ self.down) @ self.up)


@dataclass(frozen=True)
class Segment:
    """Tokens of a batch that one adapter's branches apply to."""

    start: int
    stop: int
    branches: Mapping[str, Branch]


@dataclass(frozen=True)
class Edits:
    """What a batch's forward uses in place of, or beside, the pristine units.

    Attributes:
        merged: units with one adapter written in, for the whole batch.
        segments: branches for parts of the batch.
    """

    merged: Mapping[str, Linear] = field(default_factory=dict)
    segments: Sequence[Segment] = ()

    def branches(self, unit: str) -> Iterator[tuple[slice, Branch]]:
        """The branches of one unit, with the tokens they apply to."""
        for segment in self.segments:
            if unit in segment.branches:
                yield slice(segment.start, segment.stop), segment.branches[unit]


NO_EDITS = Edits()
