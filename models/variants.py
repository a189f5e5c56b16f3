"""Made-up variants of an item's own answers, for a teacher to label.

A small student has too few answers to learn from what its teacher knows. The teacher can score
any text, so it is asked about many that lie near the real ones: words dropped, exchanged, moved or
put in, parts of answers alone and joined to others (after Tang, Lu, Liu, Mou, Vechtomova and Lin
2019, "Distilling task-specific knowledge from BERT into simple neural networks", who mask and
sample words in like manner). They need not be good sentences, for only the teacher reads them.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

# Tries per variant that is asked for: very short answers have few variants.
TRIES = 3
# Share of the words that a pass of exchanging or putting in changes, at most.
MOST_CHANGED = 0.4
MOST_DROPPED = 0.5
# A text with fewer spaces than one in so many characters is cut into characters.
CHARACTERS_PER_SPACE = 20

Parts = list[str]


def variants(
    texts: Sequence[str],
    count: int,
    *,
    seed: int,
    near: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Different texts near the given ones, and none of these.

    Args:
        texts: answers of one item.
        count: how many to make; fewer come back where the answers have no more.
        seed: the same seed and texts give the same variants.
        near: words of like meaning, by a word in small letters; some exchanges take these.
    """
    parts = [found for found in map(_parts, texts) if found]
    if not parts:
        return []
    maker = _Maker(parts, near or {}, np.random.default_rng(seed))
    known = {text.strip() for text in texts}
    made: list[str] = []
    for _ in range(TRIES * count):
        if len(made) == count:
            break
        text = maker.one()
        if text and text not in known:
            known.add(text)
            made.append(text)
    return made


class _Maker:
    """Draws variants of some answers, each a list of words."""

    def __init__(
        self,
        answers: Sequence[Parts],
        near: Mapping[str, Sequence[str]],
        random: np.random.Generator,
    ):
        self._answers, self._near, self._random = answers, near, random
        self._all = [word for answer in answers for word in answer]
        self._shapes: tuple[Callable[[Parts], Parts], ...] = (
            self._whole,
            self._thinned,
            self._window,
            self._spliced,
            self._joined,
            self._moved,
        )
        self._touches: tuple[Callable[[Parts], Parts], ...] = (
            self._kept,
            self._exchanged,
            self._exchanged_near,
            self._put_in,
        )

    def one(self) -> str:
        """A variant: a part or a mixture of answers, some of its words exchanged."""
        shape = self._shapes[self._random.integers(len(self._shapes))]
        touch = self._touches[self._random.integers(len(self._touches))]
        words = touch(shape(self._answer()))
        spaced = any(len(word) > 1 for word in words)
        return (" " if spaced else "").join(words)

    def _answer(self) -> Parts:
        return self._answers[int(self._random.integers(len(self._answers)))]

    def _whole(self, words: Parts) -> Parts:
        return words

    def _thinned(self, words: Parts) -> Parts:
        share = self._random.uniform(0, MOST_DROPPED)
        kept = self._random.random(len(words)) >= share
        return [word for word, stays in zip(words, kept, strict=True) if stays]

    def _window(self, words: Parts) -> Parts:
        start, stop = sorted(self._random.integers(len(words) + 1, size=2))
        return words[start:stop]

    def _spliced(self, words: Parts) -> Parts:
        other = self._answer()
        end = self._random.integers(len(words) + 1)
        return words[:end] + other[self._random.integers(len(other) + 1) :]

    def _joined(self, words: Parts) -> Parts:
        return self._window(words) + self._window(self._answer())

    def _moved(self, words: Parts) -> Parts:
        """Two neighbouring parts change places."""
        first, second, third = sorted(self._random.integers(len(words) + 1, size=3))
        return words[:first] + words[second:third] + words[first:second] + words[third:]

    def _kept(self, words: Parts) -> Parts:
        return words

    def _exchanged(self, words: Parts) -> Parts:
        changed = self._chosen(len(words))
        return [
            self._word() if change else word for word, change in zip(words, changed, strict=True)
        ]

    def _exchanged_near(self, words: Parts) -> Parts:
        changed = self._chosen(len(words))
        return [
            self._like(word) if change else word
            for word, change in zip(words, changed, strict=True)
        ]

    def _put_in(self, words: Parts) -> Parts:
        added = self._chosen(len(words))
        pairs = (
            [self._word(), word] if add else [word] for word, add in zip(words, added, strict=True)
        )
        return [word for pair in pairs for word in pair]

    def _chosen(self, n: int) -> list[bool]:
        share = self._random.uniform(0, MOST_CHANGED)
        return list(self._random.random(n) < share)

    def _word(self) -> str:
        """Any word of any answer, the more often used the likelier."""
        return self._all[self._random.integers(len(self._all))]

    def _like(self, word: str) -> str:
        found = self._near.get(word.strip(".,;:!?\"'()").lower())
        return found[int(self._random.integers(len(found)))] if found else self._word()


def _parts(text: str) -> Parts:
    """The words of a text with their punctuation; its characters where it has no spaces."""
    words = text.split()
    if len(words) * CHARACTERS_PER_SPACE < len(text.strip()):
        return [sign for word in words for sign in word]
    return words
