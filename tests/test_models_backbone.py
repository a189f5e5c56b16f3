import hashlib
import json
import shutil
import subprocess
import sys

import pytest
from conftest import save_tiny_encoder
from safetensors.torch import load_file, save_file

from models import backbone as module
from models.backbone import (
    EMBEDDED,
    EMBEDDED_SHA256,
    BackboneError,
    load_backbone,
    resolve_backbone,
)


def test_the_embedded_backbone_is_the_expected_one():
    files = resolve_backbone(EMBEDDED)
    assert (files.name, files.sha256) == (EMBEDDED, EMBEDDED_SHA256)


def test_other_weights_under_the_embedded_name_are_refused(tiny_backbone_folder, monkeypatch):
    monkeypatch.setattr(module, "_embedded_folder", lambda: tiny_backbone_folder)
    with pytest.raises(BackboneError, match=f"expected {EMBEDDED_SHA256}"):
        resolve_backbone(EMBEDDED)


def test_a_folder_is_named_by_its_last_part_and_its_weights_hash(tiny_backbone_folder):
    files = resolve_backbone(str(tiny_backbone_folder))
    weights = (tiny_backbone_folder / "model.safetensors").read_bytes()
    assert (files.name, files.sha256) == ("tiny-bert", hashlib.sha256(weights).hexdigest())


def test_several_shards_have_one_hash(tiny_backbone_folder, tmp_path):
    folder = shutil.copytree(tiny_backbone_folder, tmp_path / "shards")
    one = resolve_backbone(str(folder)).sha256
    shutil.copy(folder / "model.safetensors", folder / "model-2.safetensors")
    assert resolve_backbone(str(folder)).sha256 != one


def test_a_folder_without_safetensors_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(BackboneError, match="holds no "):
        resolve_backbone(str(tmp_path))


def test_an_unknown_name_is_refused_when_the_hub_cannot_be_reached():
    with pytest.raises(BackboneError, match="no local folder and could not be fetched"):
        resolve_backbone("nobody/no-such-encoder")


def test_a_folder_that_is_no_encoder_is_refused(tiny_backbone_folder, tmp_path):
    folder = shutil.copytree(tiny_backbone_folder, tmp_path / "broken")
    (folder / "config.json").write_text("{}")
    with pytest.raises(BackboneError, match="is no text model we can load"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    "family", ["fnet", "convbert"], ids=["no attention to mask", "looks past a text's end"]
)
def test_a_family_that_mixes_texts_is_refused_by_name(tmp_path, family):
    folder = save_tiny_encoder(tmp_path / "tiny", family, initializer_range=0.3)
    with pytest.raises(BackboneError, match=f"tiny is of the family {family}, which is not"):
        load_backbone(str(folder))


def test_a_family_that_wants_more_than_texts_is_refused(tmp_path):
    folder = save_tiny_encoder(tmp_path / "tiny-t5", family="t5")
    with pytest.raises(BackboneError, match="family t5, which is not supported: the library's"):
        load_backbone(str(folder))


def test_a_backbone_that_lacks_weights_is_refused(tiny_backbone_folder, tmp_path):
    folder = shutil.copytree(tiny_backbone_folder, tmp_path / "partial")
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    load_backbone(str(folder))
    del kept["encoder.layer.1.output.dense.weight"]
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks 1 weights, .* encoder.layer.1.output.dense"):
        load_backbone(str(folder))


def test_a_tokeniser_with_no_token_for_an_empty_text_is_refused(tmp_path):
    folder = save_tiny_encoder(tmp_path / "tiny-qwen", family="qwen3")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"pad_token": None}))
    with pytest.raises(BackboneError, match="names no bos, pad or eos token"):
        load_backbone(str(folder))


@pytest.mark.parametrize(
    ("family", "settings", "room"),
    [
        ("bert", {}, 72),
        ("roberta", {}, 71),
        ("roberta", {"pad_token_id": 1}, 70),
        ("modernbert", {}, 72),
        ("qwen2", {"max_position_embeddings": 4096}, 512),
        ("deberta-v2", {}, 512),
        ("deberta-v2", {"position_biased_input": True}, 72),
    ],
    ids=["bert", "roberta", "padding 1", "rotary", "decoder", "relative", "relative and absolute"],
)
def test_texts_are_no_longer_than_the_backbone_knows_positions(tmp_path, family, settings, room):
    folder = save_tiny_encoder(tmp_path / "tiny", family, **settings)
    assert load_backbone(str(folder), max_tokens=512).max_tokens == room
    assert load_backbone(str(folder), max_tokens=20).max_tokens == 20


def test_finding_a_backbone_does_not_load_torch(tiny_backbone_folder):
    code = (
        "import sys; from models.backbone import resolve_backbone; "
        f"resolve_backbone({str(tiny_backbone_folder)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
