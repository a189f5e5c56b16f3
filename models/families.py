"""How a family of backbones is run, and the proof that it gives what the library gives.

Two ways, the faster first: packed, where the family's forward hands its attention to
``models.packed_attention``; and padded, through the family's own attention. No list of families
says which: each way is tried when a backbone is loaded, on a few short texts, against the
library's plain forward of each text alone. A family for which neither holds is refused.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.packed_attention import ATTENTION
from models.packing import hidden_states, pack

# A text's two forwards differ by rounding only, here as a share of the largest hidden state or
# of one; anything above is a mix-up.
TOLERANCE = 1e-4
CHECKED_LENGTHS = (3, 6, 7)
# Where there is a sliding window, one text is this much longer.
PAST_WINDOW = 6


class UnsupportedFamilyError(RuntimeError):
    """A family's forward can be run neither packed nor padded."""


def settle_attention(
    model: Any, ordinary_ids: NDArray[np.int64], position_offset: int, max_tokens: int
) -> None:
    """Make the model run packed if that is right for its family, else padded.

    Args:
        model: a headless Hugging Face model in float32, in evaluation mode; changed in place.
        ordinary_ids: ids of tokens that the library gives no meaning of their own.
        position_offset: position id of a text's first token.
        max_tokens: the longest text the model will be given.

    Raises:
        UnsupportedFamilyError: neither way gives what the library gives.
    """
    texts = _texts(model, ordinary_ids, max_tokens)
    own = model.config._attn_implementation
    reasons = []
    try:
        with torch.inference_mode():
            expected = _alone(model, texts)
            for attention in (ATTENTION, own) if model._supports_attention_backend else (own,):
                model.set_attn_implementation(attention)
                reason = _mismatch(model, texts, position_offset, expected)
                if reason is None:
                    return
                reasons.append(reason)
    except Exception as error:  # a family's forward may raise anything on inputs it is not for
        reasons.append(f"the library's forward fails: {error}")
    raise UnsupportedFamilyError("; ".join(reasons))


def keep_rotary_exact(model: nn.Module) -> None:
    """Take rotary frequencies out of the buffers, so that a cast of the model spares them.

    The library computes angles in float32 from frequencies in float32; ``model.to(bfloat16)``
    would round the frequencies, and a text's hundredth token would sit elsewhere.
    """
    for module in model.modules():
        for name in [name for name in module._buffers if name.endswith("inv_freq")]:
            frequencies = module._buffers.pop(name)
            setattr(module, name, frequencies)


def _texts(model: Any, ordinary_ids: NDArray[np.int64], max_tokens: int) -> list[NDArray[np.int64]]:
    lengths = [min(length, max_tokens) for length in CHECKED_LENGTHS]
    window = getattr(model.config, "sliding_window", None)
    if isinstance(window, int) and window < max_tokens:
        lengths.append(min(window + PAST_WINDOW, max_tokens))
    # The texts differ, so that a token that looks into another text sees something else.
    starts = np.cumsum([0, *lengths[:-1]])
    return [
        np.take(ordinary_ids, start + np.arange(length), mode="wrap")
        for start, length in zip(starts, lengths, strict=True)
    ]


def _alone(model: Any, texts: Sequence[NDArray[np.int64]]) -> Tensor:
    """The library's forward with its plainest attention: no batch, no mask, no positions."""
    own = model.config._attn_implementation
    if model._supports_attention_backend:
        model.set_attn_implementation("eager")
    states = [model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0] for ids in texts]
    model.set_attn_implementation(own)
    return torch.cat(states)


def _mismatch(
    model: Any, texts: Sequence[NDArray[np.int64]], position_offset: int, expected: Tensor
) -> str | None:
    way = model.config._attn_implementation
    try:
        found = hidden_states(model, pack(texts, position_offset=position_offset))
    except Exception as error:  # as above
        return f"with {way} attention it fails: {error}"
    difference = float((found - expected).abs().max())
    if difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        return None
    return f"with {way} attention its hidden states are off by {difference:.2g}"
