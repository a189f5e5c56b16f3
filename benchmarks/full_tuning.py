"""The rival that changes every weight: full fine-tuning, one backbone per item."""

import copy
from typing import Any

import numpy as np
import torch

from benchmarks.quality_arms import Fold, Scores, hold_out, shared_backbone
from models.fitting import Examples, Recipe, Trainee, fit, predict, prepare
from models.kernels import DTYPES, fastest_precision
from models.scores import Scale
from models.text import encode, with_limit

# The best of 2e-5, 5e-5 and 1e-4 (mean QWK .584, .575, .567) on three folds of four of the items
# that the recipe was chosen on.
LEARNING_RATE = 2e-5


class _Mixed(torch.nn.Module):
    """float32 weights, products in the training type."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        with torch.autocast("cpu", dtype=DTYPES[fastest_precision()]):
            return self.model(**inputs)


def full_tuning(fold: Fold, rate: float = LEARNING_RATE) -> Scores:
    """All weights of the same backbone, with the adapters' head, loss, batches and stopping."""
    backbone, scale, recipe = shared_backbone(), Scale(0, fold.score_max), Recipe()
    torch.manual_seed(recipe.seed)
    model = copy.deepcopy(backbone.model).requires_grad_(True)
    head = torch.nn.Linear(backbone.hidden_size, scale.n_points - 1)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    used = [p for name, p in model.named_parameters() if not name.startswith("pooler")]
    groups = [
        {"params": used, "lr": rate},
        {"params": list(head.parameters()), "lr": recipe.head_learning_rate},
    ]
    trainee = Trainee(None, _Mixed(model), head, groups, backbone.position_offset)
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    training, validation = (
        Examples(encode(tokenizer, part.texts).token_ids, part.human_scores)
        for part in hold_out(fold)
    )
    fit(trainee, training, validation, scale, recipe)
    unknown = prepare(trainee, encode(tokenizer, fold.unknown).token_ids)
    return predict(trainee, unknown, scale).score.astype(np.int64)
