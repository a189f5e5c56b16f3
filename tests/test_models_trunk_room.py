"""Which states stay within the budget, and what a folder does that cannot be written to."""

import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_trunk_states import (
    DAY_S,
    PLENTY,
    WIDTH,
    age,
    fill,
    keys_of,
    little_disk,
    made,
    opened,
    segments,
    which,
)

from models.trunk_cache import TrunkCache

# The budget


@settings(max_examples=30, deadline=None)
@given(
    budget=st.integers(0, 3_000),
    steps=st.lists(
        st.tuples(st.integers(1, 12), st.integers(0, 40), st.integers(1, 9)), max_size=12
    ),
)
def test_the_budget_holds_after_every_flush(tmp_path_factory, budget, steps):
    folder = tmp_path_factory.mktemp("cache")
    number = 0
    for depth, tokens, days in steps:
        age(segments(folder), days)
        states = opened(folder, budget, depth=depth)
        for _ in range(3):
            states.add(keys_of([number]), [made(number, tokens + 1)])
            number += 1
        states.flush()
        sizes = sum(path.stat().st_size for path in segments(folder))
        assert TrunkCache(folder, budget).size() == sizes <= budget


def test_a_smaller_budget_is_kept_to_at_the_end_of_a_run(tmp_path):
    for number in range(10):
        fill(opened(tmp_path), [number])
    size = TrunkCache(tmp_path, PLENTY).size()
    TrunkCache(tmp_path, size // 2).trim()
    assert 0 < TrunkCache(tmp_path, PLENTY).size() <= size // 2
    TrunkCache(tmp_path, 0).trim()
    assert segments(tmp_path) == []


def one_segment(folder: Path) -> int:
    """Bytes of a segment with one text."""
    fill(opened(folder), [0])
    return TrunkCache(folder, PLENTY).size()


def test_states_that_were_used_stay_before_newer_ones_that_were_not(tmp_path):
    room = 3 * one_segment(tmp_path / "one")
    for number in (1, 2, 3):
        fill(opened(tmp_path / "cache", room), [number])
        age(segments(tmp_path / "cache"), days=7 - number)
    for _ in range(3):
        reader = opened(tmp_path / "cache", room)
        assert which(reader, [1]) == {1}
        reader.flush()
    for number in (4, 5):
        fill(opened(tmp_path / "cache", room), [number])
    assert which(opened(tmp_path / "cache"), range(1, 6)) == {1, 4, 5}


def test_past_uses_count_less_as_time_passes(tmp_path):
    room = 2 * one_segment(tmp_path / "one")
    fill(opened(tmp_path / "cache", room), [1])
    reader = opened(tmp_path / "cache", room)
    for _ in range(3):
        assert which(reader, [1]) == {1}
    reader.flush()
    (path,) = segments(tmp_path / "cache")
    os.utime(path, (time.time(), path.stat().st_mtime - 40 * DAY_S))
    fill(opened(tmp_path / "cache", room), [2])
    age([other for other in segments(tmp_path / "cache") if other != path], days=1)
    fill(opened(tmp_path / "cache", room), [3])
    assert which(opened(tmp_path / "cache"), [1, 2, 3]) == {2, 3}


def test_states_above_more_blocks_stay_longer(tmp_path):
    room = 2 * one_segment(tmp_path / "one")
    fill(opened(tmp_path / "cache", room, depth=12), [1])
    fill(opened(tmp_path / "cache", room, depth=2), [2])
    age(segments(tmp_path / "cache"), days=2)
    fill(opened(tmp_path / "cache", room, depth=12), [3])
    assert which(opened(tmp_path / "cache", depth=12), [1, 3]) == {1, 3}
    assert which(opened(tmp_path / "cache", depth=2), [2]) == set()


def test_a_clock_that_was_wrong_pins_nothing(tmp_path):
    room = one_segment(tmp_path / "one")
    fill(opened(tmp_path / "cache", room), [1])
    age(segments(tmp_path / "cache"), days=-100_000)
    reader = opened(tmp_path / "cache", room)
    assert which(reader, [1]) == {1}
    reader.flush()
    (path,) = segments(tmp_path / "cache")
    assert path.stat().st_mtime < time.time() + 100 * DAY_S


def test_a_second_run_over_more_texts_than_there_is_room_for_finds_what_fits(tmp_path):
    room = 10 * one_segment(tmp_path / "one")
    for _ in range(3):
        states = opened(tmp_path / "cache", room)
        before = which(states, range(20))
        for number in range(20):
            fill(states, [number])
    assert len(before) == 10


# A folder that cannot be used


def test_a_full_disk_turns_the_cache_off_with_one_warning(tmp_path, caplog):
    cache = TrunkCache(tmp_path, PLENTY)
    states = cache.open("engine", 6, WIDTH, "bf16")
    fill(states, [1])
    with caplog.at_level(logging.WARNING), little_disk(200):
        for number in (2, 3, 4):
            states.add(keys_of([number]), [made(number, 30)])
            states.flush()
        cache.trim()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "free some space" in caplog.text
    assert cache.is_off
    assert which(states, [1, 2, 3, 4]) == {1}
    assert list(tmp_path.rglob("*.unfinished")) == []


def test_a_folder_that_cannot_be_made_turns_the_cache_off_with_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = TrunkCache(tmp_path / "file" / "cache", PLENTY)
    states = cache.open("engine", 6, WIDTH, "bf16")
    with caplog.at_level(logging.WARNING):
        fill(states, [1])
        fill(states, [2])
        cache.trim()
    assert len(caplog.records) == 1
    assert cache.size() == 0
    assert which(states, [1, 2]) == set()


def test_a_read_only_folder_is_read(tmp_path, caplog):
    fill(opened(tmp_path), [1])
    (tmp_path / ".lock").unlink(missing_ok=True)
    folders = [tmp_path, *(path for path in tmp_path.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o500)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        states = opened(tmp_path)
        with caplog.at_level(logging.WARNING):
            assert which(states, [1]) == {1}
            fill(states, [2])
            fill(states, [3])
        assert len(caplog.records) == 1
        assert which(states, [1, 2, 3]) == {1}
    finally:
        for folder in folders:
            folder.chmod(0o700)
