"""What was added is found bit for bit or not at all, whatever happens to the folder."""

import hashlib
import logging
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_trunk_states import (
    PLENTY,
    WIDTH,
    fill,
    keys_of,
    made,
    opened,
    segments,
    text,
    which,
)

from models.trunk_cache import TrunkCache, key_of

ROOT = Path(__file__).resolve().parent.parent


# What is added and found


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    dtype=st.sampled_from(["bf16", "fp32"]),
    cuts=st.sets(st.integers(0, 12)),
    data=st.data(),
)
def test_what_was_added_is_found_bit_for_bit(tmp_path_factory, lengths, dtype, cuts, data):
    folder = tmp_path_factory.mktemp("cache")
    states = opened(folder, dtype=dtype)
    expected = {}
    for number, tokens in enumerate(lengths):
        key = key_of(text(number, tokens))
        expected[key] = made(number, tokens, dtype)
        states.add([key], [expected[key]])
        if number in cuts:
            states.flush()
    asked = data.draw(st.lists(st.sampled_from([*expected, bytes(32)]), max_size=20))
    for reader in (states, opened(folder, dtype=dtype)):
        for key, array in zip(asked, reader.find(asked), strict=True):
            if array is not None:
                assert array.dtype == expected[key].dtype
                assert array.shape == expected[key].shape
                assert array.tobytes() == expected[key].tobytes()
        states.flush()
    held = {key for key, array in zip(expected, states.find([*expected]), strict=True)
            if array is not None}  # fmt: skip
    assert held == set(expected)
    assert states.find([bytes(32)]) == [None]


def test_nothing_is_found_in_an_empty_cache_and_nothing_is_made_by_asking(tmp_path):
    states = opened(tmp_path / "cache")
    assert states.find([]) == []
    assert which(states, [1, 2]) == set()
    states.flush()
    TrunkCache(tmp_path / "cache", PLENTY).trim()
    TrunkCache(tmp_path / "cache", PLENTY).remove("engine")
    assert TrunkCache(tmp_path / "cache", PLENTY).erase(keys_of([1])) == 0
    assert TrunkCache(tmp_path / "cache", PLENTY).size() == 0
    assert not (tmp_path / "cache").exists()


def test_the_key_is_the_sha256_of_the_token_ids():
    ids = np.array([101, 2003, 102], dtype=np.int64)
    assert key_of(ids) == hashlib.sha256(ids.tobytes()).digest()
    assert key_of(ids[::2]) == key_of(np.array([101, 102]))


def test_another_space_depth_or_type_is_another_place(tmp_path):
    fill(opened(tmp_path), [1])
    cache = TrunkCache(tmp_path, PLENTY)
    assert which(cache.open("engine", 6, WIDTH, "bf16"), [1]) == {1}
    for other in (
        cache.open("engine 2", 6, WIDTH, "bf16"),
        cache.open("engine", 5, WIDTH, "bf16"),
        cache.open("engine", 6, WIDTH, "fp32"),
        cache.open("engine", 6, WIDTH // 2, "bf16"),
    ):
        assert which(other, [1]) == set()


def test_what_is_found_is_the_callers_own(tmp_path):
    states = opened(tmp_path)
    given_states = made(1)
    states.add(keys_of([1]), [given_states])
    given_states[:] = 0
    for _ in range(2):
        (found,) = states.find(keys_of([1]))
        assert found is not None
        found[:] = 0
        assert which(states, [1]) == {1}
        states.flush()
    assert which(opened(tmp_path), [1]) == {1}


def test_a_text_is_kept_once(tmp_path):
    states = opened(tmp_path)
    fill(states, [1, 1, 2])
    size = TrunkCache(tmp_path, PLENTY).size()
    fill(states, [2, 1])
    fill(opened(tmp_path), [1, 2])
    assert TrunkCache(tmp_path, PLENTY).size() == size
    assert len(segments(tmp_path)) == 1


def test_states_reach_the_disk_by_themselves_when_many_wait(tmp_path):
    states = opened(tmp_path, budget=16_000)  # 1,000 bytes may wait, 24 a text
    numbers = list(range(100))
    for number in numbers:
        states.add(keys_of([number]), [made(number)])
    assert len(which(opened(tmp_path), numbers)) >= 80


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (made(1, dtype="fp32"), "type float32"),
        (made(1)[0], r"shape \(4,\)"),
        (made(1)[:0], r"shape \(0, 4\)"),
        (made(1, width=5), "width 5"),
    ],
)
def test_states_of_another_kind_are_refused(tmp_path, array, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path).add(keys_of([1]), [array])


def test_keys_and_places_are_checked(tmp_path):
    states = opened(tmp_path)
    for asked in (lambda: states.find([b"short"]), lambda: states.add([b"short"], [made(1)])):
        with pytest.raises(ValueError, match="32 bytes"):
            asked()
    with pytest.raises(ValueError, match="2 keys"):
        states.add(keys_of([1, 2]), [made(1)])
    with pytest.raises(ValueError, match="32 bytes"):
        TrunkCache(tmp_path, PLENTY).erase([b"short"])
    with pytest.raises(ValueError, match="width 4 above 0 blocks"):
        TrunkCache(tmp_path, PLENTY).open("engine", 0, WIDTH, "bf16")


