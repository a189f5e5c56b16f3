"""The library's own forward of a family, with this machine's kernels and any adapter's edits."""

import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.edits import NO_EDITS, Edits, OwnUpper, Trunk, Unit
from models.kernels import DTYPES, Linear, Precision, Products
from models.own_blocks import OwnBlocks, modules_of
from models.packing import Packed, hidden_states, pack, runs_packed
from models.trunk import blocks_of, halves, split, with_upper


class LibraryForward:
    """The library's own forward, its linear layers replaced by the kernels.

    The replaced layers look up the weights of the batch in hand, one batch per thread.
    """

    def __init__(self, model: Any, precision: Precision, products: Products):
        self._dtype, self._products, self._original = DTYPES[precision], products, model
        self.units = _units(model)
        self._batch = threading.local()
        self._batch.edits = NO_EDITS
        replaced, layers = self._with_kernels(model, self.units)
        self._whole = _Whole(replaced)
        self._trunks: dict[int, nn.Module | None] = {}
        self.branched = self._per_token(layers) if runs_packed(model) else frozenset()

    def cut(self, depth: int) -> int:
        """See ``models.bert.BertForward``; 0 where this family's forward cannot be cut there."""
        blocks = blocks_of(self._whole.model)
        depth = 0 if blocks is None else min(depth, len(blocks) - 1)
        if depth not in self._trunks:
            self._batch.edits = NO_EDITS
            self._trunks[depth] = split(self._whole.model, depth)[0]
        return depth if self._trunks[depth] is not None else 0

    def laid_out(self, own: OwnBlocks) -> OwnUpper:
        """See ``models.bert.BertForward``."""
        upper = [
            self._with_kernels(block, _units(block, f"own {number} "))[0]
            for number, block in enumerate(modules_of(own, self._original))
        ]
        whole = with_upper(self._whole.model, own.first_block, upper)
        return OwnUpper(own.first_block, _Whole(whole))

    def trunk(self, packed: Packed, depth: int) -> Tensor:
        """See ``models.bert.BertForward``."""
        self._batch.edits = NO_EDITS
        lower = self._trunks[depth]
        if lower is None:
            raise ValueError(f"this forward cannot be cut below block {depth}: ask `cut` first")
        return hidden_states(lower, packed)

    def hidden_states(
        self,
        packed: Packed,
        edits: Edits,
        rows: Tensor | None = None,
        trunk: Trunk | None = None,
    ) -> Tensor:
        """See ``models.bert.BertForward``; every token is computed."""
        self._batch.edits = edits
        whole: _Whole = self._whole if edits.own is None else edits.own.blocks
        if trunk is None:
            states = hidden_states(whole.model, packed)
        else:
            states = hidden_states(whole.upper(trunk.depth), packed, trunk.states)
        return states if rows is None else states[rows]

    def _with_kernels(
        self, module: Any, units: Mapping[str, Unit]
    ) -> tuple[nn.Module, dict[str, "_Looked"]]:
        """A copy of a module, and the layers that stand in for its linear ones, by name."""
        layers = {
            name: _Looked(
                name, unit.merged({}, self._products, self._dtype), self._products, self._batch
            )
            for name, unit in units.items()
        }
        originals = {id(unit.layers[0]): layers[name] for name, unit in units.items()}
        # Copied as if the linear layers had been replaced already: their weights are not copied.
        return copy.deepcopy(module, originals).to(self._dtype), layers

    def _per_token(self, layers: Mapping[str, nn.Module]) -> frozenset[str]:
        """The units that are given every token of a packed batch, in its order."""
        device = next(iter(self.units.values())).layers[0].weight.device
        packed = pack([np.zeros(3, dtype=np.int64), np.zeros(4, dtype=np.int64)]).to(device)
        shapes: dict[str, torch.Size] = {}

        def note(name: str, inputs: tuple[Tensor, ...]) -> None:
            shapes[name] = inputs[0].shape[:-1]

        hooks = [
            layer.register_forward_pre_hook(lambda _, inputs, name=name: note(name, inputs))
            for name, layer in layers.items()
        ]
        with torch.inference_mode():
            hidden_states(self._whole.model, packed)
        for hook in hooks:
            hook.remove()
        whole = packed.input_ids.shape
        return frozenset(
            name
            for name, shape in shapes.items()
            if shape == whole and self.units[name].takes_branches
        )


@dataclass(frozen=True)
class _Whole:
    """An encoder from embeddings to last block, and its upper parts as they are asked for."""

    model: nn.Module
    _uppers: dict[int, nn.Module] = field(default_factory=dict, init=False, repr=False)

    def upper(self, depth: int) -> nn.Module:
        """What follows the first ``depth`` blocks."""
        if depth not in self._uppers:
            self._uppers[depth] = halves(self.model, depth)[1]
        return self._uppers[depth]


class _Looked(nn.Module):
    """A linear layer that takes its weight from the batch in hand, or the pristine one."""

    def __init__(self, name: str, pristine: Linear, products: Products, batch: threading.local):
        super().__init__()
        self._name, self._pristine, self._products, self._batch = name, pristine, products, batch

    def forward(self, inputs: Tensor) -> Tensor:
        edits: Edits = self._batch.edits
        layer = edits.merged.get(self._name) or self._pristine
        rows = inputs.reshape(-1, inputs.shape[-1])
        output = self._products.plain(rows, layer)
        edits.add_branches(self._name, rows, output)
        return output.reshape(*inputs.shape[:-1], -1)


def _units(module: nn.Module, prefix: str = "") -> dict[str, Unit]:
    return {
        prefix + name: Unit((prefix + name,), (layer,))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    }
