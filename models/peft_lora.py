"""PEFT's LoRA tensors, read into edits and written from them, without PEFT."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.adapter_files import CONFIG, WEIGHTS, AdapterError, check_names
from models.lora import LowRank
from models.peft_config import LoraConfig, targeted
from models.tensor_files import tensors_of

PREFIX = "base_model.model."


def read_tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of ``adapter_model.safetensors``, float32, by their names without PREFIX.

    Raises:
        AdapterError: the file is damaged, or a name in it has no PREFIX.
    """
    tensors = tensors_of(content, path)
    foreign = [name for name in tensors if not name.startswith(PREFIX)]
    if foreign:
        raise AdapterError(f"{path}: not expected {sorted(foreign)[:3]}, no names that PEFT gives")
    return {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}


def read_edits(
    config: LoraConfig,
    tensors: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    folder: Path,
) -> dict[str, LowRank]:
    """The edits that an adapter's tensors make.

    Under ``bias="all"`` a layer may have a new bias and nothing else: its edit is a product of
    zeros with that bias.

    Args:
        config: the adapter's.
        tensors: from ``read_tensors``; none but these edits'.
        modules: all modules of the model it was trained on, by the names they had there.
        folder: the adapter's, for errors.

    Returns:
        the edits by the names of ``modules``.

    Raises:
        AdapterError: a tensor is missing, one too many, or of the wrong shape; or a bias was
            trained that belongs to no linear layer.
    """
    layers = targeted(config, modules, folder / CONFIG)
    others = _other_biases(modules, layers) if config.bias == "all" else {}
    shapes = _shapes(config, layers) | {f"{name}.bias": own.shape for name, own in others.items()}
    path = folder / WEIGHTS
    check_names(path, tensors.keys(), shapes.keys())
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise AdapterError(
                f"{path}: {name} has the shape {tuple(tensors[name].shape)}, the configuration "
                f"and the backbone need {tuple(shape)}"
            )
    edits = {name: _edit(config, tensors, name) for name in layers}
    for name, own in others.items():
        if not torch.equal(tensors[f"{name}.bias"], own):
            edits[name] = _bias_edit(config, tensors[f"{name}.bias"], modules[name], name, path)
    return edits


def written(edits: Mapping[str, LowRank]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors by which PEFT makes the same edits.

    Ranks and scalings that differ from the first layer's go into the patterns.

    Raises:
        ValueError: there are no edits, or only some have a magnitude or a branch's bias.
    """
    dora = {edit.magnitude is not None for edit in edits.values()}
    branch_bias = {edit.branch_bias is not None for edit in edits.values()}
    if len(dora) != 1 or len(branch_bias) != 1:
        raise ValueError("an adapter needs edits, all with a magnitude or branch bias or none")
    ranks = {name: edit.a.shape[0] for name, edit in edits.items()}
    alphas = {name: edit.scaling * edit.a.shape[0] for name, edit in edits.items()}
    first = next(iter(edits))
    config = {
        "peft_type": "LORA",
        "task_type": "FEATURE_EXTRACTION",
        "inference_mode": True,
        "r": ranks[first],
        "lora_alpha": alphas[first],
        "lora_dropout": 0.0,
        "bias": "none" if all(edit.bias is None for edit in edits.values()) else "lora_only",
        "lora_bias": branch_bias.pop(),
        "use_rslora": False,
        "use_dora": dora.pop(),
        "target_modules": sorted(edits),
        "rank_pattern": {name: rank for name, rank in ranks.items() if rank != ranks[first]},
        "alpha_pattern": {name: a for name, a in alphas.items() if a != alphas[first]},
    }
    tensors = {
        f"{PREFIX}{name}.{part}": tensor.contiguous()
        for name, edit in edits.items()
        for part, tensor in _parts(edit).items()
        if tensor is not None
    }
    return config, tensors


def _parts(edit: LowRank) -> dict[str, Tensor | None]:
    return {
        "lora_A.weight": edit.a,
        "lora_B.weight": edit.b,
        "lora_B.bias": edit.branch_bias,
        "lora_magnitude_vector": edit.magnitude,
        "base_layer.bias": edit.bias,
    }


def _shapes(config: LoraConfig, layers: Mapping[str, nn.Linear]) -> dict[str, tuple[int, ...]]:
    """The tensors that the configuration asks for at the layers it names."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers.items():
        rank, out = config.rank(name), layer.out_features
        shapes[f"{name}.lora_A.weight"] = (rank, layer.in_features)
        shapes[f"{name}.lora_B.weight"] = (out, rank)
        if config.lora_bias:
            shapes[f"{name}.lora_B.bias"] = (out,)
        if config.use_dora:
            shapes[f"{name}.lora_magnitude_vector"] = (out,)
        if config.bias != "none" and layer.bias is not None:
            shapes[f"{name}.base_layer.bias"] = (out,)
    return shapes


def _edit(config: LoraConfig, tensors: Mapping[str, Tensor], name: str) -> LowRank:
    return LowRank(
        a=tensors[f"{name}.lora_A.weight"],
        b=tensors[f"{name}.lora_B.weight"],
        scaling=config.scaling(name),
        magnitude=tensors.get(f"{name}.lora_magnitude_vector"),
        bias=tensors.get(f"{name}.base_layer.bias"),
        branch_bias=tensors.get(f"{name}.lora_B.bias"),
    )


def _other_biases(
    modules: Mapping[str, nn.Module], layers: Mapping[str, nn.Linear]
) -> dict[str, Tensor]:
    """The biases of all modules but the edited layers, as the backbone has them."""
    found = {
        name: module._parameters.get("bias")
        for name, module in modules.items()
        if name not in layers
    }
    return {name: own for name, own in found.items() if own is not None}


def _bias_edit(
    config: LoraConfig, bias: Tensor, module: nn.Module, name: str, path: Path
) -> LowRank:
    if not isinstance(module, nn.Linear):
        raise AdapterError(
            f"{path} holds a new bias for {name}, a {type(module).__name__}; only linear layers "
            'can be edited: train the adapter with bias="lora_only"'
        )
    weight = module.weight.detach()
    return LowRank(
        a=torch.zeros(1, module.in_features),
        b=torch.zeros(module.out_features, 1),
        scaling=1.0,
        # These give back the pristine weight; all edits of an adapter have the same parts.
        magnitude=torch.linalg.vector_norm(weight, dim=1) if config.use_dora else None,
        bias=bias,
        branch_bias=torch.zeros(module.out_features) if config.lora_bias else None,
    )
