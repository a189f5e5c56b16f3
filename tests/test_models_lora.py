"""LoRA's variants: what PEFT writes is read as PEFT reads it, and written so that PEFT reads it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_models_adapters import make_adapter, merged_model, probed, rewrite_json
from transformers import AutoModel

from models.adapter_files import CONFIG, WEIGHTS
from models.adapters import AdapterError, load_adapter, save_adapter
from models.lora import LowRank
from models.packing import hidden_states, pack
from models.peft_config import LoraConfig, read_config, targeted
from models.scorer import Scorer

peft = pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers"),
    # PEFT takes the bias of B for a matrix that lost its shape.
    pytest.mark.filterwarnings("ignore:Adapter 'default'. 6 LoRA tensor"),
]

TEXTS = [np.arange(4, 4 + length) for length in (1, 2, 9, 40)]
QUERY_1 = "encoder.layer.1.attention.self.query"
VARIANTS = {
    "plain": {},
    "rslora": {"use_rslora": True},
    "rank and alpha patterns": {
        "rank_pattern": {"layer.1.attention.self.query": 2, r"layer\.\d.*query": 3, "query": 5},
        "alpha_pattern": {"layer.0.output.dense": 9, "output.dense": 1, "query": 3},
    },
    "patterns that begin with the name": {
        "rank_pattern": {"^encoder.layer.1.*query": 2},
        "alpha_pattern": {"encoder.layer.0.attention.self.query": 1},
    },
    "rslora with patterns": {"use_rslora": True, "rank_pattern": {"query": 7}},
    "dora": {"use_dora": True},
    "dora with rslora, patterns and biases": {
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"query": 1},
        "bias": "lora_only",
    },
    "biases of edited layers": {"bias": "lora_only"},
    "biases of all layers": {"bias": "all"},
    "biases of all layers with dora": {"bias": "all", "use_dora": True},
    "bias of B": {"lora_bias": True},
    "bias of B and of all layers": {"lora_bias": True, "bias": "all"},
    "one layer": {"layers_to_transform": 1},
    "listed layers": {"layers_to_transform": [0], "layers_pattern": "layer"},
    "listed patterns": {"layers_to_transform": [1], "layers_pattern": ["blocks", "encoder.layer"]},
    "no listed layers": {"layers_to_transform": []},
    "all but a list": {"target_modules": "all-linear", "exclude_modules": ["dense"]},
    "all but a pattern": {"target_modules": "all-linear", "exclude_modules": r"pooler.*|.*\.key"},
    "a pattern": {"target_modules": r".*\.1\..*\.(query|value)"},
    "full names": {"target_modules": [QUERY_1, "attention.output.dense"]},
    "gaussian start": {"init_lora_weights": "gaussian"},
    "orthogonal start": {"init_lora_weights": "orthogonal"},
}


def trained_by_peft(backbone, folder, **settings):
    """A PEFT model with every trained part random, and the folder it was saved to."""
    config = peft.LoraConfig(
        **{"r": 4, "lora_alpha": 6, "target_modules": ["query", "output.dense"], **settings}
    )
    model = peft.get_peft_model(AutoModel.from_pretrained(backbone.folder), config).eval()
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not is_fixed_bias(name):
                parameter.add_(torch.randn(parameter.shape, generator=random) * 0.3)
    model.save_pretrained(folder)
    return model


def is_fixed_bias(name):
    """Biases of no linear layer, which cannot be edited; the pooler's is not read by any head."""
    return name.endswith(("LayerNorm.bias", "pooler.dense.bias"))


def adapter_of(backbone, peft_folder, folder):
    """PEFT's files with a head beside them, loaded."""
    save_adapter(folder, make_adapter(backbone))
    for name in (CONFIG, WEIGHTS):
        shutil.copy(peft_folder / name, folder / name)
    return load_adapter(folder, backbone)


