import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.branches import lanes_for
from models.edits import Edits, Segment, Unit
from models.lora import LowRank


def make_unit(inputs, outputs):
    layers = tuple(nn.Linear(inputs, width) for width in outputs)
    return Unit(tuple(f"layer {number}" for number in range(len(outputs))), layers)


def make_edits(unit, ranks, seed):
    """One edit for each layer whose rank is not 0."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: LowRank(
            torch.randn(rank, layer.in_features, generator=random),
            torch.randn(layer.out_features, rank, generator=random),
            0.25 + seed,
        )
        for name, layer, rank in zip(unit.names, unit.layers, ranks, strict=True)
        if rank
    }


def expected(unit, edits, rows):
    parts = []
    for name, layer in zip(unit.names, unit.layers, strict=True):
        edit = edits.get(name)
        nothing = torch.zeros(len(rows), layer.out_features, dtype=torch.float64)
        if edit is not None:
            nothing = edit.scaling * (rows.double() @ edit.a.double().T @ edit.b.double().T)
        parts.append(nothing)
    return torch.cat(parts, dim=1)


RANKS = st.lists(st.sampled_from([0, 1, 3, 8, 20]), min_size=3, max_size=3).filter(any)


@settings(max_examples=40, deadline=None)
@given(
    inputs=st.sampled_from([4, 24, 32, 80]),
    width=st.sampled_from([4, 32, 48]),
    segments=st.lists(st.tuples(st.integers(1, 19), RANKS, st.booleans()), min_size=1, max_size=4),
    filler=st.integers(0, 3),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_each_token_gets_its_own_adapters_products(inputs, width, segments, filler, dtype):
    unit = make_unit(inputs, [width, 2 * width, width])
    random = torch.Generator().manual_seed(1)
    tokens = sum(size for size, _, _ in segments) + filler
    rows = torch.randn(tokens, inputs, generator=random).to(dtype)
    output = torch.randn(tokens, 4 * width, generator=random).to(dtype)
    found, wanted, parts, start = output.clone(), output.double(), [], 0
    for seed, (size, ranks, edited) in enumerate(segments):
        edits = make_edits(unit, ranks, seed)
        branches = {"unit": unit.branch(edits, dtype)} if edited else {}
        parts.append(Segment(start, start + size, branches))
        if edited:
            wanted[start : start + size] += expected(unit, edits, rows[start : start + size])
        start += size
    Edits(segments=parts).add_branches("unit", rows, found)
    # In bfloat16 A, B and what lies between are rounded besides the result.
    error = 1e-6 if dtype == torch.float32 else 2**-7
    largest = max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(found.double(), wanted, rtol=error, atol=error * largest)
    if not any(edited for _, _, edited in segments):
        assert torch.equal(found, output)


def test_a_batch_with_fewer_rows_than_its_segments_is_refused():
    unit = make_unit(32, [32])
    branch = unit.branch(make_edits(unit, [4], 0), torch.float32)
    edits = Edits(segments=[Segment(0, 9, {"unit": branch})])
    with pytest.raises(IndexError, match="9 tokens on 8"):
        edits.add_branches("unit", torch.zeros(8, 32), torch.zeros(8, 32))


@pytest.mark.parametrize("bits", [0x7FC00000, 0x7FFFFFFF, -1])
@pytest.mark.parametrize("inputs", [8, 32])  # plain and, where the processor has them, pairs
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_no_number_stays_so(dtype, inputs, bits):
    nan = torch.tensor([bits], dtype=torch.int32).view(torch.float32)
    unit = make_unit(inputs, [32])
    edits = make_edits(unit, [4], 0)
    name, edit = next(iter(edits.items()))
    edit.b[5, 2] = nan
    output = torch.zeros(10, 32, dtype=dtype)
    Edits(segments=[Segment(0, 10, {"unit": unit.branch({name: edit}, dtype)})]).add_branches(
        "unit", torch.ones(10, inputs, dtype=dtype), output
    )
    assert output[:, 5].isnan().all()
    assert np.isfinite(output[:, :5].float().numpy()).all()


def test_vectors_are_as_wide_as_the_narrowest_layer_allows():
    assert lanes_for([4, 400]) == 4
    assert lanes_for([1024, 4096]) >= 4
    assert lanes_for([33]) == 1
