"""Every family through the project's forward and through the library's own, side by side."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModel

from models.adapters import Adapter, Scoring
from models.backbone import Backbone, load_backbone
from models.encoder import Encoder
from models.heads import Head
from models.lora import LowRank, add_branches, block_linears
from models.packing import hidden_states, mean_by_text, pack, runs_packed
from models.scorer import Group, Scorer
from models.text import encode, with_limit
from models.trunk import split

LIMIT = 64
PACKED = ["bert", "roberta", "electra", "modernbert", "llama", "mistral", "qwen2", "qwen3"]
PADDED = ["deberta-v2"]
# Nothing was written for these: whether each is run packed, as the load found out.
ALSO = {
    "xlm-roberta": True,
    "camembert": True,
    "mpnet": False,
    "distilbert": True,
    "albert": True,
    "gpt2": True,
    "gemma2": False,
    "gemma3_text": True,
}
# As large as in a trained model, so that every token's place and neighbours show.
WEIGHTS = {"initializer_range": 0.15}


@dataclass(frozen=True)
class Family:
    name: str
    folder: Path
    backbone: Backbone

    def plain(self, **how: Any) -> Any:
        """The library's model as anyone would load it."""
        return AutoModel.from_pretrained(self.folder, **how).eval()


@pytest.fixture(scope="module", params=[*PACKED, *PADDED])
def family(request, tmp_path_factory):
    return load_family(request.param, tmp_path_factory.mktemp("families"))


def load_family(name, folder, max_tokens=LIMIT, **settings):
    folder = save_tiny_encoder(folder / name, name, layers=3, **WEIGHTS | settings)
    return Family(name, folder, load_backbone(str(folder), max_tokens=max_tokens))


def random_texts(lengths, seed=3):
    random = np.random.default_rng(seed)
    return [random.integers(4, 118, size=length) for length in lengths]


def alone(model, texts):
    """Each text by itself: no batch, no mask, no padding."""
    with torch.inference_mode():
        return [model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0] for ids in texts]


def together(backbone, texts, model=None, **how):
    packed = pack(texts, position_offset=backbone.position_offset, **how)
    with torch.inference_mode():
        states = hidden_states(model or backbone.model, packed)
    return list(torch.split(states[: packed.tokens], packed.lengths.tolist()))


def worst(left, right):
    return max(float((a.float() - b.float()).abs().max()) for a, b in zip(left, right, strict=True))


def weighted_sum(states, packed):
    """A loss that every component of every text's states bears on, each in its own way."""
    pooled = mean_by_text(states, packed)
    return (pooled * torch.linspace(-1, 1, pooled.numel()).view_as(pooled)).sum()


def test_the_way_each_family_runs(family):
    assert runs_packed(family.backbone.model) == (family.name in PACKED)


@pytest.mark.parametrize(
    "lengths",
    [[LIMIT], [1], [*range(1, LIMIT + 1)], [5, 5, 5, 9, 60, 2, LIMIT, 1, 33]],
    ids=["longest", "shortest", "every length", "mixed"],
)
@pytest.mark.parametrize(
    "how", [{}, {"slack_tokens": 32, "round_to": LIMIT}], ids=["exact", "rounded"]
)
def test_a_batch_gives_what_the_library_gives_each_text_alone(family, lengths, how):
    texts = random_texts(lengths)
    found = together(family.backbone, texts, **how)
    assert worst(found, alone(family.plain(), texts)) < 1e-5
    assert worst(found, alone(family.plain(attn_implementation="eager"), texts)) < 1e-5


@pytest.mark.parametrize("name", ALSO)
def test_families_that_come_for_free(name, tmp_path):
    family = load_family(name, tmp_path, max_tokens=512)
    assert runs_packed(family.backbone.model) == ALSO[name]
    texts = random_texts([1, 2, 7, 8, 30, family.backbone.max_tokens])
    for how in ({}, {"slack_tokens": 32, "round_to": LIMIT}):
        found = together(family.backbone, texts, **how)
        assert worst(found, alone(family.plain(), texts)) < 1e-5


def test_the_order_of_texts_does_not_matter(family):
    texts = random_texts([3, 17, 17, 18, 40, 1, 64])
    order = np.random.default_rng(5).permutation(len(texts))
    found = together(family.backbone, texts)
    shuffled = together(family.backbone, [texts[place] for place in order])
    assert worst([found[place] for place in order], shuffled) < 1e-5


def test_empty_and_too_long_texts(family):
    tokenizer = with_limit(family.backbone.tokenizer, LIMIT)
    encoded = encode(tokenizer, ["", "bulb " * 300, "a wire", " \n"])
    assert encoded.truncated.tolist() == [False, True, False, False]
    assert encoded.lengths[1] == LIMIT
    empty, blank = encoded.token_ids[0], encoded.token_ids[3]
    assert empty.tolist() == blank.tolist()
    assert empty.tolist() == {"qwen2": [0], "qwen3": [0], "llama": [2], "mistral": [2]}.get(
        family.name, [2, 3]
    )
    found = together(family.backbone, encoded.token_ids)
    assert worst(found, alone(family.plain(), encoded.token_ids)) < 1e-5


def with_adapter(family):
    """The library's model in PEFT's, with an adapter that does something everywhere."""
    base = family.plain()
    config = LoraConfig(r=4, lora_alpha=8, target_modules=sorted(block_linears(base)))
    torch.manual_seed(7)
    adapted = get_peft_model(base, config).eval().requires_grad_(False)
    layers = {
        name: layer
        for name, layer in adapted.base_model.model.named_modules()
        if hasattr(layer, "lora_A")
    }
    for layer in layers.values():
        nn.init.normal_(layer.lora_B["default"].weight, std=0.1)
    return adapted, layers


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_a_merged_adapter_gives_what_peft_gives(family):
    adapted, layers = with_adapter(family)
    merged = copy.deepcopy(family.backbone.model)
    for name, layer in layers.items():
        merged.get_submodule(name).weight.data += layer.get_delta_weight("default")
    texts = random_texts([1, 6, 7, 30, LIMIT])
    expected = alone(adapted, texts)
    assert worst(together(family.backbone, texts, merged), expected) < 1e-5
    assert worst(together(family.backbone, texts), expected) > 0.1


@pytest.mark.parametrize("merge_cost", [0, 1_000_000], ids=["merged", "branches"])
@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_scores_are_those_of_the_library_and_peft(family, merge_cost, monkeypatch):
    monkeypatch.setattr("models.costs.MERGE_COST", merge_cost)
    adapted, layers = with_adapter(family)
    head = Head("ordinal", "mean", None, torch.randn(3, 32), torch.randn(3))
    adapter = Adapter(
        edits={
            name: LowRank(layer.lora_A["default"].weight, layer.lora_B["default"].weight, 2.0)
            for name, layer in layers.items()
        },
        head=head,
        scoring=Scoring(
            backbone=family.name,
            backbone_sha256=family.backbone.sha256,
            score_min=0,
            score_max=3,
            trait="overall",
            max_tokens=LIMIT,
            training_data_sha256="",
            recipe={},
            versions={},
            probes=(),
        ),
    )
    texts = [
        "",
        "the bulb",
        "a wire is closed " * 30,
        "plants float",
        "no",
        "7 x,",
        "warm air " * 9,
    ]
    scorer = Scorer(family.backbone, precision="fp32", threads=1)
    shares = Encoder(family.backbone, "fp32").break_even(adapter) > 0
    assert shares == (merge_cost > 0 and runs_packed(family.backbone.model))
    # Several adapters share a batch if they may: their tokens must not be taken for each other's.
    small = replace(adapter, edits=dict(list(adapter.edits.items())[:2]))
    groups = [Group(lambda one=one: one, texts, verify=False) for one in (small, adapter, small)]
    first, scored, third = scorer.score_groups(groups)
    assert np.abs(first.raw_score - third.raw_score).max() < 1e-5
    assert np.abs(first.raw_score - scored.raw_score).max() > 1e-2
    encoded = encode(with_limit(family.backbone.tokenizer, LIMIT), texts)
    pooled = torch.stack([states.mean(dim=0) for states in alone(adapted, encoded.token_ids)])
    expected = torch.sigmoid(pooled @ head.weight.T + head.bias).sum(dim=1)
    assert np.abs(scored.raw_score - expected.numpy()).max() < 1e-5
    assert scored.truncated.tolist() == encoded.truncated.tolist()
    assert scored.truncated[2]


def test_few_texts_of_a_padded_family_share_a_call(tmp_path):
    model = load_family("deberta-v2", tmp_path).backbone.model
    packed = pack(random_texts([5, 20, 26, 64]))
    calls: list[tuple[int, ...]] = []
    model.register_forward_hook(lambda module, args, output: calls.append(output[0].shape[:2]))
    with torch.inference_mode():
        hidden_states(model, packed)
    assert len(packed.groups) == 4
    assert calls == [(3, 26), (1, 64)]


def test_bfloat16_stays_close_to_the_library(family):
    """As close to float32 as the library's own bfloat16 is, within a third."""
    texts = random_texts([4, 30, LIMIT])
    exact = torch.cat(alone(family.plain(), texts))
    cast = copy.deepcopy(family.backbone.model).to(torch.bfloat16)
    found = torch.cat(together(family.backbone, texts, cast))
    assert found.dtype == torch.bfloat16
    library = torch.cat(alone(family.plain(dtype=torch.bfloat16), texts))
    assert (found - exact).abs().mean() < (library - exact).abs().mean() * 4 / 3


@pytest.mark.parametrize("name", ["modernbert", "qwen2"])
def test_a_cast_leaves_rotary_frequencies_exact(name, tmp_path):
    model = load_family(name, tmp_path).backbone.model
    exact = rotary_frequencies(model)
    assert exact
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            exact, rotary_frequencies(copy.deepcopy(model).to(torch.bfloat16)), strict=True
        )
    )


def rotary_frequencies(model):
    return [
        value
        for name, value in vars(model.rotary_emb).items()
        if name.endswith("inv_freq") and isinstance(value, torch.Tensor)
    ]


def test_gradients_are_the_library_s(family):
    texts = random_texts([4, 20, 33])
    plain = family.plain(attn_implementation="eager")
    states = [plain(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0] for ids in texts]
    packed = pack(
        texts, position_offset=family.backbone.position_offset, slack_tokens=32, round_to=LIMIT
    )
    weighted_sum(torch.cat([*states, states[0].new_zeros(packed.filler, 32)]), packed).backward()
    ours = copy.deepcopy(family.backbone.model).requires_grad_(True)
    weighted_sum(hidden_states(ours, packed), packed).backward()
    for (name, left), right in zip(plain.named_parameters(), ours.parameters(), strict=True):
        if left.grad is not None:
            largest = float(left.grad.abs().max())
            torch.testing.assert_close(
                left.grad, right.grad, atol=1e-5 * max(1.0, largest), rtol=1e-4, msg=name
            )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_one_training_step_lowers_the_loss(family, dtype):
    model = copy.deepcopy(family.backbone.model).to(dtype)
    branches = add_branches(model, 4, 2.0, torch.Generator().manual_seed(1), first_block=1)
    lower, upper = split(model, 1)
    packed = pack(
        random_texts([4, 20, 33]),
        position_offset=family.backbone.position_offset,
        slack_tokens=32,
        round_to=LIMIT,
    )
    below = None if lower is None else hidden_states(lower, packed).detach()
    optimizer = torch.optim.SGD([branch.b for branch in branches.values()], lr=0.01)
    losses = []
    for _ in range(2):
        loss = weighted_sum(hidden_states(upper, packed, below), packed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(bool(branch.b.grad.abs().sum() > 0) for branch in branches.values())
    assert losses[1] < losses[0]


def test_a_cut_backbone_gives_what_the_whole_gives(family):
    model = family.backbone.model
    packed = pack(random_texts([4, 6, 9, 30, 64]), round_to=LIMIT)
    for first_block in (1, 2):
        lower, upper = split(model, first_block)
        assert lower is not None
        with torch.inference_mode():
            whole = hidden_states(model, packed)
            assert torch.equal(hidden_states(upper, packed, hidden_states(lower, packed)), whole)
            assert torch.equal(hidden_states(model, packed), whole)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("roberta-prelayernorm", {}),
        ("gpt2", {}),
        ("deberta-v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
        ("gemma3_text", {"layer_types": ["sliding_attention", *["full_attention"] * 2]}),
    ],
    ids=["a last norm", "blocks named h", "a convolution", "rotations by block number"],
)
def test_a_family_that_cannot_be_cut_comes_back_whole(name, settings, tmp_path):
    model = load_family(name, tmp_path, **settings).backbone.model
    lower, upper = split(model, 1)
    assert lower is None
    assert upper is model
