"""A backbone made ready to score: one precision, this machine's kernels, any adapter's edits."""

import copy
import threading
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from models import bert
from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.costs import merge_cost
from models.devices import CPU, fetched, moved
from models.edits import NO_EDITS, Branches, Edits, Unit
from models.heads import Pooling
from models.kernels import DTYPES, Linear, Precision, Products, Rows, fastest_products
from models.lora import LowRank
from models.packing import Packed, hidden_states, mean_by_text, pack, runs_packed
from models.self_check import check


class Forward(Protocol):
    """How a family's hidden states are computed."""

    units: Mapping[str, Unit]
    branched: frozenset[str]  # the units that may run with branches

    def hidden_states(self, packed: Packed, edits: Edits, rows: Tensor | None = None) -> Tensor:
        """See ``models.bert.BertForward``."""
        ...


class Encoder:
    """A backbone's forward, and the edits that adapters make to it.

    Nothing here is changed after it is made, so threads may share it.
    """

    def __init__(self, backbone: Backbone, precision: Precision, device: torch.device = CPU):
        self.precision = precision
        self.position_offset = backbone.position_offset
        self._device = device
        self._products = fastest_products(precision) if device == CPU else Rows()
        model = backbone.model if device == CPU else moved(backbone.model, device)
        own = device == CPU and bert.supports_model(model)
        self.likes_equal_lengths = not own  # attention pads texts to the longest of a group
        forward: Any = bert.BertForward if own else LibraryForward
        self._forward: Forward = forward(model, precision, self._products)
        if device == CPU:
            check(self._forward, backbone, precision, self._products)
        self._merge_cost = merge_cost(self._forward.units, precision, device)
        self._unit_of = {
            name: unit for unit, layers in self._forward.units.items() for name in layers.names
        }

    def break_even(self, adapter: Adapter) -> float:
        """Tokens from which merging costs less than running beside the pristine weights.

        0 where a unit takes no branches or an edit is more than an added product.

        Raises:
            AdapterError: see ``merged``.
        """
        additive = all(edit.is_additive for edit in adapter.edits.values())
        names = self._edited(adapter)
        units = [self._forward.units[name] for name in names]
        if not (units and additive and self._forward.branched.issuperset(names)):
            return 0.0
        per_token = sum(unit.branch_size(adapter.edits) for unit in units)
        return self._merge_cost * sum(unit.size for unit in units) / per_token

    def merged(self, adapter: Adapter) -> dict[str, Linear]:
        """The units that an adapter edits, with its edits written in.

        Raises:
            AdapterError: it edits a layer that scoring does not use.
        """
        edits, dtype = self._here(adapter), DTYPES[self.precision]
        with torch.inference_mode():
            return {
                unit: self._forward.units[unit].merged(edits, self._products, dtype)
                for unit in self._edited(adapter)
            }

    def branches(self, adapter: Adapter) -> Branches:
        """The adapter's edits as branches, by unit."""
        edits, dtype = self._here(adapter), DTYPES[self.precision]
        units = {name: self._forward.units[name] for name in self._edited(adapter)}
        with torch.inference_mode():
            if self._device == CPU:
                return {name: unit.branch(edits, dtype) for name, unit in units.items()}
            return {name: unit.grouped_branch(edits, dtype) for name, unit in units.items()}

    def pooled(self, packed: Packed, edits: Edits, pooling: Pooling) -> Tensor:
        """One vector per text, float32 [n, hidden_size].

        Args:
            packed: the texts.
            edits: of one adapter, or of several that share the batch.
            pooling: mean over a text's tokens, or its first or last one.
        """
        with torch.inference_mode():
            packed = packed if self._device == CPU else packed.to(self._device)
            if pooling == "mean":
                return fetched(mean_by_text(self._forward.hidden_states(packed, edits), packed))
            rows = packed.starts if pooling == "first" else packed.starts + packed.lengths - 1
            return fetched(self._forward.hidden_states(packed, edits, rows).float())

    def _here(self, adapter: Adapter) -> Mapping[str, LowRank]:
        if self._device == CPU:
            return adapter.edits
        return {name: edit.to(self._device) for name, edit in adapter.edits.items()}

    def _edited(self, adapter: Adapter) -> list[str]:
        unused = sorted(adapter.edits.keys() - self._unit_of.keys())
        if unused:
            raise AdapterError(
                f"the adapter edits {', '.join(unused[:3])}, which scoring with this backbone "
                "does not use: train it on the encoder's blocks alone"
            )
        return sorted({self._unit_of[name] for name in adapter.edits})


class LibraryForward:
    """The library's own forward, its linear layers replaced by the kernels.

    The replaced layers look up the weights of the batch in hand, one batch per thread.
    """

    def __init__(self, model: Any, precision: Precision, products: Products):
        dtype = DTYPES[precision]
        self.units = {
            name: Unit((name,), (layer,))
            for name, layer in model.named_modules()
            if isinstance(layer, nn.Linear)
        }
        self._batch = threading.local()
        layers = {
            name: _Looked(name, unit.merged({}, products, dtype), products, self._batch)
            for name, unit in self.units.items()
        }
        originals = {id(unit.layers[0]): layers[name] for name, unit in self.units.items()}
        # Copied as if the linear layers had been replaced already: their weights are not copied.
        self._model = copy.deepcopy(model, originals).to(dtype)
        self._batch.edits = NO_EDITS
        self.branched = self._per_token(layers) if runs_packed(model) else frozenset()

    def hidden_states(self, packed: Packed, edits: Edits, rows: Tensor | None = None) -> Tensor:
        """See ``models.bert.BertForward``; every token is computed."""
        self._batch.edits = edits
        states = hidden_states(self._model, packed)
        return states if rows is None else states[rows]

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
            hidden_states(self._model, packed)
        for hook in hooks:
            hook.remove()
        whole = packed.input_ids.shape
        return frozenset(
            name
            for name, shape in shapes.items()
            if shape == whole and self.units[name].takes_branches
        )


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
