"""Take in adapters that were trained with plain PEFT as classifiers (``task_type`` SEQ_CLS).

The library gives a backbone a fresh head to train, of which PEFT saves what ``modules_to_save``
names; what it does not name is made at random again whenever the adapter is loaded there. Here
every tensor of the head comes from the adapter's file or the backbone's own, or the adapter is
refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from models.adapter_files import CONFIG, WEIGHTS, AdapterError, read_bytes
from models.adapters import Adapter, Scoring, library_versions
from models.backbone import Backbone
from models.classifiers import Classifier, Layer, classifier_of
from models.head_file import check_shapes, head_record
from models.heads import Dense, Head, Norm
from models.lora import LowRank
from models.peft_config import LoraConfig, read_config
from models.peft_lora import read_edits, read_tensors
from models.probes import PROBE_TEXTS, with_probes
from models.scorer import exact_scorer
from models.scores import Scale


@dataclass(frozen=True)
class _Found:
    """A layer of the head, and whether it was trained in full: then no edit is made to it."""

    weight: Tensor
    bias: Tensor | None
    whole: bool

    def module(self, *, is_norm: bool) -> nn.Module:
        """The layer as the library has it, for an edit to be made to."""
        width, has_bias = self.weight.shape, self.bias is not None
        module: nn.Linear | nn.LayerNorm
        if is_norm:
            module = nn.LayerNorm(width, bias=has_bias, device="meta")
        else:
            module = nn.Linear(width[1], width[0], has_bias, device="meta")
        module.weight = nn.Parameter(self.weight, requires_grad=False)
        if self.bias is not None:
            module.bias = nn.Parameter(self.bias, requires_grad=False)
        return module


def import_peft(
    folder: Path, backbone: Backbone, scale: Scale, *, trait: str = "overall"
) -> Adapter:
    """Read a PEFT classifier as an adapter of this project, probes included.

    Label k stands for the score ``score_min + k``.

    Args:
        folder: with ``adapter_config.json`` and ``adapter_model.safetensors``; of other files
            only ``config.json`` is looked at, where there is one.
        backbone: the one it was trained on. Its configuration decides what PEFT does not note:
            activations, and how ModernBERT's classifier pools.
        scale: the item's, one point per label.
        trait: written into the scoring record.

    Raises:
        AdapterError: it was trained on another backbone, for a number or several labels at
            once, or for another number of labels; a part of its head is in no file; or it edits
            the backbone in a way that cannot be applied.
    """
    path = folder / WEIGHTS
    config = read_config(read_bytes(folder / CONFIG), folder / CONFIG)
    _check_task(config, folder, backbone)
    classifier = classifier_of(backbone.model.config)
    tensors = _without_copies(read_tensors(read_bytes(path), path), path)
    layers = {layer.name: _found(layer, tensors, backbone, path) for layer in classifier.layers}
    _check_labels(layers[classifier.last.name].weight, scale, path)
    _check_end(classifier, backbone)
    trained = {part for name, layer in layers.items() if layer.whole for part in _parts(name)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in trained}
    edits = read_edits(config, rest, _modules(backbone, classifier, layers), folder)
    head = _head(classifier, layers, edits)
    check_shapes(head, scale, backbone.hidden_size, path)
    prefix = f"{_prefix(backbone)}."
    inner = {name.removeprefix(prefix): edit for name, edit in edits.items() if name not in layers}
    if not inner:
        raise AdapterError(f"{path} edits no layer of the backbone: train it with such layers")
    adapter = Adapter(inner, head, _scoring(config, head, scale, trait, backbone))
    return with_probes(adapter, exact_scorer(backbone))


def _check_task(config: LoraConfig, folder: Path, backbone: Backbone) -> None:
    if config.task_type != "SEQ_CLS":
        raise AdapterError(
            f"{folder / CONFIG} has the task_type {config.task_type}; only classifiers of texts, "
            "SEQ_CLS, can be taken in"
        )
    base = config.base_model_name_or_path or ""
    if Path(base).name != Path(backbone.name).name and Path(base).resolve() != (
        backbone.folder.resolve()
    ):
        raise AdapterError(
            f"{folder / CONFIG} was trained on {base or 'an unnamed model'}, the backbone is "
            f"{backbone.name}: set the backbone it was made for; if they are the same, write "
            "that name into the file as base_model_name_or_path"
        )
    problem = _problem(folder / "config.json", backbone)
    if problem not in (None, "single_label_classification"):
        raise AdapterError(
            f"{folder} was trained for {problem}; only one label of several can become a score: "
            "train it with a label per score point"
        )


def _problem(path: Path, backbone: Backbone) -> str | None:
    """What the classifier was trained for, by the model's configuration beside it or our own."""
    config: Any = backbone.model.config
    if not path.exists():
        return getattr(config, "problem_type", None)
    try:
        found: str | None = json.loads(read_bytes(path)).get("problem_type")
    except (ValueError, AttributeError) as error:
        raise AdapterError(f"{path} is no model's configuration: {error}") from error
    return found


