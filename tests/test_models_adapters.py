import copy
import json
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.adapter_files import CONFIG, FILES_OF, HEAD, SCORING, WEIGHTS
from models.adapter_folders import adapter_sha256, read_scoring
from models.adapters import (
    Adapter,
    AdapterError,
    Scoring,
    load_adapter,
    save_adapter,
)
from models.calibration import Calibration, Kept
from models.head_file import head_record
from models.heads import Dense, Head, Norm
from models.lora import LowRank, block_linears
from models.packing import hidden_states, pack
from models.postprocessing import Scaling
from models.scorer import Scorer

NO_CALIBRATION = {
    "temperature": 1.0,
    "n": 3,
    "ece_before": None,
    "ece_after": None,
    "coverage": [],
}


def make_adapter(backbone, seed=5, rank=4, points=3):
    """Random edits and a random head, with the probes that belong to them."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random)

    edits = {
        name: LowRank(draw(rank, layer.in_features) * 0.2, draw(layer.out_features, rank), 0.5)
        for name, layer in block_linears(backbone.model).items()
    }
    head = Head("ordinal", "mean", None, draw(points - 1, backbone.hidden_size), draw(points - 1))
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
    return probed(Adapter(edits, head, scoring), backbone)


def probed(adapter, backbone):
    """The adapter with probes of its own."""
    texts = ["the bulb is in a closed path", "no"]
    scored = Scorer(backbone, precision="fp32").score(adapter, texts, verify=False)
    probes = [
        {"text": text, "raw_score": float(raw)}
        for text, raw in zip(texts, scored.raw_score, strict=True)
    ]
    scoring = Scoring.model_validate({**adapter.scoring.model_dump(), "probes": probes})
    return replace(adapter, scoring=scoring)


def with_head(adapter, head):
    """The adapter with another head, and the record that belongs to it."""
    scoring = adapter.scoring.model_copy(update=head_record(head))
    return Adapter(adapter.edits, head, scoring)


def merged_model(backbone, edits):
    """A copy of the backbone's model with an adapter's edits written into its weights."""
    model = copy.deepcopy(backbone.model)
    for name, edit in edits.items():
        layer = model.get_submodule(name)
        bias = edit.merged_bias(layer.bias)
        layer.weight = nn.Parameter(edit.weight(layer.weight), requires_grad=False)
        layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return model


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
    assert {entry.name for entry in folder.iterdir()} == FILES_OF["lora"]
    assert loaded.scoring == made.scoring
    assert torch.equal(loaded.head.weight, made.head.weight)
    assert loaded.edits.keys() == made.edits.keys()
    for name, edit in made.edits.items():
        pristine = tiny_backbone.model.get_submodule(name).weight
        assert torch.equal(loaded.edits[name].weight(pristine), edit.weight(pristine))
    assert loaded.sha256 == adapter_sha256(folder)


HEADS = {
    "ordinal, first token": lambda draw: Head("ordinal", "first", None, draw(2, 32), draw(2)),
    "no bias": lambda draw: Head("classification", "last", None, draw(3, 32), None),
    "dense": lambda draw: Head(
        "classification", "first", Dense(draw(20, 32), draw(20), "tanh"), draw(3, 20), draw(3)
    ),
    "dense and norm": lambda draw: Head(
        "classification",
        "mean",
        Dense(draw(32, 32), None, "gelu", Norm(draw(32), None, 1e-5)),
        draw(3, 32),
        draw(3),
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_heads_of_every_kind_are_saved_and_loaded(tiny_backbone, tmp_path, kind):
    random = torch.Generator().manual_seed(1)
    head = HEADS[kind](lambda *shape: torch.randn(*shape, generator=random))
    adapter = probed(with_head(make_adapter(tiny_backbone), head), tiny_backbone)
    save_adapter(tmp_path / "a", adapter)
    loaded = load_adapter(tmp_path / "a", tiny_backbone)
    pooled = torch.randn(5, 32, generator=random)
    assert torch.equal(loaded.head.logits(pooled), head.logits(pooled))
    assert (loaded.head.kind, loaded.head.pooling) == (head.kind, head.pooling)
    scored = Scorer(tiny_backbone).score(loaded, ["the bulb"])  # which checks the probes
    assert scored.probabilities.shape == (1, 3)


def test_a_record_of_another_head_is_refused(tiny_backbone):
    adapter = make_adapter(tiny_backbone)
    with pytest.raises(ValueError, match="not that of the head"):
        replace(adapter, head=replace(adapter.head, pooling="last"))


def measured(adapter):
    """The adapter as training leaves it: with calibration and scaling."""
    coverage = (Kept(1.0, 40, 0.7, 0.6, 0.3), Kept(0.5, 20, 1.0, None, 0.8))
    calibration = Calibration(1.7, 40, 0.2, 0.1, coverage)
    update = {"calibration": calibration, "scaling": Scaling(1.5, 0.8, 1.6, 0.5)}
    return replace(adapter, scoring=adapter.scoring.model_copy(update=update))


def test_calibration_and_scaling_are_kept_and_hashed(tiny_backbone, tmp_path):
    plain = make_adapter(tiny_backbone)
    digests = [save_adapter(tmp_path / name, a) for name, a in
               (("plain", plain), ("measured", measured(plain)))]  # fmt: skip
    assert digests[0] != digests[1]
    found = load_adapter(tmp_path / "measured", tiny_backbone).scoring
    assert found == measured(plain).scoring == read_scoring(tmp_path / "measured")
    assert load_adapter(tmp_path / "plain", tiny_backbone).scoring.calibration is None


def test_an_adapter_from_before_calibration_scores_as_before(tiny_backbone, folder):
    rewrite_json(folder / SCORING, calibration=..., scaling=...)
    loaded = load_adapter(folder, tiny_backbone)
    assert (loaded.scoring.calibration, loaded.scoring.scaling) == (None, None)
    scorer = Scorer(tiny_backbone, precision="fp32")
    scored, made = scorer.score(loaded, ["no"]), scorer.score(make_adapter(tiny_backbone), ["no"])
    assert (scored.raw_score, scored.confidence) == (made.raw_score, made.confidence)
    assert np.isnan(scored.scaled_score).all()


def test_an_adapter_is_the_one_that_was_registered(tiny_backbone, folder):
    registered = adapter_sha256(folder)
    assert load_adapter(folder, tiny_backbone, expected_sha256=registered).sha256 == registered
    rewrite(folder / HEAD, lambda tensors: tensors["bias"].add_(1e-6))
    found = adapter_sha256(folder)
    message = f"sha256 {found[:12]}, {registered[:12]} was registered: remove the folder, and it is"
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder, tiny_backbone, expected_sha256=registered)


def test_a_hundred_loads_take_no_longer_than_the_first_ones(tiny_backbone, folder):
    """Nothing is kept from one load to the next; the fewest seconds of ten are compared."""
    seconds = []
    kept = []
    for _ in range(110):
        started = time.thread_time()
        kept.append(load_adapter(folder, tiny_backbone))
        seconds.append(time.thread_time() - started)
    assert min(seconds[-10:]) < 2 * min(seconds[:10])


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
    ours = merged_model(tiny_backbone, load_adapter(folder, tiny_backbone).edits)
    ids = np.arange(4, 24)
    with torch.inference_mode():
        expected = theirs(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
        found = hidden_states(ours, pack([ids]))
        frozen = hidden_states(tiny_backbone.model, pack([ids]))
    assert (found - expected).abs().max() < 1e-5
    assert (found - frozen).abs().max() > 1e-2


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
        (lambda t: t.update({"encoder.weight": torch.ones(2)}), "no names that PEFT gives"),
        (lambda t: t.update({sorted(t)[0]: torch.ones(4, 5)}), "has the shape"),
        (lambda t: t[sorted(t)[0]].fill_(float("nan")), "not finite"),
    ],
    ids=["missing", "extra", "foreign", "shape", "nan"],
)
def test_damaged_edits_are_refused(tiny_backbone, folder, change, message):
    rewrite(folder / WEIGHTS, change)
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize("name", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_is_none_is_refused(tiny_backbone, folder, name):
    rewrite_json(folder / CONFIG, **{name: {"(": 4}})
    with pytest.raises(AdapterError, match="pattern that is none"):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_probe_that_is_no_number_is_refused(tiny_backbone, folder, value):
    path = folder / SCORING
    content = json.loads(path.read_text())
    content["probes"][0]["raw_score"] = float(value.lower().replace("infinity", "inf"))
    path.write_text(json.dumps(content))
    with pytest.raises(AdapterError, match=r"see probes\.0\.raw_score"):
        load_adapter(folder, tiny_backbone)


def test_a_file_that_is_no_safetensors_is_refused(tiny_backbone, folder):
    (folder / WEIGHTS).write_bytes(b"\x80\x04 not tensors")
    with pytest.raises(AdapterError, match="cannot be read"):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize(
    "changes",
    [
        {"head": "softmax"},
        {"pooling": "max"},
        {"pooling": ...},
        {"probes": ...},
        {"comment": "hello"},
        {"score_max": 1},
        {"calibration": {"temperature": 1.0, "n": 40}},
        {"calibration": {**NO_CALIBRATION, "temperature": 0}},
        {"calibration": {**NO_CALIBRATION, "slope": 1}},
        {"scaling": {"human_mean": 1, "human_sd": 1, "machine_mean": 1}},
        {"scaling": {"human_mean": 1, "human_sd": 0, "machine_mean": 1, "machine_sd": 1}},
        {"max_tokens": 0},
        {"max_tokens": -1},
    ],
)
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
    with pytest.raises(AdapterError, match=r"for the scale 1\.\.4 needs \(3, 32\)"):
        load_adapter(folder, tiny_backbone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "classification"}, r"a classification head .* needs \(3, 32\)"),
        ({"head_tensors": ["weight"]}, "not expected \\['bias'"),
        ({"head_tensors": ["bias", "dense.weight", "weight"]}, "missing tensors .*dense.weight"),
        ({"activation": "tanh"}, "lacks 'dense.weight'"),
        ({"norm_eps": 1e-5}, "lacks 'norm.weight'"),
    ],
)
def test_a_head_that_its_record_does_not_describe_is_refused(
    tiny_backbone, folder, changes, message
):
    rewrite_json(folder / SCORING, **changes)
    with pytest.raises(AdapterError, match=message):
        load_adapter(folder, tiny_backbone)


def test_a_head_tensor_without_its_place_in_the_record_is_refused(tiny_backbone, folder):
    rewrite(folder / HEAD, lambda tensors: tensors.update({"norm.bias": torch.ones(32)}))
    rewrite_json(folder / SCORING, head_tensors=["bias", "norm.bias", "weight"])
    with pytest.raises(AdapterError, match="gives no activation or eps"):
        load_adapter(folder, tiny_backbone)


def test_a_changed_weight_does_not_reproduce_its_probes(tiny_backbone, folder):
    rewrite(folder / HEAD, lambda tensors: tensors["bias"].add_(0.1))
    with pytest.raises(AdapterError, match="does not reproduce"):
        Scorer(tiny_backbone, precision="fp32").score(load_adapter(folder, tiny_backbone), [])


def test_an_edit_that_no_head_reads_is_refused(tiny_backbone, folder):
    adapter = make_adapter(tiny_backbone)
    pooler = LowRank(torch.ones(4, 32), torch.ones(32, 4), 0.5)
    save_adapter(folder, replace(adapter, edits={"pooler.dense": pooler}))
    with pytest.raises(AdapterError, match=r"edits pooler\.dense, which no head reads"):
        load_adapter(folder, tiny_backbone)


def test_edits_of_mixed_parts_cannot_be_written(tiny_backbone, tmp_path):
    adapter = make_adapter(tiny_backbone)
    name = next(iter(adapter.edits))
    out = len(adapter.edits[name].b)
    mixed = {**adapter.edits, name: replace(adapter.edits[name], magnitude=torch.ones(out))}
    with pytest.raises(ValueError, match="all with a magnitude"):
        save_adapter(tmp_path / "a", replace(adapter, edits=mixed))
    assert not list(tmp_path.iterdir())
