"""PEFT's ``adapter_config.json``: which layers a LoRA adapter edits, and how strongly.

The rules are those of PEFT 0.21.2 (``check_target_module_exists`` and ``get_pattern_key``). What
changes the forward in another way than by a new weight and bias is refused by name; so is every
option this file does not know, lest one of a future PEFT be overlooked.
"""

import math
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, ValidationError
from torch import nn

from models.adapter_files import AdapterError

# Options that say nothing of the forward, or only how training began and went.
HARMLESS = frozenset(
    {
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
)
# Ways to begin A and B that leave the backbone's weights as they are. All others (PiSSA, OLoRA,
# CorDA, LoftQ, LoRA-GA) subtract the first product from them: the file is half of the edit.
PLAIN_STARTS = frozenset({"true", "false", "gaussian", "orthogonal", "eva", "mica"})
ALL_LINEAR = "all-linear"
Number = TypeVar("Number", int, float)


class LoraConfig(BaseModel):
    """``adapter_config.json``, as far as it decides what the adapter computes."""

    model_config = ConfigDict(extra="allow", frozen=True)
    peft_type: Literal["LORA"]
    r: PositiveInt
    lora_alpha: FiniteFloat
    target_modules: list[str] | str
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    rank_pattern: dict[str, PositiveInt] | None = None
    alpha_pattern: dict[str, FiniteFloat] | None = None
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    bias: Literal["none", "all", "lora_only"] = "none"
    init_lora_weights: bool | str = True
    modules_to_save: list[str] | None = None
    task_type: str | None = None
    base_model_name_or_path: str | None = None

    def rank(self, name: str) -> int:
        """The rank of a layer's edit."""
        return _for_layer(self.rank_pattern or {}, name, self.r)

    def scaling(self, name: str) -> float:
        """The factor on a layer's edit (Kalajdzievski 2023 for rsLoRA)."""
        alpha = _for_layer(self.alpha_pattern or {}, name, self.lora_alpha)
        rank = self.rank(name)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_config(content: bytes, path: Path) -> LoraConfig:
    """Read and check ``adapter_config.json``.

    Raises:
        AdapterError: it is damaged, is not LoRA's, or uses an option that cannot be merged into
            weights or is not known.
    """
    try:
        config = LoraConfig.model_validate_json(content)
    except ValidationError as error:
        found = (".".join(map(str, one["loc"])) or "its JSON" for one in error.errors())
        raise AdapterError(
            f"{path} is no configuration of a LoRA adapter (see {', '.join(found)}): other kinds "
            "of adapter cannot be loaded"
        ) from None
    for pattern in (*(config.rank_pattern or {}), *(config.alpha_pattern or {})):
        try:
            re.compile(pattern)
        except re.error as error:
            raise AdapterError(f"{path} holds a pattern that is none: {error}") from error
    used = {key for key, value in (config.model_extra or {}).items() if value} - HARMLESS
    if used:
        raise AdapterError(
            f"{path} uses {', '.join(sorted(used))}, which cannot be loaded: train the adapter "
            "without"
        )
    if str(config.init_lora_weights).lower() not in PLAIN_STARTS:
        raise AdapterError(
            f"{path} has init_lora_weights={config.init_lora_weights!r}, which changes the "
            "backbone's own weights: save the adapter by PEFT's save_pretrained with "
            "path_initial_model_for_weight_conversion, which makes it a plain LoRA adapter"
        )
    if isinstance(config.target_modules, str) and config.layers_to_transform is not None:
        raise AdapterError(
            f"{path} has layers_to_transform beside a pattern in target_modules, which PEFT does "
            "not allow: list the layers"
        )
    return config


def targeted(
    config: LoraConfig, modules: Mapping[str, nn.Module], path: Path
) -> dict[str, nn.Linear]:
    """The layers that PEFT would edit, by name.

    Args:
        config: the adapter's.
        modules: all modules of the model it was trained on, by the names they had there.
        path: the configuration's, for errors.

    Raises:
        AdapterError: a target is no linear layer, there is none, or a pattern is malformed.
    """
    try:
        names = _targets(config.model_dump_json(), tuple(modules))
    except re.error as error:
        raise AdapterError(f"{path} holds a pattern that is none: {error}") from error
    chosen = {name: modules[name] for name in names}
    layers = {name: module for name, module in chosen.items() if isinstance(module, nn.Linear)}
    others = chosen.keys() - layers.keys()
    if others and not _all_linear(config):
        other = min(others)
        raise AdapterError(
            f"{path}: target_modules names {other}, a {type(chosen[other]).__name__}; only linear "
            "layers can be edited: train the adapter on those alone"
        )
    if not layers:
        raise AdapterError(f"{path}: target_modules names no layer of the backbone")
    return layers


@lru_cache(maxsize=64)
def _targets(config: str, names: tuple[str, ...]) -> tuple[str, ...]:
    """The modules that a configuration names; adapters of one recipe have the same."""
    parsed = LoraConfig.model_validate_json(config)
    return tuple(name for name in names if _is_target(parsed, name))


def _is_target(config: LoraConfig, name: str) -> bool:
    """PEFT's ``check_target_module_exists``."""
    if not name or _is_excluded(config, name):
        return False
    if _all_linear(config):
        return True
    if isinstance(config.target_modules, str):
        return re.fullmatch(config.target_modules, name) is not None
    if name in config.target_modules:  # whatever the layer's number
        return True
    if _endings(name).isdisjoint(config.target_modules):
        return False
    return config.layers_to_transform in (None, []) or _is_in_layers(config, name)


def _all_linear(config: LoraConfig) -> bool:
    targets = config.target_modules
    return isinstance(targets, str) and targets.lower() == ALL_LINEAR


def _is_excluded(config: LoraConfig, name: str) -> bool:
    excluded = config.exclude_modules
    if isinstance(excluded, str) and excluded and re.fullmatch(excluded, name):
        return True
    if isinstance(excluded, list) and not _endings(name).isdisjoint(excluded):
        return True
    saved = config.modules_to_save or []
    return any(re.match(rf"(^|.*\.){module}($|\..*)", name) for module in saved)


@cache
def _endings(name: str) -> frozenset[str]:
    """What a list may call a layer: its name, or what follows one of the dots in it."""
    parts = name.split(".")
    return frozenset(".".join(parts[start:]) for start in range(len(parts)))


def _is_in_layers(config: LoraConfig, name: str) -> bool:
    patterns = [r".*?\.[^.]*\.(?P<index>\d+)\."]
    if config.layers_pattern:
        given = config.layers_pattern
        listed = [given] if isinstance(given, str) else given
        patterns = [rf"(?:^|.*?\.){pattern}\.(?P<index>\d+)\." for pattern in listed]
    found = next((match for match in (re.match(one, name) for one in patterns) if match), None)
    wanted = config.layers_to_transform
    return found is not None and int(found["index"]) in (
        wanted if isinstance(wanted, list) else [wanted]
    )


def _for_layer(pattern: Mapping[str, Number], name: str, default: Number) -> Number:
    """PEFT's ``get_pattern_key``: the first key that the name ends with, at a dot or the start."""
    for key, value in pattern.items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return default
