"""Cut an encoder in two: below the cut nothing is trained, so its work is done once per text."""

import copy
from typing import Any

from torch import Tensor, nn


class _Given(nn.Module):
    """Stands where the embeddings were: hands on the lower part's states."""

    def forward(self, *, inputs_embeds: Tensor, **_: Any) -> Tensor:
        return inputs_embeds


def split(model: nn.Module, first_block: int) -> tuple[nn.Module | None, nn.Module]:
    """Cut a model below block ``first_block``; the parts share its weights.

    Encoders built as ``embeddings`` and ``encoder.layer`` (BERT, RoBERTa, XLM-R, ELECTRA ...)
    can be cut. Another family comes back whole, without a lower part.

    Returns:
        the lower part or None, and the upper part or the whole model.
    """
    blocks = getattr(getattr(model, "encoder", None), "layer", None)
    if (
        first_block <= 0
        or not isinstance(blocks, nn.ModuleList)
        or not hasattr(model, "embeddings")
    ):
        return None, model
    lower, upper = _shell(model), _shell(model)
    lower.encoder.layer = blocks[:first_block]
    upper.encoder.layer = blocks[first_block:]
    upper.embeddings = _Given()
    return lower, upper


def _shell(model: Any) -> Any:
    """A copy of the model and its encoder that shares all that lies inside them."""
    shell, encoder = copy.copy(model), copy.copy(model.encoder)
    shell._modules, encoder._modules = dict(model._modules), dict(encoder._modules)
    shell.encoder = encoder
    return shell
