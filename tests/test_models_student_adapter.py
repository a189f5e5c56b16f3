"""Students as adapter directories: alone, without torch, and as the first of a cascade."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_models_adapters import make_adapter, rewrite_json
from test_models_student import student, texts_of

from models.adapter_files import SCORING, STUDENT, AdapterError
from models.adapter_folders import adapter_sha256, read_scoring
from models.adapters import load_adapter, save_adapter
from models.calibration import Calibration
from models.cascade import Limit
from models.postprocessing import Scaling
from models.probes import PROBE_TEXTS
from models.scorer import Group, Scorer
from models.scoring_record import CascadeRecord, StudentRecord
from models.student_adapter import (
    StudentAdapter,
    load_student,
    save_student,
    score_with_student,
)
from models.text import unknown_token, with_limit

TEXTS = [*texts_of(60), "", "path " * 200]


def made_student(points=3, seed=1, **changes):
    network = student(seed, thresholds=points - 1)
    record = StudentRecord(
        score_min=1,
        score_max=points,
        trait="overall",
        backbone="tiny",
        backbone_sha256="b" * 64,
        training_data_sha256="0" * 64,
        recipe={"seed": seed},
        versions={},
        probes=(),
        teacher_sha256="a" * 64,
        trained_parameters=network.trained_parameters,
        **changes,
    )
    return StudentAdapter(network, record).with_probes(PROBE_TEXTS)


def calibration(temperature):
    return Calibration(temperature, 40, 0.1, 0.05, ())


def score(adapter, backbone, texts=TEXTS, **how):
    tokenizer = with_limit(backbone.tokenizer, 64)
    return score_with_student(adapter, texts, tokenizer, unknown_token(tokenizer), **how)


def cascade(backbone, limit, **changes):
    first = made_student(**changes)
    same = {"backbone_sha256": backbone.sha256}
    first = replace(first, scoring=first.scoring.model_copy(update=same))
    kept = Limit(limit, 0.5, 0.0, 60, 0, None, None, None)
    record = CascadeRecord(student=first.scoring, limit=kept, most_loss=0.01)
    teacher = make_adapter(backbone)
    scoring = teacher.scoring.model_copy(update={"cascade": record})
    return replace(teacher, scoring=scoring, student=first), teacher, first


def test_what_is_written_is_read_and_scores_alike(tmp_path, tiny_backbone):
    adapter = made_student(calibration=calibration(2.0))
    sha256 = save_student(tmp_path / "s", adapter)
    assert sha256 == adapter_sha256(tmp_path / "s")
    assert {path.name for path in (tmp_path / "s").iterdir()} == {SCORING, STUDENT}
    loaded = load_student(tmp_path / "s", expected_sha256=sha256)
    found, expected = score(loaded, tiny_backbone), score(adapter, tiny_backbone)
    assert np.array_equal(found.raw_score, expected.raw_score)
    assert found.by_student.all()
    assert not found.truncated.any()
    assert np.array_equal(found.confidence, expected.confidence)
    plain = score(made_student(), tiny_backbone)
    assert not np.array_equal(found.confidence, plain.confidence)  # the temperature counts


def test_tokens_are_counted_as_for_other_adapters(tiny_backbone):
    found = score(made_student(), tiny_backbone)
    other = Scorer(tiny_backbone, precision="fp32").score(make_adapter(tiny_backbone), TEXTS)
    assert np.array_equal(found.tokens, other.tokens)
    assert np.array_equal(found.unknown_tokens, other.unknown_tokens)
    assert found.latency_ms.sum() > 0


def test_scaled_scores_need_a_scaling(tiny_backbone):
    with pytest.raises(AdapterError, match="scaled"):
        score(made_student(), tiny_backbone, reported="scaled")
    scaling = Scaling(human_mean=2.0, human_sd=0.5, machine_mean=1.8, machine_sd=0.4)
    found = score(made_student(scaling=scaling), tiny_backbone, reported="scaled")
    assert np.isfinite(found.scaled_score).all()
    assert np.array_equal(found.score, np.clip(np.floor(found.scaled_score + 0.5), 1, 3))


def test_a_student_that_is_not_what_it_was_is_refused(tmp_path, tiny_backbone):
    adapter = made_student()
    other = replace(adapter, student=student(2, thresholds=2))
    with pytest.raises(AdapterError, match="probe predictions"):
        score(other, tiny_backbone)
    with pytest.raises(AdapterError, match="no probe predictions"):
        unproven = adapter.scoring.model_copy(update={"probes": ()})
        score(replace(adapter, scoring=unproven), tiny_backbone)
    sha256 = save_student(tmp_path / "s", adapter)
    with pytest.raises(AdapterError, match="was registered"):
        load_student(tmp_path / "s", expected_sha256="f" * 64)
    rewrite_json(tmp_path / "s" / SCORING, trained_parameters=5)
    with pytest.raises(AdapterError, match="trained numbers"):
        load_student(tmp_path / "s")
    assert adapter_sha256(tmp_path / "s") != sha256


@pytest.mark.parametrize("name", [SCORING, STUDENT])
def test_a_student_s_directory_is_whole(tmp_path, name):
    save_student(tmp_path / "s", made_student())
    (tmp_path / "s" / name).unlink()
    with pytest.raises(AdapterError, match="missing"):
        load_student(tmp_path / "s")


def test_methods_are_not_taken_for_one_another(tmp_path, tiny_backbone):
    save_student(tmp_path / "s", made_student())
    with pytest.raises(AdapterError, match="student"):
        load_adapter(tmp_path / "s", tiny_backbone)
    save_adapter(tmp_path / "a", make_adapter(tiny_backbone))
    with pytest.raises(AdapterError, match="not a student"):
        load_student(tmp_path / "a")


def test_torch_is_not_needed(tmp_path, tiny_backbone):
    adapter = made_student()
    save_student(tmp_path / "s", adapter)
    (tmp_path / "tokenizer.json").write_text(tiny_backbone.tokenizer.to_str(), "utf-8")
    program = f"""
