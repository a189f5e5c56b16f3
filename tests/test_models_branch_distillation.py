from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import save_tiny_encoder
from hypothesis import given
from hypothesis import strategies as st
from test_models_training import responses
from torch.nn.functional import cross_entropy, log_softmax, softmax

from models.adapters import AdapterError, load_adapter
from models.agreement import quadratic_weighted_kappa
from models.backbone import load_backbone
from models.branch_distillation import compress_adapter, distillation_loss, own_blocks_of
from models.heads import Head
from models.recipes import CompressionRecipe, PartialRecipe, Recipe
from models.scorer import Scorer
from models.scores import Scale
from models.trained_blocks import shared_blocks
from models.training import TooFewResponsesError, TrainingSet, train_adapter

QUICK = {"min_epochs": 16, "max_epochs": 16, "head_learning_rate": 5e-2, "patience": 16}
PARTIAL = PartialRecipe(**QUICK, learning_rate=3e-3, least_depth=3, most_depth=3)
LORA = Recipe(**QUICK, learning_rate=1e-2, frozen_share=0.25)
COMPRESSION = CompressionRecipe(**QUICK, learning_rate=3e-3)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / "four"
    return load_backbone(str(save_tiny_encoder(folder, layers=4, initializer_range=0.2)), 64)


