"""What merging an adapter costs against running it beside the pristine weights."""

import math
import time
from collections.abc import Callable, Mapping

import torch

from models.devices import CPU
from models.edits import Edits, Segment, Unit
from models.kernels import DTYPES, Precision, Rows
from models.lora import LowRank

# On the processor merging costs as much per weight as this many multiplications of a branch:
# the weight is read, summed in float32, cast and laid out. A constant and no measurement, so
# that the same group is always scored the same way, to the last digit.
MERGE_COST = 48.0
# What the two ways are compared with on a GPU, and how often.
TRIED_SEGMENTS, TRIED_TOKENS, TRIED_RANK, TURNS = 8, 512, 8, 5


def merge_cost(units: Mapping[str, Unit], precision: Precision, device: torch.device) -> float:
    """Multiplications of a branch that take as long as merging one weight.

    On a GPU they are measured on the largest unit and rounded to a power of two, so that one
    machine nearly always comes to one answer. 0 in float32 there, as grouped products take
    bfloat16 only: every adapter is merged.
    """
    if device == CPU:
        return MERGE_COST
    if precision == "fp32":
        return 0.0
    unit, dtype = max(units.values(), key=lambda unit: unit.size), DTYPES[precision]
    layer = unit.layers[0]
    with torch.inference_mode():
        a = layer.weight.new_zeros(TRIED_RANK, layer.in_features)
        b = layer.weight.new_zeros(layer.out_features, TRIED_RANK)
        edits = {unit.names[0]: LowRank(a, b, 1.0)}
        branches = {"unit": unit.grouped_branch(edits, dtype)}
        segments = [
            Segment(number * TRIED_TOKENS, (number + 1) * TRIED_TOKENS, branches)
            for number in range(TRIED_SEGMENTS)
        ]
        tokens = TRIED_SEGMENTS * TRIED_TOKENS
        rows = layer.weight.new_zeros(tokens, layer.in_features, dtype=dtype)
        output = layer.weight.new_zeros(tokens, layer.out_features, dtype=dtype)
        batch = Edits(segments=segments)
        merging = _seconds(lambda: unit.merged(edits, Rows(), dtype), device)
        adding = _seconds(lambda: batch.add_branches("unit", rows, output), device)
    per_multiplication = adding / (tokens * unit.branch_size(edits))
    return 2.0 ** round(math.log2(merging / unit.size / per_multiplication))


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The least of several turns, the first of which is not counted."""
    taken = []
    for _ in range(TURNS + 1):
        _wait(device)
        started = time.perf_counter()
        run()
        _wait(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
