"""Adapters on the same texts share the work of the blocks that none of them edits."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import save_tiny_encoder
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_adapters import make_adapter, probed
from test_models_own_blocks import own_adapter

from models import batches, scheduling
from models.backbone import load_backbone
from models.batches import Batch, Upper, _trunk_shares
from models.edits import Edits
from models.encoder import Encoder
from models.lora import block_of
from models.scorer import Group, Scorer

TEXTS = [
    "the bulb is in a closed path with the battery",
    "",
    "i think it does not float because it is heavy",
    "no",
    "the wire is open " * 40,
    "warm air moves more than cold air does",
]
# More than the tokens up to which groups share batches.
MANY = [f"{text} {'yes ' * number}" for number in range(30) for text in TEXTS]
LAYERS = 3


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared") / "bert"
    save_tiny_encoder(folder, layers=LAYERS, initializer_range=0.15)
    return load_backbone(str(folder), max_tokens=64)


@pytest.fixture(
    scope="module", params=["roberta", "electra", "modernbert", "llama", "qwen3", "deberta-v2"]
)
def other_family(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("families") / request.param
    save_tiny_encoder(folder, request.param, layers=LAYERS, initializer_range=0.15)
    return load_backbone(str(folder), max_tokens=64)


def upper_adapter(backbone, first_block, seed=5, **how):
    """A LoRA adapter that leaves the blocks below ``first_block`` as they are."""
    whole = make_adapter(backbone, seed=seed, **how)
    edits = {name: edit for name, edit in whole.edits.items() if block_of(name) >= first_block}
    return probed(replace(whole, edits=edits), backbone)


def adapters_of(backbone):
    """Adapters of every kind and depth."""
    return [
        upper_adapter(backbone, 1, seed=1),
        upper_adapter(backbone, 2, seed=2, points=4),
        own_adapter(backbone, 2, 1, seed=3),
        own_adapter(backbone, 1, 1, seed=4),
        make_adapter(backbone, seed=5),
        upper_adapter(backbone, 2, seed=6, rank=9),
        upper_adapter(backbone, 3, seed=7),  # a head alone
    ]


def scored(scorer, adapters, texts_of):
    groups = [
        Group(lambda adapter=adapter: adapter, texts)
        for adapter, texts in zip(adapters, texts_of, strict=True)
    ]
    return [result.raw_score for result in scorer.score_groups(groups)]


@pytest.fixture
def blocks_run(monkeypatch):
    """Counts tokens times blocks, of trunks and of upper parts."""
    counts = {"trunk": 0, "batches": 0}
    trunk = Encoder.trunk

    def counted(self, packed, depth):
        counts["trunk"] += depth * packed.tokens
        return trunk(self, packed, depth)

    monkeypatch.setattr(Encoder, "trunk", counted)
    compute = batches.compute

    def computed(*arguments):
        counts["batches"] += 1
        compute(*arguments)

    monkeypatch.setattr(scheduling, "compute", computed)
    return counts


@pytest.mark.parametrize("texts", [TEXTS, MANY], ids=["few", "many"])
def test_shared_work_changes_no_score(backbone, texts):
    scorer = Scorer(backbone, precision="fp32", threads=2)
    adapters = adapters_of(backbone)
    together = scored(scorer, adapters, [texts] * len(adapters))
    for adapter, found in zip(adapters, together, strict=True):
        expected = scorer.score(adapter, texts).raw_score
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shared_work_changes_no_score_in_any_family(other_family):
    scorer = Scorer(other_family, precision="fp32", threads=2)
    adapters = adapters_of(other_family)
    for texts in (TEXTS, MANY):
        together = scored(scorer, adapters, [texts] * len(adapters))
        for adapter, found in zip(adapters, together, strict=True):
            np.testing.assert_allclose(found, scorer.score(adapter, texts).raw_score, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("texts", [TEXTS, MANY], ids=["few", "many"])
def test_adding_updating_or_removing_one_item_never_changes_another(backbone, precision, texts):
    scorer = Scorer(backbone, precision=precision, threads=2)
    adapters = [adapter for adapter in adapters_of(backbone) if scorer._encoder.depth(adapter)]
    adapters = [replace(a, scoring=a.scoring.model_copy(update={"probes": ()})) for a in adapters]

    def raw(chosen):
        groups = [Group(lambda a=a: a, texts, verify=False) for a in chosen]
        return [result.raw_score for result in scorer.score_groups(groups)]

    whole = raw(adapters)
    for left_out in range(len(adapters)):
        fewer = raw(adapters[:left_out] + adapters[left_out + 1 :])
        expected = whole[:left_out] + whole[left_out + 1 :]
        assert all(map(np.array_equal, fewer, expected))
    updated = raw([upper_adapter(backbone, 1, seed=90), *adapters[1:]])
    assert all(map(np.array_equal, updated[1:], whole[1:]))
    assert not np.array_equal(updated[0], whole[0])
    reverse = raw(adapters[::-1])
    assert all(map(np.array_equal, reverse[::-1], whole))


def test_the_trunk_runs_once_for_all_who_share_it(backbone, blocks_run):
    scorer = Scorer(backbone, precision="fp32", threads=1)
    adapters = [upper_adapter(backbone, 2, seed=seed) for seed in range(5)]
    blocks_run["trunk"] = 0
    scored(scorer, adapters[:1], [MANY])
    once = blocks_run["trunk"]
    blocks_run["trunk"] = 0
    scored(scorer, adapters, [MANY] * 5)
    assert blocks_run["trunk"] == once > 0


def test_groups_on_other_texts_share_no_trunk_but_batches(backbone, blocks_run):
    scorer = Scorer(backbone, precision="fp32", threads=1)
    adapters = [upper_adapter(backbone, 2, seed=seed) for seed in range(4)]
    texts_of = [[f"{text} {'water ' * (number + 1)}" for text in TEXTS[:3]] for number in range(4)]
    blocks_run["batches"] = 0
    scored(scorer, adapters, texts_of)
    assert blocks_run["batches"] == 1


def test_small_groups_with_traits_share_batches_and_trunks(backbone, blocks_run):
    scorer = Scorer(backbone, precision="fp32", threads=1)
    adapters = [upper_adapter(backbone, 2, seed=seed) for seed in range(6)]
    items = [[f"{text} {'water ' * (number + 1)}" for text in TEXTS[:3]] for number in range(3)]
    blocks_run.update(trunk=0, batches=0)
    found = scored(scorer, adapters, [items[0], items[0], items[1], items[2], items[2], items[2]])
    assert blocks_run["batches"] == 1
    used = blocks_run["trunk"]
    blocks_run["trunk"] = 0
    expected = scored(scorer, adapters[:3], items)
    assert blocks_run["trunk"] == used
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whoever_wants_which_texts_gets_their_scores(backbone, data):
    adapters = adapters_of(backbone)
    pool = MANY[:40]
    texts_of = [
        data.draw(st.lists(st.sampled_from(pool), min_size=0, max_size=25)) for _ in adapters
    ]
    budget = data.draw(st.sampled_from([1, 50, 200, 2048]))
    scorer = Scorer(backbone, precision="fp32", threads=2, token_budget=budget)
    everything = dict(zip(pool, range(len(pool)), strict=True))
    for adapter, texts, found in zip(
        adapters, texts_of, scored(scorer, adapters, texts_of), strict=True
    ):
        alone = scorer.score(adapter, pool).raw_score
        expected = alone[[everything[text] for text in texts]] if texts else []
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_more_groups_than_fit_a_stack_are_computed_in_turn(backbone, monkeypatch, blocks_run):
    monkeypatch.setattr(scheduling, "MOST_STACKED", 3)
    scorer = Scorer(backbone, precision="fp32", threads=2)
    adapters = [upper_adapter(backbone, 2, seed=seed) for seed in range(7)]
    found = scored(scorer, adapters, [MANY] * 7)
    for adapter, raw in zip(adapters, found, strict=True):
        np.testing.assert_allclose(raw, scorer.score(adapter, MANY).raw_score, atol=1e-5)


def test_the_time_of_a_shared_trunk_is_divided_among_those_who_want_the_text():
    token_ids = [np.zeros(length, dtype=np.int64) for length in (10, 30, 60)]
    uppers = [Upper([], Edits()), Upper([], Edits(), np.array([2]))]
    shares = _trunk_shares(Batch(token_ids, 1, uppers), trunk_ms=5.0)
    np.testing.assert_allclose(shares, [0.5, 1.5, 1.5])  # milliseconds for each who wants it
