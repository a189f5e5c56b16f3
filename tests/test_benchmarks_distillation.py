import json

import numpy as np
import pytest

from benchmarks import distillation
from benchmarks.distillation_cases import DATA, Case, all_cases
from benchmarks.distillation_plot import draw
from benchmarks.distillation_report import WAYS, markdown, summary_of


def case(name, source="semeval", n=12):
    return Case(
        name=name,
        source=source,
        score_min=0,
        score_max=2,
        ids=tuple(f"{name}-{i}" for i in range(n)),
        texts=tuple(f"answer {i}" for i in range(n)),
        scores=tuple(float(i % 3) for i in range(n)),
        unlabelled=(),
        unknown=("one", "two", "three") * 4,
        truth=(0.0, 1.0, 2.0) * 4,
    )


def found(wrong, kept=0.9):
    """What a job gives: ``wrong`` says per way how many of the twelve scores are off by one."""
    scores = {}
    for way in WAYS:
        machine = np.array([0, 1, 2] * 4)
        machine[: wrong.get(way, 0)] = (machine[: wrong.get(way, 0)] + 1) % 3
        scores[way] = machine.tolist()
    sizes = ("n", "unlabelled", "limit", "limit_rows", "trained_parameters", "student_bytes")
    times = ("teacher_bytes", "teacher_train_s", "distil_cpu_s", "distil_teacher_s")
    return {"truth": [0.0, 1.0, 2.0] * 4, "kept": kept, **dict.fromkeys(sizes + times, 7), **scores}


def speed(student_s=0.001):
    one = {"teacher": 1.0, "student": student_s, "cascade": 0.25}
    return {
        "texts": 1000,
        "words": 12.0,
        "rounds": [{way: {"cpu_s": s, "wall_s": s} for way, s in one.items()}] * 3,
    }


CASES = [case("A"), case("B"), case("C", "saf"), case("D", "examples")]


def summary(wrong=None, student_s=0.001, kept=0.9):
    rows = {one.name: found(wrong or {"hard": 4, "tfidf": 4}, kept) for one in CASES}
    made = summary_of(CASES, rows, speed(student_s))
    return {"date": "2026-01-01", "versions": "v 1", "left": 0, **made}


def missed(made):
    return [one["what"] for one in made["targets"] if not one["met"]]


def test_a_student_like_its_teacher_meets_every_target():
    made = summary()
    assert missed(made) == []
    assert made["means"]["items"] == 3
    assert made["speed"]["per_cpu_s"]["student"] == pytest.approx(1e6)
    assert made["differences"]["student - teacher"]["mean"] == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"wrong": {"student": 3, "hard": 6}}, "student within"),
        ({"wrong": {"student": 1, "hard": 0}}, "student above"),
        ({"student_s": 0.02}, "student 100 times"),
        ({"wrong": {"cascade": 2, "hard": 4}}, "cascade within"),
        ({"kept": 0.7}, "cascade 5 times"),
    ],
)
def test_each_target_can_be_missed(changes, what):
    assert any(one.startswith(what) for one in missed(summary(**changes)))


def test_the_sample_bank_is_shown_but_not_in_the_means():
    rows = {one.name: found({"student": 12 if one.source == "examples" else 0}) for one in CASES}
    made = summary_of(CASES, rows, speed())
    assert made["means"]["ways"]["student"]["qwk"] == 1.0
    assert made["sources"]["examples"]["ways"]["student"]["qwk"] < 1.0


def test_an_item_without_a_qwk_is_left_out_of_the_mean():
    rows = {one.name: found({}) for one in CASES}
    rows["A"]["truth"] = [1.0] * 12
    rows["A"] |= {way: [1] * 12 for way in WAYS}
    made = summary_of(CASES, rows, speed())
    assert made["means"]["items"] == 2
    assert made["items"][0]["ways"]["teacher"]["qwk"] is None
    markdown({"date": "2026-01-01", "versions": "v 1", "left": 0, **made})


def test_the_page_shows_every_way_item_and_target(tmp_path):
    made = summary({"student": 3, "hard": 4, "tfidf": 4})
    text = markdown(made)
    assert all(f"| {one.name} |" in text for one in CASES)
    assert all(title in text for title in WAYS.values())
    assert text.count("**missed**") == len(missed(made)) == 1
    for block in text.split("\n\n"):
        table = [line for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in table}) <= 1
    json.dumps(made, allow_nan=False)
    draw(made, tmp_path / "plot.svg")
    assert "QWK of the teacher" in (tmp_path / "plot.svg").read_text()


def test_what_is_kept_is_not_done_again(tmp_path):
    cases = [case("A"), case("B")]
    for one in cases:
        distillation._keep(tmp_path / f"{one.name}.json", found({"student": 1}))
    again = distillation.measured(cases, tmp_path, workers=1)
    assert set(again) == {"A", "B"}
    assert again["A"] == found({"student": 1})


def test_nothing_that_is_learned_from_is_scored_and_seasons_are_kept_apart():
    cases = all_cases()
    sources = {one.source for one in cases}
    assert "examples" in sources
    if DATA.is_dir():
        assert {"semeval", "saf"} < sources
    assert len({one.name for one in cases}) == len(cases)
    for one in cases:
        assert len(one.ids) == len(one.texts) == len(one.scores) > 10
        assert len(one.unknown) == len(one.truth) > 0
        assert {*one.scores, *one.truth} <= {s / 2 for s in range(2 * one.score_max + 1)}
    night = [one for one in cases if one.source == "examples"]
    assert len(night) == 9
    assert all(one.unlabelled for one in night)
    for one in night:
        assert not set(one.unknown) & set(one.unlabelled) - set(one.texts)
