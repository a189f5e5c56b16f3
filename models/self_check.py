"""Before anything is scored: do this machine's kernels compute what the library does?

The kernels are compiled for the processor at hand, which may be one that nobody has tried. Probe
predictions would show it too, but for each adapter by itself, and later.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from models.backbone import Backbone, BackboneError
from models.edits import Edits, Segment
from models.jit import host_processor
from models.kernels import DTYPES, Precision, Products
from models.lora import LowRank
from models.packing import Packed, hidden_states, pack

if TYPE_CHECKING:
    from models.encoder import Forward

# Tokens of the texts: one, a part of a vector of queries, more than one, more than two.
LENGTHS = (1, 5, 20, 37)
RANK = 5
# Largest difference, as a share of the largest hidden state. A wrong kernel is off by as much as
# the states themselves; a dozen blocks in bfloat16 differ in the second digit.
TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 0.2}


def check(forward: "Forward", backbone: Backbone, precision: Precision, products: Products) -> None:
    """Compare a forward with the library's, and branches with merged weights.

    Raises:
        BackboneError: they differ by more than rounding explains.
    """
    packed = _texts(backbone)
    with torch.inference_mode():
        n = packed.tokens
        expected = hidden_states(backbone.model, packed)[:n]
        found = forward.hidden_states(packed, Edits())[:n]
        _compare(found, expected, precision, "the forward")
        units = {name: forward.units[name] for name in sorted(forward.branched)}
        edits = _edits({name for unit in units.values() for name in unit.names}, backbone)
        if not edits:
            return
        dtype = DTYPES[precision]
        merged = {name: unit.merged(edits, products, dtype) for name, unit in units.items()}
        branches = {name: unit.branch(edits, dtype) for name, unit in units.items()}
        middle = n // 2
        halves = [Segment(0, middle, branches), Segment(middle, n, branches)]
        expected = forward.hidden_states(packed, Edits(merged))[:n].float()
        found = forward.hidden_states(packed, Edits(segments=halves))[:n]
        _compare(found, expected, precision, "an adapter beside the weights")


def _compare(found: Tensor, expected: Tensor, precision: Precision, what: str) -> None:
    difference = float((found.float() - expected).abs().max())
    if not difference <= TOLERANCE[precision] * float(expected.abs().max()):
        raise BackboneError(
            f"{what} in {precision} gives other hidden states on this machine's processor "
            f"({host_processor()}) than it should (off by {difference:.2g}), so nothing is "
            "scored: please report it, and score with the other GRADELINE_PRECISION meanwhile"
        )


def _texts(backbone: Backbone) -> Packed:
    limit, vocabulary = backbone.max_tokens, backbone.tokenizer.get_vocab_size()
    ids = (np.arange(sum(LENGTHS)) * 7 + 11) % vocabulary
    parts = np.split(ids, np.cumsum(LENGTHS)[:-1])
    # Eight: as in scoring, the last text is followed by filler.
    return pack(
        [part[:limit] for part in parts], position_offset=backbone.position_offset, round_to=8
    )


def _edits(names: set[str], backbone: Backbone) -> dict[str, LowRank]:
    """An adapter that does something everywhere, the same each time."""
    random = torch.Generator().manual_seed(1)
    edits = {}
    for name in sorted(names):
        weight: Any = backbone.model.get_submodule(name).weight
        a = torch.randn(RANK, weight.shape[1], generator=random) * weight.shape[1] ** -0.5
        b = torch.randn(weight.shape[0], RANK, generator=random) * float(weight.std())
        edits[name] = LowRank(a, b, 1.0)
    return edits
