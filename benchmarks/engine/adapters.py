"""Adapters with random weights that are not zero, one per item, saved as the project saves them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock

from benchmarks.engine.backbones import BUILD, backbone
from benchmarks.engine.reference import logits_of
from models.adapters import Adapter, Scoring, load_adapter, save_adapter
from models.backbone import Backbone
from models.fitting import Recipe
from models.heads import Head, read_out
from models.lora import LowRank, block_linears, block_of
from models.probes import PROBE_TEXTS
from models.scores import Scale
from models.scoring_record import probes_of

SEED = 77
# Of B's entries: the edit then has about a quarter of the size of the weights it is added to.
B_SIZE = 0.05
POINTS = (3, 4, 5)  # score points, by item number in turn


@dataclass(frozen=True)
class Variant:
    """A shape of adapter: rank, alpha, and the share of blocks, from below, without edits."""

    rank: int
    alpha: float
    frozen_share: float


_RECIPE = Recipe()
VARIANTS = {
    "recipe": Variant(_RECIPE.rank, _RECIPE.alpha, _RECIPE.frozen_share),
    "wide": Variant(16, 32.0, 0.0),
}


def store(name: str, variant: str) -> Path:
    """Where adapters and what is made of them lie: another folder for other weights."""
    shape = VARIANTS[variant]
    made_of = f"r{shape.rank}-a{shape.alpha:g}-f{shape.frozen_share:g}-b{B_SIZE:g}-s{SEED}"
    return BUILD / name / f"{backbone(name).sha256[:8]}-{made_of}"


def adapter_folder(name: str, variant: str, number: int) -> Path:
    """The directory of an item's adapter, made when it is first asked for."""
    path = store(name, variant) / "adapters" / f"item-{number:03d}"
    if not path.is_dir():
        made = probed(random_adapter(backbone(name), VARIANTS[variant], number), name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # two processes may want the same one
            if not path.is_dir():
                save_adapter(path, made)
    return path


@cache
def adapter(name: str, variant: str, number: int) -> Adapter:
    """An item's adapter, loaded once per process."""
    return load_adapter(adapter_folder(name, variant, number), backbone(name))


def random_adapter(encoder: Backbone, shape: Variant, number: int) -> Adapter:
    """Edits and head of item ``number``, without probes; the same whenever it is asked for."""
    generator = torch.Generator().manual_seed(SEED * 10_000 + number)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator)

    layers = block_linears(encoder.model)
    n_blocks = 1 + max(block_of(layer) for layer in layers)
    edits = {
        layer: LowRank(
            normal(shape.rank, linear.in_features) * linear.in_features**-0.5,
            normal(linear.out_features, shape.rank) * B_SIZE,
            shape.alpha / shape.rank,
        )
        for layer, linear in layers.items()
        if block_of(layer) >= int(n_blocks * shape.frozen_share)
    }
    return Adapter(edits, _head(encoder, normal, number), _scoring(encoder, number, shape))


def base_adapter(encoder: Backbone, number: int = 0) -> Adapter:
    """An item's head on the backbone as it is: what the ceiling runs."""
    shape = VARIANTS["recipe"]
    return Adapter(
        {}, random_adapter(encoder, shape, number).head, _scoring(encoder, number, shape)
    )


def probed(bare: Adapter, name: str) -> Adapter:
    """The adapter with its predictions for the project's probe texts, by the reference forward."""
    logits = torch.from_numpy(logits_of(name, bare, PROBE_TEXTS))
    raw_scores = read_out(logits, bare.scale).raw_score
    probes = probes_of(PROBE_TEXTS, raw_scores)
    return replace(bare, scoring=bare.scoring.model_copy(update={"probes": probes}))


def _head(encoder: Backbone, normal: Callable[..., torch.Tensor], number: int) -> Head:
    thresholds = POINTS[number % len(POINTS)] - 1
    direction = normal(encoder.hidden_size) * 2 * encoder.hidden_size**-0.5
    # One direction and falling biases, as training gives: the thresholds then keep their order.
    bias = torch.linspace(1.0, -1.0, thresholds) + 0.2 * normal(1)
    return Head("ordinal", "mean", None, direction.repeat(thresholds, 1), bias)


def _scoring(encoder: Backbone, number: int, shape: Variant) -> Scoring:
    return Scoring(
        backbone=encoder.name,
        backbone_sha256=encoder.sha256,
        score_min=0,
        score_max=Scale(0, POINTS[number % len(POINTS)] - 1).score_max,
        trait="overall",
        max_tokens=encoder.max_tokens,
        training_data_sha256="",
        recipe={"rank": shape.rank, "alpha": shape.alpha, "frozen_share": shape.frozen_share},
        versions={},
        probes=(),
    )