def assert_computes_alike(backbone, edits, theirs):
    ours = merged_model(backbone, edits)
    with torch.inference_mode():
        for ids in TEXTS:
            expected = theirs(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
            assert (hidden_states(ours, pack([ids])) - expected).abs().max() < 1e-5
        frozen = hidden_states(backbone.model, pack([ids]))
    assert (frozen - expected).abs().max() > 1e-2


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_read_as_peft_reads_it_and_survives_saving(tiny_backbone, tmp_path, variant):
    theirs = trained_by_peft(tiny_backbone, tmp_path / "theirs", **VARIANTS[variant])
    adapter = adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours")
    assert_computes_alike(tiny_backbone, adapter.edits, theirs)
    save_adapter(tmp_path / "again", probed(adapter, tiny_backbone))
    again = load_adapter(tmp_path / "again", tiny_backbone)
    assert again.edits.keys() == adapter.edits.keys()
    Scorer(tiny_backbone, precision="fp32").score(again, ["no"])  # the probes are reproduced
    plain = AutoModel.from_pretrained(tiny_backbone.folder).eval()
    reread = peft.PeftModel.from_pretrained(plain, str(tmp_path / "again")).eval()
    assert_computes_alike(tiny_backbone, again.edits, reread)


def test_patterns_apply_in_the_order_of_the_file(tiny_backbone, tmp_path):
    """PEFT sorts them when it saves: what it trained with is not always what it reads again."""
    patterns = {"layer.0.output.dense": 9, "dense": 3}
    trained_by_peft(tiny_backbone, tmp_path / "theirs", alpha_pattern=patterns)
    adapter = adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours")
    plain = AutoModel.from_pretrained(tiny_backbone.folder).eval()
    reread = peft.PeftModel.from_pretrained(plain, str(tmp_path / "theirs")).eval()
    assert_computes_alike(tiny_backbone, adapter.edits, reread)
    assert adapter.edits["encoder.layer.0.output.dense"].scaling == 3 / 4


@pytest.mark.parametrize(
    ("settings", "additive"),
    [({}, True), ({"use_dora": True}, False), ({"bias": "lora_only"}, False)],
)
def test_only_a_plain_product_may_run_beside_the_pristine_weight(
    tiny_backbone, tmp_path, settings, additive
):
    trained_by_peft(tiny_backbone, tmp_path / "theirs", **settings)
    edits = adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours").edits
    assert {edit.is_additive for edit in edits.values()} == {additive}


def test_a_branch_bias_needs_no_bias_beside_it():
    edit = LowRank(torch.ones(1, 3), torch.ones(2, 1), 0.5, branch_bias=torch.tensor([2.0, 4.0]))
    assert edit.merged_bias(None).tolist() == [1, 2]
    assert edit.merged_bias(torch.ones(2)).tolist() == [2, 3]
    assert not edit.is_additive


def test_the_pristine_weight_is_not_written_to(tiny_backbone):
    pristine = tiny_backbone.model.get_submodule(QUERY_1).weight
    before = pristine.clone()
    edit = LowRank(torch.ones(2, 32), torch.ones(32, 2), 0.5, magnitude=torch.ones(32))
    assert not torch.equal(edit.weight(pristine), before)
    assert torch.equal(pristine, before)


NAMES = st.lists(
    st.sampled_from(["a", "layer", "layers", "0", "1", "12", "dense", "q"]), min_size=1
)
TARGETS = st.lists(NAMES.map(".".join), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    name=NAMES.map(".".join),
    targets=TARGETS,
    excluded=st.none() | TARGETS | st.sampled_from([r".*\.0\..*", ".*dense"]),
    indexes=st.none() | st.integers(0, 2) | st.lists(st.integers(0, 12), max_size=2),
    pattern=st.none() | st.sampled_from(["layer", ["layers", "a"], []]),
    saved=st.none() | st.just(["dense"]),
)
def test_layers_are_matched_as_peft_matches_them(name, targets, excluded, indexes, pattern, saved):
    from peft.tuners.tuners_utils import check_target_module_exists

    fields = {
        "target_modules": targets,
        "exclude_modules": excluded,
        "layers_to_transform": indexes,
        "layers_pattern": pattern if indexes is not None else None,
        "modules_to_save": saved,
    }
    expected = bool(check_target_module_exists(peft.LoraConfig(**fields), name))
    config = LoraConfig(peft_type="LORA", r=1, lora_alpha=1, **fields)
    layers = {name: torch.nn.Linear(1, 1), "elsewhere": torch.nn.Linear(1, 1)}
    config = config.model_copy(update={"target_modules": [*targets, "elsewhere"]})
    try:
        found = targeted(config, layers, Path(CONFIG))
    except AdapterError:  # neither
        found = {}
    assert (name in found) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_qalora": True}, "uses use_qalora"),
        ({"fan_in_fan_out": True}, "uses fan_in_fan_out"),
        ({"layer_replication": [[0, 2]]}, "uses layer_replication"),
        ({"trainable_token_indices": [3]}, "uses trainable_token_indices"),
        ({"target_parameters": ["x"]}, "uses target_parameters"),
        ({"loftq_config": {"loftq_bits": 4}}, "uses loftq_config"),
        ({"alora_invocation_tokens": [1]}, "uses alora_invocation_tokens"),
        ({"arrow_config": {"top_k": 3}}, "uses arrow_config"),
        ({"megatron_config": {"a": 1}}, "uses megatron_config"),
        ({"use_a_way_of_next_year": "yes"}, "uses use_a_way_of_next_year"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa', which changes"),
        ({"init_lora_weights": "pissa_niter_4"}, "which changes the backbone's own weights"),
        ({"init_lora_weights": "olora"}, "which changes the backbone's own weights"),
        ({"init_lora_weights": "corda"}, "which changes the backbone's own weights"),
        ({"init_lora_weights": "loftq"}, "which changes the backbone's own weights"),
        ({"init_lora_weights": "lora_ga"}, "which changes the backbone's own weights"),
        ({"modules_to_save": ["classifier"]}, "gradeline import-adapter"),
        ({"peft_type": "IA3"}, r"no configuration of a LoRA adapter \(see peft_type\)"),
        ({"bias": "some"}, r"\(see bias\)"),
        ({"r": ...}, r"\(see r\)"),
        ({"r": 0}, r"\(see r\)"),
        ({"target_modules": None}, r"\(see target_modules"),
        ({"target_modules": ["nowhere"]}, "names no layer"),
        ({"target_modules": ["query", "word_embeddings"]}, "word_embeddings, a Embedding"),
        ({"target_modules": "query("}, "holds a pattern that is none"),
        ({"target_modules": ".*query", "layers_to_transform": 1}, "PEFT does not allow"),
        ({"target_modules": ["query", "key"]}, "missing tensors"),
        ({"use_dora": True}, "missing tensors .*lora_magnitude_vector"),
        ({"bias": "lora_only"}, "missing tensors .*base_layer.bias"),
        ({"bias": "all"}, "missing tensors .*LayerNorm.bias"),
        ({"lora_bias": True}, "missing tensors .*lora_B.bias"),
        ({"r": 5}, r"lora_A.weight has the shape \(4, 32\), .* need \(5, 32\)"),
    ],
)
def test_what_cannot_be_applied_is_refused(tiny_backbone, tmp_path, changes, message):
    trained_by_peft(tiny_backbone, tmp_path / "theirs")
    rewrite_json(tmp_path / "theirs" / CONFIG, **changes)
    with pytest.raises(AdapterError, match=message):
        adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours")


