"""The words of many texts at once, each with the hashed pieces it is made of (numpy only).

A word is kept as a 64-bit hash, and its pieces as the places of a table that they fall into: the
word itself and every 2 to 5 characters of it, its two ends marked (Bojanowski, Grave, Joulin and
Mikolov 2017, "Enriching word vectors with subword information"). A misspelt or new word so shares
most of its pieces with words that are known. No Python runs per text, word or character: all
texts are one array of code points. The same text gives the same words on every machine and with
every version of numpy, for all arithmetic is of unsigned integers that wrap around. What counts
as a capital or an accent is Python's own Unicode table, which only ever grows.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

SHORTEST, LONGEST = 2, 5
# Kinds of characters. What stands alone is a word by itself: writing without spaces has no others,
# and "a > b" says something else than "a < b". What is silent is left out: dont is don't.
SPACE, LETTER, ALONE, SILENT = 0, 1, 2, 3
# A text never holds the mark between two texts, for no normalisation makes one.
MARK = "\0"
# Texts are read in pieces of about so many characters: arrays of that size stay in the caches.
CHARACTERS = 1 << 19

_SPACES = (
    (0x00, 0x2F),
    (0x3A, 0x40),
    (0x5B, 0x60),
    (0x7B, 0xBF),
    (0x2000, 0x206F),
    (0x2E00, 0x2E7F),
    (0x3000, 0x303F),
    (0xFE10, 0xFE6F),
    (0xFF00, 0xFF0F),
)
_ALONE = (
    *((ord(sign), ord(sign)) for sign in "$%*+-/<=>^~£¥€°±×÷"),
    (0x2190, 0x2BFF),
    (0x3041, 0x30FF),
    (0x3400, 0x9FFF),
    (0x1F000, 0x1FAFF),
    (0x20000, 0x3FFFF),
)
_SILENT = (
    *((ord(sign), ord(sign)) for sign in "'`´\N{SOFT HYPHEN}"),
    (0x200B, 0x200D),
    (0x2018, 0x201B),
    (0xFE00, 0xFE0F),
)

# Odd, so that the powers have inverses; otherwise only well mixed.
_BASE = np.uint64(0x9E3779B97F4A7C15)
_BASE_INVERSE = np.uint64(pow(0x9E3779B97F4A7C15, -1, 1 << 64))
_FIRST, _SECOND = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(33)
# The ends of a word, and what tells a word from a piece of the same characters.
_START, _END, _WHOLE = np.uint64(0x110000), np.uint64(0x110001), np.uint64(0x110002)

UInts = NDArray[np.uint64]
Offsets = NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """The words of n texts.

    Attributes:
        keys: uint64 [m], the distinct words, ascending.
        words: int64 [t], place in ``keys`` of every word, text after text.
        offsets: int64 [n + 1]; text i has the words from offsets[i] to offsets[i + 1].
        buckets: int32 [p], places in a table, of every piece of every distinct word.
        bucket_offsets: int64 [m + 1]; as above, for the pieces of distinct words.
    """

    keys: UInts
    words: NDArray[np.int64]
    offsets: Offsets
    buckets: NDArray[np.int32]
    bucket_offsets: Offsets


def read_words(texts: Sequence[str], n_buckets: int) -> Words:
    """Find the words of texts, and the pieces of the words.

    Args:
        texts: any strings, n of them; capitals, accents' encoding and apostrophes do not matter.
        n_buckets: size of the table that pieces are hashed into, at most 2^31.
    """
    points, bounds = _code_points(texts)
    starts, ends = _word_bounds(points)
    hashes = _hashes(points, starts, ends)
    keys, words = np.unique(hashes, return_inverse=True)
    seen = np.empty(len(keys), dtype=np.int64)
    seen[words] = np.arange(len(words))
    buckets, bucket_offsets = _pieces(points, starts[seen], ends[seen], keys, n_buckets)
    offsets = np.searchsorted(starts, bounds)
    return Words(keys, words, offsets, buckets, bucket_offsets)


def spellings(texts: Sequence[str]) -> list[str]:
    """The distinct words of texts as they are hashed, the most frequent first."""
    points, _ = _code_points(texts)
    starts, ends = _word_bounds(points)
    counts = Counter(points[start:end].tobytes() for start, end in zip(starts, ends, strict=True))
    found = sorted(counts, key=lambda word: (-counts[word], word))
    return [word.decode("utf-32-le", "surrogatepass") for word in found]


def shared_words(texts: Sequence[str], least: int = 2) -> list[str]:
    """The distinct words that so many texts or more hold, as ``spellings`` gives them."""
    found = read_words(texts, 1)
    texts_of = np.repeat(np.arange(len(texts)), np.diff(found.offsets))
    pairs = np.unique(np.stack([found.words, texts_of]), axis=1)
    counts = np.bincount(pairs[0], minlength=len(found.keys))
    common = set(found.keys[counts >= least].tolist())
    words = spellings(texts)
    keys = word_keys(words).tolist()
    return [word for word, key in zip(words, keys, strict=True) if key in common]


def single_words(strings: Sequence[str]) -> list[str]:
    """Those of the strings that are one word."""
    sizes = np.diff(read_words(strings, 1).offsets)
    return [string for string, size in zip(strings, sizes, strict=True) if size == 1]


def word_keys(words: Sequence[str]) -> UInts:
    """The hash of each word, uint64 [n], as ``Words.keys`` has it.

    Raises:
        ValueError: one of them is no single word.
    """
    found = read_words(words, 1)
    if not np.array_equal(found.offsets, np.arange(len(words) + 1)):
        raise ValueError("each of the strings must be one word, and one of them is not")
    return found.keys[found.words]


def chunks(texts: Sequence[str], characters: int = CHARACTERS) -> list[slice]:
    """Parts of the texts, in their order, of about so many characters; a longer text is whole."""
    edges = [0]
    so_far = list(accumulate(map(len, texts), initial=0))
    while edges[-1] < len(texts):
        limit = so_far[edges[-1]] + characters
        edges.append(max(edges[-1] + 1, int(np.searchsorted(so_far, limit, side="right")) - 1))
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], Offsets]:
    """All texts end to end, with a mark after each, and where each begins, [n + 1]."""
    if not texts:
        return np.empty(0, dtype=np.uint32), np.zeros(1, dtype=np.int64)
    joined = MARK.join(texts)
    if joined.count(MARK) != len(texts) - 1:
        joined = MARK.join(text.replace(MARK, " ") for text in texts)
    joined = unicodedata.normalize("NFKC", joined + MARK).casefold()
    points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    silent = _kinds()[points] == SILENT
    if silent.any():
        points = points[~silent]
    return points, np.concatenate([[0], np.flatnonzero(points == 0) + 1])


def _word_bounds(points: NDArray[np.uint32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each word starts and ends."""
    kinds = _kinds()[points]
    letters, alone = kinds == LETTER, kinds == ALONE
    starts = np.flatnonzero(alone | (letters & ~_shifted(letters, 1)))
    return starts, np.flatnonzero(alone | (letters & ~_shifted(letters, -1))) + 1