@pytest.fixture(scope="module", params=["partial", "lora"])
def teacher(request, backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "teacher"
    recipe = {"partial": PARTIAL, "lora": LORA}[request.param]
    train_adapter(
        responses(),
        responses(21, seed=2),
        Scale(0, 2),
        backbone,
        recipe,
        folder,
        training_data_sha256="a" * 64,
        trait="ideas",
    )
    return load_adapter(folder, backbone)


def compress(teacher, backbone, folder, recipe=COMPRESSION, training=None, **changes):
    return compress_adapter(
        teacher,
        training or responses(),
        responses(21, seed=2),
        backbone,
        recipe,
        folder,
        training_data_sha256="b" * 64,
        **changes,
    )


def test_fewer_blocks_score_like_the_teacher(teacher, backbone, tmp_path):
    result = compress(teacher, backbone, tmp_path / "a")
    assert [tried.depth for tried in result.tried] == [1, 2, 3]
    assert result.tried[0].chosen
    student = load_adapter(tmp_path / "a", backbone)
    assert (student.own.first_block, len(student.own.blocks)) == (1, 1)
    assert student.scoring.trait == "ideas"
    assert student.scoring.recipe["own_blocks"] == 1
    unseen = responses(60, seed=3)
    scorer = Scorer(backbone, precision="fp32")
    scored = [scorer.score(adapter, unseen.texts).score for adapter in (teacher, student)]
    assert quadratic_weighted_kappa(*scored) > 0.9


def test_the_teacher_is_left_as_it_was(teacher, backbone, tmp_path):
    before = teacher.head.weight.clone()
    compress(teacher, backbone, tmp_path / "a")
    assert torch.equal(teacher.head.weight, before)


def test_the_same_seed_gives_the_same_adapter(teacher, backbone, tmp_path):
    first, second = (compress(teacher, backbone, tmp_path / name) for name in ("a", "b"))
    assert first.sha256 == second.sha256


def test_unlabelled_responses_are_learned_from(teacher, backbone, tmp_path):
    """With a handful of human scores, what the teacher says of more responses decides."""
    few = TrainingSet(responses().texts[:12], responses().human_scores[:12])
    recipe = replace(COMPRESSION, most_depth=1)
    more = responses(120, seed=5).texts
    heard = []
    result = compress(
        teacher,
        backbone,
        tmp_path / "a",
        recipe=recipe,
        training=few,
        unlabelled=more,
        progress=lambda epoch, planned: heard.append((epoch.number, planned)),
    )
    assert result.validation_qwk > 0.8
    assert len(heard) == 16


def test_blocks_that_nothing_could_replace_are_kept(teacher, backbone, tmp_path):
    """At a rate of nothing the shorter branch learns nothing, and the teacher's own are taken."""
    recipe = replace(
        COMPRESSION, learning_rate=0.0, head_learning_rate=0.0, min_epochs=1, max_epochs=1
    )
    result = compress(teacher, backbone, tmp_path / "a", recipe=recipe)
    assert result.tried[-1].chosen
    student = load_adapter(tmp_path / "a", backbone)
    scorer = Scorer(backbone, precision="fp32")
    theirs, ours = (
        scorer.score(adapter, responses(21, seed=2).texts).raw_score
        for adapter in (teacher, student)
    )
    # A lora teacher's edits are written in and rounded.
    assert ours == pytest.approx(theirs, abs=0.0 if teacher.own is not None else 0.05)


def test_edits_written_into_blocks_score_as_the_adapter_does(teacher, backbone):
    own = own_blocks_of(teacher, backbone, shared_blocks(backbone.model))
    assert own.first_block == 1
    assert len(own.blocks) == 3


def test_one_training_does_both(backbone, tmp_path):
    result = train_adapter(
        responses(),
        responses(21, seed=2),
        Scale(0, 2),
        backbone,
        COMPRESSION,
        tmp_path / "a",
        training_data_sha256="a" * 64,
    )
    assert result.scoring.method == "partial"
    own = load_adapter(tmp_path / "a", backbone).own
    # The upper half of four blocks is edited.
    assert own.first_block == 2
    assert [tried.depth for tried in result.tried] == [1, 2]


def test_a_head_from_elsewhere_is_refused(teacher, backbone, tmp_path):
    head = Head("classification", "first", None, torch.zeros(3, 32), None)
    scoring = teacher.scoring.model_copy(
        update={"head": "classification", "pooling": "first", "head_tensors": ("weight",)}
    )
    with pytest.raises(AdapterError, match="train the item first"):
        compress(replace(teacher, head=head, scoring=scoring), backbone, tmp_path / "a")


def test_an_edit_outside_the_blocks_is_refused(backbone, tmp_path, teacher):
    if teacher.own is not None:
        pytest.skip("own blocks edit nothing")
    edit = next(iter(teacher.edits.values()))
    with pytest.raises(AdapterError, match=r"pooler\.dense"):
        compress(replace(teacher, edits={"pooler.dense": edit}), backbone, tmp_path / "a")


def test_too_little_to_learn_from_is_refused(teacher, backbone, tmp_path):
    few = TrainingSet(responses().texts[:5], responses().human_scores[:5])
    with pytest.raises(TooFewResponsesError):
        compress(teacher, backbone, tmp_path / "a", training=few)


@given(seed=st.integers(0, 99), temperature=st.floats(0.5, 5))
def test_the_loss_is_the_published_one_for_two_answers_per_threshold(seed, temperature):
    random = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(6, 2, generator=random) * 3 for _ in range(2))
    human = np.array([0.0, 1.0, 2.0, 2.0, 1.0, 0.0])
    loss = distillation_loss(teacher, human, Scale(0, 2), temperature, 0.0)
    found = loss(student, torch.arange(6))

    def pairs(logits):  # a log-odds is the softmax of (logit, 0)
        return torch.stack([logits, torch.zeros_like(logits)], dim=-1)

    answers = torch.from_numpy(human[:, None] <= np.arange(2)[None, :]).long()
    hard = cross_entropy(pairs(student).flatten(0, 1), answers.flatten())
    soft = softmax(pairs(teacher) / temperature, dim=-1)
    taught = -(soft * log_softmax(pairs(student) / temperature, dim=-1)).sum(-1).mean()
    torch.testing.assert_close(found, hard + temperature**2 * taught, rtol=1e-4, atol=1e-5)


def test_responses_without_a_score_have_the_teacher_s_part_only():
    teacher, student = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [0.3]])
    human = np.array([1.0, np.nan])
    loss = distillation_loss(teacher, human, Scale(0, 1), 2.0, 0.0)
    alone = distillation_loss(teacher[1:], human[1:], Scale(0, 1), 2.0, 0.0)
    mine = loss(student[1:], torch.tensor([1]))
    torch.testing.assert_close(mine, alone(student[1:], torch.tensor([0])))
    both = loss(student, torch.arange(2))
    assert torch.isfinite(both)
    assert float(both) > 0
