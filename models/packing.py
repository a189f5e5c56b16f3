"""Run an encoder on texts laid end to end: one sequence, no padding outside attention.

The library lets a program register its own attention function; ours receives the layout of
the packed sequence through the forward's keyword arguments and attends within each text only.
Texts of (nearly) one length form a group, padded to the longest of the group inside
attention alone, where padding is cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

ATTENTION = "packed_by_length"
# A group takes in the next text while it is at most this much longer than the group's first.
GROUP_RATIO = 1.125
GROUP_SLACK_TOKENS = 4
# Widths of rounded groups are multiples of this at most: attention pays for padding twice.
WIDTH_STEP = 8


@dataclass(frozen=True)
class Group:
    """Consecutive texts that share one attention call.

    Attributes:
        start, stop: the group's tokens in the packed sequence.
        count, width: texts, and tokens of the longest.
        pad: int64 [count * width], where each padded place reads from; None if all are equal.
        unpad: int64 [stop - start], where each token lies among the padded places.
        mask: bool [count, 1, width, width], true at real keys.
    """

    start: int
    stop: int
    count: int
    width: int
    pad: Tensor | None
    unpad: Tensor | None
    mask: Tensor | None


@dataclass(frozen=True)
class Packed:
    """Texts laid end to end, and perhaps filler after the last.

    Attributes:
        input_ids, position_ids: int64 [1, tokens], filler included.
        lengths: int64 [n], tokens per text.
        groups: the texts by length, in the order of the sequence.
    """

    input_ids: Tensor
    position_ids: Tensor
    lengths: Tensor
    groups: tuple[Group, ...]

    @property
    def filler(self) -> int:
        """Tokens after the last text."""
        return self.input_ids.shape[1] - self.groups[-1].stop


def pack(
    token_ids: Sequence[NDArray[np.int64]],
    *,
    position_offset: int = 0,
    slack_tokens: int = GROUP_SLACK_TOKENS,
    round_to: int = 1,
) -> Packed:
    """Lay texts end to end; sort them by length first for few attention groups.

    Args:
        token_ids: n arrays of at least one id each.
        position_offset: the position of a text's first token (RoBERTa counts from 2).
        slack_tokens: how many tokens longer than a group's first text its last may be, where
            that is more than GROUP_RATIO allows.
        round_to: make the number of tokens, by filler, and a padded group's width a multiple
            of this. In bfloat16 every new shape costs the CPU library a compilation that takes
            longer than the product, so training keeps to few shapes.
    """
    lengths = [len(ids) for ids in token_ids]
    filler = np.zeros(-sum(lengths) % round_to, dtype=np.int64)
    positions = [np.arange(length) for length in lengths]
    return Packed(
        input_ids=torch.from_numpy(np.concatenate([*token_ids, filler]))[None],
        position_ids=torch.from_numpy(np.concatenate([*positions, filler]) + position_offset)[None],
        lengths=torch.tensor(lengths),
        groups=tuple(_groups(lengths, slack_tokens, min(round_to, WIDTH_STEP))),
    )


def hidden_states(model: nn.Module, packed: Packed, below: Tensor | None = None) -> Tensor:
    """Last hidden states of every token, filler included: [tokens, hidden_size].

    Args:
        model: an encoder, or the upper part of one from ``models.trunk.split``.
        packed: the texts.
        below: for an upper part, what the lower part made of them, [tokens, hidden_size].
    """
    output = model(
        input_ids=packed.input_ids if below is None else None,
        inputs_embeds=None if below is None else below[None],
        position_ids=packed.position_ids,
        packed=packed,
    )
    states: Tensor = output.last_hidden_state
    return states[0]


def mean_by_text(states: Tensor, packed: Packed) -> Tensor:
    """Mean of each text's hidden states, summed in float32: [n, hidden_size]."""
    real = states[: packed.groups[-1].stop].float()
    return torch.segment_reduce(real, "mean", lengths=packed.lengths, axis=0)


