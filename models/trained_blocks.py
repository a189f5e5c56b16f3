"""An item's own blocks in training, every weight of them, on top of the blocks that all share.

Two ways, the faster first: the BERT family through our own forward, where all weights are one
vector, so that casting them and the optimiser's step are one operation each; other families
through the library's. Either way the weights are float32 masters, and products run in what the
machine runs fastest.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear
from transformers.modeling_outputs import BaseModelOutput

from models.adapters import AdapterError
from models.attention import attend
from models.attention_gradient import attention_gradient
from models.bert import GELU, supports_model
from models.bert_training import FrozenBlocks
from models.kernels import DTYPES, Precision, fastest_precision
from models.own_blocks import KEPT_IN, OwnBlocks, modules_of
from models.packing import Packed
from models.trunk import blocks_of, split, with_upper

# The tensors of a block in the order of their use; those in one row are used as one.
LAYOUT = (
    *(
        tuple(f"attention.self.{layer}.{kind}" for layer in ("query", "key", "value"))
        for kind in ("weight", "bias")
    ),
    *(
        (f"{layer}.{kind}",)
        for layer in (
            "attention.output.dense",
            "attention.output.LayerNorm",
            "intermediate.dense",
            "output.dense",
            "output.LayerNorm",
        )
        for kind in ("weight", "bias")
    ),
)
NAMES = tuple(name for row in LAYOUT for name in row)


class BlocksInTraining(nn.Module, ABC):
    """Own blocks while they are trained; called as the library's upper part would be."""

    depth: int  # number of blocks

    @abstractmethod
    def trained(self) -> list[nn.Parameter]:
        """The masters, float32."""

    @abstractmethod
    def own(self) -> OwnBlocks:
        """Copies of the blocks as they stand, rounded as they will be kept."""

    def settle(self) -> None:
        """Round the masters as they will be kept."""
        with torch.no_grad():
            for parameter in self.trained():
                parameter.copy_(parameter.to(KEPT_IN))


class SharedBlocks(Protocol):
    """A backbone's blocks: some frozen, some copied for an item and trained."""

    depth: int  # number of blocks

    def frozen(self, start: int, stop: int) -> nn.Module | None:
        """The backbone's blocks from start up to stop, below start 1 with the embeddings.

        None if there is none. It is only run, never trained.
        """
        ...

    def trained(self, own: OwnBlocks) -> BlocksInTraining:
        """Copies of own blocks, to be trained on top of the backbone's."""
        ...

    def pristine(self, start: int, stop: int) -> OwnBlocks:
        """The backbone's own weights for these blocks, in full precision."""
        ...


def shared_blocks(model: nn.Module) -> SharedBlocks:
    """A backbone's blocks, the faster way that it allows.

    Raises:
        AdapterError: its blocks cannot be told apart, or cannot be run one after the other.
    """
    blocks = blocks_of(model)
    if blocks is None or (len(blocks) > 1 and split(model, len(blocks) - 1)[0] is None):
        raise AdapterError(
            f"this backbone ({type(model).__name__}) cannot be cut between its blocks, so an item "
            "can have none of its own: train with LoRA"
        )
    if supports_model(model) and all(set(NAMES) == block.state_dict().keys() for block in blocks):
        return _BertShared(model, blocks, fastest_precision())
    return _LibraryShared(model, blocks, fastest_precision())


class _Blocks:
    """What both ways share."""

    def __init__(self, model: nn.Module, blocks: nn.ModuleList, precision: Precision):
        self._model, self._blocks, self._precision = model, blocks, precision
        self.depth = len(blocks)

    def pristine(self, start: int, stop: int) -> OwnBlocks:
        """See ``SharedBlocks``."""
        return OwnBlocks(start, tuple(block.state_dict() for block in self._blocks[start:stop]))


class _BertShared(_Blocks):
    def frozen(self, start: int, stop: int) -> nn.Module | None:
        if start == stop:
            return None
        if start > 0:
            return BertBlocks(self._model, self.pristine(start, stop), self._precision)
        lower = self._model if stop == self.depth else split(self._model, stop)[0]
        return None if lower is None else FrozenBlocks(lower, self._precision)

    def trained(self, own: OwnBlocks) -> "BertBlocks":
        return BertBlocks(self._model, own, self._precision)


class _LibraryShared(_Blocks):
    def frozen(self, start: int, stop: int) -> nn.Module | None:
        if start == stop:
            return None
        lower = self._cast if stop == self.depth else split(self._cast, stop)[0]
        if lower is None or start == 0:
            return lower
        return split(lower, start)[1]

    def trained(self, own: OwnBlocks) -> "LibraryBlocks":
        return LibraryBlocks(self._model, own, self._precision)

    @cached_property
    def _cast(self) -> nn.Module:
        return copy.deepcopy(self._model).to(DTYPES[self._precision])


