"""A student scores any text, alike in any company, without torch; its file is read strictly."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load, save

from models.adapter_files import AdapterError
from models.features import word_keys
from models.scores import Scale
from models.student import MOST_HIDDEN, MOST_WORD, Student, read_student, written

SCALE = Scale(1, 4)
WORDS = [
    "the",
    "a",
    "bulb",
    "battery",
    "path",
    "closed",
    "open",
    "not",
    "water",
    "because",
    "gap",
    "terminal",
    "voltage",
]
PATH = Path("folder/student.safetensors")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)


def student(seed=1, *, buckets=64, width=4, dims=5, filters=6, units=5, thresholds=3, words=WORDS):
    random = np.random.default_rng(seed)

    def whole(spread, shape, dtype):
        return random.normal(0, spread, shape).round().astype(dtype)

    return Student(
        table=whole(100, (buckets, width), np.int16),
        word_keys=np.sort(word_keys(words)),
        word_vectors=whole(20, (len(words), dims), np.int8),
        filters=whole(2000, (3, width + dims, filters), np.int16),
        filter_bias=whole(300, filters, np.int16),
        hidden=whole(900, (2 * filters + 1, units), np.int16),
        hidden_bias=whole(300, units, np.int16),
        output=whole(900, (2 * filters + 1 + units, thresholds), np.int16),
        bias=whole(3000, thresholds, np.int32),
    )


STUDENT = student()


def texts_of(n, seed=1):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(0, 12))) for _ in range(n)]


def test_scores_follow_from_the_probabilities():
    columns = STUDENT.score(texts_of(200), SCALE)
    assert columns.score.dtype == np.int32
    np.testing.assert_allclose(columns.probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(columns.raw_score, columns.probabilities @ [1, 2, 3, 4], atol=1e-5)
    np.testing.assert_array_equal(columns.score, np.floor(columns.raw_score + 0.5))
    assert len(np.unique(columns.score)) > 1
    rows = np.arange(200)
    np.testing.assert_allclose(
        columns.confidence, columns.probabilities[rows, columns.score - 1], atol=1e-6
    )


def weighted(values, weights):
    """Sums of the values by each column of weights, unbounded."""
    columns = weights.T.tolist()
    return [sum(a * b for a, b in zip(values, column, strict=True)) for column in columns]


def by_hand(one, text):
    """The logits of one text with loops and unbounded integers, as ``models.student`` tells it."""
    from fractions import Fraction

    from models.features import read_words

    found = read_words([text], len(one.table))
    vectors = dict(zip(one.word_keys.tolist(), one.word_vectors.tolist(), strict=True))
    states = []
    for word in found.words:
        start, stop = found.bucket_offsets[word], found.bucket_offsets[word + 1]
        sums = one.table[found.buckets[start:stop]].astype(int).sum(axis=0)
        own = [round(value / np.sqrt(stop - start)) for value in sums]
        known = vectors.get(int(found.keys[word]), [0] * one.word_vectors.shape[1])
        states.append([*own, *(16 * value for value in known)])
    filters = len(one.filter_bias)
    answers = []
    for place in range(len(states)):
        total = [int(bias) for bias in one.filter_bias]
        for side, at in enumerate((place - 1, place, place + 1)):
            if 0 <= at < len(states):
                for f in range(filters):
                    summed = sum(
                        value * int(weight)
                        for value, weight in zip(states[at], one.filters[side, :, f], strict=True)
                    )
                    total[f] += round(Fraction(summed, 1 << 10))
        answers.append([max(0, value) for value in total])
    columns = list(zip(*answers, strict=True))
    pooled = [max(column) for column in columns]
    pooled += [round(Fraction(sum(column), len(answers))) for column in columns]
    pooled.append(round(np.log(max(1, len(answers))) * 1024))
    pooled = pooled if answers else [0] * (2 * filters + 1)
    sums = weighted(pooled, one.hidden)
    biases = one.hidden_bias.tolist()
    hidden = [max(0, round(Fraction(a, 1 << 12)) + b) for a, b in zip(sums, biases, strict=True)]
    summed = weighted([*pooled, *hidden], one.output)
    return np.array(summed) / 2**22 + one.bias / 2**12


@pytest.mark.parametrize(
    "text", ["", "bulb", "closed path", "The BULB is not in a closed pathh, because of a gap!"]
)
def test_logits_are_what_the_definition_says(text):
    np.testing.assert_array_equal(STUDENT.logits([text])[0], by_hand(STUDENT, text))


@settings(deadline=None, max_examples=60)
@given(st.lists(ANY_TEXT, max_size=8), st.randoms())
def test_a_texts_score_does_not_depend_on_its_company(texts, random):
    """Bit for bit: alone, among others, in any order."""
    together = STUDENT.logits(texts)
    assert together.shape == (len(texts), 3)
    assert np.isfinite(together).all()
    order = list(range(len(texts)))
    random.shuffle(order)
    np.testing.assert_array_equal(STUDENT.logits([texts[i] for i in order]), together[order])
    for text, row in zip(texts, together, strict=True):
        np.testing.assert_array_equal(STUDENT.logits([text])[0], row)


def test_many_texts_are_scored_in_parts_as_they_are_alone():
    texts = [*texts_of(6000), "path " * 60_000, *texts_of(6000, seed=2)]
    logits = STUDENT.logits(texts)
    for place in (0, 5999, 6000, 6001, 12_000):
        np.testing.assert_array_equal(logits[place], STUDENT.logits([texts[place]])[0])


def test_the_largest_weights_still_add_up_exactly():
    """A word of 100,000 letters and weights at the ends of their types."""
    one = student()
    extreme = dataclasses.replace(
        one,
        table=np.full_like(one.table, np.iinfo(np.int16).max),
        word_vectors=np.full_like(one.word_vectors, np.iinfo(np.int8).max),
        filters=np.full_like(one.filters, np.iinfo(np.int16).max),
        filter_bias=np.full_like(one.filter_bias, np.iinfo(np.int16).max),
        hidden=np.full_like(one.hidden, np.iinfo(np.int16).max),
        output=np.full_like(one.output, np.iinfo(np.int16).max),
    )
    text = "x" * 100_000
    state, largest = MOST_WORD * 4 * 32767, round(MOST_WORD * 4 * 32767 / 1024) + 32767
    assert state < 2**53
    assert 12 * largest * 32767 < 2**53
    units = [
        min(round(12 * largest * 32767 / 2**12) + int(b), MOST_HIDDEN) for b in one.hidden_bias
    ]
    summed = (12 * largest + sum(units)) * 32767
    assert summed < 2**53
    expected = summed / 2**22 + one.bias / 2**12
    np.testing.assert_array_equal(extreme.logits([text])[0], expected)
    assert np.isfinite(extreme.score([text, "the bulb " * 5000], SCALE).raw_score).all()


def test_words_in_another_order_may_score_otherwise():
    logits = STUDENT.logits(["closed path not open", "not closed path open"])
    assert not np.array_equal(logits[0], logits[1])


def test_a_student_without_frozen_vectors_scores():
    plain = student(dims=0, words=[])
    assert np.isfinite(plain.logits(["closed path", ""])).all()
    assert plain.trained_parameters == 64 * 4 + 3 * 4 * 6 + 6 + 13 * 5 + 5 + 18 * 3 + 3


def test_another_scale_is_refused():
    with pytest.raises(ValueError, match="3 thresholds"):
        STUDENT.score(["closed"], Scale(0, 1))


def test_what_is_written_is_read_and_scores_alike():
    content = written(STUDENT)
    assert content == written(STUDENT)
    again = read_student(content, PATH, SCALE)
    texts = texts_of(50)
    np.testing.assert_array_equal(again.logits(texts), STUDENT.logits(texts))


def damaged(**changes):
    tensors = load(written(STUDENT))
    for name, value in changes.items():
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value
    return save(tensors)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"\x00" * 100, "cannot be read"),
        (written(STUDENT)[:-3], "cannot be read"),
        (damaged(bias=None), "bias"),
        (damaged(extra=np.zeros(3, np.float32)), "extra"),
        (damaged(table=STUDENT.table.astype(np.float32)), "float32"),
        (damaged(table=STUDENT.table[:, :-1].copy()), "filters has the shape"),
        (damaged(table=STUDENT.table[:0].copy()), "empty"),
        (damaged(table=STUDENT.table.ravel().copy()), "table has the shape"),
        (damaged(word_keys=STUDENT.word_keys[::-1].copy()), "ascend"),
        (damaged(word_vectors=STUDENT.word_vectors[:-1].copy()), "word_vectors has the shape"),
        (damaged(filters=STUDENT.filters[:2].copy()), "filters has the shape"),
        (damaged(hidden=STUDENT.hidden[:-1].copy()), "hidden has the shape"),
        (damaged(output=STUDENT.output[:-1].copy()), "output has the shape"),
        (written(student(thresholds=2)), "needs 3"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused(content, said):
    with pytest.raises(AdapterError, match=said) as error:
        read_student(content, PATH, SCALE)
    assert str(PATH) in str(error.value)


def test_scoring_never_loads_torch(tmp_path):
    (tmp_path / "student.safetensors").write_bytes(written(STUDENT))
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from models.scores import Scale\n"
        "from models.student import read_student\n"
        f"path = Path({str(tmp_path / 'student.safetensors')!r})\n"
        "student = read_student(path.read_bytes(), path, Scale(1, 4))\n"
        "print(student.score(['closed path'], Scale(1, 4)).raw_score[0].hex())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == STUDENT.score(["closed path"], SCALE).raw_score[0].hex()
