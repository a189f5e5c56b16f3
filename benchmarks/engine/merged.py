"""Every adapter as a model of its own: full checkpoints, ONNX files and OpenVINO files.

A fully fine-tuned model per item and an adapter merged into the backbone are the same thing to
whoever runs them. A few dozen such models fill the disk, so items share some of them in turn,
and a round never uses more items of a system that needs them.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn
from transformers import BertModel, BertPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from benchmarks.engine.adapters import adapter, store
from benchmarks.engine.backbones import backbone, plain_encoder
from benchmarks.engine.batches import users_tokenizer
from benchmarks.engine.reference import merge

CHECKPOINTS = {"minilm": 27, "bert-base": 4}
COMPILED = {"minilm": 14, "bert-base": 4}


class MeanPooledClassifier(BertPreTrainedModel):
    """A BERT with a linear head on the mean of its last hidden states, as a user would write it."""

    def __init__(self, config: Any):
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, **_: Any
    ) -> SequenceClassifierOutput:
        """Logits [n, num_labels] of a padded batch [n, width]."""
        output = self.bert(input_ids=input_ids, attention_mask=attention_mask)
        states = output.last_hidden_state.float()
        real = attention_mask.unsqueeze(-1).float()
        pooled = (states * real).sum(dim=1) / real.sum(dim=1)
        return SequenceClassifierOutput(logits=self.classifier(pooled))


class Traceable(nn.Module):
    """The same with two tensors in and one out, as converters want it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits of a padded batch."""
        logits: Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def shared_number(counts: Mapping[str, int], name: str, number: int) -> int:
    """The item whose merged model stands for this item's.

    Args:
        counts: CHECKPOINTS or COMPILED.
        name: the backbone's key.
        number: the item's.
    """
    return number % counts[name]


def load_checkpoint(name: str, number: int, dtype: torch.dtype) -> Any:
    """An item's full model, loaded as a user loads it; the head stays float32."""
    model = MeanPooledClassifier.from_pretrained(
        checkpoint(name, number), dtype=dtype, local_files_only=True
    ).eval()
    model.classifier.float()
    return model


def checkpoint(name: str, number: int) -> Path:
    """The folder of an item's full model; made when it is first asked for."""

    def write(path: Path) -> None:
        in_memory(name, own).save_pretrained(path)
        users_tokenizer(name).save_pretrained(path)

    own = shared_number(CHECKPOINTS, name, number)
    return _kept(name, own, "checkpoint", write)


def onnx_file(name: str, number: int) -> Path:
    """An item's full model as an ONNX file, float32, its graph already optimised.

    Optimising it here instead of in every session brings a session down to a third of its time.
    """

    def write(path: Path) -> None:
        _optimise(_exported(name, own, path.parent), path)

    own = shared_number(COMPILED, name, number)
    return _kept(name, own, "fp32.onnx", write)


def int8_file(name: str, number: int) -> Path:
    """The same after ONNX Runtime's dynamic quantisation, weights int8 per channel."""

    def write(path: Path) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        exported = _exported(name, own, path.parent)
        quantised = path.with_name("quantised.onnx")
        quantize_dynamic(exported, quantised, per_channel=True, weight_type=QuantType.QInt8)
        exported.unlink()
        _optimise(quantised, path)

    own = shared_number(COMPILED, name, number)
    return _kept(name, own, "int8.onnx", write)


def openvino_file(name: str, number: int) -> Path:
    """An item's full model in OpenVINO's own format, float32."""

    def write(path: Path) -> None:
        openvino = import_openvino()
        ids, mask = _example()
        model = openvino.convert_model(
            Traceable(in_memory(name, own)),
            example_input={"input_ids": ids, "attention_mask": mask},
        )
        openvino.save_model(model, path, compress_to_fp16=False)

    own = shared_number(COMPILED, name, number)
    return _kept(name, own, "openvino.xml", write)


def import_openvino() -> Any:
    """OpenVINO, without the module by which its converter reports its use to its maker."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def in_memory(name: str, number: int) -> MeanPooledClassifier:
    """An item's full model, made from the backbone and its adapter; float32."""
    own, encoder = adapter(name, "recipe", number), backbone(name)
    plain = plain_encoder(name, torch.float32)
    merge(plain, encoder, own)
    plain.config.num_labels = len(own.head.weight)
    model = MeanPooledClassifier(plain.config)
    model.bert.load_state_dict(plain.state_dict(), strict=False)
    model.classifier.load_state_dict({"weight": own.head.weight, "bias": own.head.bias})
    model.eval().requires_grad_(False)
    return model


def _exported(name: str, number: int, folder: Path) -> Path:
    path = folder / "exported.onnx"
    axes = {"input_ids": {0: "n", 1: "width"}, "attention_mask": {0: "n", 1: "width"}}
    torch.onnx.export(
        Traceable(in_memory(name, number)),
        _example(),
        str(path),
        dynamo=False,  # its graphs ran faster than those of the newer exporter
        input_names=list(axes),
        output_names=["logits"],
        dynamic_axes={**axes, "logits": {0: "n"}},
        opset_version=17,
    )
    return path


def _optimise(source: Path, path: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
    source.unlink()


def _kept(name: str, number: int, kind: str, write: Callable[[Path], None]) -> Path:
    """The path of a merged model, written there first if it is not; whole or not at all."""
    folder = store(name, "recipe") / "merged" / f"item-{number:03d}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # two processes may want the same one
        if not (folder / kind).exists():
            temporary = folder / f".{kind}.tmp"
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            write(temporary / kind)
            for made in temporary.iterdir():
                made.rename(folder / made.name)
            temporary.rmdir()
    return folder / kind


def _example() -> tuple[Tensor, Tensor]:
    """Two rows, one of them padded, so that tracing sees a mask."""
    ids = torch.full((2, 8), 2000)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask
