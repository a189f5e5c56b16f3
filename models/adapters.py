"""Adapter directories: PEFT's LoRA files, a head, and a record of how it scores.

Four files and no others: ``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT
writes and reads them, ``head.safetensors``, and ``scoring.json``. Nothing is ever unpickled.
"""

import hashlib
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.backbone import Backbone
from models.heads import Scale
from models.lora import LowRank

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HEAD, SCORING = "head.safetensors", "scoring.json"
FILES = frozenset({CONFIG, WEIGHTS, HEAD, SCORING})
PEFT_PREFIX = "base_model.model."
# PEFT options that change the forward in a way W0 + s*B*A does not cover; all must be off.
UNSUPPORTED = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "layers_to_transform",
    "exclude_modules",
)


class AdapterError(RuntimeError):
    """An adapter directory is incomplete, damaged, for another backbone, or does not reproduce."""


class Probe(BaseModel):
    """A fixed text of our own and the raw score this adapter gave it when it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    text: str
    raw_score: float


class Scoring(BaseModel):
    """The contents of ``scoring.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    method: Literal["lora"] = "lora"
    head: Literal["ordinal"] = "ordinal"
    backbone: str
    backbone_sha256: str
    score_min: int
    score_max: int
    trait: str
    max_tokens: int
    training_data_sha256: str
    recipe: dict[str, int | float | str | bool | None]
    versions: dict[str, str]
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory.

    Attributes:
        edits: low-rank edits by the name of the backbone's layer.
        head_weight, head_bias: float32 [K-1, hidden_size] and [K-1].
        scoring: scale, backbone, limits, provenance and probes.
        sha256: hash of its directory; empty while it has none.
    """

    edits: Mapping[str, LowRank]
    head_weight: Tensor
    head_bias: Tensor
    scoring: Scoring
    sha256: str = field(default="")

    @property
    def scale(self) -> Scale:
        """The score scale of the adapter's item."""
        return Scale(self.scoring.score_min, self.scoring.score_max)


