"""The BERT family in training: its upper blocks forward and backward, written out.

Under autograd the library's forward of a block is a hundred operations, most of which take less
time than it takes to start them. Here it is thirty: query, key and value are one product,
frozen weights are cast and laid out once for both directions, attention is one call either way,
and all low-rank weights are one vector, so that casting them and the optimiser's step are too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu
from transformers.modeling_outputs import BaseModelOutput

from models.attention import attend
from models.attention_gradient import attention_gradient
from models.bert import GELU, PARTS, BertForward
from models.edits import NO_EDITS, Unit
from models.kernels import DTYPES, Linear, Precision, Products, fastest_products
from models.lora import LowRank, LowRankLinear
from models.packing import Packed

aten = torch.ops.aten


class FrozenBlocks(nn.Module):
    """The lower part of a backbone, run as in scoring; called as the library's would be.

    Args:
        model: from ``models.trunk.split``; its weights are read, never changed.
        precision: of the products.
    """

    def __init__(self, model: nn.Module, precision: Precision):
        super().__init__()
        self.model = model
        self._blocks = BertForward(model, precision, fastest_products(precision))

    def forward(self, *, packed: Packed, **_: Any) -> BaseModelOutput:
        """What ``models.packing.hidden_states`` asks for."""
        return BaseModelOutput(self._blocks.hidden_states(packed, NO_EDITS)[None])


@dataclass(frozen=True)
class _Layer:
    """Linear layers that are multiplied as one, laid out for both directions.

    Attributes:
        unit: the layers.
        ahead: their weights and biases.
        back: the transposed weights, from the outputs' gradient to the inputs'.
    """

    unit: Unit
    ahead: Linear
    back: Linear

    def parts(self, rank: int) -> Iterator[tuple[str, slice, slice]]:
        """Each layer's name, its place among the rows of B^T, and among the outputs."""
        column = 0
        for number, (name, layer) in enumerate(zip(self.unit.names, self.unit.layers, strict=True)):
            rows = slice(number * rank, (number + 1) * rank)
            yield name, rows, slice(column, column + layer.out_features)
            column += layer.out_features


