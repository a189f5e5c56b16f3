import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder
from test_models_adapters import make_adapter

from models.backbone import load_backbone
from models.devices import DeviceError, device_named, fetched, sent
from models.edits import Edits, Segment
from models.encoder import Encoder
from models.grouped import GroupedBranch, add_grouped
from models.packing import pack

META = torch.device("meta")


@pytest.fixture(scope="module", params=["modernbert", "qwen3", "deberta-v2"])
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("devices")
    return load_backbone(str(save_tiny_encoder(folder / request.param, request.param)), 64)


def packed_texts(*lengths):
    random = np.random.default_rng(1)
    return pack([random.integers(5, 50, size=length) for length in lengths], round_to=8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(DeviceError, match="GRADELINE_DEVICE"):
        device_named("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_gpu_gives_what_the_processor_gives(backbone, precision):
    adapter = make_adapter(backbone)
    packed = packed_texts(4, 9, 9, 40)
    here = Encoder(backbone, precision)
    there = Encoder(backbone, precision, device_named("cuda"))
    expected = here.pooled(packed, here.merged(adapter), "mean")
    tolerance = 1e-4 if precision == "fp32" else 5e-2
    found = there.pooled(packed, there.merged(adapter), "mean")
    assert (found - expected).abs().max() < tolerance
    if there.break_even(adapter):
        parts = [Segment(0, packed.tokens, there.branches(adapter))]
        found = there.pooled(packed, Edits(segments=parts), "mean")
        assert (found - expected).abs().max() < tolerance


def test_what_is_sent_comes_back():
    tensor = torch.arange(6.0)
    assert torch.equal(fetched(sent(tensor, torch.device("cpu"))), tensor)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_grouped_products_give_each_segment_its_own_branch(dtype):
    random = torch.Generator().manual_seed(3)
    rows = torch.randn(50, 32, generator=random).to(dtype)
    output = torch.randn(50, 48, generator=random).to(dtype)
    matrices = {
        number: (
            torch.randn(rank, 32, generator=random),
            torch.randn(48, rank, generator=random),
        )
        for number, rank in enumerate([4, 9, 16])
    }
    branches = [GroupedBranch.of(*matrices[number], dtype) for number in range(3)]
    segments = [branches[0], None, branches[1], branches[2]]
    stops = torch.tensor([7, 20, 21, 45], dtype=torch.int32)
    expected = output.double()
    for number, (start, stop) in enumerate([(0, 7), (20, 21), (21, 45)]):
        a, b = (matrix.double() for matrix in matrices[number])
        expected[start:stop] += rows[start:stop].double() @ a.T @ b.T
    found = output.clone()
    add_grouped(rows[:45], found[:45], segments, stops)
    assert torch.equal(found[45:], output[45:])
    assert torch.equal(found[7:20], output[7:20])
    error = 1e-5 if dtype == torch.float32 else 2**-6
    assert (found.double() - expected).abs().max() < error * expected.abs().max()


def test_grouped_branches_in_a_whole_forward_agree_with_the_processor_s(backbone):
    encoder = Encoder(backbone, "bf16")
    adapter = make_adapter(backbone)
    if not encoder.break_even(adapter):
        pytest.skip("this family runs padded, without branches")
    packed = packed_texts(4, 9, 30)
    units = encoder._forward.units
    grouped = {
        unit: units[unit].grouped_branch(adapter.edits, torch.bfloat16)
        for unit in encoder.branches(adapter)
    }
    found, expected = (
        encoder.pooled(packed, Edits(segments=[Segment(0, 13, one), Segment(13, 43, one)]), "mean")
        for one in (grouped, encoder.branches(adapter))
    )
    plain = encoder.pooled(packed, Edits(), "mean")
    assert (found - expected).abs().max() < 0.05 * (plain - expected).abs().max()


def test_nothing_stays_behind_on_the_processor(backbone):
    """On a device without numbers: a tensor left on the processor cannot be added to another."""
    encoder = Encoder(backbone, "bf16", META)
    adapter = make_adapter(backbone)
    packed = packed_texts(4, 9, 9, 40).to(META)
    merged = encoder.merged(adapter)
    assert {layer.weight.device for layer in merged.merged.values()} == {META}
    everything = [merged]
    if encoder.break_even(adapter):
        everything.append(Edits(segments=[Segment(0, packed.tokens, encoder.branches(adapter))]))
    for edits in everything:
        states = encoder._forward.hidden_states(packed, edits)
        assert states.device == META
        assert states.shape == (packed.input_ids.shape[1], 32)
    placed = {
        tensor.device
        for module in encoder._forward._whole.model.modules()
        for tensor in vars(module).values()
        if isinstance(tensor, torch.Tensor)
    }
    assert placed <= {META}
