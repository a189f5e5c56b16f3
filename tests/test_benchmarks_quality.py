import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmarks import quality
from benchmarks.public_data import (
    PublicItem,
    quality_items,
    read_items,
    write_bank,
    write_export,
)
from benchmarks.quality_arms import Fold, majority, tfidf_ridge

DATA = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"


def item(number, scores):
    n = len(scores)
    return PublicItem(
        item_id=f"item{number}",
        score_max=2,
        prompt="Why?",
        reference_answers=(),
        response_ids=tuple(f"{number}-{i}" for i in range(n)),
        texts=tuple(f"answer {i % 3}" for i in range(n)),
        scores=np.asarray(scores),
        unseen=np.zeros(n, dtype=bool),
    )


@pytest.fixture
def items():
    random = np.random.default_rng(1)
    return [item(number, random.integers(0, 3, size=30)) for number in range(12)]


def summary_where(items, better):
    """Scores that are right in all rows for the arms in ``better``, in two of three for others."""

    def kept(arm, item, fold):
        truth = item.scores[quality.folds_of(item.scores) == fold]
        wrong = truth.copy()
        wrong[::3] = (wrong[::3] + 1) % 3
        return {"scores": (truth if arm in better else wrong).tolist(), "cpu_s": 1.0}

    return quality.summarise(items, kept)


def lost(summary):
    return [row["than"] for row in summary["comparisons"] if not row["won"]]


def test_every_score_point_is_dealt_over_all_folds():
    scores = np.repeat([0, 1, 2], [50, 7, 13])
    folds = quality.folds_of(scores)
    for point, count in ((0, 50), (1, 7), (2, 13)):
        sizes = np.bincount(folds[scores == point], minlength=quality.FOLDS)
        assert sizes.sum() == count
        assert np.ptp(sizes) <= 1


def test_better_adapters_win(items):
    assert lost(summary_where(items, {"adapters", "full_tuning"})) == []


def test_a_better_rival_is_named(items):
    assert lost(summary_where(items, {"full_tuning"})) == [
        "majority",
        "tfidf_ridge",
        "frozen_logistic",
        "full_tuning",
    ]


def test_a_draw_with_a_simple_baseline_is_lost(items):
    assert lost(summary_where(items, {"adapters", "tfidf_ridge"})) == ["tfidf_ridge"]


def test_baselines_see_only_what_they_may():
    texts = ["it is closed"] * 6 + ["it is open"] * 4
    scores = np.array([2] * 6 + [0] * 4)
    fold = Fold("x", 2, [str(i) for i in range(10)], texts, scores, ["it is closed", "it is open"])
    assert majority(fold).tolist() == [2, 2]
    assert tfidf_ridge(fold).tolist() == [2, 0]


@pytest.fixture(scope="module")
def public():
    if not DATA.is_dir():
        pytest.skip(f"the public data is not at {DATA}")
    return read_items(DATA)


def test_the_public_items_are_those_of_the_benchmark(public):
    assert len(public) == 204
    chosen = quality_items(public)
    assert [sum(item.score_max == top for item in chosen) for top in (2, 4)] == [30, 22]
    assert len(range(len(chosen))[quality.FULL_TUNING_ITEMS]) == 10
    ids = [name for item in public for name in item.response_ids]
    assert len(ids) == len(set(ids)) == 13420
    for item in public:
        assert all(text.strip() for text in item.texts)
        assert 0 <= item.scores.min() <= item.scores.max() <= item.score_max


def test_bank_and_exports_hold_every_item_and_answer(public, tmp_path):
    write_bank(tmp_path / "bank.yaml", public)
    bank = yaml.safe_load((tmp_path / "bank.yaml").read_text("utf-8"))["items"]
    assert [entry["item_id"] for entry in bank] == [item.item_id for item in public]
    rows = []
    for unseen, name in ((False, "train.csv"), (True, "unseen.csv")):
        written = write_export(tmp_path / name, public, unseen=unseen, season="2013")
        with (tmp_path / name).open(encoding="utf-8", newline="") as stream:
            read = list(csv.DictReader(stream))
        assert len(read) == written
        rows += read
    assert {row["response_id"] for row in rows} == {i for item in public for i in item.response_ids}
