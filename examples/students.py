"""Invented students: what they know, how they word it, how they spell it, how raters score it.

An answer is composed of idea units written by hand (``ideas/*.yaml``). Its score follows from which
ideas it holds, by the item's rubric, and never from its wording.
"""

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
CONTRADICTED_YET_SAID = 0.3  # how often a student says both a misconception and what it contradicts

# By care from 1 (hardly any) to 4: the chance, per place where it could happen, of each slip.
# Capitals are per text, and no score counts them: an uncased model cannot see them.
MISSPELLED = {1: 0.6, 2: 0.3, 3: 0.07, 4: 0.0}
MISUSED = {1: 0.2, 2: 0.08, 3: 0.015, 4: 0.0}
MISTYPED = {1: 0.1, 2: 0.04, 3: 0.01, 4: 0.001}
APOSTROPHE_LOST = {1: 0.8, 2: 0.4, 3: 0.1, 4: 0.0}
STOP_LOST = {1: 0.6, 2: 0.25, 3: 0.04, 4: 0.0}
CAPITAL_LOST = {1: 0.75, 2: 0.3, 3: 0.05, 4: 0.0}
CONVENTIONS_LIMITS = (0.01, 0.04, 0.1)  # slips per word: above each, one point is lost


@dataclass(frozen=True)
class Idea:
    """One thing a student may say: worth credit, or a misconception, or neither."""

    name: str
    worth: float
    hard: float
    wrong: bool
    cancels: tuple[str, ...]
    caps: int | None
    place: int  # -1 comes first in the answer, 1 last, 0 anywhere
    says: tuple[str, ...]


@dataclass(frozen=True)
class Topic:
    """The idea units of one item.

    ``steps`` is the credit needed for each score above the lowest; a higher ``mood`` brings more
    of the right ideas to every student.
    """

    item_id: str
    trait: str
    steps: tuple[float, ...]
    mood: float
    ideas: tuple[Idea, ...]
    openings: tuple[str, ...]
    remarks: tuple[str, ...]
    nonanswers: tuple[str, ...]


@dataclass(frozen=True)
class Student:
    """What makes two students' answers differ.

    Ability and talk (how much they write that earns nothing) are about standard normal; care, from
    1 to 4, is how cleanly they write.
    """

    student_id: str
    ability: float
    talk: float
    care: int


@dataclass
class Pen:
    """Writes with a student's care, and counts what goes wrong."""

    care: int
    draw: random.Random
    slips: int = 0

    def slipped(self, chances: Mapping[int, float]) -> bool:
        """Whether something goes wrong at this place."""
        wrong = self.draw.random() < chances[self.care]
        self.slips += wrong
        return wrong


@dataclass(frozen=True)
class Answer:
    """A response and the scores that the rubrics give it, before raters add their noise."""

    text: str
    score: int
    conventions: int


def read_topic(path: Path) -> Topic:
    """Read one item's idea units."""
    raw = yaml.safe_load(path.read_text("utf-8"))
    return Topic(
        item_id=raw["item_id"],
        trait=raw.get("trait", ""),
        steps=tuple(raw["steps"]),
        mood=raw["mood"],
        ideas=tuple(_idea(name, fields) for name, fields in raw["ideas"].items()),
        openings=_lines(raw["openings"]),
        remarks=_lines(raw["remarks"]),
        nonanswers=_lines(raw["nonanswers"]),
    )


def _idea(name: str, fields: Mapping[str, Any]) -> Idea:
    return Idea(
        name=name,
        worth=fields["worth"],
        hard=fields["hard"],
        wrong=fields.get("wrong", False),
        cancels=tuple(fields.get("cancels", ())),
        caps=fields.get("caps"),
        place=int(fields.get("last", False)) - int(fields.get("first", False)),
        says=_lines(fields["says"]),
    )


def _lines(block: str) -> tuple[str, ...]:
    return tuple(line for line in block.splitlines() if line)


def enrol(student_id: str) -> Student:
    """The student with this id, the same wherever they answer."""
    draw = random.Random(f"student {student_id}")
    ability = draw.gauss(0, 1.1)
    care = round(2.7 + 0.3 * ability + draw.gauss(0, 1))
    return Student(student_id, ability, draw.gauss(0, 1), min(4, max(1, care)))


def answer(
    topic: Topic, student: Student, lowest: int, draw: random.Random, *, new_wordings: bool
) -> Answer:
    """Compose one answer.

    Args:
        topic: the item's idea units.
        student: who answers.
        lowest: the lowest score of the item's scale.
        draw: the source of chance.
        new_wordings: also use the wordings that training responses never use (every fourth).
    """
    ideas = _think(topic, student, draw)
    pen = Pen(student.care, draw)
    if not ideas or draw.random() < 0.02:
        ideas, text = [], draw.choice(topic.nonanswers)
    else:
        sentences = [s for idea in ideas for s in _say(idea, student.talk, draw, new_wordings)]
        text = _join(topic, sentences, student, pen)
    text = _spell(text, pen)
    return Answer(text, score(topic, ideas, lowest), conventions(pen.slips, text))


