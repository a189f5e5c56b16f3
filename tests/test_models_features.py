"""Words of texts: the same everywhere, any string at all, and what counts as the same word."""

import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import (
    chunks,
    read_words,
    shared_words,
    single_words,
    spellings,
    word_keys,
)

BUCKETS = 2048
# Worked out by hand-written loops over Python's unbounded integers.
GOLDEN_KEYS = [
    14783723432287291186,
    7244430118823666010,
    15425688546550936394,
    7256711232875529215,
    8361278124042522210,
]
GOLDEN_PIECES = [
    *(120, 1054, 1604, 225, 1318, 479, 384, 180, 342, 817),
    *(1696, 3, 1326, 1193, 1826, 1345, 596, 290, 817),
]
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=60)


def keys_of(text):
    found = read_words([text], BUCKETS)
    return found.keys[found.words].tolist()


def pieces(found, word):
    return found.buckets[found.bucket_offsets[word] : found.bucket_offsets[word + 1]].tolist()


def bags(found, text):
    """The words of a text by their hashes, each with its pieces."""
    words = found.words[found.offsets[text] : found.offsets[text + 1]]
    return [(int(found.keys[word]), pieces(found, word)) for word in words]


def test_hashes_are_these_on_every_machine():
    found = read_words(["The bulb's off", "电路"], BUCKETS)
    assert found.keys[found.words].tolist() == GOLDEN_KEYS
    assert pieces(found, found.words[1]) == GOLDEN_PIECES
    assert found.offsets.tolist() == [0, 3, 5]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Closed PATH", "closed path"),
        ("don't", "dont"),
        ("don’t", "don't"),
        ("caf\u00e9", "cafe\u0301"),
        ("STRASSE", "straße"),
        ("\ufb01re", "fire"),
        ("a,b", "a b"),
        ("5V", "5v"),
        ("zero\u200bwidth", "zerowidth"),
    ],
)
def test_these_are_the_same_words(one, other):
    assert keys_of(one) == keys_of(other)


@pytest.mark.parametrize(
    ("text", "n"),
    [
        ("", 0),
        (" \n\t.,;!?\u2014", 0),
        ("a > b", 3),
        ("x=1.5", 4),
        ("\0", 0),
        ("a\0b", 2),
        ("中文字", 3),
        ("שלום עולם", 2),
        ("مرحبا", 1),
        ("\ud800", 1),
        ("\ud83d y", 2),
        ("🙂🙂 ok", 3),
        ("नमस्ते दुनिया", 2),
    ],
)
def test_any_string_has_words(text, n):
    assert len(keys_of(text)) == n


def test_a_text_of_100_000_characters():
    long = "the battery is in a closed path " * 3125
    found = read_words([long, "closed path", "x" * 100_000], BUCKETS)
    assert np.diff(found.offsets).tolist() == [7 * 3125, 2, 1]
    assert bags(found, 1) == bags(found, 0)[5:7]


@settings(deadline=None)
@given(st.lists(ANY_TEXT, max_size=6))
def test_a_texts_words_do_not_depend_on_its_neighbours(texts):
    together = read_words(texts, BUCKETS)
    assert len(together.offsets) == len(texts) + 1
    for number, text in enumerate(texts):
        assert bags(together, number) == bags(read_words([text], BUCKETS), 0)


@settings(deadline=None)
@given(ANY_TEXT)
def test_equivalent_texts_have_the_same_words(text):
    words = keys_of(text)
    assert keys_of(unicodedata.normalize("NFC", text)) == words
    assert keys_of(f"  {text}. ") == words


@settings(deadline=None)
@given(st.lists(ANY_TEXT, max_size=6), st.integers(1, 40))
def test_indices_lie_in_their_tables(texts, buckets):
    found = read_words(texts, buckets)
    assert found.buckets.dtype == np.int32
    assert np.all((found.buckets >= 0) & (found.buckets < buckets))
    assert np.all(np.diff(found.keys.astype(object)) > 0)
    assert np.all(np.diff(found.bucket_offsets) >= 4) or not len(found.keys)
    assert found.bucket_offsets[-1] == len(found.buckets)
    assert set(found.words.tolist()) == set(range(len(found.keys)))


def test_a_misspelt_word_shares_most_pieces_and_another_hardly_any():
    found = read_words(["electricity electricty photosynthesis"], 1 << 30)
    right, wrong, other = (set(pieces(found, word)) for word in found.words)
    assert len(right & wrong) > len(right) / 2
    assert len(right & other) < len(right) / 10


def test_a_word_and_a_piece_of_the_same_letters_differ():
    found = read_words(["path paths"], 1 << 30)
    path, paths = (set(pieces(found, word)) for word in found.words)
    assert path - paths
    assert len(path) == len(pieces(found, found.words[0]))


def test_different_words_have_different_hashes():
    words = [a + b + c for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz0123456789"]
    assert len(set(word_keys(words).tolist())) == len(words)


def test_spellings_are_the_words_as_they_are_hashed_the_most_frequent_first():
    texts = ["Don't open the PATH", "the path, the bulb > 5", "\ud800"]
    found = spellings(texts)
    assert found[:2] == ["the", "path"]
    assert sorted(found) == sorted(["the", "path", "5", ">", "bulb", "dont", "open", "\ud800"])
    np.testing.assert_array_equal(np.sort(word_keys(found)), read_words(texts, 1).keys)
    assert spellings([]) == []


@settings(deadline=None)
@given(st.lists(ANY_TEXT, max_size=6))
def test_nearly_every_word_can_be_spelled_and_hashed_again(texts):
    found = spellings(texts)
    assert len(found) == len(read_words(texts, 1).keys)
    alone = single_words(found)
    assert len(word_keys(alone)) == len(alone)
    plain = [word for word in found if word.isascii()]
    assert set(plain) <= set(alone)


def test_the_hash_of_what_is_no_word_is_refused():
    assert word_keys(["Path"]).tolist() == keys_of("path")
    for wrong in ("", "two words"):
        with pytest.raises(ValueError, match="one word"):
            word_keys(["path", wrong])


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), max_size=30), st.integers(1, 40))
def test_chunks_are_all_texts_in_order_and_small(lengths, characters):
    texts = ["x" * length for length in lengths]
    parts = chunks(texts, characters)
    assert [text for part in parts for text in texts[part]] == texts
    for part in parts:
        sizes = list(map(len, texts[part]))
        assert len(sizes) == 1 or sum(sizes) <= characters


def test_torch_is_not_needed():
    code = "import sys; sys.modules['torch'] = None; import models.features"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shared_words_are_those_of_two_texts_or_more():
    texts = ["The bulb, the bulb!", "a BULB is lit", "Zebedee Zebedee wrote this", "", "is it?"]
    assert sorted(shared_words(texts)) == ["bulb", "is"]
    assert sorted(shared_words(texts, least=1)) == sorted(spellings(texts))
    assert shared_words([]) == []
