"""Which systems run, on which mixes, and on how much of them in each round."""

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.engine.mixes import ItemWork, Mix
from benchmarks.engine.systems import Layout, Place, Precision, System

Share = Literal["whole", "some", "few"]

# Per backbone and mix: the number of items that each round takes in turn, and of their first
# responses (None: all), for each share. Rates are per token, so systems with different shares
# can be compared; those that sort by length are always given whole groups.
SHARES: dict[tuple[str, str], dict[Share, tuple[int, int | None]]] = {
    ("minilm", "paper"): {"whole": (14, None), "some": (6, None), "few": (4, 96)},
    ("minilm", "small"): {"whole": (50, None), "some": (14, None), "few": (10, None)},
    ("minilm", "large"): {"whole": (2, None), "some": (2, None), "few": (2, 64)},
    ("bert-base", "paper"): {"whole": (2, None), "some": (2, None), "few": (2, 32)},
    ("bert-base", "small"): {"whole": (10, None), "some": (4, None), "few": (4, None)},
    ("bert-base", "large"): {"whole": (2, 80), "some": (2, 80), "few": (2, 32)},
}
MINILM = ("minilm",)


@dataclass(frozen=True)
class Spec:
    """A system in the list.

    Attributes:
        key: of its figures.
        baseline: the letter and number by which the project's issue names it; "ours".
        label: for readers.
        factory: module and class.
        precision: of the encoder.
        variant: of the adapters.
        share: how much of a round's work it is given, see ``SHARES``.
        tuned_as: the key of the system whose tuned setting it runs with; empty if it runs as a
            user would, or sees to that itself.
        layout: how it uses the cores where it is not tuned.
        mixes, backbones: where it runs.
    """

    key: str
    baseline: str
    label: str
    factory: str
    precision: Precision
    variant: str = "recipe"
    share: Share = "whole"
    tuned_as: str = ""
    layout: Layout = "threads"
    mixes: tuple[str, ...] = ("paper", "small", "large")
    backbones: tuple[str, ...] = ("minilm", "bert-base")

    def make(self, backbone: str) -> System:
        """The system, its libraries imported only now."""
        module, _, name = self.factory.partition(":")
        made: System = getattr(importlib.import_module(f"benchmarks.engine.{module}"), name)(
            Place(backbone, self.variant, self.precision)
        )
        return made


def work(mix: Mix, backbone: str, share: Share, number: int) -> tuple[ItemWork, ...]:
    """The items, and of each the responses, that a share gets in round ``number``.

    Smaller shares are parts of the larger ones of the same round.
    """
    items, responses = SHARES[backbone, mix.name]["whole"]
    fewer, first = SHARES[backbone, mix.name][share]
    chosen = mix.turn(number, items, responses if first is None else first)
    return chosen[:fewer]


def systems_for(backbone: str, mix: str) -> list[Spec]:
    """The systems that run on a mix, in the order of the list."""
    return [spec for spec in SYSTEMS if backbone in spec.backbones and mix in spec.mixes]


def _both(key: str, baseline: str, label: str, factory: str, **others: Any) -> list[Spec]:
    """One system in bf16 and in fp32; ``tuned_as`` names it without the precision."""
    tuned_as = others.pop("tuned_as", "")
    precisions: tuple[Precision, ...] = ("bf16", "fp32")
    return [
        Spec(
            f"{key}-{precision}",
            baseline,
            f"{label}, {precision}",
            factory,
            precision,
            tuned_as=f"{tuned_as}-{precision}" if tuned_as else "",
            **others,
        )
        for precision in precisions
    ]


def _compiled(key: str, label: str, factory: str, precision: Precision, **others: Any) -> Spec:
    return Spec(key, "B7", f"{label}, {precision}", factory, precision, tuned_as=key, **others)


def _user(key: str, baseline: str, label: str, factory: str, **others: Any) -> Spec:
    return Spec(key, baseline, f"{label}, fp32", factory, "fp32", share="few", **others)


SYSTEMS = [
    *_both("ours", "ours", "gradeline", "ours:Engine"),
    *_both("ceiling", "ceiling", "base model, one head, packed", "ours:Ceiling"),
    *_both("matrix", "machine", "matrix products", "ceiling:MatrixRate", layout="processes"),
    *_both("b2", "B2", "PEFT set_adapter", "rivals_peft:SetAdapter", tuned_as="b2"),
    _user("b2-user", "B2'", "PEFT set_adapter, batch 32 as it comes", "rivals_peft:AsUsersWriteIt"),
    *_both(
        "b3",
        "B3",
        "PEFT, loaded and deleted per item",
        "rivals_peft:LoadAndDelete",
        tuned_as="b2",
        share="some",
        mixes=("paper", "small"),
        backbones=MINILM,
    ),
    *_both(
        "b4",
        "B4",
        "PEFT mixed batches",
        "rivals_peft:MixedBatches",
        tuned_as="b2",
        share="some",
        mixes=("paper", "small"),
        backbones=MINILM,
    ),
    *_both(
        "b5",
        "B5",
        "PEFT merge and unmerge",
        "rivals_peft:MergeAndUnmerge",
        tuned_as="b2",
        share="some",
        mixes=("paper", "small"),
        backbones=MINILM,
    ),
    *_both(
        "b0",
        "B0",
        "a model per item, in turn",
        "rivals_models:InTurn",
        tuned_as="b0",
        share="some",
        mixes=("paper", "small"),
    ),
    _user(
        "b0-user",
        "B0",
        "a model per item, batch 32 as it comes",
        "rivals_models:InTurnAsUsersWriteIt",
        mixes=("paper",),
    ),
    _user("b6-pipeline-32", "B6", "Hugging Face pipeline, batch 32", "rivals_models:Pipeline32"),
    _user(
        "b6-pipeline-1",
        "B6",
        "Hugging Face pipeline, batch 1",
        "rivals_models:Pipeline1",
        backbones=MINILM,
    ),
    _user(
        "b6-sentence",
        "B6",
        "sentence-transformers, batch 32, sorts by length",
        "rivals_models:SentenceTransformer32",
        backbones=MINILM,
    ),
    _compiled("b7-openvino-bf16", "OpenVINO", "rivals_compiled:OpenVino", "bf16"),
    _compiled("b7-openvino-fp32", "OpenVINO", "rivals_compiled:OpenVino", "fp32"),
    _compiled("b7-onnx-fp32", "ONNX Runtime", "rivals_compiled:OnnxRuntime", "fp32"),
    _compiled("b7-onnx-int8", "ONNX Runtime", "rivals_compiled:OnnxInt8", "int8", backbones=MINILM),
    *_both(
        "ours-wide",
        "ours",
        "gradeline, rank 16 on all blocks",
        "ours:Engine",
        variant="wide",
        share="some",
        mixes=("paper",),
        backbones=MINILM,
    ),
    *_both(
        "b2-wide",
        "B2",
        "PEFT set_adapter, rank 16 on all blocks",
        "rivals_peft:SetAdapter",
        tuned_as="b2",
        variant="wide",
        share="some",
        mixes=("paper",),
        backbones=MINILM,
    ),
]
