"""Cut a backbone in two: below the cut nothing is trained, so its work is done once per text."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.packing import hidden_states, pack, runs_packed

# What families call the norm after their last block.
FINAL_NORMS = ("norm", "final_norm")


class _Given(nn.Module):
    """Stands where the embeddings were: hands on the lower part's states."""

    def forward(self, *, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


def split(model: nn.Module, first_block: int) -> tuple[nn.Module | None, nn.Module]:
    """Cut a model below block ``first_block``; the parts share its weights.

    Models built as ``embeddings`` and ``encoder.layer`` (BERT, RoBERTa, ELECTRA, DeBERTa ...)
    are cut, and packed ones built as ``layers`` (ModernBERT, Llama, Qwen ...), if the parts
    give of a short text, bit for bit, what the whole gives. Another model comes back whole,
    without a lower part.

    Returns:
        the lower part or None, and the upper part or the whole model.
    """
    blocks = blocks_of(model)
    if blocks is None or not 0 < first_block < len(blocks):
        return None, model
    lower, upper = halves(model, first_block)
    return (lower, upper) if _give_the_same(model, lower, upper) else (None, model)


def halves(model: nn.Module, first_block: int) -> tuple[nn.Module, nn.Module]:
    """The parts of a model that ``split`` is known to cut there."""
    if _has_encoder(model):
        return _cut_encoder(model, first_block)
    return _cut_layers(model, first_block)


def blocks_of(model: nn.Module) -> nn.ModuleList | None:
    """The encoder's blocks, from below; None where they are not built as ``split`` knows them."""
    if _has_encoder(model) or (
        isinstance(getattr(model, "layers", None), nn.ModuleList) and runs_packed(model)
    ):
        blocks: nn.ModuleList = _blocks(model)
        return blocks
    return None


def with_upper(model: nn.Module, first_block: int, upper: Sequence[nn.Module]) -> nn.Module:
    """A model of the first blocks of another, which ``blocks_of`` must know, and other upper ones.

    It shares all else.
    """
    shell: nn.Module = _with_blocks(model, [*_blocks(model)[:first_block], *upper])
    return shell


def _with_blocks(model: nn.Module, blocks: Sequence[nn.Module]) -> Any:
    shell = _shell(model)
    if _has_encoder(model):
        shell.encoder = _shell(shell.encoder)
        shell.encoder.layer = nn.ModuleList(blocks)
    else:
        shell.layers = nn.ModuleList(blocks)
    return shell


def _blocks(model: Any) -> Any:
    return model.encoder.layer if _has_encoder(model) else model.layers


def _has_encoder(model: nn.Module) -> bool:
    blocks = getattr(getattr(model, "encoder", None), "layer", None)
    return isinstance(blocks, nn.ModuleList) and hasattr(model, "embeddings")


def _cut_encoder(model: Any, first_block: int) -> tuple[Any, Any]:
    blocks = _blocks(model)
    lower, upper = (
        _with_blocks(model, part) for part in (blocks[:first_block], blocks[first_block:])
    )
    upper.embeddings = _Given()
    if hasattr(model, "embeddings_project"):  # a small ELECTRA's, between embeddings and blocks
        upper.embeddings_project = nn.Identity()
    return lower, upper


def _cut_layers(model: Any, first_block: int) -> tuple[Any, Any]:
    blocks = _blocks(model)
    lower, upper = (
        _with_blocks(model, part) for part in (blocks[:first_block], blocks[first_block:])
    )
    for norm in FINAL_NORMS:
        if hasattr(model, norm):
            setattr(lower, norm, nn.Identity())
    # Decoders take given states as they are, ModernBERT's embeddings would norm them again.
    if hasattr(model, "embeddings"):
        upper.embeddings = _Given()
    return lower, upper


def _shell(module: Any) -> Any:
    """A copy of a module that shares all that lies inside it."""
    shell = copy.copy(module)
    shell._modules = dict(module._modules)
    return shell


def _give_the_same(model: nn.Module, lower: nn.Module, upper: nn.Module) -> bool:
    device = next(model.parameters()).device
    packed = pack([np.arange(2), np.arange(1, 5)]).to(device)
    with torch.no_grad():
        whole = hidden_states(model, packed)
        try:
            parts = hidden_states(upper, packed, hidden_states(lower, packed))
        except Exception:  # a forward of another build may raise anything on half a model
            return False
    return torch.equal(parts, whole)
