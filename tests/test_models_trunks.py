"""Scoring with a cache of what the trunk made of texts: the same scores, less work."""

import numpy as np
import pytest
from conftest import save_tiny_encoder
from test_models_own_blocks import own_adapter
from test_models_trunk_sharing import MANY, TEXTS, upper_adapter

from models.backbone import load_backbone
from models.encoder import Encoder
from models.scorer import Group, Scorer
from models.trunk_cache import TrunkCache

BUDGET = 1 << 24


@pytest.fixture(scope="module", params=["bert", "roberta"])
def backbone(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / request.param
    save_tiny_encoder(folder, request.param, layers=3, initializer_range=0.15)
    return load_backbone(str(folder), max_tokens=64)


@pytest.mark.parametrize("family", ["modernbert", "llama", "deberta-v2"])
def test_nothing_is_kept_where_states_depend_on_the_texts_beside(family, tmp_path):
    folder = save_tiny_encoder(tmp_path / family, family, layers=3, initializer_range=0.15)
    backbone = load_backbone(str(folder), max_tokens=64)
    found = raw_scores(backbone, tmp_path / "cache", upper_adapter(backbone, 2), MANY)
    assert not list(tmp_path.rglob("*.states"))
    expected = raw_scores(backbone, None, upper_adapter(backbone, 2), MANY)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_kept_does_not_depend_on_what_was_scored_beside(backbone, tmp_path, precision):
    first, second = (upper_adapter(backbone, 2, seed=seed) for seed in (1, 2))
    for start in range(5):  # filled by other groupings
        scorer = Scorer(backbone, precision=precision, trunk_cache=TrunkCache(tmp_path, BUDGET))
        scorer.score(first, MANY[start::5], verify=False)
    warm = Scorer(backbone, precision=precision, trunk_cache=TrunkCache(tmp_path, BUDGET))
    cold = Scorer(backbone, precision=precision)
    found, expected = (one.score(second, MANY, verify=False).raw_score for one in (warm, cold))
    assert np.array_equal(found, expected)


@pytest.fixture
def computed(monkeypatch):
    """Tokens of which trunks were computed, batch by batch."""
    tokens = []
    trunk = Encoder.trunk

    def counted(self, packed, depth):
        if depth:
            tokens.append(packed.tokens)
        return trunk(self, packed, depth)

    monkeypatch.setattr(Encoder, "trunk", counted)
    return tokens


def raw_scores(backbone, folder, adapter, texts, precision="fp32", budget=BUDGET):
    """As one run scores them: a scorer of its own."""
    cache = None if folder is None else TrunkCache(folder, budget)
    scorer = Scorer(backbone, precision=precision, threads=2, trunk_cache=cache)
    return scorer.score(adapter, texts).raw_score


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_warm_run_gives_the_same_scores_to_the_bit(backbone, tmp_path, computed, precision):
    first, second = (upper_adapter(backbone, 2, seed=seed) for seed in (1, 2))
    cold = Scorer(backbone, precision=precision, threads=2)
    expected = cold.score(second, MANY, verify=False).raw_score
    cache = TrunkCache(tmp_path / "cache", BUDGET)
    Scorer(backbone, precision=precision, trunk_cache=cache).score(first, MANY, verify=False)
    computed.clear()
    warm = Scorer(backbone, precision=precision, trunk_cache=TrunkCache(tmp_path / "cache", BUDGET))
    found = warm.score(second, MANY, verify=False).raw_score
    assert not computed
    assert np.array_equal(found, expected)


def test_only_texts_that_are_new_are_computed(backbone, tmp_path, computed):
    adapter = upper_adapter(backbone, 2)
    raw_scores(backbone, tmp_path, adapter, MANY)
    everything = sum(computed)
    computed.clear()
    more = [*MANY, "light moves more than water"]
    found = raw_scores(backbone, tmp_path, adapter, more)
    assert 0 < sum(computed) < everything / 10
    expected = raw_scores(backbone, None, adapter, more)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_damaged_cache_is_computed_again(backbone, tmp_path, computed):
    adapter = upper_adapter(backbone, 2)
    expected = raw_scores(backbone, tmp_path, adapter, MANY)
    for path in tmp_path.rglob("*.states"):
        content = bytearray(path.read_bytes())
        content[-100] ^= 1
        path.write_bytes(content)
    computed.clear()
    found = raw_scores(backbone, tmp_path, adapter, MANY)
    assert computed
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_another_depth_or_precision_finds_nothing(backbone, tmp_path, computed):
    raw_scores(backbone, tmp_path, upper_adapter(backbone, 2), TEXTS)
    for adapter in (upper_adapter(backbone, 1), own_adapter(backbone, 1, 1)):
        computed.clear()
        found = raw_scores(backbone, tmp_path, adapter, TEXTS)
        np.testing.assert_allclose(found, raw_scores(backbone, None, adapter, TEXTS), atol=1e-5)
        assert computed
    computed.clear()
    scorer = Scorer(backbone, precision="bf16", trunk_cache=TrunkCache(tmp_path, BUDGET))
    scorer.score(upper_adapter(backbone, 2), TEXTS, verify=False)
    assert computed


def test_a_full_depth_adapter_keeps_nothing(backbone, tmp_path):
    raw_scores(backbone, tmp_path, upper_adapter(backbone, 0), TEXTS)
    assert not list(tmp_path.rglob("*.states"))


def test_groups_on_the_same_texts_share_what_is_kept(backbone, tmp_path, computed):
    adapters = [upper_adapter(backbone, 2, seed=seed) for seed in range(3)]
    scorer = Scorer(backbone, precision="fp32", trunk_cache=TrunkCache(tmp_path, BUDGET))
    groups = [Group(lambda a=a: a, MANY) for a in adapters]
    first = [result.raw_score for result in scorer.score_groups(groups)]
    computed.clear()
    again = [result.raw_score for result in scorer.score_groups(groups)]
    assert not computed
    assert all(map(np.array_equal, first, again))
