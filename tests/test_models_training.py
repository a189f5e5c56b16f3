import json
from dataclasses import replace

import numpy as np
import pytest
from conftest import save_tiny_encoder
from hypothesis import given
from hypothesis import strategies as st

from models import fitting, lora_training
from models.adapters import load_adapter
from models.backbone import load_backbone
from models.calibration import confidences
from models.scorer import Scorer
from models.scores import Scale
from models.training import (
    FEWEST_RESPONSES,
    Recipe,
    TooFewResponsesError,
    TrainingSet,
    split_validation,
    train_adapter,
)

# A random encoder needs higher rates and more steps than one that has learned to read.
RECIPE = Recipe(
    min_epochs=16,
    max_epochs=16,
    learning_rate=1e-2,
    head_learning_rate=5e-2,
    patience=16,
)


def responses(n=48, seed=1):
    """Score 2 for texts about a closed path, 1 for a battery, 0 for water."""
    random = np.random.default_rng(seed)
    endings = ("water is cold", "battery and wire", "path is closed")
    fillers = ["i think", "because", "yes", "it is the same", "the bulb"]
    scores = np.arange(n) % 3
    texts = [f"{random.choice(fillers)} {endings[s]} {random.choice(fillers)}" for s in scores]
    return TrainingSet(texts, scores.astype(np.float64))


def train(backbone, folder, training=None, validation=None, **changes):
    return train_adapter(
        training or responses(),
        validation or responses(21, seed=2),
        changes.pop("scale", Scale(0, 2)),
        backbone,
        changes.pop("recipe", RECIPE),
        folder,
        training_data_sha256="a" * 64,
        **changes,
    )


@pytest.fixture(scope="module")
def trained(tiny_backbone, tmp_path_factory):
    return train(tiny_backbone, tmp_path_factory.mktemp("trained") / "adapter")


def test_it_learns_and_what_is_saved_scores_alike(tiny_backbone, trained):
    assert trained.validation_qwk > 0.9
    losses = [epoch.training_loss for epoch in trained.history]
    assert losses[-1] < losses[0] / 2
    assert sum(epoch.kept for epoch in trained.history) == 1
    assert trained.tried == ()
    scorer = Scorer(tiny_backbone, precision="fp32")
    adapter = load_adapter(trained.folder, tiny_backbone)
    again = scorer.score(adapter, responses(21, seed=2).texts)
    assert np.array_equal(again.raw_score, trained.validation.raw_score)


def test_scoring_file_says_how_it_was_made(trained):
    scoring = json.loads((trained.folder / "scoring.json").read_text())
    assert scoring["recipe"]["frozen_share"] == 0.5
    assert scoring["training_data_sha256"] == "a" * 64
    assert (scoring["score_min"], scoring["score_max"], scoring["trait"]) == (0, 2, "overall")
    assert len(scoring["probes"]) >= 4
    texts = set(responses().texts) | set(responses(21, seed=2).texts)
    assert not texts & {probe["text"] for probe in scoring["probes"]}


def test_calibration_is_of_the_held_out_and_scaling_of_what_was_learned(tiny_backbone, tmp_path):
    training, validation = responses(), responses(60, seed=2)
    result = train(tiny_backbone, tmp_path / "a", validation=validation)
    scoring = load_adapter(tmp_path / "a", tiny_backbone).scoring
    assert scoring == result.scoring
    assert scoring.calibration.n == 60
    assert scoring.calibration.ece_after <= scoring.calibration.ece_before + 1e-9
    scorer = Scorer(tiny_backbone, precision="fp32")
    adapter = load_adapter(tmp_path / "a", tiny_backbone)
    learned = scorer.score(adapter, training.texts)
    assert scoring.scaling.human_mean == training.human_scores.mean()
    assert scoring.scaling.machine_mean == pytest.approx(learned.raw_score.mean(), abs=1e-6)
    assert scoring.scaling.machine_sd == pytest.approx(learned.raw_score.std(ddof=1), abs=1e-6)
    points = result.validation.score
    expected = confidences(result.validation.probabilities, points, scoring.calibration.temperature)
    np.testing.assert_array_equal(result.validation.confidence, expected)


def test_few_held_out_responses_calibrate_nothing(trained):
    assert trained.scoring.calibration.n == 21
    assert trained.scoring.calibration.temperature == 1.0
    assert trained.scoring.calibration.ece_after is None


def test_the_same_seed_gives_the_same_adapter(tiny_backbone, trained, tmp_path):
    assert train(tiny_backbone, tmp_path / "again").sha256 == trained.sha256


def test_the_backbone_is_left_as_it_was(tiny_backbone, tiny_backbone_folder, trained):
    from safetensors.torch import load_file

    stored = load_file(tiny_backbone_folder / "model.safetensors")
    for name, parameter in tiny_backbone.model.named_parameters():
        assert not parameter.requires_grad
        assert parameter.equal(stored[name])


def test_blocks_below_the_first_are_not_edited(tiny_backbone, trained):
    edits = load_adapter(trained.folder, tiny_backbone).edits
    assert edits
    assert all(".layer.1." in name for name in edits)


def test_work_kept_below_the_cut_changes_nothing(tiny_backbone, tmp_path, trained, monkeypatch):
    monkeypatch.setattr(fitting, "KEPT_TOKENS", 0)
    assert train(tiny_backbone, tmp_path / "kept").validation_qwk == pytest.approx(
        trained.validation_qwk, abs=0.1
    )