def _without_copies(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Leave out what PEFT writes twice under ``bias="all"``: the head as it was, and as it is."""
    kept = {name: tensor for name, tensor in tensors.items() if ".original_module." not in name}
    for name in [name for name in kept if ".modules_to_save." in name]:
        module, _, part = name.partition(".modules_to_save.")
        # Between the two may stand the name that the adapter had in training.
        originals = [f"{module}.{part}", f"{module}.{part.partition('.')[2]}"]
        if not any(torch.equal(kept[name], kept[one]) for one in originals if one in kept):
            raise AdapterError(f"{path}: {name} is no copy of a tensor beside it: save it again")
        del kept[name]
    return kept


def _found(layer: Layer, tensors: Mapping[str, Tensor], backbone: Backbone, path: Path) -> _Found:
    """A layer of the head, from the adapter's file or else from the backbone's."""
    weight, bias = _parts(layer.name)
    whole = weight in tensors
    names = [weight, bias] if layer.has_bias else [weight]
    found = [tensors.get(name) if whole else _stored(name, backbone) for name in names]
    lost = [name for name, tensor in zip(names, found, strict=True) if tensor is None]
    if lost:
        module = layer.name.removeprefix(f"{_prefix(backbone)}.").split(".")[0]
        raise AdapterError(
            f"{lost[0]} is neither in {path} nor among the weights of {backbone.name}: the "
            f"classifier was trained on random numbers that are lost; train it again with "
            f"{module!r} in modules_to_save"
        )
    first, *others = [tensor for tensor in found if tensor is not None]
    return _Found(first, others[0] if others else None, whole)


def _parts(layer: str) -> tuple[str, str]:
    return f"{layer}.weight", f"{layer}.bias"


def _stored(name: str, backbone: Backbone) -> Tensor | None:
    """A tensor of the backbone's files, whose names may lack the prefix of a classifier's."""
    wanted = (name, name.removeprefix(f"{_prefix(backbone)}."))
    for file in sorted(backbone.folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for key in wanted:
                if key in stored.keys():  # noqa: SIM118 - the handle is no mapping
                    tensor: Tensor = stored.get_tensor(key)
                    return tensor.float()
    return None


def _prefix(backbone: Backbone) -> str:
    """The name of the backbone within a classifier of its family."""
    prefix = backbone.model.base_model_prefix
    if not isinstance(prefix, str):
        raise TypeError(f"{backbone.name} is no model of the library")
    return prefix


def _modules(
    backbone: Backbone, classifier: Classifier, layers: Mapping[str, _Found]
) -> dict[str, nn.Module]:
    """The modules of the classifier that PEFT saw, by name, but for those trained in full."""
    modules = {
        f"{_prefix(backbone)}.{name}": module
        for name, module in backbone.model.named_modules()
        # Where the library's classifier has the backbone's pooler, it is a layer of the head.
        if name and name.split(".")[0] != "pooler"
    }
    norm = None if classifier.norm is None else classifier.norm.name
    for name, layer in layers.items():
        if not layer.whole:
            modules[name] = layer.module(is_norm=name == norm)
    return modules


def _head(
    classifier: Classifier, layers: Mapping[str, _Found], edits: Mapping[str, LowRank]
) -> Head:
    dense = norm = None
    if classifier.norm is not None:
        found = layers[classifier.norm.name]
        norm = Norm(found.weight, found.bias, classifier.norm_eps)
    if classifier.dense is not None:
        weight, bias = _merged(classifier.dense, layers, edits)
        dense = Dense(weight, bias, classifier.activation, norm)
    weight, bias = _merged(classifier.last, layers, edits)
    return Head("classification", classifier.pooling, dense, weight, bias)


def _merged(
    layer: Layer, layers: Mapping[str, _Found], edits: Mapping[str, LowRank]
) -> tuple[Tensor, Tensor | None]:
    found, edit = layers[layer.name], edits.get(layer.name)
    if edit is None:
        return found.weight, found.bias
    return edit.weight(found.weight), edit.merged_bias(found.bias)


def _check_labels(last: Tensor, scale: Scale, path: Path) -> None:
    labels = len(last)
    if labels == 1:
        raise AdapterError(
            f"{path} has one label: it was trained to give a number, not one of several scores; "
            "train it with a label per score point"
        )
    if labels != scale.n_points:
        raise AdapterError(
            f"{path} has {labels} labels, the item's scale {scale.score_min}..{scale.score_max} "
            f"has {scale.n_points} points: one label per point is needed"
        )


def _check_end(classifier: Classifier, backbone: Backbone) -> None:
    """The library reads the last token that is not the padding token; here it is the last."""
    config: Any = backbone.model.config
    end = backbone.tokenizer.encode(PROBE_TEXTS[0]).ids[-1]
    if classifier.pooling == "last" and end == config.pad_token_id:
        raise AdapterError(
            f"the tokeniser of {backbone.name} ends a text with its padding token, where a "
            "classifier does not read: give it another padding token"
        )


def _scoring(
    config: LoraConfig, head: Head, scale: Scale, trait: str, backbone: Backbone
) -> Scoring:
    version = (config.model_extra or {}).get("peft_version")
    return Scoring(
        **head_record(head),
        backbone=backbone.name,
        backbone_sha256=backbone.sha256,
        score_min=scale.score_min,
        score_max=scale.score_max,
        trait=trait,
        max_tokens=backbone.max_tokens,
        training_data_sha256="",
        recipe={"imported_from": f"peft {version or ''}".strip(), "rank": config.r},
        versions=library_versions(),
        probes=(),
    )
