"""An item's own upper blocks: their file, what is refused, and that every family runs them."""

import copy

import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder
from safetensors.torch import load_file
from test_models_adapters import probed, rewrite, rewrite_json

from models.adapter_files import BLOCKS, HEAD, SCORING, AdapterError
from models.adapters import Adapter, Scoring, load_adapter, save_adapter
from models.backbone import load_backbone
from models.heads import Head
from models.own_blocks import OwnBlocks, modules_of
from models.packing import hidden_states, mean_by_text, pack
from models.scorer import Scorer
from models.text import encode, with_limit
from models.trunk import blocks_of, with_upper

TEXTS = ["the bulb is in a closed path", "no", "", "warm air moves more " * 30, "no"]
LAYERS = 3


@pytest.fixture(
    scope="module",
    params=["bert", "roberta", "electra", "modernbert", "llama", "qwen2", "deberta-v2"],
)
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own") / request.param
    save_tiny_encoder(folder, request.param, layers=LAYERS, initializer_range=0.15)
    return load_backbone(str(folder), max_tokens=64)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    folder = save_tiny_encoder(tmp_path_factory.mktemp("own") / "b", layers=LAYERS)
    return load_backbone(str(folder), max_tokens=64)


def own_blocks(backbone, first_block, count, seed=1):
    """Copies of the backbone's blocks, every number moved a little."""
    random = torch.Generator().manual_seed(seed)
    blocks = copy.deepcopy(blocks_of(backbone.model)[first_block : first_block + count])
    with torch.no_grad():
        for parameter in blocks.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random)
    return OwnBlocks.of(first_block, list(blocks))


def own_adapter(backbone, first_block=2, count=1, seed=1):
    """An adapter with blocks of its own and a random head, with its probes."""
    random = torch.Generator().manual_seed(seed)
    head = Head(
        "ordinal",
        "mean",
        None,
        torch.randn(2, backbone.hidden_size, generator=random),
        torch.randn(2, generator=random),
    )
    scoring = Scoring(
        method="partial",
        first_block=first_block,
        backbone=backbone.name,
        backbone_sha256=backbone.sha256,
        score_min=1,
        score_max=3,
        trait="overall",
        max_tokens=backbone.max_tokens,
        training_data_sha256="0" * 64,
        recipe={},
        versions={},
        probes=(),
    )
    own = own_blocks(backbone, first_block, count, seed)
    return probed(Adapter({}, head, scoring, own=own), backbone)


@pytest.mark.parametrize(("first_block", "count"), [(0, 3), (1, 2), (1, 1), (2, 1), (0, 1)])
def test_every_family_scores_with_own_blocks_as_the_library_does(backbone, first_block, count):
    adapter = own_adapter(backbone, first_block, count)
    model = with_upper(backbone.model, first_block, modules_of(adapter.own, backbone.model))
    assert len(blocks_of(model)) == first_block + count
    token_ids = encode(with_limit(backbone.tokenizer, 64), TEXTS).token_ids
    packed = pack(token_ids, position_offset=backbone.position_offset)
    with torch.inference_mode():
        pooled = mean_by_text(hidden_states(model, packed), packed)
        above = torch.sigmoid(adapter.head.logits(pooled)).sum(dim=1).numpy()
    found = Scorer(backbone, precision="fp32").score(adapter, TEXTS)
    np.testing.assert_allclose(found.raw_score, 1 + above, atol=1e-5)
    plain = mean_by_text(hidden_states(backbone.model, packed), packed)
    assert (plain - pooled).abs().max() > 1e-3  # the blocks do something


def test_what_is_written_scores_alike_to_the_bit(bert, tmp_path):
    adapter = own_adapter(bert)
    sha256 = save_adapter(tmp_path / "own", adapter)
    loaded = load_adapter(tmp_path / "own", bert, expected_sha256=sha256)
    scorer = Scorer(bert, precision="fp32")
    found, expected = (scorer.score(one, TEXTS).raw_score for one in (loaded, adapter))
    assert np.array_equal(found, expected)
    names = {entry.name for entry in (tmp_path / "own").iterdir()}
    assert names == {BLOCKS, HEAD, SCORING}
    assert {t.dtype for t in load_file(tmp_path / "own" / BLOCKS).values()} == {torch.bfloat16}


def test_a_backbone_is_left_as_it_is(bert):
    before = {name: tensor.clone() for name, tensor in bert.model.state_dict().items()}
    Scorer(bert, precision="fp32").score(own_adapter(bert), TEXTS)
    after = bert.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def without_a_tensor(tensors):
    del tensors["0.output.dense.weight"]


def with_one_too_many(tensors):
    tensors["0.output.dense.shadow"] = torch.zeros(3)


def of_another_shape(tensors):
    tensors["0.output.dense.bias"] = torch.zeros(31)


def not_numbered(tensors):
    tensors["first.output"] = torch.zeros(3)


def with_a_gap(tensors):
    tensors["2.output.dense.bias"] = torch.zeros(32)


def not_finite(tensors):
    tensors["0.output.dense.bias"][3] = float("nan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_a_tensor, "missing tensors"),
        (with_one_too_many, "not expected"),
        (of_another_shape, r"shape \(31,\)"),
        (not_numbered, "no tensor of a numbered block"),
        (with_a_gap, "must count from 0"),
        (not_finite, "not finite"),
    ],
)
def test_damaged_blocks_are_refused(bert, tmp_path, change, message):
    save_adapter(tmp_path / "own", own_adapter(bert))
    rewrite(tmp_path / "own" / BLOCKS, change)
    with pytest.raises(AdapterError, match=message):
        load_adapter(tmp_path / "own", bert)


@pytest.mark.parametrize("first_block", [3, 7, None, -1])
def test_blocks_that_have_no_place_in_the_backbone_are_refused(bert, tmp_path, first_block):
    save_adapter(tmp_path / "own", own_adapter(bert))
    rewrite_json(tmp_path / "own" / SCORING, first_block=first_block)
    with pytest.raises(AdapterError, match=r"blocks in all|first_block"):
        load_adapter(tmp_path / "own", bert)


def test_a_method_that_its_files_do_not_bear_out_is_refused(bert, tmp_path):
    save_adapter(tmp_path / "own", own_adapter(bert))
    rewrite_json(tmp_path / "own" / SCORING, method="lora", first_block=None)
    with pytest.raises(AdapterError, match=r"adapter_model\.safetensors"):
        load_adapter(tmp_path / "own", bert)


def test_blocks_of_half_precision_alone_are_kept(bert):
    own = own_blocks(bert, 2, 1)
    for tensor in own.blocks[0].values():
        assert torch.equal(tensor, tensor.bfloat16().float())


def test_a_backbone_whose_blocks_have_no_list_is_refused(tmp_path):
    folder = save_tiny_encoder(tmp_path / "gpt2", "gpt2", layers=2)
    backbone = load_backbone(str(folder), max_tokens=64)
    own = OwnBlocks(1, ({"weight": torch.zeros(3)},))
    with pytest.raises(AdapterError, match="use LoRA"):
        modules_of(own, backbone.model)


def test_a_record_without_its_block_count_is_not_read(bert, tmp_path):
    save_adapter(tmp_path / "own", own_adapter(bert))
    rewrite_json(tmp_path / "own" / SCORING, first_block=...)
    with pytest.raises(AdapterError, match="first_block"):
        load_adapter(tmp_path / "own", bert)
