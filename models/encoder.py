"""A backbone made ready to score: one precision, this machine's kernels, any adapter's edits."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import bert
from models.adapters import Adapter, AdapterError
from models.backbone import Backbone
from models.costs import merge_cost
from models.devices import CPU, fetched, moved
from models.edits import Branches, Edits, OwnUpper, Trunk, Unit
from models.kernels import DTYPES, Precision, Rows, fastest_products
from models.library_forward import LibraryForward
from models.lora import LowRank, block_of, in_blocks
from models.own_blocks import OwnBlocks
from models.packing import Packed, mean_by_text, pack
from models.scoring_record import Pooling
from models.self_check import check

# A batch's tokens are rounded up by less than this share of them: every new shape costs the
# kernels a preparation that takes as long as dozens of tokens, and a megabyte that stays.
SHAPE_SHARE = 16
FEWEST_SHAPE_STEP = 8


class Forward(Protocol):
    """How a family's hidden states are computed."""

    units: Mapping[str, Unit]
    branched: frozenset[str]  # the units that may run with branches

    def cut(self, depth: int) -> int:
        """See ``models.bert.BertForward``."""
        ...

    def laid_out(self, own: OwnBlocks) -> OwnUpper:
        """See ``models.bert.BertForward``."""
        ...

    def trunk(self, packed: Packed, depth: int) -> Tensor:
        """See ``models.bert.BertForward``."""
        ...

    def hidden_states(
        self,
        packed: Packed,
        edits: Edits,
        rows: Tensor | None = None,
        trunk: Trunk | None = None,
    ) -> Tensor:
        """See ``models.bert.BertForward``."""
        ...


class Encoder:
    """A backbone's forward, and the edits that adapters make to it.

    Nothing here is changed after it is made, so threads may share it.
    """

    def __init__(self, backbone: Backbone, precision: Precision, device: torch.device = CPU):
        self.precision = precision
        self._position_offset = backbone.position_offset
        self.device = device
        self._products = fastest_products(precision) if device == CPU else Rows()
        model = backbone.model if device == CPU else moved(backbone.model, device)
        own = device == CPU and bert.supports_model(model)
        self.likes_equal_lengths = not own  # attention pads texts to the longest of a group
        self.is_row_independent = own  # a text's states are the same bits in any batch
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

    def depth(self, adapter: Adapter) -> int:
        """Number of the backbone's lower blocks that an adapter leaves as they are.

        0 where the family's forward cannot be cut.
        """
        if adapter.own is not None:
            return self._forward.cut(adapter.own.first_block)
        if not adapter.edits:
            return self._forward.cut(len(self._unit_of))  # no model has as many blocks as layers
        if any(not in_blocks(name) for name in adapter.edits):
            return 0
        return self._forward.cut(min(map(block_of, adapter.edits)))

    def weight_bytes(self, adapter: Adapter) -> int:
        """Memory that ``merged`` takes."""
        own = () if adapter.own is None else adapter.own.blocks
        size = sum(self._forward.units[name].size for name in self._edited(adapter))
        size += sum(tensor.numel() for block in own for tensor in block.values())
        return size * DTYPES[self.precision].itemsize

    def merged(self, adapter: Adapter) -> Edits:
        """The units that an adapter edits with its edits written in, or its own blocks.

        Raises:
            AdapterError: it edits a layer that scoring does not use.
        """
        edits, dtype = self._here(adapter), DTYPES[self.precision]
        with torch.inference_mode():
            own = None if adapter.own is None else self._forward.laid_out(adapter.own)
            merged = {
                unit: self._forward.units[unit].merged(edits, self._products, dtype)
                for unit in self._edited(adapter)
            }
            return Edits(merged, own=own)

    def branches(self, adapter: Adapter) -> Branches:
        """The adapter's edits as branches, by unit."""
        edits, dtype = self._here(adapter), DTYPES[self.precision]
        units = {name: self._forward.units[name] for name in self._edited(adapter)}
        with torch.inference_mode():
            if self.device == CPU:
                return {name: unit.branch(edits, dtype) for name, unit in units.items()}
            return {name: unit.grouped_branch(edits, dtype) for name, unit in units.items()}

    def packed(self, token_ids: Sequence[NDArray[np.int64]]) -> Packed:
        """Texts laid end to end, with filler up to a number of tokens that is met often."""
        step = _shape_step(sum(map(len, token_ids)))
        return pack(token_ids, position_offset=self._position_offset, round_to=step)

    def trunk(self, packed: Packed, depth: int) -> Trunk | None:
        """What the backbone's first ``depth`` blocks make of texts; None for depth 0."""
        if depth == 0:
            return None
        with torch.inference_mode():
            return Trunk(depth, self._forward.trunk(self._moved(packed), depth))

    def pooled(
        self, packed: Packed, edits: Edits, pooling: Pooling, trunk: Trunk | None = None
    ) -> Tensor:
        """One vector per text, float32 [n, hidden_size].

        Args:
            packed: the texts.
            edits: of one adapter, or of several that share the batch.
            pooling: mean over a text's tokens, or its first or last one.
            trunk: of the same texts, no deeper than the edits allow.
        """
        with torch.inference_mode():
            packed = self._moved(packed)
            if pooling == "mean":
                states = self._forward.hidden_states(packed, edits, trunk=trunk)
                return fetched(mean_by_text(states, packed))
            rows = packed.starts if pooling == "first" else packed.starts + packed.lengths - 1
            return fetched(self._forward.hidden_states(packed, edits, rows, trunk).float())

    def _moved(self, packed: Packed) -> Packed:
        return packed if self.device == CPU else packed.to(self.device)

    def _here(self, adapter: Adapter) -> Mapping[str, LowRank]:
        if self.device == CPU:
            return adapter.edits
        return {name: edit.to(self.device) for name, edit in adapter.edits.items()}

    def _edited(self, adapter: Adapter) -> list[str]:
        unused = sorted(adapter.edits.keys() - self._unit_of.keys())
        if unused:
            raise AdapterError(
                f"the adapter edits {', '.join(unused[:3])}, which scoring with this backbone "
                "does not use: train it on the encoder's blocks alone"
            )
        return sorted({self._unit_of[name] for name in adapter.edits})


def _shape_step(tokens: int) -> int:
    """Tokens are rounded up to a multiple of this, a power of two."""
    return max(FEWEST_SHAPE_STEP, 1 << (max(tokens // SHAPE_SHARE, 1).bit_length() - 1))
