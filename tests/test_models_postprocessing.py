"""Trimming, scaling and rounding: against RSMTool's published experiments, and by properties."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.postprocessing import NO_SPREAD, TRIM, Scaling, fitted_scaling, rounded, scaled, trimmed
from models.scores import Scale

GOLDEN = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "rsm_golden"
SCORES = arrays(np.float64, st.integers(1, 30), elements=st.floats(-20, 20))


def column(path, name):
    with (GOLDEN / path).open(newline="") as stream:
        return np.array([float(row[name]) for row in csv.DictReader(stream)])


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs the public data in ../shared/data")
def test_every_step_is_rsmtool_s():
    """Experiment lr-eval-with-scaling: scaled by train_predictions.csv, trimmed to 1..6."""
    scale = Scale(1, 6)
    scaling = fitted_scaling(
        column("train_predictions.csv", "sc1"), column("train_predictions.csv", "prediction")
    )
    processed = "lr-eval-with-scaling/lr_evaluation_with_scaling_pred_processed.csv"
    raw = column(processed, "raw")
    steps = {
        "raw_trim": trimmed(raw, scale),
        "raw_trim_round": rounded(trimmed(raw, scale), scale),
        "scale": scaled(raw, scaling),
        "scale_trim": trimmed(scaled(raw, scaling), scale),
        "scale_trim_round": rounded(trimmed(scaled(raw, scaling), scale), scale),
    }
    for name, found in steps.items():
        np.testing.assert_allclose(found, column(processed, name), rtol=0, atol=1e-9)


@given(scores=SCORES, score_min=st.integers(-3, 3), points=st.integers(2, 6))
def test_trimming_and_rounding_stay_on_the_scale(scores, score_min, points):
    scale = Scale(score_min, score_min + points - 1)
    cut = trimmed(scores, scale)
    assert np.all((cut >= scale.score_min - TRIM) & (cut <= scale.score_max + TRIM))
    np.testing.assert_array_equal(trimmed(cut, scale), cut)
    whole = rounded(scores, scale)
    assert np.all((whole >= scale.score_min) & (whole <= scale.score_max))
    np.testing.assert_array_equal(rounded(cut, scale), whole)
    assert np.all(np.abs(whole - cut) <= 0.5 + 1e-9)


def test_halves_are_rounded_upwards_at_every_point():
    assert rounded([0.5, 1.5, 2.5, 2.4999], Scale(0, 3)).tolist() == [1, 2, 3, 2]


@given(human=SCORES, seed=st.integers(0, 9))
def test_scaled_training_scores_have_people_s_mean_and_spread(human, seed):
    machine = np.random.default_rng(seed).normal(1, 2, len(human))
    scaling = fitted_scaling(human, machine)
    if scaling is None:
        assert len(human) < 2 or np.ptp(human) < NO_SPREAD
        return
    found = scaled(machine, scaling)
    assert found.mean() == pytest.approx(human.mean(), abs=1e-6)
    assert found.std(ddof=1) == pytest.approx(human.std(ddof=1), rel=1e-6)
    assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(machine, kind="stable"))


@pytest.mark.parametrize(
    ("human", "machine"), [([], []), ([2.0], [1.0]), ([1, 1], [1, 2]), ([1, 2], [3, 3])]
)
def test_scores_that_allow_no_scaling_give_none(human, machine):
    assert fitted_scaling(human, machine) is None


@pytest.mark.parametrize("moments", [(1, 0, 1, 1), (1, 1, 1, -2), (np.nan, 1, 1, 1)])
def test_a_scaling_that_cannot_be_applied_is_refused(moments):
    with pytest.raises(ValueError, match="deviations above 0"):
        Scaling(*moments)
