"""Removing a space's states, and one student's from all of them."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_trunk_states import (
    PLENTY,
    WIDTH,
    age,
    fill,
    keys_of,
    little_disk,
    made,
    opened,
    segments,
    text,
    which,
)

from models.trunk_cache import TrunkCache, key_of


def test_a_space_is_removed_with_all_its_depths(tmp_path):
    cache = TrunkCache(tmp_path, PLENTY)
    for space, depth in (("old", 3), ("old", 6), ("new", 6)):
        fill(cache.open(space, depth, WIDTH, "bf16"), [1])
    cache.remove("old")
    assert which(cache.open("old", 3, WIDTH, "bf16"), [1]) == set()
    assert which(cache.open("old", 6, WIDTH, "bf16"), [1]) == set()
    assert which(cache.open("new", 6, WIDTH, "bf16"), [1]) == {1}
    assert len(segments(tmp_path)) == 1


@settings(max_examples=20, deadline=None)
@given(
    parts=st.lists(st.sets(st.integers(0, 9), min_size=1), min_size=1, max_size=4),
    erased=st.sets(st.integers(0, 11)),
)
def test_an_erased_text_is_in_no_file(tmp_path_factory, parts, erased):
    folder = tmp_path_factory.mktemp("cache")
    for depth, part in enumerate(parts, start=1):
        fill(opened(folder, depth=depth), sorted(part))
    count = TrunkCache(folder, PLENTY).erase(keys_of(sorted(erased)))
    assert count == sum(len(part & erased) for part in parts)
    for depth, part in enumerate(parts, start=1):
        assert which(opened(folder, depth=depth), range(12)) == part - erased
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for number in erased:
        assert key_of(text(number)) not in held
        assert made(number).tobytes() not in held
    assert TrunkCache(folder, PLENTY).erase(keys_of(sorted(erased))) == 0


def test_spaces_that_the_keys_are_not_for_go_whole(tmp_path):
    cache = TrunkCache(tmp_path, PLENTY)
    for space in ("now", "before"):
        fill(cache.open(space, 6, WIDTH, "bf16"), [1, 2])
    assert cache.erase(keys_of([1]), spaces=["now"]) == 1
    assert which(cache.open("now", 6, WIDTH, "bf16"), [1, 2]) == {2}
    assert which(cache.open("before", 6, WIDTH, "bf16"), [1, 2]) == set()
    assert len(segments(tmp_path)) == 1


def test_erasing_leaves_nothing_that_could_hold_the_text(tmp_path, caplog):
    fill(opened(tmp_path), [1, 2])
    (path,) = segments(tmp_path)
    path.with_suffix(".unfinished").write_bytes(path.read_bytes())
    path.write_bytes(b"?" + path.read_bytes()[1:])
    with caplog.at_level(logging.WARNING):
        assert TrunkCache(tmp_path, PLENTY).erase(keys_of([1])) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert [path for path in tmp_path.rglob("*") if path.suffix in (".states", ".unfinished")] == []


def test_erasing_keeps_the_uses_of_the_rest(tmp_path):
    fill(opened(tmp_path), [1, 2])
    age(segments(tmp_path), days=3)
    (before,) = segments(tmp_path)
    times = before.stat().st_mtime_ns
    TrunkCache(tmp_path, PLENTY).erase(keys_of([1]))
    (after,) = segments(tmp_path)
    assert after != before
    assert after.stat().st_mtime_ns == times


def test_an_open_reader_goes_on_after_an_erasure(tmp_path):
    fill(opened(tmp_path), [1, 2])
    reader = opened(tmp_path)
    TrunkCache(tmp_path, PLENTY).erase(keys_of([1]))
    assert which(reader, [1, 2]) == set()
    fill(reader, [2])
    assert which(opened(tmp_path), [1, 2]) == {2}


def test_what_cannot_be_erased_is_an_error(tmp_path):
    fill(opened(tmp_path), range(50))
    with little_disk(100), pytest.raises(OSError, match="too large"):
        TrunkCache(tmp_path, PLENTY).erase(keys_of([1]))
    assert which(opened(tmp_path), range(50)) == set(range(50))
    assert TrunkCache(tmp_path, PLENTY).erase(keys_of([1])) == 1
    assert 1 not in which(opened(tmp_path), range(50))
