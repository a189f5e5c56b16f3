"""The forward of the BERT family on packed texts, with this machine's fastest kernels.

The library's forward computes the same in more steps: it multiplies query, key and value
apart, and writes GELU and each residual sum to memory by themselves. The embeddings stay the
library's own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from models.attention import attend, supports
from models.edits import Edits, Unit
from models.kernels import DTYPES, Linear, Precision, Products
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


class BertForward:
    """Embeddings, then blocks of attention and feed-forward, each followed by a LayerNorm."""

    def __init__(self, model: Any, precision: Precision, products: Products):
        self.units = _units(model)
        self.branched = frozenset(name for name, unit in self.units.items() if unit.takes_branches)
        self._dtype, self._products = DTYPES[precision], products
        self._embeddings = model.embeddings
        self._approximate = GELU[model.config.hidden_act]
        self._heads = int(model.config.num_attention_heads)
        head_size = int(model.config.hidden_size) // self._heads
        self._scale = head_size**-0.5
        self._norms = [
            (block.attention.output.LayerNorm, block.output.LayerNorm)
            for block in model.encoder.layer
        ]
        self._pristine = {
            name: unit.merged({}, products, self._dtype) for name, unit in self.units.items()
        }

    def hidden_states(self, packed: Packed, edits: Edits, rows: Tensor | None = None) -> Tensor:
        """Last hidden states, [tokens, hidden_size], filler included.

        Args:
            packed: the texts.
            edits: merged units and branches.
            rows: int64 [n]; only these tokens' states are wanted, [n, hidden_size], one per text.
        """
        states = self._embeddings(input_ids=packed.input_ids, position_ids=packed.position_ids)
        states = states[0].to(self._dtype)
        spans = torch.stack([packed.starts, packed.lengths] * 2, dim=1)
        last = len(self._norms) - 1
        for number in range(last):
            attended = self._attended(number, states, spans, edits)
            states = self._fed_forward(number, states, attended, edits)
        if rows is None or edits.segments:
            attended = self._attended(last, states, spans, edits)
            states = self._fed_forward(last, states, attended, edits)
            return states if rows is None else states[rows]
        # Only these tokens ask; what follows their attention is computed for them alone.
        spans = torch.stack([rows, torch.ones_like(rows), packed.starts, packed.lengths], dim=1)
        attended = self._attended(last, states, spans, edits)[rows]
        return self._fed_forward(last, states[rows], attended, edits)

    def _attended(self, number: int, states: Tensor, spans: Tensor, edits: Edits) -> Tensor:
        qkv = self._plain(f"{number}.qkv", states, edits)
        query, key, value = torch.split(qkv, states.shape[1], dim=1)
        return attend(query, key, value, spans, self._heads, self._scale)

    def _fed_forward(self, number: int, states: Tensor, attended: Tensor, edits: Edits) -> Tensor:
        first_norm, second_norm = self._norms[number]
        states = _normed(self._plus(f"{number}.out", attended, states, edits), first_norm)
        wide = self._then_gelu(f"{number}.up", states, edits)
        return _normed(self._plus(f"{number}.down", wide, states, edits), second_norm)

    def _plain(self, unit: str, states: Tensor, edits: Edits) -> Tensor:
        output = self._products.plain(states, self._layer(unit, edits))
        edits.add_branches(unit, states, output)
        return output

    def _plus(self, unit: str, states: Tensor, residual: Tensor, edits: Edits) -> Tensor:
        output = self._products.plus(states, self._layer(unit, edits), residual)
        edits.add_branches(unit, states, output)
        return output

    def _then_gelu(self, unit: str, states: Tensor, edits: Edits) -> Tensor:
        if edits.segments:  # whatever the neighbours edit: a score must not depend on them
            return gelu(self._plain(unit, states, edits), approximate=self._approximate)
        return self._products.then_gelu(states, self._layer(unit, edits), self._approximate)

    def _layer(self, unit: str, edits: Edits) -> Linear:
        return edits.merged.get(unit) or self._pristine[unit]


def _normed(states: Tensor, norm: nn.LayerNorm) -> Tensor:
    return layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _units(model: Any) -> dict[str, Unit]:
    units = {}
    for number, block in enumerate(model.encoder.layer):
        for part, names in PARTS.items():
            layers = tuple(block.get_submodule(name) for name in names)
            whole = tuple(f"encoder.layer.{number}.{name}" for name in names)
            units[f"{number}.{part}"] = Unit(whole, layers)
    return units
