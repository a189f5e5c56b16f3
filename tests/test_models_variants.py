"""Variants: new, of the item's own words, the same for the same seed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.variants import variants

ANSWERS = [
    "The battery is not in a closed path with the bulb.",
    "Because the switch is open, no current flows to the bulb",
    "it was broken",
    "There is a gap in the circuit.",
]


def words(texts):
    return {word for text in texts for word in text.split()}


def test_variants_are_new_and_as_many_as_asked_for():
    made = variants(ANSWERS, 500, seed=1)
    assert len(made) == len(set(made)) == 500
    assert not set(made) & set(ANSWERS)
    assert all(text.strip() == text and text for text in made)


def test_they_hold_the_items_own_words_alone():
    assert words(variants(ANSWERS, 500, seed=1)) <= words(ANSWERS)


def test_words_of_like_meaning_come_in_where_they_are_known():
    made = variants(ANSWERS, 500, seed=1, near={"battery": ["cell"], "circuit": ["loop"]})
    assert words(made) - words(ANSWERS) == {"cell", "loop"}


def test_the_seed_decides():
    assert variants(ANSWERS, 50, seed=3) == variants(ANSWERS, 50, seed=3)
    assert variants(ANSWERS, 50, seed=3) != variants(ANSWERS, 50, seed=4)


def test_a_tiny_answer_has_few_variants_and_none_has_none():
    assert variants(["yes"], 100, seed=1) == ["yes yes"] or len(variants(["yes"], 100, seed=1)) < 20
    assert variants(["", "  "], 10, seed=1) == []
    assert variants([], 10, seed=1) == []


def test_writing_without_spaces_is_varied_by_character():
    text = "电池和灯泡没有在一个闭合的电路里所以灯泡不会发光"
    made = variants([text], 50, seed=1)
    assert len(made) == 50
    assert not any(" " in one for one in made)


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=5), st.integers(0, 20))
def test_any_texts_will_do(texts, count):
    made = variants(texts, count, seed=1)
    assert len(made) <= count
    assert not set(made) & set(texts)
