import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.adapters import (
    CONFIG,
    FILES,
    HEAD,
    SCORING,
    WEIGHTS,
    Adapter,
    AdapterError,
    Scoring,
    adapter_sha256,
    load_adapter,
    save_adapter,
)
from models.lora import LowRank, block_linears
from models.packing import hidden_states, pack
from models.scorer import Scorer


def make_adapter(backbone, seed=5, rank=4, points=3):
    """Random edits and a random head, with the probes that belong to them."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    edits = {
        name: LowRank(draw(rank, layer.in_features) * 0.2, draw(layer.out_features, rank), 0.5)
        for name, layer in block_linears(backbone.model).items()
    }
    scoring = Scoring(
        backbone=backbone.name,
        backbone_sha256=backbone.sha256,
        score_min=1,
        score_max=points,
        trait="overall",
        max_tokens=backbone.max_tokens,
        training_data_sha256="0" * 64,
        recipe={"seed": seed},
        versions={},
        probes=(),
    )
    adapter = Adapter(edits, draw(points - 1, backbone.hidden_size), draw(points - 1), scoring)
    scorer = Scorer(backbone)
    scorer.apply(adapter, verify=False)
    texts = ["the bulb is in a closed path", "no"]
    raw_scores = scorer.score(texts).raw_score
    probes = [{"text": t, "raw_score": float(r)} for t, r in zip(texts, raw_scores, strict=True)]
    scoring = Scoring.model_validate({**scoring.model_dump(), "probes": probes})
    return Adapter(edits, adapter.head_weight, adapter.head_bias, scoring)


@pytest.fixture
def folder(tiny_backbone, tmp_path):
    target = tmp_path / "adapter"
    save_adapter(target, make_adapter(tiny_backbone))
    return target


def rewrite(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def rewrite_json(path, **changes):
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: v for key, v in content.items() if v is not ...}))


def test_what_is_saved_is_loaded(tiny_backbone, folder):
    made, loaded = make_adapter(tiny_backbone), load_adapter(folder, tiny_backbone)
    assert {entry.name for entry in folder.iterdir()} == FILES
    assert loaded.scoring == made.scoring
    assert torch.equal(loaded.head_weight, made.head_weight)
    for name, edit in made.edits.items():
        assert torch.equal(loaded.edits[name].delta(), edit.delta())
    assert loaded.sha256 == adapter_sha256(folder)


def test_saving_again_replaces_and_the_hash_tells_adapters_apart(tiny_backbone, folder):
    first = adapter_sha256(folder)
    assert save_adapter(folder, make_adapter(tiny_backbone)) == first
    assert save_adapter(folder, make_adapter(tiny_backbone, seed=6)) != first
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_no_path_of_this_machine_is_stored(tiny_backbone, folder):
    for name in (CONFIG, SCORING):
        assert str(tiny_backbone.folder.parent) not in (folder / name).read_text()
    assert json.loads((folder / CONFIG).read_text())["base_model_name_or_path"] == "tiny-bert"


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
def test_peft_loads_the_directory_and_computes_the_same(tiny_backbone, folder):
    peft = pytest.importorskip("peft")
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(tiny_backbone.folder).eval()
    theirs = peft.PeftModel.from_pretrained(plain, str(folder)).eval()
    scorer = Scorer(tiny_backbone)
    scorer.apply(load_adapter(folder, tiny_backbone))
    ids = np.arange(4, 24)
    with torch.inference_mode():
        expected = theirs(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
        ours = hidden_states(scorer._working, pack([ids]))
        frozen = hidden_states(tiny_backbone.model, pack([ids]))
    assert (ours - expected).abs().max() < 1e-5
    assert (ours - frozen).abs().max() > 1e-2


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")
@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_configured_by_peft_is_read_as_peft_reads_it(tiny_backbone, folder, rslora):
    peft = pytest.importorskip("peft")
    from transformers import AutoModel

    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        use_rslora=rslora,
        target_modules=["query", "output.dense"],
        rank_pattern={"layer.1.attention.self.query": 2},
        alpha_pattern={"layer.0.output.dense": 9},
        init_lora_weights=False,
    )
    torch.manual_seed(2)
    theirs = peft.get_peft_model(AutoModel.from_pretrained(tiny_backbone.folder), config).eval()
    theirs.save_pretrained(folder.parent / "theirs")
    for name in (CONFIG, WEIGHTS):
        shutil.copy(folder.parent / "theirs" / name, folder / name)
    scorer = Scorer(tiny_backbone)
    scorer.apply(load_adapter(folder, tiny_backbone), verify=False)
    ids = np.arange(4, 24)
    with torch.inference_mode():
        expected = theirs(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
        assert (hidden_states(scorer._working, pack([ids])) - expected).abs().max() < 1e-5


def test_a_missing_head_is_refused(tiny_backbone, folder):
    (folder / HEAD).unlink()
    with pytest.raises(AdapterError, match=r"missing \['head.safetensors'\]"):
        load_adapter(folder, tiny_backbone)


def test_a_head_without_its_weight_is_refused(tiny_backbone, folder):
    rewrite(folder / HEAD, lambda tensors: tensors.pop("weight"))
    with pytest.raises(AdapterError, match="missing tensors"):
        load_adapter(folder, tiny_backbone)


def test_an_extra_file_is_refused(tiny_backbone, folder):
    (folder / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(AdapterError, match="not expected"):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(sorted(t)[0]), "missing tensors"),
        (lambda t: t.update({"base_model.model.new.lora_A.weight": torch.ones(2)}), "not expected"),
        (lambda t: t.update({sorted(t)[0]: torch.ones(4, 5)}), "shapes"),
        (lambda t: t[sorted(t)[0]].fill_(float("nan")), "not finite"),
    ],
    ids=["missing", "extra", "shape", "nan"],
)
def test_damaged_edits_are_refused(tiny_backbone, folder, change, message):
    rewrite(folder / WEIGHTS, change)
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder, tiny_backbone)


def test_a_file_that_is_no_safetensors_is_refused(tiny_backbone, folder):
    (folder / WEIGHTS).write_bytes(b"\x80\x04 not tensors")
    with pytest.raises(AdapterError, match="cannot be read"):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["classifier"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "only LoRA"),
        ({"target_modules": ["nowhere"]}, "names no layer"),
        ({"r": ...}, "lacks r"),
    ],
)
def test_other_kinds_of_adapter_are_refused(tiny_backbone, folder, changes, message):
    rewrite_json(folder / CONFIG, **changes)
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize("changes", [{"head": "softmax"}, {"probes": ...}, {"comment": "hello"}])
def test_a_scoring_file_off_its_format_is_refused(tiny_backbone, folder, changes):
    rewrite_json(folder / SCORING, **changes)
    with pytest.raises(AdapterError, match=f"see {next(iter(changes))}"):
        load_adapter(folder, tiny_backbone)


def test_another_backbone_is_refused(tiny_backbone, folder):
    rewrite_json(folder / SCORING, backbone_sha256="f" * 64)
    with pytest.raises(AdapterError, match="was trained on tiny-bert"):
        load_adapter(folder, tiny_backbone)


def test_a_head_for_another_scale_is_refused(tiny_backbone, folder):
    rewrite_json(folder / SCORING, score_max=4)
    with pytest.raises(AdapterError, match="needs 3 thresholds"):
        load_adapter(folder, tiny_backbone)


def test_a_changed_weight_does_not_reproduce_its_probes(tiny_backbone, folder):
    rewrite(folder / HEAD, lambda tensors: tensors["bias"].add_(0.1))
    with pytest.raises(AdapterError, match="does not reproduce"):
        Scorer(tiny_backbone).apply(load_adapter(folder, tiny_backbone))
