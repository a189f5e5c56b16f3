"""B7: ONNX Runtime and OpenVINO on merged models, which they must bring up for each item.

All that could be done once, when an adapter is trained, is not timed: converting it, optimising
its graph, and OpenVINO's first compilation, which fills the cache that later ones read. What is
left to do in every run is the phase ``load``.
"""

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import torch

from benchmarks.engine.adapters import adapter, store
from benchmarks.engine.batches import Batch, by_length, tokenised
from benchmarks.engine.merged import (
    COMPILED,
    import_openvino,
    int8_file,
    onnx_file,
    openvino_file,
    shared_number,
)
from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.rivals_models import logits_by
from benchmarks.engine.systems import Clock, Logits, Place, Setting


class OpenVino:
    """OpenVINO's CPU plugin at float32 or bfloat16."""

    def __init__(self, place: Place):
        self.place = place

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """Convert the models, and compile each once."""
        name = self.place.backbone
        for number in sorted({shared_number(COMPILED, name, number) for number in numbers}):
            self.file(number)
            self.compile(number)
        return {}

    def file(self, number: int) -> str:
        """An item's converted model."""
        return str(openvino_file(self.place.backbone, number))

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """See ``System``."""
        logits = []
        for item in items:
            number = shared_number(COMPILED, self.place.backbone, item.number)
            own = adapter(self.place.backbone, "recipe", number)
            with clock.phase("load"):
                forward = partial(self.forward, self.compile(item.number))
            with clock.phase("score"):
                token_ids = tokenised(self.place.backbone, item.texts)
                batches = by_length(token_ids, setting.token_budget, setting.round_to)
                logits.append(logits_by(forward, batches, own))
        return logits

    def compile(self, number: int) -> Any:
        """An item's model, ready to run on this process's threads."""
        hints = {
            "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[self.place.precision],
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "NUM_STREAMS": 1,
        }
        return _core(self.place.backbone).compile_model(self.file(number), "CPU", hints)

    def forward(self, model: Any, batch: Batch) -> Any:
        """Logits of one padded batch."""
        return model({"input_ids": batch.token_ids, "attention_mask": batch.mask})[0]


class OnnxRuntime(OpenVino):
    """ONNX Runtime's CPU provider with all its graph optimisations, float32."""

    def file(self, number: int) -> str:
        """See ``OpenVino``."""
        return str(onnx_file(self.place.backbone, number))

    def compile(self, number: int) -> Any:
        """A session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # The file's graph is optimised already.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(
            self.file(number), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, model: Any, batch: Batch) -> Any:
        """See ``OpenVino``."""
        return model.run(None, {"input_ids": batch.token_ids, "attention_mask": batch.mask})[0]


class OnnxInt8(OnnxRuntime):
    """The same after dynamic quantisation to int8; what it does to scores is not looked at."""

    def file(self, number: int) -> str:
        """See ``OpenVino``."""
        return str(int8_file(self.place.backbone, number))


@cache
def _core(name: str) -> Any:
    core = import_openvino().Core()
    core.set_property({"CACHE_DIR": str(store(name, "recipe") / "openvino-cache")})
    return core
