"""What merging an adapter into the weights and subtracting it again leaves behind (B5)."""

from typing import Any

import torch

from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.rivals_peft import MergeAndUnmerge, name_of
from benchmarks.engine.systems import Place, Precision, Setting

CYCLES = 100
ITEMS = 9
TEXTS = (
    "The bulb is dark because a wire came off.",
    "i dont know",
    "It sinks as it is heavier than the water it pushes away.",
)


def measure_both() -> list[dict[str, Any]]:
    """On the embedded backbone, in float32 and in bfloat16."""
    return [measure_drift("minilm", "fp32"), measure_drift("minilm", "bf16")]


def measure_drift(backbone: str, precision: Precision) -> dict[str, Any]:
    """Merge and unmerge items in turn; how far weights and logits are then from their start."""
    system = MergeAndUnmerge(Place(backbone, "recipe", precision))
    system.prepare(range(ITEMS))
    weights = _weights(system)
    before = _logits(system)
    for cycle in range(CYCLES):
        system.apply(cycle % ITEMS)
        system.leave(cycle % ITEMS)
    after = _logits(system)
    moved = [(now - then).abs().max() for now, then in zip(_weights(system), weights, strict=True)]
    return {
        "precision": precision,
        "cycles": CYCLES,
        "largest_weight_change": float(max(moved)),
        "mean_weight": float(torch.stack([weight.abs().mean() for weight in weights]).mean()),
        "largest_logit_change": float((after - before).abs().max()),
    }


def _weights(system: MergeAndUnmerge) -> list[torch.Tensor]:
    """Copies, in float32, of the weights that adapters edit."""
    return [
        parameter.detach().float().clone()
        for name, parameter in system.model.named_parameters()
        if "base_layer.weight" in name
    ]


def _logits(system: MergeAndUnmerge) -> torch.Tensor:
    """By the first item's adapter, run as a branch beside the weights."""
    with torch.inference_mode():
        system.model.set_adapter(name_of(0), inference_mode=True)
        item = ItemWork(0, TEXTS)
        return torch.from_numpy(system.logits(item, system.adapter(0), Setting()))
