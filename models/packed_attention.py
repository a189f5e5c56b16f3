"""The attention function that the library's forwards hand packed texts to.

Families differ in what a token sees: all of its text (BERT), what came before it (decoders),
or its neighbours only (ModernBERT's and Mistral's sliding windows). The attention module says
which, so one function serves them all; what it does not know it refuses.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

if TYPE_CHECKING:
    from models.packing import Group, Packed

ATTENTION = "packed_by_length"
# Keyword arguments of the library's attention that change nothing in a whole, uncached text.
WITHOUT_EFFECT = frozenset({"cache_position", "deterministic", "position_ids", "use_cache"})


def padded(rows: Tensor, group: "Group") -> Tensor:
    """A group's rows of the packed sequence by text: [tokens, ...] to [count, width, ...]."""
    rows = rows[group.start : group.stop]
    if group.pad is not None:
        rows = _Pad.apply(rows, group.pad, group.unpad)  # type: ignore[no-untyped-call]
    return rows.reshape(group.count, group.width, *rows.shape[1:])


class _Pad(torch.autograd.Function):
    """Rows to padded places; its gradient is a gather too, as padded places carry none."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, pad: Tensor, unpad: Tensor) -> Tensor:
        ctx.save_for_backward(unpad)
        return rows.index_select(0, pad)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (unpad,) = ctx.saved_tensors
        return grad.index_select(0, unpad), None, None


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    packed: "Packed",
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a packed sequence.

    Args:
        module: the attention module; its ``is_causal`` says whether tokens see what follows.
        query: [1, heads, tokens, head_size].
        key: [1, key_heads, tokens, head_size]; heads is a multiple of key_heads.
        value: [1, key_heads, tokens, value_size].
        attention_mask: None; the library makes none for a function registered without one.
        packed: the layout, handed down from ``hidden_states``.
        scaling: factor on the scores before the softmax.
        dropout: share of attention weights dropped in training.
        sliding_window: tokens this far apart or farther do not see each other.
        is_causal: overrides the module's.
        others: must say nothing that attention depends on.

    Returns:
        [1, tokens, heads, value_size], and no attention weights.

    Raises:
        TypeError: the family's attention takes something into account that this one does not.
    """
    unknown = sorted(
        name for name in others if others[name] is not None and name not in WITHOUT_EFFECT
    )
    if unknown or attention_mask is not None:
        raise TypeError(f"attention with {', '.join(unknown) or 'its own mask'}")
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    rows = [part[0].transpose(0, 1) for part in (query, key, value)]
    outputs = []
    for group in packed.groups:
        mask = _mask(group, causal, sliding_window, query.device)
        outputs.append(_attend(rows, group, mask, causal, scaling, dropout))
    if packed.filler:
        outputs.append(outputs[0].new_zeros(packed.filler, *outputs[0].shape[1:]))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return joined[None], None


def _mask(
    group: "Group", causal: bool, sliding_window: int | None, device: torch.device
) -> Tensor | None:
    """Which keys a query sees where neither the causal order nor the text's end tells."""
    if sliding_window is None or group.width <= sliding_window:
        # Padding lies after a text, where in a causal model none of its tokens look.
        return None if causal else group.mask
    places = torch.arange(group.width, device=device)
    ahead = places[None, :] - places[:, None]
    near = ahead.abs() < sliding_window
    if causal:
        return near & (ahead <= 0)
    # A padded query sees itself at least: a row with nothing to see would be NaN, and so would
    # every gradient that passes it.
    return near if group.mask is None else group.mask & near | (ahead == 0)


def _attend(
    rows: Sequence[Tensor],
    group: "Group",
    mask: Tensor | None,
    causal: bool,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    q, k, v = (padded(part, group).transpose(1, 2) for part in rows)
    if torch.is_grad_enabled() and q.requires_grad:
        attended = _attention_in_steps(q, k, v, mask, causal, scaling, dropout)
    else:
        attended = nn.functional.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=causal and mask is None,
            scale=scaling,
            enable_gqa=q.shape[1] != k.shape[1],
        )
    flat = attended.transpose(1, 2).reshape(group.count * group.width, q.shape[1], v.shape[3])
    return flat if group.unpad is None else flat.index_select(0, group.unpad)


def _attention_in_steps(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    scaling: float | None,
    dropout: float,
) -> Tensor:
    """The same attention for training: the CPU's fused one takes six times as long backward."""
    if q.shape[1] != k.shape[1]:
        k, v = (part.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for part in (k, v))
    scores = (q * (q.shape[-1] ** -0.5 if scaling is None else scaling)) @ k.transpose(2, 3)
    if mask is None and causal:
        mask = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        # A mask of keys alone is one row, expanded.
        seen = mask[:, :, :1] if mask.stride(-2) == 0 else mask
        scores = scores.masked_fill(~seen, float("-inf"))
    shares = nn.functional.dropout(scores.softmax(dim=-1), dropout)
    return shares @ v


AttentionInterface.register(ATTENTION, packed_attention)