@lru_cache(maxsize=1)
def _kinds() -> NDArray[np.uint8]:
    """Kind of each code point, [0x110000]; what is in none of the lists is a letter."""
    kinds = np.full(0x110000, LETTER, dtype=np.uint8)
    for kind, ranges in ((SPACE, _SPACES), (ALONE, _ALONE), (SILENT, _SILENT)):
        for first, last in ranges:
            kinds[first : last + 1] = kind
    return kinds


def _shifted(flags: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The flag of the character before (1) or after (-1) each."""
    moved = np.zeros_like(flags)
    if by > 0:
        moved[1:] = flags[:-1]
    else:
        moved[:-1] = flags[1:]
    return moved


def _hashes(
    points: NDArray[np.uint32], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> UInts:
    """A hash of each word: the polynomial of its characters, as a difference of running sums."""
    powers, inverses = _powers(max(1, len(points) - 1).bit_length())
    sums = np.zeros(len(points) + 1, dtype=np.uint64)
    np.cumsum((points + _WHOLE) * powers[: len(points)], out=sums[1:])
    return _mixed((sums[ends] - sums[starts]) * inverses[starts])


@lru_cache(maxsize=2)
def _powers(bits: int) -> tuple[UInts, UInts]:
    """Powers of the base and of its inverse, 2^bits of each."""
    factors = np.full((2, 1 << bits), _BASE)
    factors[1] = _BASE_INVERSE
    factors[:, 0] = 1
    powers, inverses = np.cumprod(factors, axis=1, dtype=np.uint64)
    return powers, inverses


def _pieces(
    points: NDArray[np.uint32],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    keys: UInts,
    n_buckets: int,
) -> tuple[NDArray[np.int32], Offsets]:
    """Buckets of the pieces of some words, and where each word's begin."""
    lengths = ends - starts + 2
    firsts = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    word = np.repeat(np.arange(len(lengths)), lengths)
    places = np.arange(total) - firsts[word]
    left = lengths[word] - places
    codes = np.zeros(total + LONGEST, dtype=np.uint64)
    codes[:total] = points[np.clip(starts[word] + places - 1, 0, max(0, len(points) - 1))]
    codes[firsts], codes[firsts + lengths - 1] = _START, _END
    hashes = np.empty((total, LONGEST - SHORTEST + 2), dtype=np.uint64)
    real = np.empty(hashes.shape, dtype=np.bool_)
    # The first character's place stands for the whole word as well.
    hashes[:, 0], real[:, 0] = keys[word], places == 0
    rolling = codes[:total].copy()
    for size in range(SHORTEST, LONGEST + 1):
        rolling = rolling * _BASE + codes[size - 1 : size - 1 + total]
        hashes[:, size - SHORTEST + 1] = rolling
        real[:, size - SHORTEST + 1] = left >= size
    found = _mixed(hashes[real]) >> np.uint64(32)
    buckets = (found * np.uint64(n_buckets)) >> np.uint64(32)
    sizes = np.bincount(word, weights=real.sum(axis=1), minlength=len(lengths)).astype(np.int64)
    return buckets.astype(np.int32), np.concatenate([[0], np.cumsum(sizes)])


def _mixed(hashes: UInts) -> UInts:
    """Every bit of the result depends on every bit given (the finaliser of MurmurHash3)."""
    mixed = (hashes ^ (hashes >> _HALF)) * _FIRST
    mixed = (mixed ^ (mixed >> _HALF)) * _SECOND
    return np.asarray(mixed ^ (mixed >> _HALF))