class TrainedBlocks(nn.Module):
    """The upper blocks of a backbone, with a low-rank edit beside each of their linear layers.

    Called as the library's upper part would be.

    Args:
        model: the backbone's, float32; its weights are read, never changed.
        first_block: the lowest that is trained.
        rank, scaling: of the edits.
        generator: of A's start; B starts at zero.
        precision: of the products.

    Attributes:
        low_rank: float32, every A, then every B^T; the only parameter that is trained. Layers
            multiplied as one have one B^T, zero where one layer's rank meets another's outputs.
    """

    def __init__(
        self,
        model: Any,
        first_block: int,
        rank: int,
        scaling: float,
        generator: torch.Generator,
        precision: Precision,
    ):
        super().__init__()
        self.model, self.rank, self.scaling = model, rank, scaling
        self.products, self.dtype = fastest_products(precision), DTYPES[precision]
        self.heads = int(model.config.num_attention_heads)
        self.approximate = GELU[model.config.hidden_act]
        blocks = list(enumerate(model.encoder.layer))[first_block:]
        self.layers = [
            _layer(number, names, block, self.products, self.dtype)
            for number, block in blocks
            for names in PARTS.values()
        ]
        self.norms = [
            (block.attention.output.LayerNorm, block.output.LayerNorm) for _, block in blocks
        ]
        starts = [
            LowRankLinear(layer, rank, scaling, generator).a.detach().flatten()
            for laid_out in self.layers
            for layer in laid_out.unit.layers
        ]
        self._shapes = [
            (rank * len(layer.unit.layers), layer.unit.layers[0].in_features, _outputs(layer))
            for layer in self.layers
        ]
        ups = sum(ranks * outputs for ranks, _, outputs in self._shapes)
        self.low_rank = nn.Parameter(torch.cat([*starts, torch.zeros(ups)]))
        self.factors = self._factors()

    def forward(
        self, *, packed: Packed, inputs_embeds: Tensor | None = None, **texts: Any
    ) -> BaseModelOutput:
        """What ``models.packing.hidden_states`` asks for."""
        if inputs_embeds is None:
            inputs_embeds = self.model.embeddings(**texts)
        states: Tensor = _Blocks.apply(  # type: ignore[no-untyped-call]
            inputs_embeds[0].to(self.dtype), self.low_rank, self, packed, torch.is_grad_enabled()
        )
        return BaseModelOutput(states[None])

    def edits(self) -> dict[str, LowRank]:
        """Copies of the edits as they stand, by the backbone's names of the layers."""
        return {
            name: LowRank(down[rows].clone(), _copied(up[rows, columns].T), self.scaling)
            for layer, (down, up) in zip(self.layers, self.split(self.low_rank), strict=True)
            for name, rows, columns in layer.parts(self.rank)
        }

    def split(self, vector: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of a vector like ``low_rank``: per layer A [ranks, in] and B^T [ranks, out]."""
        downs = [ranks * inputs for ranks, inputs, _ in self._shapes]
        ups = [ranks * outputs for ranks, _, outputs in self._shapes]
        parts = torch.split(vector.detach(), [*downs, *ups])
        return [
            (down.view(ranks, inputs), up.view(ranks, outputs))
            for down, up, (ranks, inputs, outputs) in zip(
                parts[: len(downs)], parts[len(downs) :], self._shapes, strict=True
            )
        ]

    def _factors(self) -> Tensor:
        """What each weight is multiplied with: the scaling in B; nothing where B^T stays zero."""
        factors = torch.ones_like(self.low_rank, requires_grad=False)
        for layer, (_, up) in zip(self.layers, self.split(factors), strict=True):
            up.zero_()
            for _, rows, columns in layer.parts(self.rank):
                up[rows, columns] = self.scaling
        return factors


class _Blocks(torch.autograd.Function):
    """All blocks as one node of the graph: nothing below them is trained."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        low_rank: Tensor,
        blocks: TrainedBlocks,
        packed: Packed,
        keeps: bool,
    ) -> Tensor:
        run = ctx.run = _Pass(blocks, packed, low_rank, keeps=keeps)
        return run.forward(states)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, ctx.run.backward(gradient), None, None, None