def test_a_configuration_that_is_no_json_is_refused(tiny_backbone, tmp_path):
    trained_by_peft(tiny_backbone, tmp_path / "theirs")
    (tmp_path / "theirs" / CONFIG).write_text("{")
    with pytest.raises(AdapterError, match=r"\(see its JSON\)"):
        adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours")


def test_options_that_change_nothing_are_no_obstacle(tiny_backbone, tmp_path):
    theirs = trained_by_peft(tiny_backbone, tmp_path / "theirs", lora_dropout=0.1, revision="main")
    eva = {"init_lora_weights": "eva", "eva_config": {"rho": 2.0}, "inference_mode": True}
    rewrite_json(tmp_path / "theirs" / CONFIG, **eva)
    adapter = adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours")
    assert_computes_alike(tiny_backbone, adapter.edits, theirs)


def test_every_option_of_the_installed_peft_is_understood_or_refused():
    written = peft.LoraConfig(target_modules=["query"]).to_dict()
    accepted = set()
    for option in written.keys() - LoraConfig.model_fields.keys():
        content = {"r": 1, "lora_alpha": 1, "target_modules": ["query"], option: {"on": True}}
        try:
            read_config(json.dumps(content | {"peft_type": "LORA"}).encode(), Path(CONFIG))
        except AdapterError as error:
            assert f"uses {option}, which cannot be loaded" in str(error)
        else:
            accepted.add(option)
    # None of these is looked at once an adapter is trained.
    assert accepted == {
        "auto_mapping",
        "corda_config",
        "eva_config",
        "inference_mode",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "revision",
    }


@pytest.mark.parametrize(
    "name", ["encoder.layer.0.output.LayerNorm.bias", "embeddings.LayerNorm.bias"]
)
def test_a_new_bias_of_no_linear_layer_is_refused(tiny_backbone, tmp_path, name):
    trained_by_peft(tiny_backbone, tmp_path / "theirs", bias="all")
    weights = load_file(tmp_path / "theirs" / WEIGHTS)
    weights[f"base_model.model.{name}"] += 0.1
    save_file(weights, tmp_path / "theirs" / WEIGHTS)
    with pytest.raises(AdapterError, match=r"LayerNorm; only linear layers .* bias=.lora_only"):
        adapter_of(tiny_backbone, tmp_path / "theirs", tmp_path / "ours")


def test_a_row_without_direction_fails_the_probes(tiny_backbone):
    """A weight of zeros has no direction to give a length to: not a number, never a score."""
    adapter = make_adapter(tiny_backbone)
    pristine = tiny_backbone.model.get_submodule(QUERY_1).weight
    eye = LowRank(-pristine, torch.eye(32), 1.0, magnitude=torch.ones(32))
    with pytest.raises(AdapterError, match="no numbers"):
        Scorer(tiny_backbone, precision="fp32").score(
            replace(adapter, edits={QUERY_1: eye}), ["no"]
        )