# Damage


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_never_used(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    reader = opened(folder)
    fill(reader, range(6))
    (path,) = segments(folder)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert which(reader, range(6)) in (set(), set(range(6)))
    assert which(opened(folder), range(6)) == set()
    assert segments(folder) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_of_another_length_is_never_used(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("cache")
    reader = opened(folder)
    fill(reader, range(6))
    (path,) = segments(folder)
    content = path.read_bytes()
    length = data.draw(st.integers(0, 2 * len(content)).filter(lambda size: size != len(content)))
    path.write_bytes((content * 2)[:length])
    assert which(reader, range(6)) in (set(), set(range(6)))
    assert which(opened(folder), range(6)) == set()
    assert segments(folder) == []


def test_a_damaged_segment_is_reported_once_and_its_states_may_come_again(tmp_path, caplog):
    fill(opened(tmp_path), [0, 1, 2])
    fill(opened(tmp_path), [3, 4, 5])
    first, second = segments(tmp_path)
    first.write_bytes(first.read_bytes()[:-1] + b"\xff\xff")
    with caplog.at_level(logging.WARNING):
        found = which(opened(tmp_path), range(6))
        assert which(opened(tmp_path), range(6)) == found
    assert found in ({0, 1, 2}, {3, 4, 5})
    assert [first.name in record.message for record in caplog.records] == [True]
    assert segments(tmp_path) == [second]
    fill(opened(tmp_path), range(6))
    assert which(opened(tmp_path), range(6)) == set(range(6))


def test_damage_while_a_reader_is_open_is_noticed(tmp_path, caplog):
    fill(opened(tmp_path), range(6))
    reader = opened(tmp_path)
    (path,) = segments(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with caplog.at_level(logging.WARNING):
        assert which(reader, range(6)) == set()
        assert which(reader, range(6)) == set()
    assert len(caplog.records) == 1
    fill(reader, range(6))
    assert which(reader, range(6)) == set(range(6))


def test_a_segment_that_is_gone_needs_no_word(tmp_path, caplog):
    fill(opened(tmp_path), [1])
    reader = opened(tmp_path)
    (path,) = segments(tmp_path)
    path.unlink()
    assert which(reader, [1]) == set()
    reader.flush()
    assert caplog.records == []


def test_a_segment_in_another_place_is_not_used(tmp_path):
    fill(opened(tmp_path, depth=6), [1])
    fill(opened(tmp_path, depth=7), [2])
    shallow, deep = (path.parent for path in segments(tmp_path))
    for path in segments(shallow):
        path.rename(deep / path.name)
    assert which(opened(tmp_path, depth=7), [1, 2]) in ({2}, {1})
    assert which(opened(tmp_path, depth=int(deep.name[0])), [1, 2]) == {int(deep.name[0]) - 5}


def test_files_that_are_not_ours_are_left_alone(tmp_path):
    for name in ("space/notes/a.states", "space/6-bf16-4/readme", "a.states"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not ours")
    fill(opened(tmp_path, budget=1_000), [1])
    TrunkCache(tmp_path, 0).trim()
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(left) == 3


# Several threads and processes


def test_threads_share_a_reader(tmp_path):
    states = opened(tmp_path, budget=200_000)  # written many times on the way
    problems: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for start in range(first, first + 300, 10):
                numbers = list(range(start, start + 10))
                which(states, numbers)
                states.add(keys_of(numbers), [made(number) for number in numbers])
                assert which(states, numbers) == set(numbers)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 150, 300, 450)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    states.flush()
    assert which(opened(tmp_path), range(750)) == set(range(750))


WRITER = """
import sys
from pathlib import Path
from made_trunk_states import fill, opened, which
folder, budget, first, count = Path(sys.argv[1]), *map(int, sys.argv[2:])
states = opened(folder, budget)
print("open", flush=True)
for number in range(first, first + count):
    fill(states, [number])
    which(states, range(first, number))
"""


def writer(folder: Path, budget: int, first: int, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), *map(str, (budget, first, count))]
    return subprocess.Popen(command, cwd=ROOT / "tests", stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("texts_kept", [8, 45])
def test_processes_share_a_folder_and_its_budget(tmp_path, texts_kept):
    fill(opened(tmp_path / "one"), [0])
    budget = texts_kept * TrunkCache(tmp_path / "one", PLENTY).size()
    folder = tmp_path / "cache"
    processes = [writer(folder, budget, first, 15) for first in (0, 15, 30)]
    while any(process.poll() is None for process in processes):
        which(opened(folder), range(45))
        assert TrunkCache(folder, budget).size() <= budget
        time.sleep(0.02)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert len(which(opened(folder), range(45))) == texts_kept


def test_a_killed_process_leaves_nothing_that_is_used(tmp_path):
    process = writer(tmp_path, PLENTY, 0, 100_000)
    assert process.stdout is not None
    process.stdout.readline()
    while len(segments(tmp_path)) < 5:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (last, *_) = segments(tmp_path)
    half = last.with_name("0123456789abcdef.unfinished")
    half.write_bytes(last.read_bytes()[:50])
    assert len(which(opened(tmp_path), range(1000))) >= 5
    TrunkCache(tmp_path, PLENTY).trim()
    assert not half.exists()
    fill(opened(tmp_path), [100_001])
    assert which(opened(tmp_path), [100_001]) == {100_001}


def test_no_torch_is_needed():
    code = "import sys, models.trunk_cache; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
