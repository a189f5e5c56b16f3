import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.heads import Scale, ordinal_loss, ordinal_targets, read_out

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
