"""Classifiers trained with plain PEFT, taken in: the same logits, and nothing made at random."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder
from safetensors.torch import load_file, save_file
from test_models_adapters import merged_model, rewrite_json
from transformers import AutoModelForSequenceClassification

from models.adapter_files import CONFIG, WEIGHTS, AdapterError
from models.adapters import load_adapter, save_adapter
from models.backbone import load_backbone
from models.packing import hidden_states, mean_by_text, pack
from models.peft_import import import_peft
from models.probes import PROBE_TEXTS
from models.scorer import Scorer
from models.scores import Scale

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")

SCALE = Scale(1, 4)
LENGTHS = (1, 2, 9, 33)


@dataclass(frozen=True)
class Case:
    """A backbone's family and settings, and how PEFT trains a classifier on it."""

    family: str
    training: dict[str, Any]
    settings: dict[str, Any]


def case(family: str, targets: Any, settings: Any = None, **training: Any) -> Case:
    return Case(family, {"target_modules": targets, **training}, settings or {})


CASES = {
    "bert": case("bert", ["query", "value"]),
    "bert, pooler edited": case("bert", ["query", "dense"]),
    "bert, pooler edited by dora": case("bert", ["query", "dense"], use_dora=True),
    "bert, pooler trained": case("bert", ["query", "dense"], modules_to_save=["pooler"]),
    "bert, all linear layers": case("bert", "all-linear"),
    "bert, a pattern": case("bert", r"bert\.encoder\.layer\.1\..*(query|dense)"),
    "bert, biases of edited layers": case("bert", ["query", "dense"], bias="lora_only"),
    "bert, biases of all layers": case("bert", ["query"], bias="all"),
    "bert, biases and magnitudes": case("bert", ["query", "dense"], bias="all", use_dora=True),
    "bert, upper layer": case("bert", ["query", "dense"], layers_to_transform=[1]),
    "roberta": case("roberta", ["query", "dense"]),
    "roberta, biases of all layers": case("roberta", ["query"], bias="all"),
    "xlm-roberta": case("xlm-roberta", "all-linear", use_rslora=True),
    "camembert": case("camembert", ["key"]),
    "mpnet": case("mpnet", ["q", "dense"]),
    "electra": case("electra", ["query", "embeddings_project"], {"embedding_size": 16}),
    "distilbert": case("distilbert", ["q_lin", "lin2"], modules_to_save=["pre_classifier"]),
    "deberta": case("deberta-v2", ["query_proj", "dense"], modules_to_save=["pooler"]),
    "modernbert": case("modernbert", ["Wqkv", "Wo"], modules_to_save=["head"]),
    "modernbert, mean": case(
        "modernbert",
        "all-linear",
        {"classifier_pooling": "mean", "classifier_bias": True, "norm_bias": True},
        modules_to_save=["head"],
    ),
    "llama": case("llama", ["q_proj", "down_proj"]),
    "mistral": case("mistral", "all-linear"),
    "qwen2": case("qwen2", ["q_proj"], use_dora=True),
    "qwen3": case("qwen3", ["o_proj"], layers_to_transform=1),
}


def backbone_of(case: Case, folder: Path):
    # Weights as large as in a trained model, so that every token's place and neighbours matter.
    saved = save_tiny_encoder(folder, case.family, initializer_range=0.15, **case.settings)
    return load_backbone(str(saved), max_tokens=64)


def is_fixed_bias(name: str) -> bool:
    return name.endswith(("LayerNorm.bias", "layer_norm.bias"))


def trained_by_peft(backbone_folder: Path, folder: Path, labels: int = 4, **training: Any) -> Any:
    """A classifier of PEFT's with every trained part random, and the folder it was saved to."""
    torch.manual_seed(3)
    plain = AutoModelForSequenceClassification.from_pretrained(backbone_folder, num_labels=labels)
    config = peft.LoraConfig(**{"task_type": "SEQ_CLS", "r": 4, "lora_alpha": 6, **training})
    model = peft.get_peft_model(plain, config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and not is_fixed_bias(name):
                parameter.add_(torch.randn(parameter.shape) * 0.1)
    model.save_pretrained(folder)
    return model


def our_logits(backbone, adapter, token_ids) -> torch.Tensor:
    packed = pack([token_ids], position_offset=backbone.position_offset)
    states = hidden_states(merged_model(backbone, adapter.edits), packed)
    pooled = {"mean": mean_by_text(states, packed), "first": states[:1], "last": states[-1:]}
    return adapter.head.logits(pooled[adapter.head.pooling])[0]


@pytest.mark.parametrize("name", CASES)
def test_an_imported_classifier_gives_the_logits_of_peft(tmp_path, name):
    one = CASES[name]
    backbone = backbone_of(one, tmp_path / "backbone")
    theirs = trained_by_peft(tmp_path / "backbone", tmp_path / "peft", **one.training)
    adapter = import_peft(tmp_path / "peft", backbone, SCALE)
    for length in LENGTHS:
        token_ids = np.arange(4, 4 + length)
        with torch.inference_mode():
            expected = theirs(input_ids=torch.from_numpy(token_ids)[None]).logits[0]
            found = our_logits(backbone, adapter, token_ids)
        assert (found - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))
    assert expected.std() > 1e-2
    save_adapter(tmp_path / "saved", adapter)
    scored = Scorer(backbone, precision="fp32").score(
        load_adapter(tmp_path / "saved", backbone), PROBE_TEXTS
    )
    assert scored.raw_score == pytest.approx(
        [probe.raw_score for probe in adapter.scoring.probes], abs=1e-4
    )


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A tiny BERT's folder, the backbone, and a classifier that PEFT trained on it."""
    folder = tmp_path_factory.mktemp("bert")
    backbone = backbone_of(CASES["bert"], folder / "backbone")
    trained_by_peft(folder / "backbone", folder / "peft", target_modules=["query"])
    return folder, backbone