class BertBlocks(BlocksInTraining):
    """Own blocks of the BERT family.

    Args:
        model: the backbone's; its embeddings are read where no block lies below.
        own: where the weights start.
        precision: of the products.

    Attributes:
        weights: float32, the one parameter: block by block in the order of LAYOUT.
    """

    def __init__(self, model: Any, own: OwnBlocks, precision: Precision):
        super().__init__()
        self.model, self._first_block, self._dtype = model, own.first_block, DTYPES[precision]
        self._heads = int(model.config.num_attention_heads)
        self._approximate = GELU[model.config.hidden_act]
        pattern = model.encoder.layer[own.first_block]
        self._eps = (pattern.attention.output.LayerNorm.eps, pattern.output.LayerNorm.eps)
        self._shapes = [own.blocks[0][name].shape for name in NAMES]
        self.depth = len(own.blocks)
        numbers = [block[name].flatten() for block in own.blocks for name in NAMES]
        self.weights = nn.Parameter(torch.cat(numbers))

    def trained(self) -> list[nn.Parameter]:
        """See ``BlocksInTraining``."""
        return [self.weights]

    def own(self) -> OwnBlocks:
        """See ``BlocksInTraining``."""
        kept = self.weights.detach().to(KEPT_IN).float()
        sizes = [shape.numel() for shape in self._shapes]
        blocks = []
        for block in kept.view(self.depth, -1):
            parts = torch.split(block, sizes)
            named = zip(NAMES, parts, self._shapes, strict=True)
            blocks.append({name: part.clone().view(shape) for name, part, shape in named})
        return OwnBlocks(self._first_block, tuple(blocks))

    def forward(
        self, *, packed: Packed, inputs_embeds: Tensor | None = None, **texts: Any
    ) -> BaseModelOutput:
        """What ``models.packing.hidden_states`` asks for."""
        if inputs_embeds is None:
            with torch.no_grad():
                inputs_embeds = self.model.embeddings(**texts)
        states = inputs_embeds[0].to(self._dtype)
        spans = torch.stack([packed.starts, packed.lengths], dim=1)
        for tensors in self._tensors():
            states = self._block(states, spans, tensors)
        return BaseModelOutput(states[None])

    def _tensors(self) -> Iterator[list[Tensor]]:
        """The blocks' tensors by the rows of LAYOUT, in the products' precision."""
        # One split is one node of the graph: its gradient is put together in one step.
        shapes = [self._shape(row) for row in LAYOUT] * self.depth
        sizes = [math.prod(shape) for shape in shapes]
        parts = torch.split(self.weights.to(self._dtype), sizes)
        views = [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]
        for first in range(0, len(views), len(LAYOUT)):
            yield views[first : first + len(LAYOUT)]

    def _shape(self, row: Sequence[str]) -> tuple[int, ...]:
        first = self._shapes[NAMES.index(row[0])]
        return (len(row) * first[0], *first[1:])

    def _block(self, states: Tensor, spans: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        qkv, out, first_norm, up, down, second_norm = zip(tensors[::2], tensors[1::2], strict=True)
        attended: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
            linear(states, *qkv), spans, self._heads
        )
        width = states.shape[1:]
        states = layer_norm(states + linear(attended, *out), width, *first_norm, self._eps[0])
        wide = gelu(linear(states, *up), approximate=self._approximate)
        return layer_norm(states + linear(wide, *down), width, *second_norm, self._eps[1])


class _Attention(torch.autograd.Function):
    """Attention within the texts, by the kernels of scoring and of training."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, spans: Tensor, heads: int) -> Tensor:
        ctx.save_for_backward(qkv, spans)
        ctx.heads, ctx.scale = heads, float((qkv.shape[1] // 3 // heads) ** -0.5)
        query, key, value = qkv.chunk(3, dim=1)
        return attend(query, key, value, torch.cat([spans, spans], dim=1), heads, ctx.scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        qkv, spans = ctx.saved_tensors
        gradient = gradient.contiguous()
        return attention_gradient(gradient, qkv, spans, ctx.heads, ctx.scale), None, None


class LibraryBlocks(BlocksInTraining):
    """Own blocks of any family, in the library's forward.

    Args:
        model: the backbone's; left as it is.
        own: where the weights start.
        precision: of the products; all that lies between them is float32.
    """

    def __init__(self, model: nn.Module, own: OwnBlocks, precision: Precision):
        super().__init__()
        self._first_block, self._dtype = own.first_block, DTYPES[precision]
        self.depth = len(own.blocks)
        self._own = [block.requires_grad_(True) for block in modules_of(own, model)]
        whole = with_upper(model, own.first_block, self._own)
        self.upper = split(whole, own.first_block)[1]

    def trained(self) -> list[nn.Parameter]:
        """See ``BlocksInTraining``."""
        return [parameter for block in self._own for parameter in block.parameters()]

    def own(self) -> OwnBlocks:
        """See ``BlocksInTraining``."""
        return OwnBlocks.of(self._first_block, self._own)

    def forward(self, *, inputs_embeds: Tensor | None = None, **inputs: Any) -> Any:
        """What ``models.packing.hidden_states`` asks for."""
        if inputs_embeds is not None:
            inputs["inputs_embeds"] = inputs_embeds.float()
        with torch.autocast("cpu", dtype=self._dtype, enabled=self._dtype != torch.float32):
            return self.upper(**inputs)
