import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.attention import attend, supports


def layout(lengths):
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    return torch.stack([starts, sizes, starts, sizes], dim=1), int(sizes.sum())


def reference(query, key, value, spans, heads, scale):
    output = torch.zeros(query.shape, dtype=torch.float64)
    for q0, nq, k0, nk in spans.tolist():
        q, k, v = (
            rows[start : start + n].double().view(n, heads, -1).transpose(0, 1)
            for rows, start, n in ((query, q0, nq), (key, k0, nk), (value, k0, nk))
        )
        attended = (q @ k.transpose(1, 2) * scale).softmax(-1) @ v
        output[q0 : q0 + nq] = attended.transpose(0, 1).reshape(nq, -1)
    return output


@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    heads=st.integers(1, 3),
    head_size=st.sampled_from([4, 8, 12, 16, 32, 40, 64]),
    spread=st.sampled_from([0.1, 1.0, 3.0]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_equals_the_formula_for_any_lengths_and_heads(lengths, heads, head_size, spread, seed):
    random = torch.Generator().manual_seed(seed)
    spans, tokens = layout(lengths)
    qkv = torch.randn(tokens, 3 * heads * head_size, generator=random) * spread
    query, key, value = qkv.split(heads * head_size, dim=1)
    found = attend(query, key, value, spans, heads, head_size**-0.5)
    expected = reference(query, key, value, spans, heads, head_size**-0.5)
    assert (found - expected).abs().max() <= 3e-5 * spread


@given(
    lengths=st.lists(st.integers(1, 70), min_size=1, max_size=6),
    head_size=st.sampled_from([4, 8, 12, 16, 32, 40, 64, 128]),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=40)
def test_bfloat16_rounds_the_weights_and_the_end_result_only(lengths, head_size, seed):
    random = torch.Generator().manual_seed(seed)
    spans, tokens = layout(lengths)
    qkv = torch.randn(tokens, 6 * head_size, generator=random).bfloat16()
    query, key, value = qkv.split(2 * head_size, dim=1)
    found = attend(query, key, value, spans, 2, head_size**-0.5)
    expected = reference(query, key, value, spans, 2, head_size**-0.5)
    # Each weight is off by 2^-8 of itself at most, and so is the result.
    weighed = reference(query, key, value.abs(), spans, 2, head_size**-0.5)
    assert ((found.double() - expected).abs() <= (weighed + expected.abs()) * 2**-8 + 1e-5).all()


def test_one_query_per_text_gives_that_row_of_the_whole():
    spans, tokens = layout([6, 1, 40])
    qkv = torch.randn(tokens, 3 * 16, generator=torch.Generator().manual_seed(4))
    query, key, value = qkv.split(16, dim=1)
    whole = attend(query, key, value, spans, 2, 0.3)
    first = spans.clone()
    first[:, 1] = 1
    rows = spans[:, 0]
    assert torch.equal(attend(query, key, value, first, 2, 0.3)[rows], whole[rows])


def test_texts_do_not_see_each_other_or_the_filler():
    spans, tokens = layout([9, 12])
    qkv = torch.randn(tokens + 5, 3 * 16, generator=torch.Generator().manual_seed(5))
    query, key, value = qkv.split(16, dim=1)
    before = attend(query, key, value, spans, 2, 0.25)
    qkv[9:] = torch.nan
    after = attend(query, key, value, spans, 2, 0.25)
    assert torch.equal(before[:9], after[:9])
    assert torch.equal(before[tokens:], torch.zeros(5, 16))


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_number_is_never_made_one(part, wrong, dtype):
    spans, tokens = layout([5, 20])
    qkv = torch.randn(tokens, 3 * 16, generator=torch.Generator().manual_seed(6)).to(dtype)
    qkv[2, part * 16] = wrong
    query, key, value = qkv.split(16, dim=1)
    found = attend(query, key, value, spans, 1, 0.25)
    assert not found[:5].isfinite().all()
    assert found[5:].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_far_below_the_largest_vanish_without_harm(dtype):
    spans, tokens = layout([3])
    query = torch.full((tokens, 16), 30.0, dtype=dtype)
    key = torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 16).to(dtype).contiguous()
    value = torch.tensor([[1.0], [2.0], [3.0]]).expand(3, 16).to(dtype).contiguous()
    found = attend(query, key, value, spans, 1, 1.0)
    assert torch.equal(found, torch.ones(3, 16, dtype=dtype))


def test_says_what_it_cannot_run():
    rows = torch.zeros(2, 6)
    assert supports(rows, 32)
    assert not supports(rows, 6)
    assert not supports(rows.double(), 32)
