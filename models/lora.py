"""Low-rank edits of linear layers (Hu et al. 2021, LoRA): W0 + scaling * B A, and variants."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LowRank:
    """The edit of one linear layer.

    Attributes:
        a: float32 [rank, in_features].
        b: float32 [out_features, rank].
        scaling: factor on the product, and on the branch's bias.
        magnitude: float32 [out_features], lengths of the merged weight's rows (Liu et al. 2024,
            DoRA); None where the rows keep the length that the sum gives them.
        bias: float32 [out_features], stands in for the layer's own (PEFT's ``bias``).
        branch_bias: float32 [out_features], added to B's output (PEFT's ``lora_bias``).
    """

    a: Tensor
    b: Tensor
    scaling: float
    magnitude: Tensor | None = None
    bias: Tensor | None = None
    branch_bias: Tensor | None = None

    @property
    def is_additive(self) -> bool:
        """Whether the edit is a product of A and B alone: it can run beside the pristine layer."""
        return self.magnitude is None and self.bias is None and self.branch_bias is None

    def to(self, device: torch.device) -> "LowRank":
        """The same edit on another device."""
        parts: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if torch.is_tensor(value)
        }
        return replace(self, **parts)

    def weight(self, pristine: Tensor) -> Tensor:
        """The edited weight, float32 [out_features, in_features], from the pristine one."""
        merged = torch.addmm(pristine, self.b * self.scaling, self.a)
        if self.magnitude is None:
            return merged
        # A row of zeros has no direction: it gives NaN, as in PEFT, and fails the probes.
        lengths: Tensor = torch.linalg.vector_norm(merged, dim=1)
        return merged * (self.magnitude / lengths)[:, None]

    def merged_bias(self, pristine: Tensor | None) -> Tensor | None:
        """The edited layer's bias, float32 [out_features], from the pristine one; None if none."""
        bias = pristine if self.bias is None else self.bias
        if self.branch_bias is None:
            return bias
        branch = self.branch_bias * self.scaling
        return branch if bias is None else bias + branch


def block_linears(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers that adapters edit: all in the encoder's numbered blocks.

    Poolers and other parts outside the blocks have no number in their name and stay out.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and in_blocks(name)
    }


class LowRankLinear(nn.Module):
    """A frozen linear layer with a trainable low-rank branch.

    The frozen weight keeps its own dtype; A and B are float32 masters, cast on every call.
    """

    def __init__(self, base: nn.Linear, rank: int, scaling: float, generator: torch.Generator):
        super().__init__()
        self.weight, self.bias, self.scaling = base.weight, base.bias, scaling
        # PEFT's start: A uniform as in a fresh linear layer, B zero, so the edit begins at nothing.
        bound = 1.0 / math.sqrt(base.in_features)
        start = torch.rand(rank, base.in_features, generator=generator)
        self.a = nn.Parameter((start * 2 - 1) * bound)
        self.b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., in_features] to [..., out_features]."""
        flat = inputs.reshape(-1, inputs.shape[-1])
        output: Tensor = _Branch.apply(  # type: ignore[no-untyped-call]
            flat, self.weight, self.bias, self.a, self.b, self.scaling
        )
        return output.reshape(*inputs.shape[:-1], -1)

    def edit(self) -> LowRank:
        """A copy of the edit as it stands."""
        return LowRank(self.a.detach().clone(), self.b.detach().clone(), self.scaling)


class _Branch(torch.autograd.Function):
    """Linear plus branch in one node: no gradient for the frozen weight, little kept."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, s: float
    ) -> Tensor:
        low_a, low_b = a.to(x.dtype), (b * s).to(x.dtype)
        middle = x @ low_a.T
        ctx.save_for_backward(x, weight, low_a, low_b, middle)
        ctx.scaling = s
        return nn.functional.linear(x, weight, bias).addmm_(middle, low_b.T)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, low_a, low_b, middle = ctx.saved_tensors
        grad_middle = grad @ low_b
        grad_a = (grad_middle.T @ x).float()
        grad_b = (grad.T @ middle).float() * ctx.scaling
        # The lowest adapted layers' inputs come from frozen embeddings: nothing to send down.
        grad_x = (grad @ weight).addmm_(grad_middle, low_a) if ctx.needs_input_grad[0] else None
        return grad_x, None, None, grad_a, grad_b, None


def in_blocks(name: str) -> bool:
    """Whether a layer lies in a numbered block."""
    return any(part.isdigit() for part in name.split("."))


def block_of(name: str) -> int:
    """The number of the block that such a layer lies in."""
    return int(next(part for part in name.split(".") if part.isdigit()))


def add_branches(
    model: nn.Module, rank: int, scaling: float, generator: torch.Generator, first_block: int = 0
) -> dict[str, LowRankLinear]:
    """Give the layers of block ``first_block`` and above a branch; returns them by name."""
    branches = {
        name: LowRankLinear(base, rank, scaling, generator)
        for name, base in block_linears(model).items()
        if block_of(name) >= first_block
    }
    for name, branch in branches.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, branch)
    return branches
