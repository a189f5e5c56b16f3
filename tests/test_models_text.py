import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.text import budget_batches, distinct, encode, filled_batches, with_limit


def test_truncation_is_flagged_and_keeps_the_special_tokens(tiny_backbone):
    tokenizer = with_limit(tiny_backbone.tokenizer, 10)
    encoded = encode(tokenizer, ["", "bulb " * 8, "bulb " * 9])
    assert encoded.lengths.tolist() == [2, 10, 10]
    assert encoded.truncated.tolist() == [False, False, True]
    assert {ids[-1] for ids in encoded.token_ids} == {3}


def test_a_limit_leaves_the_tokeniser_it_came_from_alone(tiny_backbone):
    with_limit(tiny_backbone.tokenizer, 5)
    assert len(tiny_backbone.tokenizer.encode("bulb " * 20).ids) == 22


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
