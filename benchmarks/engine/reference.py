"""What every system must give: logits of the library's own forward, float32, one text at a time."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.engine.backbones import backbone, plain_encoder
from models.adapters import Adapter
from models.backbone import Backbone
from models.text import encode, with_limit

# Largest difference of a logit from the reference: a system outside it does other work.
TOLERANCE = {"fp32": 1e-3, "bf16": 0.05}


class WrongLogitsError(RuntimeError):
    """A system gives other logits than the reference: its speed would mean nothing."""


def logits_of(name: str, adapter: Adapter, texts: Sequence[str]) -> NDArray[np.float32]:
    """Logits of n texts by an adapter merged into the backbone: float32 [n, K-1]."""
    model, encoder = _encoder(name), backbone(name)
    merge(model, encoder, adapter)
    limited = with_limit(encoder.tokenizer, min(adapter.scoring.max_tokens, encoder.max_tokens))
    rows = []
    with torch.inference_mode():
        for ids in encode(limited, texts).token_ids:
            one = torch.from_numpy(ids)[None]
            states = model(input_ids=one, attention_mask=torch.ones_like(one)).last_hidden_state
            rows.append(adapter.head.logits(states.mean(dim=1)))
    return torch.cat(rows).numpy()


def merge(model: Any, encoder: Backbone, adapter: Adapter) -> None:
    """Leave a plain encoder with this adapter's weights, and the backbone's everywhere else."""
    pristine = dict(encoder.model.named_modules())
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Linear):
                weight, edit = pristine[name].weight, adapter.edits.get(name)
                layer.weight.copy_(weight if edit is None else edit.weight(weight))


def check(
    label: str, precision: str, found: NDArray[np.float32], wanted: NDArray[np.float32]
) -> float:
    """The largest difference between logits, once it has been held against the tolerance.

    int8 has no tolerance: its difference is reported, and nothing is claimed for it.

    Raises:
        WrongLogitsError: they differ by more than the precision explains, or are no numbers.
    """
    worst = float(np.abs(found - wanted).max()) if found.shape == wanted.shape else np.inf
    allowed = TOLERANCE.get(precision, np.inf)
    if not worst <= allowed or not np.isfinite(worst):
        raise WrongLogitsError(
            f"{label} is off by {worst:.3g} from the reference's logits, {allowed:g} is allowed: "
            "it does not do the same work, so nothing is measured until it does"
        )
    return worst


@cache
def _encoder(name: str) -> Any:
    return plain_encoder(name, torch.float32)