import sys
sys.modules["torch"] = None
from pathlib import Path
from tokenizers import Tokenizer
from models.student_adapter import load_student, score_with_student
tokenizer = Tokenizer.from_file({str(tmp_path / "tokenizer.json")!r})
found = score_with_student(load_student(Path({str(tmp_path / "s")!r})), {TEXTS[:5]!r}, tokenizer, 1)
print(found.raw_score.tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = score(adapter, tiny_backbone, TEXTS[:5]).raw_score
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_each_text_of_a_cascade_is_scored_by_whom_the_limit_says(tiny_backbone, share):
    sure = score(made_student(), tiny_backbone).confidence
    limit = 2.0 if share == 0 else float(np.quantile(sure, 1 - share))
    adapter, teacher, first = cascade(tiny_backbone, limit)
    scorer = Scorer(tiny_backbone, precision="fp32", threads=2)
    found = scorer.score(adapter, TEXTS)
    by_teacher, by_student = scorer.score(teacher, TEXTS), score(first, tiny_backbone)
    kept = by_student.confidence >= limit
    assert np.array_equal(found.by_student, kept)
    expected = np.where(kept, by_student.raw_score, by_teacher.raw_score)
    np.testing.assert_allclose(found.raw_score, expected, atol=1e-5)
    sure = np.where(kept, by_student.confidence, by_teacher.confidence)
    np.testing.assert_allclose(found.confidence, sure, atol=1e-5)
    assert np.array_equal(found.truncated, by_teacher.truncated & ~kept)
    assert np.array_equal(found.tokens, by_teacher.tokens)


def test_a_cascade_is_written_and_read_whole(tmp_path, tiny_backbone):
    adapter, _, _ = cascade(tiny_backbone, 0.6)
    sha256 = save_adapter(tmp_path / "c", adapter)
    assert STUDENT in {path.name for path in (tmp_path / "c").iterdir()}
    loaded = load_adapter(tmp_path / "c", tiny_backbone, expected_sha256=sha256)
    scorer = Scorer(tiny_backbone, precision="fp32", threads=1)
    groups = [Group(lambda one=one: one, TEXTS) for one in (adapter, loaded)]
    first, second = scorer.score_groups(groups)
    assert np.array_equal(first.raw_score, second.raw_score)
    record = read_scoring(tmp_path / "c")
    assert record.cascade.limit.limit == 0.6
    (tmp_path / "c" / STUDENT).unlink()
    with pytest.raises(AdapterError, match=STUDENT):
        load_adapter(tmp_path / "c", tiny_backbone)


def test_a_cascade_whose_student_lies_is_held(tiny_backbone):
    adapter, _, first = cascade(tiny_backbone, 0.6)
    liar = replace(first, student=student(7, thresholds=2))
    scorer = Scorer(tiny_backbone, precision="fp32", threads=1)
    (found,) = scorer.score_groups([Group(lambda: replace(adapter, student=liar), TEXTS)])
    assert isinstance(found, AdapterError)


@pytest.mark.parametrize(
    "change", [{"score_min": 0, "score_max": 2}, {"trait": "form"}, {"backbone_sha256": "c" * 64}]
)
def test_a_student_that_scores_something_else_makes_no_cascade(tiny_backbone, tmp_path, change):
    adapter, _, first = cascade(tiny_backbone, 0.6)
    other = replace(first, scoring=first.scoring.model_copy(update=change))
    with pytest.raises(AdapterError, match="than its teacher"):
        replace(adapter, student=other)


def test_a_student_and_its_record_come_together(tiny_backbone):
    adapter, teacher, first = cascade(tiny_backbone, 0.6)
    with pytest.raises(ValueError, match="cascade"):
        replace(teacher, student=first)
    with pytest.raises(ValueError, match="cascade"):
        replace(adapter, student=None)
