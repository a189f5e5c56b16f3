import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder
from hypothesis import given
from hypothesis import strategies as st
from test_models_training import responses

from models import fitting, trained_blocks
from models.adapters import AdapterError, load_adapter
from models.agreement import quadratic_weighted_kappa
from models.backbone import load_backbone
from models.own_blocks import OwnBlocks
from models.packing import hidden_states, mean_by_text, pack
from models.partial import cheapest
from models.recipes import PartialRecipe
from models.scorer import Scorer
from models.scores import Scale
from models.trained_blocks import BertBlocks, LibraryBlocks, shared_blocks
from models.training import TrainingSet, train_adapter

# A random encoder needs higher rates and more steps than one that has learned to read.
RECIPE = PartialRecipe(
    min_epochs=16, max_epochs=16, learning_rate=3e-3, head_learning_rate=5e-2, patience=16
)


def train(backbone, folder, validation=None, recipe=RECIPE, **changes):
    return train_adapter(
        responses(),
        validation or responses(21, seed=2),
        Scale(0, 2),
        backbone,
        recipe,
        folder,
        training_data_sha256="a" * 64,
        **changes,
    )


@pytest.fixture(scope="module")
def four_blocks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "four"
    return load_backbone(str(save_tiny_encoder(folder, layers=4, initializer_range=0.2)), 64)


@pytest.fixture(scope="module")
def trained(four_blocks, tmp_path_factory):
    return train(four_blocks, tmp_path_factory.mktemp("trained") / "adapter")


def test_it_learns_and_what_is_saved_scores_alike(four_blocks, trained):
    assert trained.validation_qwk > 0.9
    scorer = Scorer(four_blocks, precision="fp32")
    adapter = load_adapter(trained.folder, four_blocks)
    again = scorer.score(adapter, responses(21, seed=2).texts)
    assert np.array_equal(again.raw_score, trained.validation.raw_score)


def test_every_depth_is_tried_and_one_is_taken(trained, four_blocks):
    assert [tried.depth for tried in trained.tried] == [1, 2, 3]
    (taken,) = (tried for tried in trained.tried if tried.chosen)
    own = load_adapter(trained.folder, four_blocks).own
    assert len(own.blocks) == taken.depth
    assert own.first_block == 4 - taken.depth
    assert trained.scoring.method == "partial"
    assert trained.scoring.recipe["own_blocks"] == taken.depth


def test_a_cheap_depth_is_taken_where_all_learn_alike(tiny_backbone, tmp_path):
    result = train(tiny_backbone, tmp_path / "a")
    assert [tried.depth for tried in result.tried] == [1, 2]
    assert result.tried[0].validation_qwk > 0.9
    assert result.tried[0].chosen


def test_the_same_seed_gives_the_same_adapter(four_blocks, trained, tmp_path):
    assert train(four_blocks, tmp_path / "again").sha256 == trained.sha256


def test_the_backbone_is_left_as_it_was(tmp_path):
    backbone = load_backbone(str(save_tiny_encoder(tmp_path / "encoder")), 64)
    before = {name: weight.clone() for name, weight in backbone.model.state_dict().items()}
    train(backbone, tmp_path / "adapter")
    for name, weight in backbone.model.state_dict().items():
        assert torch.equal(weight, before[name])
    assert not any(weight.requires_grad for weight in backbone.model.parameters())


@pytest.mark.parametrize("depth", [1, 4])
def test_one_depth_can_be_asked_for_even_all_blocks(four_blocks, tmp_path, depth):
    recipe = replace(RECIPE, least_depth=depth, most_depth=depth)
    result = train(four_blocks, tmp_path / "a", recipe=recipe)
    own = load_adapter(result.folder, four_blocks).own
    assert (own.first_block, len(own.blocks)) == (4 - depth, depth)
    assert result.validation_qwk > 0.9


def test_without_validation_the_fewest_blocks_are_taken(four_blocks, tmp_path):
    nothing = TrainingSet([], np.array([]))
    result = train_adapter(
        responses(),
        nothing,
        Scale(0, 2),
        four_blocks,
        RECIPE,
        tmp_path / "a",
        training_data_sha256="",
    )
    assert [tried.chosen for tried in result.tried] == [True, False, False]


