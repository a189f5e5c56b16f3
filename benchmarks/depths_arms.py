"""The ways that ``benchmarks.depths`` compares, each trained on one fold of one item."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.quality_arms import Fold, hold_out, shared_backbone

# Of the embedded backbone.
BLOCKS = 6
DEPTHS = (1, 2, 3)
SCORES_OF_ONE_TEXT = 21


@dataclass(frozen=True)
class Arm:
    """A way to adapt the backbone.

    Attributes:
        name: its key in files.
        title: for readers.
        shared: blocks that all items share.
        own: blocks above them that are the item's own or edited for it.
    """

    name: str
    title: str
    shared: int
    own: int

    @property
    def blocks(self) -> int:
        """Blocks executed for one score of a text."""
        return self.shared + self.own

    @property
    def blocks_of_many(self) -> int:
        """Blocks executed for SCORES_OF_ONE_TEXT scores, the shared ones run once."""
        return self.shared + SCORES_OF_ONE_TEXT * self.own


def _lora(depth: int) -> Arm:
    return Arm(f"lora_{depth}", f"LoRA on the upper {depth}", BLOCKS - depth, depth)


def _partial(depth: int) -> Arm:
    return Arm(f"partial_{depth}", f"own blocks, {depth}", BLOCKS - depth, depth)


LORA = [*map(_lora, DEPTHS), Arm("lora_all", "LoRA on all blocks", 0, BLOCKS)]
PARTIAL = [
    *map(_partial, DEPTHS),
    Arm("partial_all", "full fine-tuning: all blocks own", 0, BLOCKS),
]
COMPRESSED = [
    Arm(f"{teacher}_to_{own}", title.format(own), BLOCKS - 3, own)
    for teacher, title in (
        ("partial", "3 own blocks, compressed to {}"),
        ("lora", "LoRA on the upper 3, compressed to {} own"),
    )
    for own in (1, 2)
]
ARMS = {arm.name: arm for arm in (*LORA, *PARTIAL, *COMPRESSED)}
# What is chosen per item by validation from several of the above; the last is the teacher.
CHOSEN = {
    "partial": ("own blocks, 1 to 3 chosen by validation", ("partial_1", "partial_2", "partial_3")),
    "compressed": (
        "LoRA on the upper 3, compressed as far as validation allows",
        ("lora_to_1", "lora_to_2", "lora_3"),
    ),
    "partial_compressed": (
        "3 own blocks, compressed as far as validation allows",
        ("partial_to_1", "partial_to_2", "partial_3"),
    ),
}
TITLES = {name: arm.title for name, arm in ARMS.items()} | {
    name: title for name, (title, _) in CHOSEN.items()
}


def train_all(fold: Fold) -> dict[str, dict[str, Any]]:
    """Every way on one fold: scores of the unknown answers, and what it took.

    Returns:
        by arm ``scores``, the ``validation`` raw scores with their ``human`` ones, ``cpu_s``
        of the training alone, and ``epochs``. A compressed branch's time is without its teacher's.
    """
    from models.recipes import PartialRecipe, Recipe

    results: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for arm in LORA:
            # A hair more, so that the share times the blocks is no less than a whole number.
            share = (BLOCKS - arm.own) / BLOCKS + 1e-9
            results[arm.name] = _trained(fold, Recipe(frozen_share=share), folder / arm.name)
        for arm in PARTIAL:
            recipe = PartialRecipe(least_depth=arm.own, most_depth=arm.own)
            results[arm.name] = _trained(fold, recipe, folder / arm.name)
        for arm in COMPRESSED:
            teacher = folder / f"{arm.name.partition('_')[0]}_3"
            results[arm.name] = _compressed(fold, teacher, arm.own, folder / arm.name)
    return results


def _trained(fold: Fold, recipe: Any, folder: Path) -> dict[str, Any]:
    from models.scores import Scale
    from models.training import train_adapter

    training, validation = hold_out(fold)
    scale, backbone = Scale(0, fold.score_max), shared_backbone()
    return _measured(
        fold,
        lambda: train_adapter(
            training, validation, scale, backbone, recipe, folder, training_data_sha256=""
        ),
        validation,
    )


def _compressed(fold: Fold, teacher: Path, own: int, folder: Path) -> dict[str, Any]:
    from models.adapters import load_adapter
    from models.branch_distillation import compress_adapter
    from models.recipes import CompressionRecipe

    training, validation = hold_out(fold)
    backbone = shared_backbone()
    taught = load_adapter(teacher, backbone)
    recipe = replace(CompressionRecipe(), least_depth=own, most_depth=own, keep_teacher=False)
    return _measured(
        fold,
        lambda: compress_adapter(
            taught, training, validation, backbone, recipe, folder, training_data_sha256=""
        ),
        validation,
    )


def _measured(fold: Fold, train: Callable[[], Any], validation: Any) -> dict[str, Any]:
    """Train, then score the unknown answers with what was saved."""
    from models.adapters import load_adapter
    from models.scorer import exact_scorer

    started = time.process_time()
    trained = train()
    cpu_s = time.process_time() - started
    backbone = shared_backbone()
    scored = exact_scorer(backbone).score(load_adapter(trained.folder, backbone), fold.unknown)
    return {
        "scores": scored.score.astype(np.int64).tolist(),
        "validation": trained.validation.raw_score.tolist(),
        "human": validation.human_scores.tolist(),
        "cpu_s": cpu_s,
        "epochs": len(trained.history),
    }
