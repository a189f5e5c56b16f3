import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.heads import Dense, Head, Norm, ordinal_loss, ordinal_targets, outputs_of, read_out
from models.scores import Scale

LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(1, 8), st.integers(1, 6)),
    elements=st.floats(-30, 30, width=32),
)


@given(logits=LOGITS, score_min=st.integers(-3, 5))
def test_probabilities_raw_score_and_score_agree(logits, score_min):
    scale = Scale(score_min, score_min + logits.shape[1])
    columns = read_out(torch.from_numpy(logits), scale)
    points = np.arange(scale.score_min, scale.score_max + 1)
    assert np.all(columns.probabilities >= 0)
    np.testing.assert_allclose(columns.probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(columns.probabilities @ points, columns.raw_score, atol=1e-4)
    expected = score_min + torch.from_numpy(logits).double().sigmoid().sum(dim=1).numpy()
    np.testing.assert_allclose(columns.raw_score, expected, atol=1e-6)
    assert np.all((columns.score >= scale.score_min) & (columns.score <= scale.score_max))
    assert np.all(np.abs(columns.score - columns.raw_score) <= 0.5 + 1e-9)


@given(logits=LOGITS, score_min=st.integers(-3, 5))
def test_a_classifier_reports_its_most_probable_point(logits, score_min):
    logits = np.concatenate([logits, logits[:, :1] - 1], axis=1)
    scale = Scale(score_min, score_min + logits.shape[1] - 1)
    columns = read_out(torch.from_numpy(logits), scale, "classification")
    points = np.arange(scale.score_min, scale.score_max + 1)
    np.testing.assert_allclose(columns.probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(columns.probabilities @ points, columns.raw_score, atol=1e-4)
    reported = logits[np.arange(len(logits)), columns.score - score_min]
    np.testing.assert_allclose(reported, logits.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(columns.confidence, columns.probabilities.max(axis=1), atol=1e-6)


def test_a_classifier_may_report_another_point_than_its_raw_score_rounded():
    logits = torch.tensor([[2.0, 0.0, 1.9]])
    columns = read_out(logits, Scale(0, 2), "classification")
    assert (columns.score[0], round(columns.raw_score[0])) == (0, 1)


@pytest.mark.parametrize(("kind", "outputs"), [("ordinal", 3), ("classification", 4)])
def test_a_head_has_a_logit_per_threshold_or_per_point(kind, outputs):
    assert outputs_of(kind, Scale(1, 4)) == outputs


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("tanh", torch.nn.Tanh()),
        ("gelu", torch.nn.GELU()),
        ("relu", torch.nn.ReLU()),
        ("none", torch.nn.Identity()),
    ],
)
def test_a_dense_layer_comes_before_its_activation_and_norm_before_the_logits(activation, function):
    torch.manual_seed(3)
    dense, norm, last = (
        torch.nn.Linear(6, 4),
        torch.nn.LayerNorm(4, eps=1e-3),
        torch.nn.Linear(4, 2),
    )
    torch.nn.init.normal_(norm.weight)
    before = Dense(dense.weight, dense.bias, activation, Norm(norm.weight, norm.bias, norm.eps))
    head = Head("ordinal", "first", before, last.weight, last.bias)
    pooled = torch.randn(3, 6)
    torch.testing.assert_close(head.logits(pooled), last(norm(function(dense(pooled)))))
    plain = Head("ordinal", "first", None, torch.ones(2, 6), None)
    torch.testing.assert_close(plain.logits(pooled), pooled.sum(dim=1, keepdim=True).expand(3, 2))


def test_targets_of_whole_and_half_points():
    targets = ordinal_targets(np.array([1.0, 1.5, 2.0, 3.0]), Scale(1, 3))
    assert targets.tolist() == [[0, 0], [0.5, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("score", [0.5, 3.5, np.nan])
def test_targets_off_the_scale_are_refused(score):
    with pytest.raises(ValueError, match=r"must lie in 1\.\.3"):
        ordinal_targets(np.array([2.0, score]), Scale(1, 3))


def test_loss_is_least_at_the_targets_and_heeds_weights():
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    right, wrong = (targets * 2 - 1) * 9, (1 - targets * 2) * 9
    both = torch.stack([right[0], wrong[1]])
    assert ordinal_loss(right, targets, torch.ones(2)) < 1e-3
    assert ordinal_loss(both, targets, torch.tensor([1.0, 3.0])) == pytest.approx(9 * 3 / 4, 0.01)


def test_a_scale_of_one_point_is_refused():
    with pytest.raises(ValueError, match="two score points"):
        Scale(2, 2)
