"""The ways of scoring that ``benchmarks/quality.py`` compares, each on one fold of one item."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.agreement import quadratic_weighted_kappa

SEED = 2013

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
    rounded: Scores = np.clip(np.floor(predicted + 0.5), 0, fold.score_max).astype(np.int64)
    return rounded


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
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)),
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
    from models.scorer import Scorer
    from models.scores import Scale
    from models.training import Recipe, train_adapter

    training, validation = hold_out(fold)
    backbone = shared_backbone()
    with TemporaryDirectory() as folder:
        trained = train_adapter(
            training,
            validation,
            Scale(0, fold.score_max),
            backbone,
            Recipe(),
            Path(folder) / "adapter",
            training_data_sha256=hashlib.sha256("\n".join(fold.ids).encode()).hexdigest(),
        )
        scorer = Scorer(backbone)
        adapter = load_adapter(trained.folder, backbone)
    return scorer.score(adapter, fold.unknown).score.astype(np.int64)


def hold_out(fold: Fold) -> tuple[Any, Any]:
    """The fold's answers as the training flow divides them: to learn from, to stop by."""
    from models.training import TrainingSet, split_validation

    scores = fold.scores.astype(np.float64)
    held_out = split_validation(fold.ids, scores)
    training, validation = (
        TrainingSet([fold.texts[int(i)] for i in np.flatnonzero(part)], scores[part])
        for part in (~held_out, held_out)
    )
    return training, validation


@cache
def shared_backbone() -> Any:
    """One backbone per process, run by one thread."""
    import torch

    from models.backbone import EMBEDDED, load_backbone

    torch.set_num_threads(1)
    return load_backbone(EMBEDDED)


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    import torch

    from models.packing import hidden_states, mean_by_text, pack
    from models.text import budget_batches, encode, with_limit

    backbone = shared_backbone()
    encoded = encode(with_limit(backbone.tokenizer, backbone.max_tokens), texts)
    rows = np.empty((len(texts), backbone.hidden_size), dtype=np.float32)
    with torch.inference_mode():
        for batch in budget_batches(encoded.lengths, 4096):
            token_ids = [encoded.token_ids[int(i)] for i in batch]
            packed = pack(token_ids, position_offset=backbone.position_offset)
            rows[batch] = mean_by_text(hidden_states(backbone.model, packed), packed).numpy()
    return rows
