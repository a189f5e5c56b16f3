import numpy as np
import pytest

from benchmarks import depths, depths_arms
from benchmarks.depths_arms import ARMS, BLOCKS, CHOSEN, TITLES, train_all
from benchmarks.depths_report import draw, markdown, summarise
from benchmarks.public_data import PublicItem
from benchmarks.quality import FOLDS, folds_of
from benchmarks.quality_arms import Fold


def item(name, n=60):
    return PublicItem(
        item_id=name,
        score_max=2,
        prompt="Why?",
        reference_answers=(),
        response_ids=tuple(f"{name}-{i}" for i in range(n)),
        texts=tuple(f"answer {i} to {name}" for i in range(n)),
        scores=np.random.default_rng(len(name)).integers(0, 3, n),
        unseen=np.zeros(n, dtype=bool),
    )


ITEMS = [item(name) for name in ("beetle.Q", "sciEntsBank.PS_2a", "english.9.9")]


def kept(right=(), validated=()):
    """All ways wrong in every third answer, but for some; and on validation, but for some."""

    def results(one, fold):
        truth = one.scores[folds_of(one.scores) == fold]
        wrong = truth.copy()
        wrong[::3] = (wrong[::3] + 1) % 3
        human = np.arange(40) % 3.0
        noise = np.random.default_rng(fold).standard_normal(40)
        return {
            name: {
                "scores": (truth if name in right else wrong).tolist(),
                "validation": (human + (0.1 if name in validated else 2.0) * noise).tolist(),
                "human": human.tolist(),
                "cpu_s": 1.0 + place,
                "epochs": 5,
            }
            for place, name in enumerate(ARMS)
        }

    return results


def ways(summary):
    return {way["name"]: way for way in summary["ways"]}


def test_blocks_executed_for_one_score_and_for_many():
    assert (ARMS["partial_1"].blocks, ARMS["partial_1"].blocks_of_many) == (BLOCKS, 5 + 21)
    assert (ARMS["partial_to_1"].blocks, ARMS["partial_to_1"].blocks_of_many) == (4, 3 + 21)
    assert ARMS["partial_all"].blocks_of_many == 21 * BLOCKS


def test_what_validation_chooses_is_reported_as_chosen():
    found = ways(summarise(ITEMS, kept(right={"partial_2"}, validated={"partial_2", "partial_3"})))
    assert found["partial"]["qwk"] == found["partial_2"]["qwk"] == 1.0
    assert found["partial"]["own"] == 2
    # Only the teacher was good on validation, so no branch was compressed.
    assert found["partial_compressed"]["qwk"] == found["partial_3"]["qwk"] < 1.0
    assert found["partial_compressed"]["blocks"] == BLOCKS


def test_a_choice_costs_all_that_it_chooses_from():
    found = ways(summarise(ITEMS, kept()))
    among = CHOSEN["partial"][1]
    assert found["partial"]["cpu_s"] == pytest.approx(sum(found[name]["cpu_s"] for name in among))


def test_a_way_that_scores_worse_shows():
    found = ways(summarise(ITEMS, kept(right=set(ARMS) - {"lora_1"})))
    against = found["lora_1"]["against"]["partial_all"]
    assert against["difference"] < 0
    assert against["low"] <= against["difference"] <= against["high"] < 0
    assert found["lora_2"]["against"]["partial_all"]["difference"] == 0


def test_questions_that_recipes_were_chosen_on_are_left_out_once():
    found = ways(summarise(ITEMS, kept()))
    assert found["partial"]["against"]["lora_all"]["items"] == 3
    assert found["partial"]["against_on_others"]["lora_all"]["items"] == 2


def test_the_report_shows_every_way_and_every_item(tmp_path):
    summary = {"date": "2026-01-01", "versions": "v 1", "arguments": "", **summarise(ITEMS, kept())}
    text = markdown(summary)
    for title in TITLES.values():
        assert f"| {title} |" in text
    for one in ITEMS:
        assert f"| {one.item_id} | 60 |" in text
    tables = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.count("|") for line in tables[: 1 + len(TITLES)]} == {tables[0].count("|")}
    draw(summary, tmp_path / "depths.svg")
    first = (tmp_path / "depths.svg").read_text()
    draw(summary, tmp_path / "depths.svg")
    assert (tmp_path / "depths.svg").read_text() == first
    assert "scores of one text" in first


def test_every_fold_is_a_job_and_the_longest_come_first():
    jobs = depths.jobs_of([item("a", 30), item("b", 90)], "f" * 12)
    assert len(jobs) == 2 * FOLDS
    assert jobs[0].item.item_id == "b"
    assert len({job.kept for job in jobs}) == len(jobs)


def test_every_way_is_trained_and_scored(tiny_backbone, monkeypatch):
    """On two blocks: the ways that need more are as deep as there are blocks."""
    monkeypatch.setattr(depths_arms, "shared_backbone", lambda: tiny_backbone)
    random = np.random.default_rng(1)
    endings = ("water is cold", "battery and wire", "path is closed")
    scores = np.arange(30) % 3
    texts = [f"{random.choice(['yes', 'i think'])} {endings[s]} {i}" for i, s in enumerate(scores)]
    fold = Fold("Q", 2, [f"r{i}" for i in range(30)], texts, scores, ["path is closed", "water"])
    results = train_all(fold)
    assert results.keys() == ARMS.keys()
    for result in results.values():
        assert len(result["scores"]) == 2
        assert len(result["validation"]) == len(result["human"]) > 0
        assert result["cpu_s"] > 0
