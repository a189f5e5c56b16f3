from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from benchmarks import plain_peft
from benchmarks.public_data import PublicItem
from benchmarks.training_jobs import LARGE, SMALL, Job, Result, large_jobs, small_jobs
from benchmarks.training_report import case, markdown
from models.agreement import quadratic_weighted_kappa
from models.fitting import Recipe
from models.scores import Scale
from models.training import TrainingSet


def item(name, n):
    return PublicItem(
        item_id=name,
        score_max=2,
        prompt="Why?",
        reference_answers=(),
        response_ids=tuple(f"{name}-{i}" for i in range(n)),
        texts=tuple(f"answer {i} to {name}" for i in range(n)),
        scores=np.arange(n) % 3,
        unseen=np.zeros(n, dtype=bool),
    )


ITEMS = [item(f"beetle.Q{number}", 200 + number) for number in range(12)]


def test_nothing_that_is_learned_from_is_scored():
    for job in [*small_jobs(ITEMS), *large_jobs(ITEMS)]:
        assert not set(job.fold.texts) & set(job.fold.unknown)
        assert len(job.truth) == len(job.fold.unknown)


def test_every_answer_of_a_question_is_scored_once():
    jobs = [job for job in small_jobs(ITEMS) if job.group == "beetle.Q5"]
    assert sorted(text for job in jobs for text in job.fold.unknown) == sorted(ITEMS[5].texts)


def test_large_draws_differ_and_have_their_size():
    jobs = large_jobs(ITEMS)
    assert {len(job.fold.texts) for job in jobs} == {1700}
    assert len({job.fold.texts[0] for job in jobs}) == len(jobs)


@pytest.mark.parametrize("make", [small_jobs, large_jobs])
def test_neither_way_always_comes_first(make):
    first = [job.arms[0] == "ours" for job in make(ITEMS)]
    assert abs(sum(first) - len(first) / 2) <= 1
    assert all({"ours", "peft"} <= set(job.arms) for job in make(ITEMS))


def results(our_seconds, wrong=0):
    """PEFT right throughout in ten seconds; we ``wrong`` times in a round not."""
    found = []
    for number, seconds in enumerate(our_seconds):
        truth = np.arange(60) % 3
        arms = ("ours", "peft", "upper") if number == 0 else ("peft", "ours")
        job = Job(SMALL, number, "Q", small_jobs(ITEMS)[0].fold, truth, arms)
        for arm in arms:
            scores = truth.copy()
            if arm == "ours":
                scores[:wrong] = (scores[:wrong] + 1) % 3
            cpu_s = {"ours": seconds, "peft": 10.0, "upper": 6.0}[arm]
            found.append(Result(job, arm, cpu_s, 2 * cpu_s, 8, scores))
    return found


def test_ratios_are_per_round():
    row = case(results([2.0, 4.0, 5.0]))
    assert row["times_faster"] == pytest.approx([5.0, 2.5, 2.0])
    assert row["wall_times_faster"] == pytest.approx([5.0, 2.5, 2.0])
    assert row["times_faster_upper"] == pytest.approx(3.0)
    assert (row["difference"], *row["interval"]) == (0.0, 0.0, 0.0)


def test_a_faster_way_that_learns_less_shows():
    row = case(results([1.0, 1.0], wrong=20))
    assert row["qwk_ours"] < row["qwk_peft"] == 1.0
    assert row["interval"][1] < 0


def test_the_table_shows_every_way_and_both_sizes():
    rows = [case(results([2.0, 4.0])), case(results([2.0, 4.0]))]
    rows[1] = rows[1] | {"answers": LARGE}
    text = markdown({"date": "2026-01-01", "method": "M.", "versions": "v 1", "cases": rows})
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 6
    assert {line.count("|") for line in table} == {table[0].count("|")}
    assert "3.75 (2.50 to 5.00)" in text


RECIPE = Recipe(min_epochs=12, max_epochs=12, learning_rate=1e-2, head_learning_rate=1e-2)


def answers(n, seed):
    """Score 2 for texts about a path, 1 for a battery, 0 for water."""
    random = np.random.default_rng(seed)
    endings = ("water is cold", "battery and wire", "path is closed")
    fillers = ["i think", "because", "yes", "it is the same", "the bulb does more"]
    scores = np.arange(n) % 3
    texts = [f"{random.choice(fillers)} {endings[s]} {random.choice(fillers)}" for s in scores]
    return TrainingSet(texts, scores.astype(np.float64))


@pytest.fixture
def tiny(tiny_backbone, monkeypatch):
    monkeypatch.setattr(plain_peft, "shared_backbone", lambda: tiny_backbone)
    plain_peft._pristine.cache_clear()
    yield tiny_backbone
    plain_peft._pristine.cache_clear()


def test_the_rival_learns_too(tiny, tmp_path):
    held_out = answers(30, 2)
    score, epochs = plain_peft.train_plain_peft(
        answers(60, 1), held_out, Scale(0, 2), RECIPE, tmp_path
    )
    assert 1 <= epochs <= 12
    found = score(held_out.texts).score
    assert quadratic_weighted_kappa(held_out.human_scores, found) > 0.8


@pytest.mark.parametrize(("first_block", "blocks"), [(0, {"0", "1"}), (1, {"1"})])
def test_the_rival_saves_the_adapters_of_its_blocks(tiny, tmp_path, first_block, blocks):
    recipe = replace(RECIPE, min_epochs=1, max_epochs=1)
    plain_peft.train_plain_peft(
        answers(16, 1), answers(9, 2), Scale(0, 2), recipe, tmp_path, first_block
    )
    with safe_open(tmp_path / "adapter_model.safetensors", "pt") as file:
        names = list(file.keys())
    assert {name.split("layer.")[1][0] for name in names} == blocks
    assert len(names) == len(blocks) * 6 * 2
    assert (tmp_path / "head.safetensors").exists()
