"""A student learns from its teacher; what is measured of it is what is stored."""

import numpy as np
import pytest
import torch

from models.agreement import quadratic_weighted_kappa
from models.distillation import distil, gated
from models.features import read_words, shared_words, spellings, word_keys
from models.scores import Scale, of_points
from models.student import MOST_TRAINED, written
from models.student_fitting import StudentRecipe, fit_student, lesson
from models.student_net import StudentNet, WordTable, reading
from models.training_data import TrainingSet
from models.word_table import word_table
from models.word_vectors import WordVectors

SCALE = Scale(1, 3)
FILLERS = ["i think", "because", "yes", "it is the same", "the bulb does more", "no", "and"]
RECIPE = StudentRecipe(variants=300, epochs=20, updates=200, buckets=512, known_words=100)


def score_of(text):
    """What is right of an answer: 1, and a point each for a path and for no gap."""
    return 1 + ("path" in text) + ("closed" in text and "not closed" not in text)


def answers(n, seed):
    random = np.random.default_rng(seed)
    ideas = ["path is closed", "path is not closed", "path", "closed wire", "water is cold"]
    texts = [
        f"{random.choice(FILLERS)} {random.choice(ideas)} {random.choice(FILLERS)}"
        for _ in range(n)
    ]
    return TrainingSet(texts, np.array([score_of(text) for text in texts], dtype=np.float64))


class Teacher:
    """Knows the rule; remembers what it was asked."""

    def __init__(self, sure=0.9):
        self.sure, self.asked = sure, []

    def __call__(self, texts):
        self.asked.append(list(texts))
        found = np.full((len(texts), 3), (1 - self.sure) / 2, dtype=np.float32)
        found[np.arange(len(texts)), [score_of(text) - 1 for text in texts]] = self.sure
        return of_points(found, SCALE)


@pytest.fixture(scope="module")
def vectors(tiny_backbone):
    return WordVectors(tiny_backbone)


def made(vectors, recipe=RECIPE, teacher=None, unlabelled=(), n=40, validation=30):
    return distil(
        answers(n, 1),
        answers(validation, 2),
        unlabelled,
        teacher or Teacher(),
        SCALE,
        vectors,
        recipe,
    )


@pytest.fixture(scope="module")
def distilled(vectors):
    return made(vectors)


def test_the_student_learns_what_its_teacher_knows(distilled):
    fresh = answers(200, 3)
    columns = distilled.student.score(fresh.texts, SCALE)
    assert quadratic_weighted_kappa(fresh.human_scores, columns.score) > 0.9
    assert distilled.validation_qwk > 0.8


def test_a_teacher_teaches_more_than_a_few_human_scores_do(vectors):
    fresh, few = answers(300, 4), answers(12, 1)
    taught = made(vectors, n=12).student
    table = word_table(spellings(few.texts), spellings(few.texts), vectors, RECIPE)
    given = lesson(few.texts, few.human_scores, None, SCALE, RECIPE)
    alone = fit_student(given, answers(30, 2), table, SCALE, RECIPE).student(table)
    qwk = [
        quadratic_weighted_kappa(fresh.human_scores, student.score(fresh.texts, SCALE).score)
        for student in (taught, alone)
    ]
    assert qwk[0] > qwk[1] + 0.05


def test_the_record_states_what_was_trained(distilled):
    assert distilled.record["trained_parameters"] == distilled.student.trained_parameters
    assert distilled.student.trained_parameters <= MOST_TRAINED
    assert distilled.record["variants"] == 300
    assert 100 < distilled.record["texts"] <= 340
    assert 0 <= distilled.teacher_seconds < distilled.seconds


def test_what_is_measured_is_what_is_stored(distilled):
    again = distilled.student.score(answers(30, 2).texts, SCALE)
    np.testing.assert_array_equal(again.raw_score, distilled.validation.raw_score)


def test_every_response_is_held_out_once_and_no_variant(distilled):
    """Forty responses to learn from, thirty for validation."""
    held_out = distilled.held_out
    assert len(held_out.human) == len(held_out.student.score) == len(held_out.teacher_raw) == 70
    assert sorted(held_out.human[:40]) == sorted(answers(40, 1).human_scores)
    np.testing.assert_array_equal(held_out.human[40:], answers(30, 2).human_scores)
    np.testing.assert_array_equal(held_out.teacher_score[40:], answers(30, 2).human_scores)
    assert distilled.calibration.n == 70


def test_the_cascade_of_a_good_student_keeps_most_and_of_few_responses_none(vectors, distilled):
    found = distilled.limit(SCALE, 0.005)
    assert found.kept_share > 0.5
    assert (found.n, found.n_human) == (70, 30)  # the teacher has learned from the other forty
    assert made(vectors, n=10, validation=5).limit(SCALE, 0.005).kept_share == 0


def test_cross_fitting_shows_what_a_student_cannot_know(vectors):
    """Scores that hang on a name alone: the student knows those it has learned from."""
    random = np.random.default_rng(1)
    names = TrainingSet(
        ["".join(random.choice(list("abcdefghijklmnopqrst"), 9)) for _ in range(60)],
        np.arange(60) % 3 + 1.0,
    )
    known = dict(zip(names.texts, names.human_scores, strict=True))

    def teacher(texts):
        scores = np.array([known.get(text, 2) for text in texts], dtype=int)
        return of_points(np.eye(3)[scores - 1] * 0.97 + 0.01, SCALE)

    recipe = StudentRecipe(**vars(RECIPE) | {"variants": 0, "near": 0})
    found = distil(names, TrainingSet([], np.empty(0)), [], teacher, SCALE, vectors, recipe)
    learned = found.student.score(names.texts, SCALE).score
    assert quadratic_weighted_kappa(names.human_scores, learned) > 0.9
    honest = quadratic_weighted_kappa(found.held_out.human, found.held_out.student.score)
    assert honest < 0.5