def _groups(lengths: Sequence[int], slack_tokens: int, width_step: int) -> list[Group]:
    groups: list[Group] = []
    first, start = 0, 0
    for end in range(1, len(lengths) + 1):
        if end < len(lengths) and _fits(lengths[first:end], lengths[end], slack_tokens):
            continue
        group = _group(lengths[first:end], start, width_step)
        groups.append(group)
        first, start = end, group.stop
    return groups


def _fits(members: Sequence[int], length: int, slack_tokens: int) -> bool:
    shortest, longest = members[0], max(members[0], members[-1], length)
    return min(members[-1], length) >= shortest and longest <= max(
        shortest * GROUP_RATIO, shortest + slack_tokens
    )


def _group(lengths: Sequence[int], start: int, width_step: int) -> Group:
    count, total = len(lengths), sum(lengths)
    width = -(-max(lengths) // width_step) * width_step
    stop = start + total
    if total == count * width:
        return Group(start, stop, count, width, None, None, None)
    sizes = np.array(lengths)
    real = np.arange(width)[None, :] < sizes[:, None]
    first_token = np.cumsum(sizes) - sizes
    # A padded place reads its text's first token: any real row does, the mask hides it.
    pad = np.where(real, first_token[:, None] + np.arange(width)[None, :], first_token[:, None])
    mask = torch.from_numpy(real)[:, None, None, :].expand(count, 1, width, width)
    unpad = torch.from_numpy(np.flatnonzero(real.ravel()))
    return Group(start, stop, count, width, torch.from_numpy(pad.ravel()), unpad, mask)


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
    module: nn.Module,  # noqa: ARG001 - the library's signature
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    packed: Packed,
    scaling: float | None = None,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention within each text of a packed sequence.

    Args:
        module: the attention module, which says nothing we need.
        query: [1, heads, tokens, head_size].
        key: the same.
        value: the same.
        attention_mask: None; the library makes none for a function registered without one.
        packed: the layout, handed down from ``hidden_states``.
        scaling: factor on the scores before the softmax.
        dropout: share of attention weights dropped in training.

    Returns:
        [1, tokens, heads, head_size], and no attention weights.
    """
    rows = [part[0].transpose(0, 1) for part in (query, key, value)]
    outputs = [_attend(rows, group, scaling, dropout) for group in packed.groups]
    if packed.filler:
        outputs.append(outputs[0].new_zeros(packed.filler, *outputs[0].shape[1:]))
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return joined[None], None


def _attend(rows: Sequence[Tensor], group: Group, scaling: float | None, dropout: float) -> Tensor:
    q, k, v = (_by_text(part[group.start : group.stop], group) for part in rows)
    if torch.is_grad_enabled() and q.requires_grad:
        attended = _attention_in_steps(q, k, v, group.mask, scaling, dropout)
    else:
        attended = nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=group.mask, dropout_p=dropout, scale=scaling
        )
    flat = attended.transpose(1, 2).reshape(group.count * group.width, *rows[0].shape[1:])
    return flat if group.unpad is None else flat.index_select(0, group.unpad)


def _attention_in_steps(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float | None, dropout: float
) -> Tensor:
    """The same attention for training: the CPU's fused one takes six times as long backward."""
    scores = (q * (q.shape[-1] ** -0.5 if scaling is None else scaling)) @ k.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, :, :1], float("-inf"))
    shares = nn.functional.dropout(scores.softmax(dim=-1), dropout)
    return shares @ v


def _by_text(rows: Tensor, group: Group) -> Tensor:
    if group.pad is not None:
        rows = _Pad.apply(rows, group.pad, group.unpad)  # type: ignore[no-untyped-call]
    return rows.reshape(group.count, group.width, *rows.shape[1:]).transpose(1, 2)


AttentionInterface.register(ATTENTION, packed_attention)
