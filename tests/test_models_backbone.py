import hashlib
import shutil
import subprocess
import sys

import pytest
from conftest import save_tiny_encoder

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
    with pytest.raises(BackboneError, match="is no encoder we can load"):
        load_backbone(str(folder))


def test_a_family_that_mixes_packed_texts_is_refused(tmp_path):
    folder = save_tiny_encoder(tmp_path / "tiny-deberta", family="deberta-v2")
    with pytest.raises(BackboneError):
        load_backbone(str(folder))


def test_texts_are_no_longer_than_the_position_table(tiny_backbone_folder):
    assert load_backbone(str(tiny_backbone_folder), max_tokens=512).max_tokens == 72


def test_finding_a_backbone_does_not_load_torch(tiny_backbone_folder):
    code = (
        "import sys; from models.backbone import resolve_backbone; "
        f"resolve_backbone({str(tiny_backbone_folder)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
