import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from models.text import (
    Encoded,
    budget_batches,
    distinct,
    encode,
    filled_batches,
    unknown_token,
    with_limit,
)


def test_truncation_is_flagged_and_keeps_the_special_tokens(tiny_backbone):
    tokenizer = with_limit(tiny_backbone.tokenizer, 10)
    encoded = encode(tokenizer, ["", "bulb " * 8, "bulb " * 9])
    assert encoded.lengths.tolist() == [2, 10, 10]
    assert encoded.truncated.tolist() == [False, False, True]
    assert {ids[-1] for ids in encoded.token_ids} == {3}


def test_a_limit_leaves_the_tokeniser_it_came_from_alone(tiny_backbone):
    with_limit(tiny_backbone.tokenizer, 5)
    assert len(tiny_backbone.tokenizer.encode("bulb " * 20).ids) == 22


def test_words_the_vocabulary_lacks_are_counted(tiny_backbone):
    unknown = unknown_token(tiny_backbone.tokenizer)
    encoded = encode(with_limit(tiny_backbone.tokenizer, 10), ["the bulb", "", "€ bulb € ₴", "€"])
    assert encoded.occurrences(unknown).tolist() == [0, 0, 3, 1]
    assert Encoded((), np.zeros(0, dtype=np.bool_)).occurrences(unknown).tolist() == []


@pytest.mark.parametrize(
    ("model", "token"),
    [
        (models.BPE({"a": 0, "<unk>": 1}, [], unk_token="<unk>"), 1),  # noqa: S106
        (models.BPE({"a": 0}, []), None),
        (models.Unigram([("a", -1.0), ("<unk>", 0.0)], unk_id=1), 1),
    ],
    ids=["BPE", "bytes", "unigram"],
)
def test_every_kind_of_tokeniser_says_what_it_does_not_know(model, token):
    tokenizer = Tokenizer(model)
    assert unknown_token(tokenizer) == token
    assert encode(with_limit(tokenizer, 9), ["aa", ""]).occurrences(token).tolist() == [0, 0]


@given(texts=st.lists(st.lists(st.integers(0, 3), max_size=6), max_size=9))
def test_occurrences_are_those_of_each_text(texts):
    ids = tuple(np.array(text, dtype=np.int64) for text in texts)
    encoded = Encoded(ids, np.zeros(len(ids), dtype=np.bool_))
    assert encoded.occurrences(2).tolist() == [text.count(2) for text in texts]
    assert encoded.occurrences(None).tolist() == [0] * len(texts)


def test_the_same_tokens_are_one_text(tiny_backbone):
    tokenizer = with_limit(tiny_backbone.tokenizer, 6)
    texts = ["A bulb", "a  bulb", "wire", "bulb bulb bulb bulb wire", "bulb bulb bulb bulb no"]
    first, inverse = distinct(encode(tokenizer, texts).token_ids)
    assert first.tolist() == [0, 2, 3]
    assert inverse.tolist() == [0, 0, 1, 2, 2]


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 120))
def test_batches_hold_every_text_once_within_the_budget(lengths, budget):
    sizes = np.array(lengths, dtype=np.int64)
    batches = budget_batches(sizes, budget)
    held = [position for batch in batches for position in batch]
    assert sorted(held) == list(range(len(lengths)))
    assert list(sizes[held]) == sorted(lengths)
    assert all(sizes[batch].sum() <= budget or len(batch) == 1 for batch in batches)


@given(lengths=st.lists(st.integers(1, 50), max_size=60), budget=st.integers(1, 150))
def test_filled_batches_hold_every_text_once_and_leave_no_room_for_another(lengths, budget):
    sizes = np.array(lengths, dtype=np.int64)
    batches = filled_batches(sizes, budget)
    held = [position for batch in batches for position in batch]
    assert sorted(held) == list(range(len(lengths)))
    left = set(held)
    for batch in batches:
        left -= set(batch.tolist())
        total = int(sizes[batch].sum())
        assert total <= budget or len(batch) == 1
        assert all(total + sizes[position] > budget for position in left)


def test_many_texts_fill_batches_to_the_brim():
    sizes = np.random.default_rng(1).integers(5, 200, 600)
    totals = [int(sizes[batch].sum()) for batch in filled_batches(sizes, 2048)]
    assert min(totals[:-1]) >= 2040