@pytest.fixture
def copied(bert, tmp_path):
    """A copy of that classifier's folder, to be damaged, and the backbone."""
    return shutil.copytree(bert[0] / "peft", tmp_path / "peft"), bert[1]


def rewrite(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_labels_are_scores_from_the_least_up(copied):
    folder, backbone = copied
    rewrite(
        folder / WEIGHTS,
        lambda t: t.update(
            {"base_model.model.classifier.bias": torch.tensor([0.0, 0.0, 99.0, 0.0])}
        ),
    )
    adapter = import_peft(folder, backbone, Scale(2, 5), trait="ideas")
    scored = Scorer(backbone).score(adapter, ["the bulb", ""])
    assert scored.score.tolist() == [4, 4]
    assert adapter.scoring.trait == "ideas"
    assert adapter.scoring.training_data_sha256 == ""  # nobody knows
    assert [probe.text for probe in adapter.scoring.probes] == list(PROBE_TEXTS)
    assert str(folder.parent) not in adapter.scoring.model_dump_json()


@pytest.mark.parametrize(
    ("name", "left_out", "lost", "module"),
    [
        ("deberta", "modules_to_save", "pooler.dense.weight", "pooler"),
        ("modernbert", "modules_to_save", "head.dense.weight", "head"),
    ],
)
def test_a_layer_that_was_random_and_is_lost_is_refused_by_name(
    tmp_path, name, left_out, lost, module
):
    one = CASES[name]
    backbone = backbone_of(one, tmp_path / "backbone")
    training = {key: value for key, value in one.training.items() if key != left_out}
    trained_by_peft(tmp_path / "backbone", tmp_path / "peft", **training)
    with pytest.raises(AdapterError, match=f"{lost} is neither in .* '{module}' in modules_to_"):
        import_peft(tmp_path / "peft", backbone, SCALE)


def test_a_backbone_without_the_pooler_of_its_classifier_is_refused(tmp_path):
    saved = save_tiny_encoder(tmp_path / "backbone", "bert")
    trained_by_peft(saved, tmp_path / "peft", target_modules=["query"])
    rewrite(saved / "model.safetensors", lambda t: [t.pop(n) for n in list(t) if "pooler" in n])
    # The library wants to know what framework wrote the file.
    save_file(load_file(saved / "model.safetensors"), saved / "model.safetensors", {"format": "pt"})
    with pytest.raises(AdapterError, match=r"bert\.pooler\.dense\.weight is neither"):
        import_peft(tmp_path / "peft", load_backbone(str(saved), max_tokens=64), SCALE)


def test_a_head_of_a_masked_language_model_is_found_in_its_file(tmp_path):
    """ModernBERT's published weights hold the layers that its classifier begins with."""
    from transformers import ModernBertForMaskedLM

    one = CASES["modernbert"]
    folder = tmp_path / "backbone"
    backbone_of(one, folder)
    torch.manual_seed(5)
    whole = ModernBertForMaskedLM.from_pretrained(folder)
    whole.save_pretrained(folder)
    backbone = load_backbone(str(folder), max_tokens=64)
    theirs = trained_by_peft(folder, tmp_path / "peft", target_modules=["Wqkv", "dense"])
    adapter = import_peft(tmp_path / "peft", backbone, SCALE)
    token_ids = np.arange(4, 30)
    with torch.inference_mode():
        expected = theirs(input_ids=torch.from_numpy(token_ids)[None]).logits[0]
        assert (our_logits(backbone, adapter, token_ids) - expected).abs().max() < 1e-5
    assert not torch.equal(adapter.head.dense.weight, whole.head.dense.weight)  # edited


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (Scale(0, 2), r"has 4 labels, the item's scale 0\.\.2 has 3 points"),
        (Scale(0, 4), "one label per point is needed"),
    ],
)
def test_another_number_of_labels_is_refused(bert, scale, message):
    with pytest.raises(AdapterError, match=message):
        import_peft(bert[0] / "peft", bert[1], scale)


