"""Vectors of single words: of unit length, the same in any company, near words first."""

import numpy as np
import pytest

from models.word_vectors import WordVectors


@pytest.fixture(scope="module")
def vectors(tiny_backbone):
    return WordVectors(tiny_backbone)


def test_a_words_vector_has_unit_length_and_is_its_own(vectors):
    rows = vectors.of(["bulb", "path", "bulb"])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-5)
    np.testing.assert_allclose(rows[1], vectors.of(["path"])[0], atol=1e-5)
    assert not np.allclose(rows[0], rows[1], atol=0.01)


@pytest.mark.parametrize("word", ["", "\ud800", "电", "x" * 1000, "no single word"])
def test_any_string_has_a_vector(vectors, word):
    assert np.isfinite(vectors.of([word])).all()


def test_the_vocabulary_is_whole_words_of_more_than_a_letter(vectors):
    words, rows = vectors.vocabulary
    assert {"bulb", "battery"} <= set(words)
    assert not {"a", "[CLS]", "##a", "1"} & set(words)
    assert rows.shape == (len(words), 32)


def test_near_words_are_others_the_nearest_first(vectors):
    found = vectors.near(["bulb", "batteryy"], 5)
    for word, alike in found.items():
        own = vectors.of([word])[0]
        cosines = [float(own @ vectors.of([other])[0]) for other in alike]
        assert cosines == sorted(cosines, reverse=True)
        assert word not in alike
        assert 1 <= len(alike) <= 5
    assert vectors.near([], 5) == {}


def test_the_words_nearest_to_an_item_begin_with_its_own(vectors):
    found = vectors.nearest_to_any(["bulb", "wire"], 4)
    assert set(found[:2]) == {"bulb", "wire"}
    assert len(found) == 4
    assert vectors.nearest_to_any([], 4) == []
