"""Matrix products with weights laid out beforehand, by whatever this machine does fastest.

oneDNN multiplies a weight that was laid out for its blocks once much faster than one that
comes in rows; how much differs between processors, and bfloat16 is slower than float32 where
it is emulated. So both are measured, once per process, on a product of a small encoder's shape.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

from models.build import build
from models.devices import CPU, kind_of
from models.jit import host_has_pairs, host_lanes, host_processor

Precision = Literal["bf16", "fp32"]
DTYPES: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp32": torch.float32}
# The libraries that token ids, hidden states and machine code come from.
DECISIVE = ("torch", "transformers", "tokenizers", "llvmlite")
# Blocked weights are used unless they are this much slower than plain ones.
CLEARLY_SLOWER = 1.2
# bfloat16 must be this much faster than float32 to be used: slower CPUs emulate it.
BF16_GAIN = 1.3
# Rows that the layout is chosen for; a batch has about as many tokens.
ROWS = 2048
PROBE_SHAPE = (1024, 384, 1536)  # rows, in, out
PROBE_TURNS = 9


@dataclass(frozen=True)
class Linear:
    """A linear layer as the kernels want it.

    Attributes:
        weight: laid out by ``Products.lay_out``.
        bias: [out_features], in the products' precision, or None.
    """

    weight: Tensor
    bias: Tensor | None


class Products(Protocol):
    """Linear layers on rows, [n, in_features] to [n, out_features]."""

    def lay_out(self, weight: Tensor) -> Tensor:
        """A weight, [out_features, in_features], in the layout of the other methods."""
        ...

    def plain(self, rows: Tensor, layer: Linear) -> Tensor:
        """The layer."""
        ...

    def then_gelu(self, rows: Tensor, layer: Linear, approximate: str) -> Tensor:
        """The layer, then GELU, exact (``none``) or by ``tanh``."""
        ...

    def plus(self, rows: Tensor, layer: Linear, residual: Tensor) -> Tensor:
        """The layer's output added to ``residual``, [n, out_features]."""
        ...


class Rows:
    """PyTorch's own linear layers; runs everywhere."""

    def lay_out(self, weight: Tensor) -> Tensor:
        """See ``Products``."""
        return weight.contiguous()

    def plain(self, rows: Tensor, layer: Linear) -> Tensor:
        """See ``Products``."""
        return linear(rows, layer.weight, layer.bias)

    def then_gelu(self, rows: Tensor, layer: Linear, approximate: str) -> Tensor:
        """See ``Products``."""
        return gelu(linear(rows, layer.weight, layer.bias), approximate=approximate)

    def plus(self, rows: Tensor, layer: Linear, residual: Tensor) -> Tensor:
        """See ``Products``."""
        return linear(rows, layer.weight, layer.bias).add_(residual)


class Blocked:
    """oneDNN's products with weights in blocks, as PyTorch's own compiler calls them."""

    def lay_out(self, weight: Tensor) -> Tensor:
        """See ``Products``."""
        laid_out: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS)
        return laid_out

    def plain(self, rows: Tensor, layer: Linear) -> Tensor:
        """See ``Products``."""
        return self._fused(rows, layer, "none", "")

    def then_gelu(self, rows: Tensor, layer: Linear, approximate: str) -> Tensor:
        """See ``Products``."""
        return self._fused(rows, layer, "gelu", approximate)

    def plus(self, rows: Tensor, layer: Linear, residual: Tensor) -> Tensor:
        """See ``Products``."""
        output: Tensor = torch.ops.mkldnn._linear_pointwise.binary(
            rows, residual, layer.weight, layer.bias, "add"
        )
        return output

    def _fused(self, rows: Tensor, layer: Linear, function: str, algorithm: str) -> Tensor:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows, layer.weight, layer.bias, function, [], algorithm
        )
        return output


@cache
def fastest_products(precision: Precision) -> Products:
    """The kernels that this machine runs fastest in a precision; the first where it is a draw.

    Kinds round at different places, so which is taken must not hang on noise.
    """
    measured = _measured()
    first, *others = KINDS
    least = min((measured[precision, kind] for kind in others), default=math.inf)
    if measured[precision, first] < least * CLEARLY_SLOWER:
        return first
    return min(others, key=lambda kind: measured[precision, kind])


@cache
def fastest_precision() -> Precision:
    """bf16 where it is clearly faster on this machine, else fp32."""
    measured = _measured()
    bf16, fp32 = (measured[name, fastest_products(name)] for name in ("bf16", "fp32"))
    return "bf16" if bf16 * BF16_GAIN < fp32 else "fp32"


def resolved(precision: Literal["auto", "bf16", "fp32"], device: torch.device = CPU) -> Precision:
    """The precision that a setting means on this machine."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return fastest_precision()


def engine_of(precision: Literal["auto", "bf16", "fp32"]) -> str:
    """What decides a score beside adapter and backbone: the precision and the program's build."""
    return f"{resolved(precision)} {build()}"


def circumstances_of(precision: Precision, device: torch.device = CPU) -> str:
    """What two runs must have in common to score alike to the last digit."""
    where = kind_of(device)
    if device == CPU:
        pairs = " pairs" if host_has_pairs() else ""
        kind = type(fastest_products(precision)).__name__
        where = f"{kind} {host_processor()} {host_lanes()} lanes{pairs}"
    libraries = " ".join(f"{name}-{version(name)}" for name in DECISIVE)
    return f"{engine_of(precision)} {libraries} {where}"


KINDS: tuple[Products, ...] = (
    (Blocked(), Rows()) if torch.backends.mkldnn.is_available() else (Rows(),)  # type: ignore[no-untyped-call]
)


@cache
def _measured() -> dict[tuple[Precision, Products], float]:
    """Seconds of a product by precision and kind, the least of several turns.

    All take turns, and the thread's own time is counted: other work on the machine slows all
    of them alike.
    """
    with torch.inference_mode():
        kinds = [(name, kind) for name in DTYPES for kind in KINDS]
        least = dict.fromkeys(kinds, math.inf)
        runs = {key: run for key in kinds if (run := _product(*key)) is not None}
        for _ in range(PROBE_TURNS):
            for key, run in runs.items():
                least[key] = min(least[key], _thread_seconds(run))
    return least


def _product(precision: Precision, products: Products) -> Callable[[], Tensor] | None:
    """A product to time, run once already; None where the processor cannot run this kind."""
    rows, inputs, outputs = PROBE_SHAPE
    states = torch.ones(rows, inputs, dtype=DTYPES[precision])
    weight = torch.ones(outputs, inputs, dtype=DTYPES[precision])
    try:
        layer = Linear(products.lay_out(weight), None)
        products.plain(states, layer)
    except RuntimeError:
        return None
    return lambda: products.plain(states, layer)


def _thread_seconds(run: Callable[[], Tensor]) -> float:
    started = time.thread_time()
    run()
    return time.thread_time() - started