def adapter_sha256(folder: Path) -> str:
    """Hash over the sorted (name, sha256) pairs of the directory's four files.

    Raises:
        AdapterError: a file is missing, or there is one too many.
    """
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if found != FILES:
        raise AdapterError(
            f"{folder} is no adapter directory: missing {sorted(FILES - found) or 'nothing'}, "
            f"not expected {sorted(found - FILES) or 'nothing'}"
        )
    digest = hashlib.sha256()
    for name in sorted(FILES):
        content = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def save_adapter(folder: Path, adapter: Adapter) -> str:
    """Write the adapter to ``folder``, whole or not at all; an older one there is replaced.

    Returns:
        the directory's ``adapter_sha256``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        _write_files(temporary, adapter)
        digest = adapter_sha256(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


def load_adapter(folder: Path, backbone: Backbone) -> Adapter:
    """Read and check an adapter directory.

    Its stored probe predictions are compared when it is applied: see ``Scorer.apply``.

    Raises:
        AdapterError: missing or extra files or tensors, wrong shapes, values that are not
            finite, another backbone, or a kind of LoRA that cannot be merged.
    """
    digest = adapter_sha256(folder)
    scoring = _read_scoring(folder / SCORING)
    if scoring.backbone_sha256 != backbone.sha256:
        raise AdapterError(
            f"{folder} was trained on {scoring.backbone} ({scoring.backbone_sha256[:12]}), "
            f"the loaded backbone is {backbone.name} ({backbone.sha256[:12]}): train it again, "
            "or set the backbone it was made for"
        )
    edits = _read_edits(folder, backbone)
    weight, bias = _read_head(folder / HEAD, scoring, backbone)
    return Adapter(edits, weight, bias, scoring, digest)


def _write_files(folder: Path, adapter: Adapter) -> None:
    tensors = {}
    for name, edit in adapter.edits.items():
        tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"] = edit.a.contiguous()
        tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"] = edit.b.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    head = {"weight": adapter.head_weight.contiguous(), "bias": adapter.head_bias.contiguous()}
    save_file(head, folder / HEAD, metadata={"format": "pt"})
    _write_json(folder / CONFIG, _peft_config(adapter))
    _write_json(folder / SCORING, adapter.scoring.model_dump())
    for name in FILES:
        _sync(folder / name)


def _peft_config(adapter: Adapter) -> dict[str, Any]:
    """What PEFT needs to load the edits; ranks and scalings that differ go into the patterns."""
    ranks = {name: edit.a.shape[0] for name, edit in adapter.edits.items()}
    alphas = {name: edit.scaling * edit.a.shape[0] for name, edit in adapter.edits.items()}
    first = next(iter(adapter.edits))
    return {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "base_model_name_or_path": adapter.scoring.backbone,
        "inference_mode": True,
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "lora_dropout": 0.0,
        "bias": "none",
        "use_rslora": False,
        "use_dora": False,
        "target_modules": sorted(adapter.edits),
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != ranks[first]},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alphas[first]},
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_scoring(path: Path) -> Scoring:
    try:
        return Scoring.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, found["loc"])) for found in error.errors())
        raise AdapterError(
            f"{path} does not follow the format: see {fields or 'its JSON'}"
        ) from None


def _read_edits(folder: Path, backbone: Backbone) -> dict[str, LowRank]:
    config = _read_config(folder / CONFIG)
    layers = _targeted(config, backbone.model, folder)
    tensors = _read_tensors(folder / WEIGHTS)
    expected = {f"{PEFT_PREFIX}{name}.lora_{side}.weight" for name in layers for side in "AB"}
    _check_names(folder / WEIGHTS, set(tensors), expected)
    edits = {}
    for name, layer in layers.items():
        a = tensors[f"{PEFT_PREFIX}{name}.lora_A.weight"]
        b = tensors[f"{PEFT_PREFIX}{name}.lora_B.weight"]
        rank = int(_for_layer(config, "rank_pattern", name, config["r"]))
        shapes = ((rank, layer.in_features), (layer.out_features, rank))
        if (tuple(a.shape), tuple(b.shape)) != shapes:
            raise AdapterError(
                f"{folder / WEIGHTS}: {name} has shapes {tuple(a.shape)} and {tuple(b.shape)}, "
                f"the backbone needs {shapes[0]} and {shapes[1]}"
            )
        alpha = float(_for_layer(config, "alpha_pattern", name, config["lora_alpha"]))
        divisor = math.sqrt(rank) if config.get("use_rslora") else rank
        edits[name] = LowRank(a, b, alpha / divisor)
    return edits


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise AdapterError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        raise AdapterError(f"{path}: only LoRA adapters can be loaded")
    used = [option for option in UNSUPPORTED if config.get(option)]
    if used or config.get("bias", "none") != "none":
        raise AdapterError(f"{path} uses {', '.join(used) or 'bias'}, which is not supported")
    if not {"r", "lora_alpha", "target_modules"} <= set(config):
        raise AdapterError(f"{path} lacks r, lora_alpha or target_modules")
    return config


def _targeted(config: Mapping[str, Any], model: nn.Module, folder: Path) -> dict[str, nn.Linear]:
    """The backbone's layers that PEFT would edit under this configuration."""
    targets = config["target_modules"]
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and _matches(name, targets)
    }
    if not layers:
        raise AdapterError(f"{folder / CONFIG}: target_modules names no layer of the backbone")
    return layers


def _matches(name: str, targets: str | list[str]) -> bool:
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _for_layer(config: Mapping[str, Any], pattern: str, name: str, default: float) -> float:
    """PEFT's rule: the first pattern that the layer's name ends with, at a dot or the start."""
    for key, value in (config.get(pattern) or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            return float(value)
    return default


def _read_head(path: Path, scoring: Scoring, backbone: Backbone) -> tuple[Tensor, Tensor]:
    tensors = _read_tensors(path)
    _check_names(path, set(tensors), {"weight", "bias"})
    thresholds = Scale(scoring.score_min, scoring.score_max).n_points - 1
    weight, bias = tensors["weight"], tensors["bias"]
    if weight.shape != (thresholds, backbone.hidden_size) or bias.shape != (thresholds,):
        raise AdapterError(
            f"{path} has shapes {tuple(weight.shape)} and {tuple(bias.shape)}; the scale "
            f"{scoring.score_min}..{scoring.score_max} needs {thresholds} thresholds "
            f"of {backbone.hidden_size}"
        )
    return weight, bias


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        raise AdapterError(
            f"{path}: missing tensors {sorted(expected - found)[:3] or 'none'}, "
            f"not expected {sorted(found - expected)[:3] or 'none'}"
        )


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor).all()):
            raise AdapterError(f"{path}: {name} holds values that are not finite numbers")
    return {name: tensor.float() for name, tensor in tensors.items()}
