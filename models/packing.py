"""Run a backbone on texts laid end to end: one sequence, no padding outside attention.

The library lets a program register its own attention function; ours receives the layout of
the packed sequence through the forward's keyword arguments and attends within each text only.
Texts of (nearly) one length form a group, padded to the longest of the group inside
attention alone, where padding is cheap. A family whose forward does not hand its attention
over is given padded batches of these groups instead; ``models.families`` says which.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.devices import sent
from models.packed_attention import ATTENTION, padded

# A group takes in the next text while it is at most this much longer than the group's first.
GROUP_RATIO = 1.125
GROUP_SLACK_TOKENS = 4
# Widths of rounded groups are multiples of this at most: attention pays for padding twice.
WIDTH_STEP = 8
# Where each group is a call of the whole forward, groups are joined if that adds less padding
# than this: a call of DeBERTa's, which multiplies all relative positions, costs 75 tokens'.
CALL_TOKENS = 64


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

    def to(self, device: torch.device) -> "Group":
        """The same group on another device."""
        if self.pad is None or self.unpad is None or self.mask is None:
            return self
        shape = self.mask.shape
        return replace(
            self,
            pad=sent(self.pad, device),
            unpad=sent(self.unpad, device),
            mask=sent(self.mask[:, :, :1].contiguous(), device).expand(shape),
        )


@dataclass(frozen=True)
class Packed:
    """Texts laid end to end, and perhaps filler after the last.

    Attributes:
        input_ids, position_ids: int64 [1, tokens], filler included.
        lengths: int64 [n], tokens per text.
        starts: int64 [n], where each text's first token lies.
        tokens: of all texts.
        sizes: the lengths as numbers, which are needed where the tensors are far away.
        slack_tokens, width_step: of the groups, see ``pack``.
    """

    input_ids: Tensor
    position_ids: Tensor
    lengths: Tensor
    starts: Tensor
    tokens: int
    sizes: tuple[int, ...]
    slack_tokens: int
    width_step: int

    def to(self, device: torch.device) -> "Packed":
        """The same texts on another device."""
        names = ("input_ids", "position_ids", "lengths", "starts")
        parts: dict[str, Any] = {name: sent(getattr(self, name), device) for name in names}
        return replace(self, **parts)

    @property
    def filler(self) -> int:
        """Tokens after the last text."""
        return self.input_ids.shape[1] - self.tokens

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The texts by length, in the order of the sequence; not every forward asks for them."""
        groups = _groups(self.sizes, self.slack_tokens, self.width_step)
        return tuple(group.to(self.lengths.device) for group in groups)


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

    Raises:
        ValueError: a text has no token.
    """
    lengths = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    if not lengths.all():
        first = int(np.flatnonzero(lengths == 0)[0])
        raise ValueError(f"text {first} of {len(lengths)} has no token: nothing to pool")
    tokens = int(lengths.sum())
    starts = np.cumsum(lengths) - lengths
    filler = np.zeros(-tokens % round_to, dtype=np.int64)
    positions = np.concatenate([np.arange(tokens) - np.repeat(starts, lengths), filler])
    return Packed(
        input_ids=torch.from_numpy(np.concatenate([*token_ids, filler]))[None],
        position_ids=torch.from_numpy(positions + position_offset)[None],
        lengths=torch.from_numpy(lengths),
        starts=torch.from_numpy(starts),
        tokens=tokens,
        sizes=tuple(lengths.tolist()),
        slack_tokens=slack_tokens,
        width_step=min(round_to, WIDTH_STEP),
    )


def hidden_states(model: nn.Module, packed: Packed, below: Tensor | None = None) -> Tensor:
    """Last hidden states of every token, filler included: [tokens, hidden_size].

    Args:
        model: a backbone's, or the upper part of one from ``models.trunk.split``.
        packed: the texts.
        below: for an upper part, what the lower part made of them, [tokens, hidden_size].
    """
    if not runs_packed(model):
        return _states_by_group(model, packed, below)
    output = model(
        input_ids=packed.input_ids if below is None else None,
        inputs_embeds=None if below is None else below[None],
        position_ids=packed.position_ids,
        packed=packed,
    )
    states: Tensor = output.last_hidden_state
    return states[0]


def runs_packed(model: nn.Module) -> bool:
    """Whether the model hands its attention to ``packed_attention``; else it runs padded."""
    return bool(_config(model)._attn_implementation == ATTENTION)


def mean_by_text(states: Tensor, packed: Packed) -> Tensor:
    """Mean of each text's hidden states, summed in float32: [n, hidden_size]."""
    real = states[: packed.tokens].float()
    return torch.segment_reduce(real, "mean", lengths=packed.lengths, axis=0)


def _groups(lengths: Sequence[int], slack_tokens: int, width_step: int) -> list[Group]:
    groups: list[Group] = []
    first, start = 0, 0
    for end in range(1, len(lengths) + 1):
        if end < len(lengths) and _fits(lengths[first:end], lengths[end], slack_tokens):
            continue
        width = -(-max(lengths[first:end]) // width_step) * width_step
        group = _group(lengths[first:end], start, width)
        groups.append(group)
        first, start = end, group.stop
    return groups


def _fits(members: Sequence[int], length: int, slack_tokens: int) -> bool:
    shortest, longest = members[0], max(members[0], members[-1], length)
    return min(members[-1], length) >= shortest and longest <= max(
        shortest * GROUP_RATIO, shortest + slack_tokens
    )


def _group(lengths: Sequence[int], start: int, width: int) -> Group:
    count, total = len(lengths), sum(lengths)
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


def _states_by_group(model: nn.Module, packed: Packed, below: Tensor | None) -> Tensor:
    """Padded batches through the library's own forward, attention and all."""
    parts = [_group_states(model, packed, group, below) for group in _joined(packed)]
    if packed.filler:
        parts.append(parts[0].new_zeros(packed.filler, parts[0].shape[1]))
    return torch.cat(parts)


def _joined(packed: Packed) -> list[Group]:
    groups: list[Group] = []
    texts = 0
    for group in packed.groups:
        texts += group.count
        if groups:
            last, width = groups[-1], max(groups[-1].width, group.width)
            count = last.count + group.count
            padding = count * width - last.count * last.width - group.count * group.width
            if padding < CALL_TOKENS:
                sizes = packed.sizes[texts - count : texts]
                groups[-1] = _group(sizes, last.start, width).to(packed.lengths.device)
                continue
        groups.append(group)
    return groups


def _group_states(model: nn.Module, packed: Packed, group: Group, below: Tensor | None) -> Tensor:
    batch = padded(packed.input_ids[0] if below is None else below, group)
    real = batch.new_ones(batch.shape[:2], dtype=torch.bool)
    if group.mask is not None:
        real = group.mask[:, 0, 0]
    if below is None:
        # Families that count positions from the ids take the padding id for no token.
        batch = batch.masked_fill(~real, _config(model).pad_token_id or 0)
    name = "input_ids" if below is None else "inputs_embeds"
    output = model(**{name: batch}, attention_mask=real.long())
    states: Tensor = output.last_hidden_state.flatten(0, 1)
    return states if group.unpad is None else states.index_select(0, group.unpad)


def _config(model: nn.Module) -> Any:
    """The encoder's configuration, also when another module is wrapped around it."""
    return next(part.config for part in model.modules() if isinstance(part, PreTrainedModel))
