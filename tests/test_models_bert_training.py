import copy

import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder

from models.backbone import load_backbone
from models.bert_training import FrozenBlocks, TrainedBlocks
from models.kernels import DTYPES
from models.lora import add_branches
from models.packing import hidden_states, mean_by_text, pack
from models.trunk import split

RANK, SCALING = 4, 2.0


@pytest.fixture(scope="module", params=["bert", "roberta", "camembert"])
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / request.param
    changes = {"initializer_range": 0.3}
    if request.param == "camembert":
        changes["hidden_act"] = "gelu_new"
    return load_backbone(str(save_tiny_encoder(folder, request.param, layers=3, **changes)), 64)


def texts(backbone, lengths=(3, 17, 30, 33)):
    random = np.random.default_rng(2)
    token_ids = [random.integers(4, 40, size=length) for length in lengths]
    return pack(token_ids, position_offset=backbone.position_offset, slack_tokens=32, round_to=32)


def library_s(backbone, first_block, precision="fp32"):
    """Branches inside the library's forward, their B no longer zero; lower and upper half."""
    model = copy.deepcopy(backbone.model).to(DTYPES[precision])
    branches = add_branches(model, RANK, SCALING, torch.Generator().manual_seed(5), first_block)
    random = torch.Generator().manual_seed(6)
    for branch in branches.values():
        torch.nn.init.normal_(branch.b, std=0.1, generator=random)
    return branches, *split(model, first_block)


def ours(backbone, first_block, branches, precision="fp32"):
    """Our blocks with the same edits; lower and upper half."""
    lower, _ = split(backbone.model, first_block)
    upper = TrainedBlocks(
        backbone.model, first_block, RANK, SCALING, torch.Generator().manual_seed(5), precision
    )
    for layer, (_, up) in zip(upper.layers, upper.split(upper.low_rank), strict=True):
        for name, rows, columns in layer.parts(RANK):
            up[rows, columns] = branches[name].b.detach().T
    return None if lower is None else FrozenBlocks(lower, precision), upper


def states_of(lower, upper, packed):
    with torch.no_grad():
        below = None if lower is None else hidden_states(lower, packed)
    return mean_by_text(hidden_states(upper, packed, below), packed)


def weighted_sum(states):
    return (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum()


@pytest.mark.parametrize("first_block", [0, 1, 2])
def test_states_and_gradients_are_those_of_the_library_s_forward(backbone, first_block):
    packed = texts(backbone)
    branches, *halves = library_s(backbone, first_block)
    expected = states_of(*halves, packed)
    weighted_sum(expected).backward()
    lower, upper = ours(backbone, first_block, branches)
    found = states_of(lower, upper, packed)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    weighted_sum(found).backward()
    seen = set()
    for layer, (down, up) in zip(upper.layers, upper.split(upper.low_rank.grad), strict=True):
        for name, rows, columns in layer.parts(RANK):
            for mine, theirs in (
                (down[rows], branches[name].a),
                (up[rows, columns].T, branches[name].b),
            ):
                largest = max(1.0, float(theirs.grad.abs().max()))
                torch.testing.assert_close(mine, theirs.grad, atol=1e-5 * largest, rtol=1e-4)
            seen.add(name)
    assert seen == branches.keys()


def test_bfloat16_gives_the_same_but_for_rounding(backbone):
    packed = texts(backbone)
    branches, *_ = library_s(backbone, 1)
    gradients = []
    for precision in ("fp32", "bf16"):
        halves = ours(backbone, 1, branches, precision)
        weighted_sum(states_of(*halves, packed)).backward()
        gradients.append(halves[1].low_rank.grad)
    exact, rounded = gradients
    assert (exact - rounded).norm() < 0.05 * exact.norm()


def test_edits_are_those_of_the_library_s_layers(backbone):
    """Same start, same steps: an optimiser that sees one vector moves it as it would its parts."""
    packed = texts(backbone)
    branches, *halves = library_s(backbone, 1)
    mine = ours(backbone, 1, branches)
    sides = [side for branch in branches.values() for side in (branch.a, branch.b)]
    for trained, parameters in ((halves, sides), (mine, [mine[1].low_rank])):
        optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            weighted_sum(states_of(*trained, packed)).backward()
            optimizer.step()
    edits = mine[1].edits()
    assert edits.keys() == branches.keys()
    for name, edit in edits.items():
        expected = branches[name].edit()
        assert edit.scaling == expected.scaling
        torch.testing.assert_close(edit.a, expected.a, atol=2e-3, rtol=0)
        torch.testing.assert_close(edit.b, expected.b, atol=2e-3, rtol=0)
        assert edit.b.is_contiguous()


def test_no_layer_leaks_into_its_neighbour(backbone):
    """Query, key and value share a product; each one's rank reaches its own outputs only."""
    packed = texts(backbone)
    branches, *_ = library_s(backbone, 1)
    lower, upper = ours(backbone, 1, branches)
    optimizer = torch.optim.AdamW([upper.low_rank], lr=1e-2, weight_decay=0.1)
    weighted_sum(states_of(lower, upper, packed)).backward()
    optimizer.step()
    for layer, (_, up) in zip(upper.layers, upper.split(upper.low_rank), strict=True):
        outside = up.clone()
        for _, rows, columns in layer.parts(RANK):
            assert up[rows, columns].all()
            outside[rows, columns] = 0
        assert not outside.any()


def test_the_backbone_is_left_as_it_was(backbone):
    before = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}
    lower, upper = ours(backbone, 1, library_s(backbone, 1)[0])
    weighted_sum(states_of(lower, upper, texts(backbone))).backward()
    for name, weight in backbone.model.state_dict().items():
        assert torch.equal(weight, before[name])
    assert all(weight.grad is None for weight in backbone.model.parameters())
