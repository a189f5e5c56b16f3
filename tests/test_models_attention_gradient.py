import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention_gradient import attention_gradient


def case(lengths, width, *, filler=0, spread=1.0, seed=1):
    """Random packed queries, keys and values, a gradient of the output, and the texts' places."""
    random = torch.Generator().manual_seed(seed)
    sizes = torch.tensor(lengths)
    spans = torch.stack([sizes.cumsum(0) - sizes, sizes], dim=1)
    tokens = sum(lengths) + filler
    qkv = torch.randn(tokens, 3 * width, generator=random) * spread
    return qkv, torch.randn(tokens, width, generator=random), spans


def by_autograd(gradient, qkv, spans, heads, scale):
    rows = qkv.double().requires_grad_()
    total = rows.new_zeros(())
    for start, length in spans.tolist():
        text = rows[start : start + length].view(length, 3, heads, -1)
        query, key, value = text.permute(1, 2, 0, 3)
        attended = (query @ key.transpose(1, 2) * scale).softmax(-1) @ value
        wanted = gradient[start : start + length].double().view(length, heads, -1)
        total = total + (attended.transpose(0, 1) * wanted).sum()
    total.backward()
    return rows.grad


@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    head_size=st.sampled_from([4, 8, 12, 16, 32, 40, 64]),
    spread=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_equals_autograd_s_for_any_lengths_and_heads(lengths, heads, head_size, spread, seed):
    qkv, gradient, spans = case(lengths, heads * head_size, spread=spread, seed=seed)
    found = attention_gradient(gradient, qkv, spans, heads, head_size**-0.5)
    expected = by_autograd(gradient, qkv, spans, heads, head_size**-0.5)
    largest = float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected, atol=1e-5 * max(1.0, largest), rtol=1e-4)


def test_bfloat16_is_rounded_only_at_the_end():
    qkv, gradient, spans = case([5, 31, 17], 64)
    qkv, gradient = qkv.bfloat16(), gradient.bfloat16()
    found = attention_gradient(gradient, qkv, spans, 2, 32**-0.5).double()
    expected = by_autograd(gradient, qkv, spans, 2, 32**-0.5)
    assert ((found - expected).abs() <= expected.abs() * 2**-8 + 1e-5).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_filler_gets_no_gradient_and_gives_none(dtype):
    qkv, gradient, spans = case([9, 12], 16, filler=5)
    qkv, gradient = qkv.to(dtype), gradient.to(dtype)
    found = attention_gradient(gradient, qkv, spans, 2, 0.3)
    qkv[21:], gradient[21:] = torch.nan, torch.nan
    again = attention_gradient(gradient, qkv, spans, 2, 0.3)
    assert torch.equal(found, again)
    assert not found[21:].any()
