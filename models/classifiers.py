"""How the library's classifiers come from hidden states to logits, family by family.

Names are those of the library's ``...ForSequenceClassification`` models (transformers 5.23).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

from models.adapter_files import AdapterError
from models.scoring_record import Activation, Pooling

POOLINGS: dict[str, Pooling] = {"cls": "first", "mean": "mean"}
ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "relu": "relu", "tanh": "tanh"}
Value = TypeVar("Value")


@dataclass(frozen=True)
class Layer:
    """A layer of a classifier: its name, and whether it has a bias."""

    name: str
    has_bias: bool = True


@dataclass(frozen=True)
class Classifier:
    """A family's classifier: pooled state, perhaps a dense layer with activation and norm, logits.

    Attributes:
        pooling: how the hidden states of a text's tokens become one.
        last: the layer that gives the logits.
        dense, activation: what comes before it, where there is something.
        norm, norm_eps: what comes after the activation, where there is something.
    """

    pooling: Pooling
    last: Layer
    dense: Layer | None = None
    activation: Activation = "none"
    norm: Layer | None = None
    norm_eps: float = 0.0

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All its layers."""
        return tuple(one for one in (self.dense, self.norm, self.last) if one is not None)


def classifier_of(config: Any) -> Classifier:
    """The classifier that the library builds on a backbone.

    Args:
        config: the backbone's, as Hugging Face gives it.

    Raises:
        AdapterError: the family, or what its configuration asks for, is not known here.
    """
    plain = Layer("classifier")
    match config.model_type:
        case "bert":
            return Classifier("first", plain, Layer("bert.pooler.dense"), "tanh")
        case "roberta" | "xlm-roberta" | "camembert" | "mpnet":
            return _with_module("tanh")
        case "electra":
            return _with_module("gelu")
        case "distilbert":
            return Classifier("first", plain, Layer("pre_classifier"), "relu")
        case "deberta-v2":
            activation = _known(config, "pooler_hidden_act", ACTIVATIONS)
            return Classifier("first", plain, Layer("pooler.dense"), activation)
        case "modernbert":
            return Classifier(
                _known(config, "classifier_pooling", POOLINGS),
                plain,
                Layer("head.dense", bool(config.classifier_bias)),
                _known(config, "classifier_activation", ACTIVATIONS),
                Layer("head.norm", bool(config.norm_bias)),
                float(config.norm_eps),
            )
        case "llama" | "mistral" | "qwen2" | "qwen3":
            return Classifier("last", Layer("score", has_bias=False))
        case family:
            raise AdapterError(
                f"classifiers of the family {family} cannot be taken in: train the item with "
                "`gradeline train`"
            )


def _with_module(activation: Activation) -> Classifier:
    """A classifier that is a module of two layers."""
    return Classifier("first", Layer("classifier.out_proj"), Layer("classifier.dense"), activation)


def _known(config: Any, option: str, values: dict[str, Value]) -> Value:
    found = getattr(config, option)
    if found not in values:
        raise AdapterError(
            f"the backbone's {option} is {found!r}; a classifier can be taken in with one of "
            f"{', '.join(values)}"
        )
    return values[found]