class _Pass:
    """One way up through the blocks, and down again.

    What a step up leaves for its step down lies on a stack.
    """

    def __init__(self, blocks: TrainedBlocks, packed: Packed, low_rank: Tensor, *, keeps: bool):
        self._blocks, self._heads = blocks, blocks.heads
        self._spans = torch.stack([packed.starts, packed.lengths], dim=1)
        self._weights = (low_rank * blocks.factors).to(blocks.dtype)
        self._edits = blocks.split(self._weights)
        self._keeps = keeps
        self._kept: list[Any] = []

    def forward(self, states: Tensor) -> Tensor:
        for number, (first_norm, second_norm) in enumerate(self._blocks.norms):
            qkv, out, up, down = range(len(PARTS) * number, len(PARTS) * (number + 1))
            attended = self._attend(self._linear(qkv, states))
            states = self._norm(first_norm, self._linear(out, attended, states))
            wide = self._gelu(self._linear(up, states))
            states = self._norm(second_norm, self._linear(down, wide, states))
        return states

    def backward(self, gradient: Tensor) -> Tensor:
        """From the gradient of the states to that of ``low_rank``, float32."""
        sums = torch.empty_like(self._weights)
        self._sums = self._blocks.split(sums)
        for number, (first_norm, second_norm) in reversed(list(enumerate(self._blocks.norms))):
            qkv, out, up, down = range(len(PARTS) * number, len(PARTS) * (number + 1))
            gradient = self._norm_down(second_norm, gradient)
            wide = self._gelu_down(self._linear_down(down, gradient))
            gradient = self._norm_down(first_norm, self._linear_down(up, wide, gradient))
            attended = self._attend_down(self._linear_down(out, gradient))
            gradient = self._linear_down(qkv, attended, gradient)
        return sums.float().mul_(self._blocks.factors)

    def _keep(self, *tensors: Tensor) -> None:
        if self._keeps:
            self._kept.append(tensors)

    def _linear(self, number: int, rows: Tensor, residual: Tensor | None = None) -> Tensor:
        layer, (down, up) = self._blocks.layers[number].ahead, self._edits[number]
        middle = rows @ down.T
        self._keep(rows, middle)
        return self._product(rows, layer, residual).addmm_(middle, up)

    def _linear_down(self, number: int, gradient: Tensor, residual: Tensor | None = None) -> Tensor:
        rows, middle = self._kept.pop()
        layer, (down, up) = self._blocks.layers[number].back, self._edits[number]
        middle_gradient = gradient @ up.T
        down_sum, up_sum = self._sums[number]
        torch.mm(middle_gradient.T, rows, out=down_sum)
        torch.mm(middle.T, gradient, out=up_sum)
        if not self._kept:  # the lowest trained layer
            return gradient
        return self._product(gradient, layer, residual).addmm_(middle_gradient, down)

    def _product(self, rows: Tensor, layer: Linear, residual: Tensor | None) -> Tensor:
        products = self._blocks.products
        if residual is None:
            return products.plain(rows, layer)
        return products.plus(rows, layer, residual)

    def _attend(self, qkv: Tensor) -> Tensor:
        self._keep(qkv)
        query, key, value = qkv.chunk(3, dim=1)
        spans = torch.cat([self._spans, self._spans], dim=1)
        return attend(query, key, value, spans, self._heads, self._scale(query))

    def _attend_down(self, gradient: Tensor) -> Tensor:
        (qkv,) = self._kept.pop()
        return attention_gradient(gradient, qkv, self._spans, self._heads, self._scale(gradient))

    def _scale(self, rows: Tensor) -> float:
        return float((rows.shape[1] // self._heads) ** -0.5)

    def _gelu(self, rows: Tensor) -> Tensor:
        self._keep(rows)
        return gelu(rows, approximate=self._blocks.approximate)

    def _gelu_down(self, gradient: Tensor) -> Tensor:
        (rows,) = self._kept.pop()
        approximate = self._blocks.approximate
        result: Tensor = aten.gelu_backward(gradient, rows, approximate=approximate)
        return result

    def _norm(self, norm: nn.LayerNorm, rows: Tensor) -> Tensor:
        states, mean, inverse = torch.native_layer_norm(
            rows, norm.normalized_shape, norm.weight, norm.bias, norm.eps
        )
        self._keep(rows, mean, inverse)
        return states

    def _norm_down(self, norm: nn.LayerNorm, gradient: Tensor) -> Tensor:
        rows, mean, inverse = self._kept.pop()
        wanted = (True, False, False)  # of rows, weight and bias
        result: Tensor = aten.native_layer_norm_backward(
            gradient, rows, norm.normalized_shape, mean, inverse, norm.weight, norm.bias, wanted
        )[0]
        return result


def _layer(
    number: int, names: Sequence[str], block: Any, products: Products, dtype: torch.dtype
) -> _Layer:
    layers = tuple(block.get_submodule(name) for name in names)
    unit = Unit(tuple(f"encoder.layer.{number}.{name}" for name in names), layers)
    weight = torch.cat([layer.weight for layer in layers])
    back = Linear(products.lay_out(weight.T.to(dtype)), None)
    return _Layer(unit, unit.merged({}, products, dtype), back)


def _outputs(layer: _Layer) -> int:
    return sum(part.out_features for part in layer.unit.layers)


def _copied(matrix: Tensor) -> Tensor:
    return matrix.clone(memory_format=torch.contiguous_format)
