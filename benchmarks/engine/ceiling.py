"""The machine's own rate: the encoder's matrix products alone, weights laid out beforehand."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.engine.backbones import backbone
from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.rivals_peft import DTYPES
from benchmarks.engine.systems import Clock, Logits, Place, Setting
from models.backbone import Backbone
from models.lora import block_linears, block_of

ROWS = 2048
SPEND_S = 0.5


class MatrixRate:
    """Products of 2,048 rows with every linear layer's weight in turn, as oneDNN likes them best.

    Rows stand for tokens: the rate says how many tokens a second could go through the encoder's
    linear layers if nothing else had to be done.
    """

    def __init__(self, place: Place):
        self.place = place
        self.layers: list[tuple[Tensor, Tensor, Tensor]] = []

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """Lay the weights out, and make rows for each width."""
        dtype = DTYPES[self.place.precision]
        encoder = backbone(self.place.backbone)
        rows = {
            layer.in_features: torch.randn(ROWS, layer.in_features).to(dtype)
            for layer in block_linears(encoder.model).values()
        }
        for layer in block_linears(encoder.model).values():
            weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.to(dtype), ROWS)
            self.layers.append((rows[layer.in_features], weight, layer.bias.to(dtype)))
        return {}

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """Whole passes over all layers for about half a second; there are no logits."""
        with clock.phase("score"), torch.inference_mode():
            began = time.perf_counter()
            while time.perf_counter() - began < SPEND_S:
                for rows, weight, bias in self.layers:
                    torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
                clock.tokens += ROWS
        return []


def flops_per_token(encoder: Backbone, mean_length: float) -> tuple[float, float]:
    """Floating point operations of one token in the linear layers, and in attention's products.

    Args:
        encoder: for its shapes.
        mean_length: tokens per text, weighted by tokens: each token attends to that many.
    """
    layers = block_linears(encoder.model).values()
    linear = sum(2.0 * layer.in_features * layer.out_features for layer in layers)
    blocks = 1 + max(block_of(name) for name in block_linears(encoder.model))
    return linear, 4.0 * blocks * encoder.hidden_size * mean_length
