"""Low-rank branches on a GPU: grouped products, one kernel for all adapters of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grouped_mm, pad

# The kernels read rows of 16 bytes: eight bfloat16.
RANK_STEP = 8


@dataclass(frozen=True)
class GroupedBranch:
    """One layer's low-rank edit beside its pristine weight.

    Attributes:
        down: [in_features, rank], A turned, padded to RANK_STEP.
        up: [rank, out_features], the scaled B turned.
    """

    down: Tensor
    up: Tensor

    @classmethod
    def of(cls, a: Tensor, b: Tensor, dtype: torch.dtype) -> "GroupedBranch":
        """From A, [rank, in_features], and the scaled B, [out_features, rank]."""
        down, up = _widened(a.T, b.T, -(-len(a) // RANK_STEP) * RANK_STEP)
        return cls(down.to(dtype).contiguous(), up.to(dtype).contiguous())


def add_grouped(
    rows: Tensor, output: Tensor, branches: Sequence[GroupedBranch | None], stops: Tensor
) -> None:
    """Add branches to a product's rows, in place.

    Args:
        rows: [tokens, in_features], what the product was given.
        output: [tokens, out_features], what it gave.
        branches: of each segment, None where it has none.
        stops: int32 [segments], where each segment ends; tokens after the last have no branch.
    """
    known = [branch for branch in branches if branch is not None]
    rank = max(len(branch.up) for branch in known)
    nothing = GroupedBranch(torch.zeros_like(known[0].down), torch.zeros_like(known[0].up))
    pairs = [
        _widened(branch.down, branch.up, rank)
        for branch in (nothing if branch is None else branch for branch in branches)
    ]
    middle = grouped_mm(rows, torch.stack([down for down, _ in pairs]), offs=stops)
    output += grouped_mm(middle, torch.stack([up for _, up in pairs]), offs=stops)


def _widened(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    more = rank - len(up)
    return pad(down, (0, more)), pad(up, (0, 0, 0, more))
