"""Three mixes of work: items, each with its texts; seeded, no text twice in a mix."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.engine.words import ADJECTIVES, DETERMINERS, ENDINGS, NOUNS, OPENERS, VERBS

SEED = 20261
# Edges of the histogram of tokens per text that is published with every figure.
HISTOGRAM_EDGES = (0, 8, 16, 24, 32, 48, 64, 96, 128, 192, 257)


@dataclass(frozen=True)
class ItemWork:
    """One item's share of a mix.

    Attributes:
        number: of the item in its mix; also names its adapter.
        texts: what is to be scored, in arrival order.
    """

    number: int
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Mix:
    """Work of one shape.

    Attributes:
        name: short, for keys.
        title: for readers.
        items: in arrival order.
    """

    name: str
    title: str
    items: tuple[ItemWork, ...]

    def turn(self, number: int, items: int, responses: int | None = None) -> tuple[ItemWork, ...]:
        """The items that round ``number`` takes: the next ones, starting again at the end.

        Args:
            number: of the round, from 0.
            items: how many; all of the mix if it has no more.
            responses: only each item's first ones, None for all.
        """
        count = min(items, len(self.items))
        places = [(number * count + step) % len(self.items) for step in range(count)]
        return first_responses([self.items[place] for place in places], responses)


@dataclass(frozen=True)
class _Shape:
    title: str
    n_items: int
    responses: Callable[[Generator], int]
    words: Callable[[Generator], int]


def _around(median: float, sigma: float, low: int, high: int) -> Callable[[Generator], int]:
    def drawn(random: Generator) -> int:
        return int(np.clip(np.rint(median * np.exp(sigma * random.normal())), low, high))

    return drawn


def _between(low: int, high: int) -> Callable[[Generator], int]:
    return lambda random: int(random.integers(low, high + 1))


SHAPES = {
    "paper": _Shape(
        "27 items x 150, about 20 words", 27, _between(150, 150), _around(19, 0.4, 4, 60)
    ),
    "small": _Shape(
        "200 items x 3 to 50, about 20 words", 200, _between(3, 50), _around(19, 0.4, 4, 60)
    ),
    "large": _Shape("10 items x 600, 20 to 200 words", 10, _between(600, 600), _between(20, 200)),
}


def make_mix(name: str, scale: float = 1.0) -> Mix:
    """Generate a mix, always the same for a name and a scale.

    Args:
        name: a key of SHAPES.
        scale: factor on the numbers of items and of responses; 1 for figures that count.
    """
    shape, seen = SHAPES[name], set[str]()
    random = np.random.default_rng([SEED, list(SHAPES).index(name)])
    items = []
    for number in range(_scaled(shape.n_items, scale, 2)):
        count = _scaled(shape.responses(random), scale, 3)
        texts = tuple(_new_text(random, shape.words(random), seen) for _ in range(count))
        items.append(ItemWork(number, texts))
    return Mix(name, shape.title, tuple(items))


def first_responses(items: Sequence[ItemWork], responses: int | None) -> tuple[ItemWork, ...]:
    """The same items with their first responses only."""
    return tuple(replace(item, texts=item.texts[:responses]) for item in items)


def histogram(lengths: NDArray[np.int64]) -> dict[str, Any]:
    """What must be known of a mix's texts to read a rate: how many tokens they have."""
    counts, _ = np.histogram(lengths, bins=HISTOGRAM_EDGES)
    ranges = [f"{a}-{b - 1}" for a, b in pairwise(HISTOGRAM_EDGES)]
    return {
        "texts": len(lengths),
        "tokens": int(lengths.sum()),
        "mean": float(lengths.mean()),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "counts": dict(zip(ranges, counts.tolist(), strict=True)),
    }


def _scaled(count: int, scale: float, least: int) -> int:
    return max(min(count, least), round(count * scale))


def _new_text(random: Generator, words: int, seen: set[str]) -> str:
    while (text := _text(random, words)) in seen:
        pass
    seen.add(text)
    return text


def _text(random: Generator, words: int) -> str:
    written: list[str] = []
    while len(written) < words:
        written += _sentence(random).split()
    return " ".join(written[:words])


def _sentence(random: Generator) -> str:
    def one(choices: Sequence[str]) -> str:
        return choices[int(random.integers(len(choices)))]

    thing, other = (f"{one(DETERMINERS)} {one(ADJECTIVES)} {one(NOUNS)}" for _ in range(2))
    start = one(OPENERS) + " " if random.random() < 0.7 else ""
    end = " " + one(ENDINGS) if random.random() < 0.5 else ""
    return f"{start}{thing} {one(VERBS)} {other}{end}" + one((".", ",", " and", ""))
