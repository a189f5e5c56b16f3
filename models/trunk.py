"""Cut a backbone in two: below the cut nothing is trained, so its work is done once per text."""

import copy
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
    encoder_blocks = getattr(getattr(model, "encoder", None), "layer", None)
    blocks = getattr(model, "layers", None)
    if _has_both_sides(encoder_blocks, first_block) and hasattr(model, "embeddings"):
        lower, upper = _cut_encoder(model, first_block)
    elif _has_both_sides(blocks, first_block) and runs_packed(model):
        lower, upper = _cut_layers(model, first_block)
    else:
        return None, model
    return (lower, upper) if _give_the_same(model, lower, upper) else (None, model)


def _has_both_sides(blocks: Any, first_block: int) -> bool:
    return isinstance(blocks, nn.ModuleList) and 0 < first_block < len(blocks)


def _cut_encoder(model: Any, first_block: int) -> tuple[Any, Any]:
    lower, upper = _shell(model), _shell(model)
    lower.encoder, upper.encoder = _shell(model.encoder), _shell(model.encoder)
    lower.encoder.layer = model.encoder.layer[:first_block]
    upper.encoder.layer = model.encoder.layer[first_block:]
    upper.embeddings = _Given()
    if hasattr(model, "embeddings_project"):  # a small ELECTRA's, between embeddings and blocks
        upper.embeddings_project = nn.Identity()
    return lower, upper


def _cut_layers(model: Any, first_block: int) -> tuple[Any, Any]:
    lower, upper = _shell(model), _shell(model)
    lower.layers, upper.layers = model.layers[:first_block], model.layers[first_block:]
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
    packed = pack([np.arange(2), np.arange(1, 5)])
    with torch.no_grad():
        whole = hidden_states(model, packed)
        try:
            parts = hidden_states(upper, packed, hidden_states(lower, packed))
        except Exception:  # a forward of another build may raise anything on half a model
            return False
    return torch.equal(parts, whole)
