"""An adapter's model card: what a psychometrician asks before trusting it."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from models.adapters import Probe, Scoring
from models.calibration import Calibration, Kept
from models.postprocessing import Scaling
from tasks.evaluation import Figure
from tasks.model_card import Training, model_card
from tasks.promotion import compare

PROBE = "the lamp glows since current flows"
SCORING = Scoring(
    head="ordinal",
    pooling="mean",
    backbone="all-MiniLM-L6-v2",
    backbone_sha256="53aa" * 16,
    score_min=0,
    score_max=3,
    trait="overall",
    max_tokens=512,
    training_data_sha256="da7a" * 16,
    recipe={"rank": 16, "learning_rate": 0.001},
    versions={"torch": "2.13.0", "numpy": "2.4.0"},
    probes=(Probe(text=PROBE, raw_score=1.5),),
    calibration=Calibration(
        1.31, 320, 0.083, 0.021,
        (Kept(1.0, 320, 0.73, 0.81, 0.31), Kept(0.5, 160, 0.91, 0.93, 0.74),
         Kept(0.01, 3, 1.0, None, 0.99)),
    ),
    scaling=Scaling(1.2, 0.9, 1.3, 0.7),
)  # fmt: skip
TRAINING = Training(
    item_id="lamp_<1>",
    made_on=date(2026, 3, 12),
    adapter_sha256="adad" * 16,
    recipe_sha256="4ec1" * 16,
    n_training=1_280,
    n_validation=320,
    figures={"qwk": Figure(0.814, 0.77, 0.85, 320), "exact": Figure(0.73, 0.68, 0.78, 320)},
    seasons=("2025-fall",),
    cut_scores=(2,),
)


def lines(card: str) -> list[str]:
    return card.splitlines()


def test_the_card_says_what_it_scores_and_what_it_was_made_from() -> None:
    card = model_card(TRAINING, SCORING)
    assert lines(card)[0] == r"# Model card: item lamp\_&lt;1&gt;"
    assert "on the scale 0 to 3" in card
    assert "Cut scores: 2." in card
    for row in (
        "| backbone | all-MiniLM-L6-v2 |",
        f"| training data sha256 | {'da7a' * 16} |",
        f"| adapter sha256 | {'adad' * 16} |",
        "| training responses | 1,280 |",
        "| validation responses | 320 |",
        "| seasons | 2025-fall |",
        "| rank | 16 |",
        "| torch | 2.13.0 |",
    ):
        assert row in lines(card)


def test_figures_have_their_intervals_and_a_warning() -> None:
    card = model_card(TRAINING, SCORING)
    assert r"| quadratic weighted kappa \(QWK\) | 0.81 | 0.77 to 0.85 | 320 |" in lines(card)
    assert "somewhat too good" in card


def test_calibration_comes_with_its_table_but_not_of_three_responses() -> None:
    card = model_card(TRAINING, SCORING)
    assert "Temperature 1.31, fitted to 320 validation responses." in card
    assert "0.083 without it, 0.021 with it" in card
    assert "| 50% | 160 | 0.74 | 91% | 0.93 |" in lines(card)
    assert "| 1% |" not in card


def test_the_promotion_has_its_figures() -> None:
    rng = np.random.default_rng(4)
    human = rng.integers(0, 4, 300)
    champion = np.clip(human + rng.integers(-1, 2, 300), 0, 3)
    found = compare(human, champion, human, cut_scores=(2,))
    card = model_card(replace(TRAINING, comparison=found), SCORING)
    assert f"Verdict: **{found.verdict}**." in card
    assert "| responses that neither was fitted to | 300 |" in lines(card)
    assert "| QWK of this adapter | 1.00 |" in lines(card)
    (crossing,) = found.crossings
    assert f"{crossing.upwards} up, {crossing.downwards} down" in card


def test_an_imported_adapter_says_what_nobody_knows() -> None:
    imported = replace(TRAINING, recipe_sha256="", n_training=None, n_validation=0, figures={})
    bare = SCORING.model_copy(
        update={"calibration": None, "training_data_sha256": "", "recipe": {}}
    )
    card = model_card(imported, bare)
    assert "| training responses | not known |" in lines(card)
    assert "| training data sha256 | not known |" in lines(card)
    assert "Nobody here knows what it was trained on" in card
    assert "Not calibrated: it was imported" in card
    assert "Not known: too few validation responses" in card


@pytest.mark.parametrize(("n", "warned"), [(99, True), (100, False)])
def test_few_validation_responses_are_a_limit(n: int, warned: bool) -> None:
    card = model_card(replace(TRAINING, n_validation=n), SCORING)
    assert ("too uncertain to judge it by" in card) == warned


def test_figures_of_few_responses_are_left_out() -> None:
    small = replace(TRAINING, figures={"qwk": Figure(0.5, 0.1, 0.9, 9)})
    assert "0.50" not in model_card(small, SCORING)


def test_no_probe_text_is_in_the_card() -> None:
    assert PROBE not in model_card(TRAINING, SCORING)
