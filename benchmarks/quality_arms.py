"""The ways of scoring that ``benchmarks/quality.py`` compares, each on one fold of one item."""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.agreement import quadratic_weighted_kappa

SEED = 2013
FULL_TUNING_RATE = 1e-4

Scores = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """One item's answers, cut for one fold.

    Attributes:
        item_id, score_max: of the item; its scale starts at 0.
        ids, texts, scores: of the answers to learn from.
        unknown: texts to score.
    """

    item_id: str
    score_max: int
    ids: Sequence[str]
    texts: Sequence[str]
    scores: Scores
    unknown: Sequence[str]


def majority(fold: Fold) -> Scores:
    """The commonest score of the training answers, the lowest of several."""
    values, counts = np.unique(fold.scores, return_counts=True)
    return np.full(len(fold.unknown), values[counts.argmax()])


def tfidf_ridge(fold: Fold) -> Scores:
    """Words and word pairs, 2 to 5 characters; ridge with its strength from leave-one-out."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline, make_union

    vectors = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    model = make_pipeline(vectors, RidgeCV(np.logspace(-2, 2, 9)))
    predicted = model.fit(fold.texts, fold.scores).predict(fold.unknown)
    return np.clip(np.floor(predicted + 0.5), 0, fold.score_max).astype(np.int64)


def frozen_logistic(fold: Fold) -> Scores:
    """The frozen backbone's mean hidden state, standardised; logistic regression.

    Its strength and class weights are those with the best QWK in an inner cross-validation.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import make_scorer
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(fold.scores)) < 2:
        return majority(fold)
    grid = {
        "logisticregression__C": [1e-3, 1e-2, 1e-1, 1.0],
        "logisticregression__class_weight": [None, "balanced"],
    }
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        grid,
        scoring=make_scorer(quadratic_weighted_kappa),
        cv=StratifiedKFold(3, shuffle=True, random_state=SEED),
        error_score=0.0,
    )
    with warnings.catch_warnings():
        # Rare score points may be missing from an inner part; that only weakens this choice.
        warnings.simplefilter("ignore")
        search.fit(_embed(fold.texts), fold.scores)
    return np.asarray(search.predict(_embed(fold.unknown)), dtype=np.int64)


def adapters(fold: Fold) -> Scores:
    """The product's own path: hold out, train, write the directory, load it, score."""
    from models.adapters import load_adapter
    from models.heads import Scale
    from models.scorer import Scorer
    from models.training import Recipe, TrainingSet, split_validation, train_adapter

    held_out = split_validation(fold.ids, fold.scores.astype(np.float64))
    parts = [
        TrainingSet([fold.texts[i] for i in np.flatnonzero(part)], fold.scores[part].astype(float))
        for part in (~held_out, held_out)
    ]
    backbone = _backbone()
    with TemporaryDirectory() as folder:
        trained = train_adapter(
            *parts,
            Scale(0, fold.score_max),
            backbone,
            Recipe(),
            Path(folder) / "adapter",
            training_data_sha256=hashlib.sha256("\n".join(fold.ids).encode()).hexdigest(),
        )
        scorer = Scorer(backbone)
        scorer.apply(load_adapter(trained.folder, backbone))
    return scorer.score(fold.unknown).score.astype(np.int64)


def full_tuning(fold: Fold, rate: float = FULL_TUNING_RATE) -> Scores:
    """All weights of the same backbone, with the adapters' head, loss, batches and stopping."""
    import copy

    import torch

    from models.fitting import Examples, Recipe, Trainee, fit, predict, prepare, training_dtype
    from models.heads import Scale
    from models.text import encode, with_limit
    from models.training import split_validation

    class Mixed(torch.nn.Module):
        """float32 weights, products in the training type."""

        def __init__(self, model: torch.nn.Module):
            super().__init__()
            self.model = model

        def forward(self, **inputs: Any) -> Any:
            with torch.autocast("cpu", dtype=training_dtype()):
                return self.model(**inputs)

    backbone, scale, recipe = _backbone(), Scale(0, fold.score_max), Recipe()
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
    trainee = Trainee(None, Mixed(model), head, groups, backbone.position_offset)
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    held_out = split_validation(fold.ids, fold.scores.astype(np.float64))
    learn, check = (
        Examples(
            encode(tokenizer, [fold.texts[i] for i in np.flatnonzero(part)]).token_ids,
            fold.scores[part].astype(np.float64),
        )
        for part in (~held_out, held_out)
    )
    fit(trainee, learn, check, scale, recipe)
    unknown = prepare(trainee, encode(tokenizer, fold.unknown).token_ids)
    return predict(trainee, unknown, scale).score.astype(np.int64)


@cache
def _backbone() -> Any:
    import torch

    from models.backbone import EMBEDDED, load_backbone

    torch.set_num_threads(1)
    return load_backbone(EMBEDDED)


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    import torch

    from models.packing import hidden_states, mean_by_text, pack
    from models.text import encode, with_limit

    backbone = _backbone()
    tokenizer = with_limit(backbone.tokenizer, backbone.max_tokens)
    rows = []
    with torch.inference_mode():
        for ids in encode(tokenizer, texts).token_ids:
            packed = pack([ids], position_offset=backbone.position_offset)
            rows.append(mean_by_text(hidden_states(backbone.model, packed), packed)[0].numpy())
    return np.stack(rows)


ARMS: dict[str, tuple[str, Callable[[Fold], Scores]]] = {
    "majority": ("majority score", majority),
    "tfidf_ridge": ("TF-IDF (words, characters) + ridge", tfidf_ridge),
    "frozen_logistic": ("frozen backbone + logistic regression", frozen_logistic),
    "adapters": ("gradeline adapters", adapters),
    "full_tuning": ("full fine-tuning of the same backbone", full_tuning),
}


# These learn nothing from the project's own training code.
SIMPLE = ("majority", "tfidf_ridge", "frozen_logistic")
