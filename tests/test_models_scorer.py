import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_adapters import make_adapter

from models.adapters import AdapterError
from models.scorer import Scorer

TEXTS = [
    "the bulb is in a closed path with the battery",
    "",
    "i think it does not float because it is heavy",
    "no",
    "the wire is open " * 40,
    "warm air moves more than cold air does",
    "no",
]


@pytest.fixture(scope="module")
def scorer(tiny_backbone):
    scorer = Scorer(tiny_backbone)
    scorer.apply(make_adapter(tiny_backbone))
    return scorer


def test_columns_agree_with_each_other(scorer):
    scored = scorer.score(TEXTS)
    points = np.arange(1, 4)
    assert scored.probabilities.shape == (len(TEXTS), 3)
    np.testing.assert_allclose(scored.probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(scored.probabilities @ points, scored.raw_score, atol=1e-5)
    assert scored.score.tolist() == np.floor(scored.raw_score + 0.5).tolist()
    reported = scored.probabilities[np.arange(len(TEXTS)), scored.score - 1]
    np.testing.assert_allclose(scored.confidence, reported, atol=1e-6)
    assert scored.truncated.tolist() == [False] * 4 + [True] + [False] * 2
    assert np.ptp(scored.raw_score) > 0.05


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(TEXTS))), budget=st.integers(1, 200))
def test_a_score_does_not_depend_on_its_batch(scorer, order, budget):
    scorer.token_budget = 8192
    expected = scorer.score(TEXTS).raw_score[list(order)]
    scorer.token_budget = budget
    found = scorer.score([TEXTS[i] for i in order]).raw_score
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_copies_share_one_forward_and_its_time(scorer):
    scored = scorer.score(["a warm bulb", *["no"] * 50])
    assert len(np.unique(scored.raw_score[1:])) == 1
    assert scored.latency_ms[0] > scored.latency_ms[1] > 0


def test_latencies_add_up_to_the_time_taken(scorer):
    import time

    started = time.perf_counter()
    scored = scorer.score(TEXTS * 20)
    taken_ms = (time.perf_counter() - started) * 1e3
    assert 0.3 * taken_ms < scored.latency_ms.sum() <= taken_ms


def test_adapters_leave_no_trace_on_each_other(tiny_backbone):
    first, second = make_adapter(tiny_backbone, seed=1), make_adapter(tiny_backbone, seed=2)
    one_layer = {name: second.edits[name] for name in sorted(second.edits)[:1]}
    second = type(second)(one_layer, second.head_weight, second.head_bias, second.scoring)
    scorer = Scorer(tiny_backbone)
    scorer.apply(first)
    before = scorer.score(TEXTS).raw_score
    scorer.apply(second, verify=False)
    between = scorer.score(TEXTS).raw_score
    scorer.apply(first)
    assert np.array_equal(scorer.score(TEXTS).raw_score, before)
    fresh = Scorer(tiny_backbone)
    fresh.apply(second, verify=False)
    assert np.array_equal(fresh.score(TEXTS).raw_score, between)


def test_no_texts_no_rows(scorer):
    scored = scorer.score([])
    assert scored.raw_score.shape == (0,)
    assert scored.probabilities.shape == (0, 3)


def test_scoring_needs_an_adapter_of_this_backbone(tiny_backbone):
    scorer = Scorer(tiny_backbone)
    with pytest.raises(RuntimeError, match="apply an adapter"):
        scorer.score(["no"])
    stranger = make_adapter(tiny_backbone)
    scoring = stranger.scoring.model_copy(update={"backbone_sha256": "f" * 64})
    with pytest.raises(AdapterError, match="is for backbone ffff"):
        scorer.apply(
            type(stranger)(stranger.edits, stranger.head_weight, stranger.head_bias, scoring)
        )
