"""The forward of the BERT family on packed texts, with this machine's fastest kernels.

The library's forward computes the same in more steps: it multiplies query, key and value
apart, and writes GELU and each residual sum to memory by themselves. The embeddings stay the
library's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from models.attention import attend, supports
from models.edits import NO_EDITS, Edits, OwnUpper, Trunk, Unit
from models.kernels import DTYPES, Linear, Precision, Products
from models.own_blocks import OwnBlocks, modules_of
from models.packing import Packed

FAMILIES = frozenset({"bert", "roberta", "xlm-roberta", "camembert"})
# The library's names of GELU, and what the kernels call its two forms.
GELU = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
PARTS = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out": ("attention.output.dense",),
    "up": ("intermediate.dense",),
    "down": ("output.dense",),
}


def supports_model(model: Any) -> bool:
    """Whether a backbone can run through ``BertForward``."""
    config = model.config
    head_size = config.hidden_size // config.num_attention_heads
    return (
        config.model_type in FAMILIES
        and config.hidden_act in GELU
        and not getattr(config, "is_decoder", False)
        and supports(model.embeddings.word_embeddings.weight, head_size)
    )


@dataclass(frozen=True)
class Block:
    """One block, laid out for the kernels.

    Attributes:
        name: before the names of its units, as in ``3.qkv``.
        linears: by part, see PARTS.
        norms: after attention and after the feed-forward layers.
    """

    name: str
    linears: Mapping[str, Linear]
    norms: tuple[nn.LayerNorm, nn.LayerNorm]


class BertForward:
    """Embeddings, then blocks of attention and feed-forward, each followed by a LayerNorm."""

    def __init__(self, model: Any, precision: Precision, products: Products):
        self.units = {
            f"{number}.{part}": unit
            for number, block in enumerate(model.encoder.layer)
            for part, unit in _units(block, f"encoder.layer.{number}.").items()
        }
        self.branched = frozenset(name for name, unit in self.units.items() if unit.takes_branches)
        self._dtype, self._products, self._model = DTYPES[precision], products, model
        self._embeddings = model.embeddings
        self._approximate = GELU[model.config.hidden_act]
        self._heads = int(model.config.num_attention_heads)
        head_size = int(model.config.hidden_size) // self._heads
        self._scale = head_size**-0.5
        self._blocks = [
            self._block(str(number), block) for number, block in enumerate(model.encoder.layer)
        ]

    def cut(self, depth: int) -> int:
        """The number of blocks up to ``depth`` below which the forward can be cut."""
        return min(depth, len(self._blocks) - 1)

    def laid_out(self, own: OwnBlocks) -> OwnUpper:
        """An item's own blocks, ready to run."""
        blocks = [
            self._block(f"own {number}", block)
            for number, block in enumerate(modules_of(own, self._model))
        ]
        return OwnUpper(own.first_block, blocks)

    def trunk(self, packed: Packed, depth: int) -> Tensor:
        """States after the first ``depth`` blocks, [tokens, hidden_size], filler included."""
        states, spans = self._embedded(packed), _spans(packed)
        for block in self._blocks[:depth]:
            states = self._through(block, states, spans, NO_EDITS)
        return states

    def hidden_states(
        self,
        packed: Packed,
        edits: Edits,
        rows: Tensor | None = None,
        trunk: Trunk | None = None,
    ) -> Tensor:
        """Last hidden states, [tokens, hidden_size], filler included.

        Args:
            packed: the texts.
            edits: merged units and branches, or own blocks.
            rows: int64 [n]; only these tokens' states are wanted, [n, hidden_size], one per text.
            trunk: what ``trunk`` made of the texts, where it is known.
        """
        done, states = (0, self._embedded(packed)) if trunk is None else trunk
        spans, blocks = _spans(packed), self._blocks
        if edits.own is not None:
            blocks = [*blocks[: edits.own.first_block], *edits.own.blocks]
        *others, last = blocks[done:]
        for number, block in enumerate(others, done):
            here = edits if number >= edits.first_block else NO_EDITS
            states = self._through(block, states, spans, here)
        if rows is None or edits.segments:
            states = self._through(last, states, spans, edits)
            return states if rows is None else states[rows]
        # Only these tokens ask; what follows their attention is computed for them alone.
        spans = torch.stack([rows, torch.ones_like(rows), packed.starts, packed.lengths], dim=1)
        attended = self._attended(last, states, spans, edits)[rows]
        return self._fed_forward(last, states[rows], attended, edits)

    def _embedded(self, packed: Packed) -> Tensor:
        states = self._embeddings(input_ids=packed.input_ids, position_ids=packed.position_ids)
        return states[0].to(self._dtype)  # type: ignore[no-any-return]

    def _block(self, name: str, block: Any) -> Block:
        linears = {
            part: unit.merged({}, self._products, self._dtype)
            for part, unit in _units(block).items()
        }
        return Block(name, linears, (block.attention.output.LayerNorm, block.output.LayerNorm))

    def _through(self, block: Block, states: Tensor, spans: Tensor, edits: Edits) -> Tensor:
        return self._fed_forward(block, states, self._attended(block, states, spans, edits), edits)

    def _attended(self, block: Block, states: Tensor, spans: Tensor, edits: Edits) -> Tensor:
        qkv = self._plain(block, "qkv", states, edits)
        query, key, value = torch.split(qkv, states.shape[1], dim=1)
        return attend(query, key, value, spans, self._heads, self._scale)

    def _fed_forward(self, block: Block, states: Tensor, attended: Tensor, edits: Edits) -> Tensor:
        first_norm, second_norm = block.norms
        states = _normed(self._plus(block, "out", attended, states, edits), first_norm)
        wide = self._then_gelu(block, "up", states, edits)
        return _normed(self._plus(block, "down", wide, states, edits), second_norm)

    def _plain(self, block: Block, part: str, states: Tensor, edits: Edits) -> Tensor:
        output = self._products.plain(states, _layer(block, part, edits))
        edits.add_branches(f"{block.name}.{part}", states, output)
        return output

    def _plus(
        self, block: Block, part: str, states: Tensor, residual: Tensor, edits: Edits
    ) -> Tensor:
        output = self._products.plus(states, _layer(block, part, edits), residual)
        edits.add_branches(f"{block.name}.{part}", states, output)
        return output

    def _then_gelu(self, block: Block, part: str, states: Tensor, edits: Edits) -> Tensor:
        if edits.segments:  # whatever the neighbours edit: a score must not depend on them
            return gelu(self._plain(block, part, states, edits), approximate=self._approximate)
        return self._products.then_gelu(states, _layer(block, part, edits), self._approximate)


def _layer(block: Block, part: str, edits: Edits) -> Linear:
    return edits.merged.get(f"{block.name}.{part}") or block.linears[part]


def _spans(packed: Packed) -> Tensor:
    """Which tokens ask, and whom: of each text all, all."""
    return torch.stack([packed.starts, packed.lengths] * 2, dim=1)


def _normed(states: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _units(block: Any, prefix: str = "") -> dict[str, Unit]:
    """A block's units by part; their layers' names begin with the prefix."""
    return {
        part: Unit(
            tuple(prefix + name for name in names),
            tuple(block.get_submodule(name) for name in names),
        )
        for part, names in PARTS.items()
    }