def score(topic: Topic, ideas: Sequence[Idea], lowest: int) -> int:
    """The rubric: credit for the ideas that nothing contradicts, then steps, then caps."""
    cancelled = {name for idea in ideas for name in idea.cancels}
    credit = sum(idea.worth for idea in ideas if idea.name not in cancelled)
    reached = lowest + sum(credit >= step for step in topic.steps)
    return min([reached, *(idea.caps for idea in ideas if idea.caps is not None)])


def conventions(slips: int, text: str) -> int:
    """The rubric for conventions, 1 to 4, by slips per word."""
    share = slips / len(text.split())
    return 4 - sum(share > limit for limit in CONVENTIONS_LIMITS)


def rate(true_score: int, lowest: int, highest: int, slip: float, draw: random.Random) -> int:
    """What one rater gives: the rubric's score, or with chance ``slip`` an adjacent one."""
    if draw.random() >= slip:
        return true_score
    return draw.choice([s for s in (true_score - 1, true_score + 1) if lowest <= s <= highest])


def _think(topic: Topic, student: Student, draw: random.Random) -> list[Idea]:
    """Which ideas come to mind, in the order of writing."""
    chosen = [i for i in topic.ideas if draw.random() < _chance(i, topic.mood, student)]
    cancelled = {name for idea in chosen for name in idea.cancels}
    said = [
        idea
        for idea in chosen
        if idea.name not in cancelled or draw.random() < CONTRADICTED_YET_SAID
    ]
    draw.shuffle(said)
    return sorted(said, key=lambda idea: idea.place)


def _chance(idea: Idea, mood: float, student: Student) -> float:
    """Able students have more of the right ideas, fewer of the wrong; talk brings empty ones."""
    if idea.wrong:
        return _logistic(-0.8 * student.ability - idea.hard - 0.3)
    if idea.worth > 0:
        return _logistic(mood + student.ability - idea.hard)
    return _logistic(0.8 * student.talk - idea.hard - 0.8)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def _say(idea: Idea, talk: float, draw: random.Random, new_wordings: bool) -> list[str]:
    """The idea in one wording, or by a talkative student in two: that earns no second credit."""
    known = [line for at, line in enumerate(idea.says) if new_wordings or at % 4 != 3]
    twice = idea.worth <= 1 and idea.place == 0 and draw.random() < _logistic(talk - 1.5)
    return [_expand(line, draw) for line in draw.sample(known, 2 if twice else 1)]


def _expand(template: str, draw: random.Random) -> str:
    """Choose one of each ``[this|or this]``."""
    chosen = ALTERNATIVES.sub(lambda match: draw.choice(match[1].split("|")), template)
    return re.sub(r"\s+", " ", chosen).replace(" ,", ",").strip()


def _join(topic: Topic, sentences: list[str], student: Student, pen: Pen) -> str:
    """Sentences in order, some joined, some hedged, with an opening or a stray remark."""
    parts, draw = list(sentences), pen.draw
    if draw.random() < 0.12:
        parts[0] = draw.choice(["maybe ", "I think ", "probably "]) + parts[0]
    if draw.random() < _logistic(student.talk - 1):
        parts.insert(draw.randrange(len(parts)) + 1, _expand(draw.choice(topic.remarks), draw))
    if draw.random() < 0.35:
        opening = draw.choice(topic.openings)
        parts[0:1] = [opening[:-1], parts[0]] if opening[-1] in ".:" else [f"{opening} {parts[0]}"]
    text = _capital(parts[0])
    for part in parts[1:]:
        text += _link(part, pen)
    return text if pen.slipped(STOP_LOST) else text + "."


def _link(part: str, pen: Pen) -> str:
    if pen.slipped(STOP_LOST):
        return pen.draw.choice([" ", " and ", ", ", " so "]) + part
    if pen.draw.random() < 0.2:
        return pen.draw.choice([", and ", "; ", ". Also, "]) + part
    return ". " + _capital(part)


def _capital(part: str) -> str:
    at = 1 if part[0] == '"' else 0
    return part[:at] + part[at].upper() + part[at + 1 :]


def _spell(text: str, pen: Pen) -> str:
    """Misspell, mistype and lose capitals and apostrophes, as the student's care allows."""
    text = " ".join(_write(word, pen) for word in text.split(" "))
    if pen.draw.random() < CAPITAL_LOST[pen.care]:
        text = text.lower()
    if pen.draw.random() < 0.15:  # written in a word processor
        text = text.replace("'", "’").replace(' "', " “").replace('"', "”")
    return text


def _write(word: str, pen: Pen) -> str:
    for kind, chances in (("misspelled", MISSPELLED), ("misused", MISUSED)):
        wrong = _misspellings()[kind].get(word)
        if wrong and pen.slipped(chances):
            return pen.draw.choice(wrong)
    if "'" in word and pen.slipped(APOSTROPHE_LOST):
        return word.replace("'", "")
    if len(word) > 4 and word.isalpha() and pen.slipped(MISTYPED):
        at = pen.draw.randrange(1, len(word) - 1)
        return pen.draw.choice([word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]])
    return word


@cache
def _misspellings() -> Mapping[str, Mapping[str, Sequence[str]]]:
    path = Path(__file__).parent / "misspellings.yaml"
    spellings: dict[str, dict[str, list[str]]] = yaml.safe_load(path.read_text("utf-8"))
    return spellings