def test_a_regression_is_refused(bert, tmp_path):
    trained_by_peft(bert[0] / "backbone", tmp_path / "one", labels=1, target_modules=["query"])
    with pytest.raises(AdapterError, match="trained to give a number, not one of several scores"):
        import_peft(tmp_path / "one", bert[1], SCALE)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_other_problems_than_one_of_several_labels_are_refused(copied, problem):
    folder, backbone = copied
    (folder / "config.json").write_text(json.dumps({"problem_type": problem}))
    with pytest.raises(AdapterError, match=f"was trained for {problem}"):
        import_peft(folder, backbone, SCALE)


def test_a_configuration_beside_it_that_is_none_is_refused(copied):
    folder, backbone = copied
    (folder / "config.json").write_text("[]")
    with pytest.raises(AdapterError, match="is no model's configuration"):
        import_peft(folder, backbone, SCALE)


def test_the_backbone_may_be_named_by_its_folder(copied, tmp_path):
    folder, backbone = copied
    rewrite_json(folder / CONFIG, base_model_name_or_path=str(tmp_path / "elsewhere"))
    (tmp_path / "elsewhere").symlink_to(backbone.folder.resolve())
    assert import_peft(folder, backbone, SCALE).scoring.backbone == "backbone"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task_type": "TOKEN_CLS"}, "task_type TOKEN_CLS; only classifiers of texts"),
        ({"task_type": None}, "task_type None"),
        ({"base_model_name_or_path": "other/bert"}, "was trained on other/bert, the backbone is"),
        ({"base_model_name_or_path": None}, "was trained on an unnamed model"),
        ({"use_qalora": True}, "uses use_qalora"),
        ({"target_modules": ["query", "classifier"]}, None),
        ({"modules_to_save": []}, None),
    ],
)
def test_what_was_trained_otherwise_is_refused(copied, changes, message):
    folder, backbone = copied
    rewrite_json(folder / CONFIG, **changes)
    if message is None:  # says nothing that the tensors do not say
        import_peft(folder, backbone, SCALE)
        return
    with pytest.raises(AdapterError, match=message):
        import_peft(folder, backbone, SCALE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("base_model.model.classifier.weight"), "classifier.weight is neither"),
        (lambda t: t.pop("base_model.model.classifier.bias"), "classifier.bias is neither"),
        (
            lambda t: t.update({"base_model.model.bert.embeddings.x.weight": torch.ones(2)}),
            "not expected .*embeddings.x.weight",
        ),
        (
            lambda t: t.update({"base_model.model.classifier.weight": torch.ones(4, 5)}),
            r"weight has the shape \(4, 5\)",
        ),
        (
            lambda t: t.update({"base_model.model.classifier.modules_to_save.bias": torch.ones(4)}),
            "classifier.modules_to_save.bias is no copy",
        ),
        (
            lambda t: t["base_model.model.classifier.bias"].fill_(float("inf")),
            "classifier.bias holds values that are not finite",
        ),
    ],
    ids=["no weight", "no bias", "trained embeddings", "shape", "two heads", "infinite"],
)
def test_damaged_heads_are_refused(copied, change, message):
    folder, backbone = copied
    rewrite(folder / WEIGHTS, change)
    with pytest.raises(AdapterError, match=message):
        import_peft(folder, backbone, SCALE)


def test_a_folder_without_an_adapter_is_refused(bert, tmp_path):
    with pytest.raises(AdapterError, match=r"adapter_config\.json cannot be read"):
        import_peft(tmp_path, bert[1], SCALE)


def test_a_family_without_a_known_classifier_is_refused(tmp_path):
    backbone = load_backbone(str(save_tiny_encoder(tmp_path / "backbone", "albert")))
    shutil.copytree(tmp_path / "backbone", tmp_path / "peft")
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "r": 1,
        "lora_alpha": 1,
        "target_modules": ["query"],
        "base_model_name_or_path": "backbone",
    }
    (tmp_path / "peft" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(AdapterError, match="family albert cannot be taken in"):
        import_peft(tmp_path / "peft", backbone, SCALE)


def test_an_activation_that_is_not_known_is_refused(tmp_path):
    one = CASES["deberta"]
    backbone = backbone_of(
        Case(one.family, one.training, {"pooler_hidden_act": "gelu_new"}), tmp_path / "backbone"
    )
    trained_by_peft(tmp_path / "backbone", tmp_path / "peft", **one.training)
    with pytest.raises(AdapterError, match="pooler_hidden_act is 'gelu_new'"):
        import_peft(tmp_path / "peft", backbone, SCALE)


def test_a_decoder_that_ends_texts_with_padding_is_refused(tmp_path):
    """The library's classifier reads the token before; ours the last one."""
    one = CASES["llama"]
    folder = save_tiny_encoder(tmp_path / "backbone", "llama")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["post_processor"]["single"].append({"SpecialToken": {"id": "[PAD]", "type_id": 0}})
    tokenizer["post_processor"]["special_tokens"]["[PAD]"] = {
        "id": "[PAD]",
        "ids": [0],
        "tokens": ["[PAD]"],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    trained_by_peft(folder, tmp_path / "peft", **one.training)
    with pytest.raises(AdapterError, match="ends a text with its padding token"):
        import_peft(tmp_path / "peft", load_backbone(str(folder), max_tokens=64), SCALE)
