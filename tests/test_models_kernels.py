from functools import cache

import pytest
import torch
from torch.nn.functional import gelu, linear

from models import kernels
from models.kernels import DTYPES, KINDS, Linear, engine_of, fastest_products, resolved

TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}


@pytest.mark.parametrize("products", KINDS, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rows", [1, 7, 64])
def test_every_kernel_computes_the_layer(products, precision, rows):
    random = torch.Generator().manual_seed(2)
    states, weight, bias, residual = (
        torch.randn(*shape, generator=random) * 0.3
        for shape in ((rows, 24), (40, 24), (40,), (rows, 40))
    )
    dtype = DTYPES[precision]
    layer = Linear(products.lay_out(weight.to(dtype)), bias.to(dtype))
    expected = linear(states, weight, bias)
    found = {
        "plain": products.plain(states.to(dtype), layer),
        "gelu": products.then_gelu(states.to(dtype), layer, "none"),
        "tanh": products.then_gelu(states.to(dtype), layer, "tanh"),
        "plus": products.plus(states.to(dtype), layer, residual.to(dtype)),
    }
    right = {
        "plain": expected,
        "gelu": gelu(expected),
        "tanh": gelu(expected, approximate="tanh"),
        "plus": expected + residual,
    }
    for name, output in found.items():
        assert output.dtype == dtype
        torch.testing.assert_close(
            output.float(), right[name], atol=TOLERANCE[precision], rtol=TOLERANCE[precision]
        )


def test_the_probe_settles_on_one_kind_and_one_precision():
    assert fastest_products("fp32") in KINDS
    assert resolved("auto") in ("bf16", "fp32")
    assert resolved("fp32") == "fp32"


def test_a_kind_that_the_processor_cannot_run_is_passed_over(monkeypatch):
    class Refused(kernels.Blocked):
        def lay_out(self, weight):
            raise RuntimeError("needs another processor")

    monkeypatch.setattr(kernels, "KINDS", (Refused(), rows := kernels.Rows()))
    for probe in (kernels._measured, kernels.fastest_products):
        monkeypatch.setattr(kernels, probe.__name__, cache(probe.__wrapped__))
    assert kernels.fastest_products("bf16") is rows
    assert kernels.fastest_products("fp32") is rows


def test_an_engine_says_its_precision_and_version():
    assert engine_of("fp32").startswith("fp32 gradeline-")
    assert engine_of("bf16").startswith("bf16 gradeline-")