def test_the_same_seed_gives_the_same_student(vectors, distilled):
    assert written(made(vectors).student) == written(distilled.student)
    other = StudentRecipe(**vars(RECIPE) | {"seed": 3})
    assert written(made(vectors, other).student) != written(distilled.student)


def test_neither_teacher_nor_variants_ever_see_the_validation_responses(vectors):
    teacher = Teacher()
    held_out = TrainingSet(["unheard zebra answer"] * 3, np.array([1.0, 2.0, 3.0]))
    distil(answers(20, 1), held_out, [], teacher, SCALE, vectors, RECIPE)
    assert not any("zebra" in text for text in teacher.asked[0])
    assert teacher.asked[1:] == [held_out.texts]


def test_unlabelled_responses_are_learned_from(vectors):
    teacher = Teacher()
    made(vectors, teacher=teacher, unlabelled=["an answer nobody scored"])
    assert "an answer nobody scored" in teacher.asked[0]


def test_unlabelled_responses_alone_are_enough(vectors):
    nobody = TrainingSet([], np.empty(0))
    found = distil(nobody, nobody, answers(60, 1).texts, Teacher(), SCALE, vectors, RECIPE)
    fresh = answers(100, 3)
    scores = found.student.score(fresh.texts, SCALE).score
    assert quadratic_weighted_kappa(fresh.human_scores, scores) > 0.8
    assert np.isnan(found.validation_qwk)


def test_half_points_are_learned_from(vectors):
    half = answers(40, 1)
    half = TrainingSet(half.texts, np.clip(half.human_scores - 0.5, 1, 3))
    assert distil(half, half, [], Teacher(), SCALE, vectors, RECIPE).validation_qwk > 0.5


def test_a_recipe_that_is_too_large_is_refused(vectors):
    with pytest.raises(ValueError, match="30000"):
        made(vectors, StudentRecipe(**vars(RECIPE) | {"buckets": 4096}))


@pytest.mark.parametrize("texts", [[], ["path"]])
def test_too_little_to_learn_from_is_refused(vectors, texts):
    nobody = TrainingSet([], np.empty(0))
    with pytest.raises(ValueError, match=f"found {len(texts)}"):
        distil(nobody, nobody, texts, Teacher(), SCALE, vectors, RECIPE)


@pytest.mark.parametrize("wrong", [np.full((10, 3), np.nan), np.ones((10, 2)), np.ones((9, 3))])
def test_a_teacher_that_gives_no_probabilities_is_refused(wrong):
    human = np.arange(10) % 3 + 1.0
    with pytest.raises(ValueError, match="probabilities"):
        lesson([f"bulb {n}" for n in range(10)], human, wrong, SCALE, RECIPE)


def test_a_human_score_off_the_scale_is_refused(vectors):
    wrong = TrainingSet(["bulb", "path"], np.array([1.0, 4.0]))
    with pytest.raises(ValueError, match="human scores"):
        distil(wrong, wrong, [], Teacher(), SCALE, vectors, RECIPE)


def test_the_surer_teacher_counts_more():
    scale = Scale(0, 1)
    sure = of_points(np.array([[0.9, 0.1], [0.5, 0.5]]), scale)
    unsure = of_points(np.array([[0.4, 0.6], [0.5, 0.5]]), scale)
    found = gated([sure, unsure], scale)
    np.testing.assert_allclose(found.probabilities[0], [1.05 / 1.5, 0.45 / 1.5], rtol=1e-6)
    np.testing.assert_allclose(found.probabilities[1], [0.5, 0.5])
    assert found.score.tolist() == [0, 1]
    np.testing.assert_allclose(gated([sure], scale).probabilities, sure.probabilities, rtol=1e-6)


def test_rounding_to_whole_numbers_hardly_moves_a_logit():
    torch.manual_seed(1)
    texts = [*answers(50, 5).texts, "", "unheard words", "closed " * 500]
    keys = np.unique(read_words(texts, 1).keys)
    vectors = np.random.default_rng(1).integers(-40, 40, (len(keys), 5)).astype(np.int8)
    table = WordTable(keys, vectors)
    net = StudentNet(
        buckets=128,
        width=4,
        dims=5,
        filters=6,
        units=5,
        thresholds=2,
        dropout=0.2,
        generator=torch.Generator().manual_seed(1),
    ).eval()
    with torch.no_grad():
        for parameter in (net.output, net.filter_bias, net.bias):
            parameter.normal_()
        exact = net(reading(texts, 128, table), torch.arange(len(texts))).numpy()
    rounded = net.student(table).logits(texts)
    assert np.abs(exact[:-1] - rounded[:-1]).max() < 0.03 * exact.std()


def test_a_word_of_one_response_alone_is_not_in_the_student(vectors):
    few = answers(30, 1)
    texts = [*few.texts[:-1], f"{few.texts[-1]} zebedeexq"]
    named = TrainingSet(texts, few.human_scores)
    student = distil(named, answers(30, 2), [], Teacher(), SCALE, vectors, RECIPE).student
    assert not np.isin(word_keys(["zebedeexq"]), student.word_keys).any()
    assert np.isin(word_keys(shared_words(texts)), student.word_keys).all()