def test_states_too_many_to_keep_are_computed_each_time(
    four_blocks, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(fitting, "KEPT_TOKENS", 0)
    result = train(four_blocks, tmp_path / "a")
    assert result.validation_qwk == pytest.approx(trained.validation_qwk, abs=0.1)


@pytest.mark.parametrize("name", ["roberta", "modernbert", "llama", "qwen2", "deberta-v2"])
def test_other_families_learn_too(name, tmp_path):
    backbone = load_backbone(str(save_tiny_encoder(tmp_path / name, name, layers=3)), 64)
    result = train(backbone, tmp_path / "adapter", recipe=replace(RECIPE, most_depth=2))
    assert result.validation_qwk > 0.8
    scored = Scorer(backbone, precision="fp32").score(
        load_adapter(tmp_path / "adapter", backbone), responses(21, seed=2).texts
    )
    human = responses(21, seed=2).human_scores
    assert quadratic_weighted_kappa(human, scored.score) > 0.8


def test_a_backbone_that_cannot_be_cut_is_refused(tiny_backbone, tmp_path, monkeypatch):
    monkeypatch.setattr(trained_blocks, "blocks_of", lambda _: None)
    with pytest.raises(AdapterError, match="train with LoRA"):
        train(tiny_backbone, tmp_path / "a")


def two_ways(backbone, first_block, count):
    """The same own blocks in our forward and in the library's, some way from their start."""
    shared = shared_blocks(backbone.model)
    random = torch.Generator().manual_seed(3)
    start = shared.pristine(first_block, first_block + count)
    moved = tuple(
        {
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=random)
            for name, tensor in block.items()
        }
        for block in start.blocks
    )
    own = OwnBlocks(first_block, moved)
    model = copy.deepcopy(backbone.model)
    return BertBlocks(model, own, "fp32"), LibraryBlocks(model, own, "fp32")


def texts(backbone, lengths=(3, 17, 30, 33)):
    random = np.random.default_rng(2)
    token_ids = [random.integers(4, 40, size=length) for length in lengths]
    return pack(token_ids, position_offset=backbone.position_offset, slack_tokens=32, round_to=32)


@pytest.mark.parametrize(("first_block", "count"), [(0, 4), (0, 2), (1, 1), (2, 2), (3, 1)])
def test_states_and_gradients_are_those_of_the_library_s_forward(four_blocks, first_block, count):
    packed = texts(four_blocks)
    below = None
    if first_block:
        lower = shared_blocks(four_blocks.model).frozen(0, first_block)
        with torch.no_grad():
            below = hidden_states(lower, packed).float()
    found = []
    for blocks in two_ways(four_blocks, first_block, count):
        states = mean_by_text(hidden_states(blocks, packed, below), packed)
        (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
        gradients = [parameter.grad for parameter in blocks.trained()]
        with torch.no_grad():
            for parameter, gradient in zip(blocks.trained(), gradients, strict=True):
                parameter.copy_(gradient)
        found.append((states.detach(), blocks.own()))
    (ours, our_gradients), (theirs, their_gradients) = found
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    for mine, library_s in zip(our_gradients.blocks, their_gradients.blocks, strict=True):
        assert mine.keys() == library_s.keys()
        for name, gradient in mine.items():
            largest = max(1.0, float(library_s[name].abs().max()))
            # What is handed out is rounded to bfloat16.
            torch.testing.assert_close(gradient, library_s[name], atol=1e-2 * largest, rtol=1e-2)


def test_shared_blocks_run_one_after_the_other_give_the_whole(four_blocks):
    shared, packed = shared_blocks(four_blocks.model), texts(four_blocks)
    with torch.no_grad():
        states = hidden_states(shared.frozen(0, 1), packed)
        for start, stop in ((1, 3), (3, 4)):
            states = hidden_states(shared.frozen(start, stop), packed, states)
        whole = hidden_states(four_blocks.model, packed)
    close = 0.1 if trained_blocks.fastest_precision() == "bf16" else 1e-4
    torch.testing.assert_close(states.float(), whole, atol=close, rtol=close)
    assert shared.frozen(2, 2) is None


HUMAN = np.arange(60) % 3.0


def off_by(noise, seed=1):
    return HUMAN + noise * np.random.default_rng(seed).standard_normal(60)


def test_the_cheapest_of_equals_is_taken():
    assert cheapest([off_by(0.1, 1), off_by(0.1, 2), off_by(0.1, 3)], HUMAN) == 0


def test_a_clearly_better_way_is_worth_its_price():
    assert cheapest([off_by(2.0, 1), off_by(0.2, 2), off_by(0.19, 3)], HUMAN) == 1


def test_the_order_of_the_responses_does_not_matter():
    ways = [off_by(0.8, 1), off_by(0.6, 2), off_by(0.5, 3)]
    turned = np.random.default_rng(1).permutation(60)
    assert cheapest(ways, HUMAN) == cheapest([way[turned] for way in ways], HUMAN[turned])


@given(
    st.lists(st.lists(st.floats(0, 2), min_size=6, max_size=6), min_size=1, max_size=3),
    st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=6, max_size=6),
)
def test_one_way_is_always_taken_and_none_better_by_chance_alone(ways, human):
    raw_scores = [np.array(way) for way in ways]
    place = cheapest(raw_scores, np.array(human))
    assert 0 <= place < len(ways)


def test_nothing_to_choose_by_gives_the_cheapest():
    assert cheapest([np.array([]), np.array([])], np.array([])) == 0
    assert cheapest([np.ones(5), np.ones(5)], np.ones(5)) == 0