def test_own_forward_and_the_library_s_learn_alike(tiny_backbone, tmp_path, monkeypatch):
    """In float32, so that rounding does not grow over the epochs."""
    monkeypatch.setattr(lora_training, "fastest_precision", lambda: "fp32")
    own = train(tiny_backbone, tmp_path / "own")
    monkeypatch.setattr(lora_training, "supports_model", lambda _: False)
    library = train(tiny_backbone, tmp_path / "library")
    losses = [[epoch.training_loss for epoch in way.history] for way in (own, library)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    raw_scores = [way.validation.raw_score for way in (own, library)]
    assert raw_scores[0] == pytest.approx(raw_scores[1], abs=1e-2)


def test_a_family_that_the_library_runs_learns(tmp_path):
    backbone = load_backbone(str(save_tiny_encoder(tmp_path / "modernbert", "modernbert")), 64)
    assert train(backbone, tmp_path / "adapter").validation_qwk > 0.9


@pytest.mark.parametrize(
    "validation",
    [TrainingSet([], np.array([])), TrainingSet(["path is closed", "yes"], np.array([2.0, 2.0]))],
    ids=["none", "one score"],
)
def test_validation_that_says_nothing_does_not_stop_training(tiny_backbone, tmp_path, validation):
    recipe = replace(RECIPE, patience=1, min_epochs=2)
    result = train(tiny_backbone, tmp_path / "a", validation=validation, recipe=recipe)
    assert len(result.history) == 16
    assert result.history[-1].kept


def test_half_points_and_a_scale_that_starts_above_zero(tiny_backbone, tmp_path):
    scores = responses().human_scores + np.where(np.arange(48) % 4 == 0, 0.5, 0.0)
    halves = TrainingSet(responses().texts, np.minimum(scores, 2) + 3)
    result = train(tiny_backbone, tmp_path / "a", training=halves, scale=Scale(3, 5))
    assert set(np.unique(result.validation.score)) <= {3, 4, 5}
    assert np.corrcoef(result.validation.raw_score, responses(21, seed=2).human_scores)[0, 1] > 0.8


@pytest.mark.parametrize(
    "few",
    [responses(FEWEST_RESPONSES - 1), TrainingSet(responses().texts, np.ones(48))],
    ids=["few", "one score"],
)
def test_too_little_to_learn_from_is_refused(tiny_backbone, tmp_path, few):
    with pytest.raises(TooFewResponsesError, match="score more responses by hand"):
        train(tiny_backbone, tmp_path / "a", training=few)
    assert not (tmp_path / "a").exists()


def test_a_score_off_the_scale_is_refused(tiny_backbone, tmp_path):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.1"):
        train(tiny_backbone, tmp_path / "a", scale=Scale(0, 1))


def test_progress_hears_of_every_epoch(tiny_backbone, tmp_path):
    heard = []
    result = train(
        tiny_backbone,
        tmp_path / "a",
        progress=lambda epoch, planned: heard.append((epoch, planned)),
    )
    assert len(heard) == len(result.history)
    assert {planned for _, planned in heard} == {16}


def test_training_stops_and_goes_back_when_validation_falls(tiny_backbone, tmp_path):
    """The held-out scores are the reverse of what is learned, so the start is the best."""
    human = 2 - responses(60, seed=2).human_scores
    against = TrainingSet(responses(60, seed=2).texts, human)
    recipe = replace(RECIPE, patience=3, min_epochs=2)
    result = train(tiny_backbone, tmp_path / "a", validation=against, recipe=recipe)
    assert len(result.history) < 16
    kept = next(epoch for epoch in result.history if epoch.kept)
    assert kept.validation_qwk_raw == max(epoch.validation_qwk_raw for epoch in result.history)
    assert kept.number < len(result.history) - 1


@pytest.mark.parametrize(("n", "least", "most"), [(20, 12, 99), (100, 6, 99), (1700, 1, 8)])
def test_large_items_take_fewer_epochs(n, least, most):
    assert least <= Recipe().epochs_for(n) <= most


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=5), fraction=st.floats(0.05, 0.4))
def test_split_takes_its_share_of_every_score_point(counts, fraction):
    scores = np.repeat(np.arange(len(counts)), counts).astype(np.float64)
    ids = [f"r{number}" for number in range(len(scores))]
    held_out = split_validation(ids, scores, fraction, seed=1)
    for point, count in enumerate(counts):
        taken = held_out[scores == point].sum()
        assert abs(taken - fraction * count) <= 1.5
        assert taken < count
    assert abs(held_out.sum() - fraction * len(scores)) <= len(counts) + 1


def test_split_follows_the_ids_not_the_order():
    scores = np.arange(60) % 3
    ids = [f"{number:03d}" for number in range(60)]
    held_out = {ids[i] for i in np.flatnonzero(split_validation(ids, scores, 0.2, 1))}
    turned = np.arange(60)[::-1]
    other = split_validation([ids[i] for i in turned], scores[turned], 0.2, 1)
    assert {ids[turned[i]] for i in np.flatnonzero(other)} == held_out
    assert held_out != {ids[i] for i in np.flatnonzero(split_validation(ids, scores, 0.2, 2))}
