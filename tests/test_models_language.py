"""Which language a response is in: offline, alike each time, and no guess where it is in doubt."""

import socket
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from models.language import FEWEST_LETTERS, languages

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The lamp stays dark because one wire has come off.", "en"),
        ("THE LAMP STAYS DARK BECAUSE ONE WIRE HAS COME OFF", "en"),
        ("El agua es más pesada que la madera\ny por eso se hunde.", "es"),
        ("Die Lampe leuchtet nicht, weil sich ein Kabel gelöst hat.", "de"),
        ("Лампа не горит, потому что провод отошёл.", "ru"),
        ("", None),
        ("no idea", None),
        ("0.5 V, 1.5 V, 0.5 V, 1.5 V, 0.5 V, 1.5 V", None),
        ("asdf jkl qwer uiop zxcv asdf hjkl", None),
    ],
)
def test_a_language_is_told_or_left_open(text, language):
    assert languages([text]) == [language]


def test_too_few_letters_say_nothing():
    enough = "the bulb is in a closed path"
    assert languages([enough]) == ["en"]
    few = "".join(c if c == " " else "7" for c in enough[FEWEST_LETTERS:])
    assert languages([enough[: FEWEST_LETTERS - 1] + few]) == [None]


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert languages(["The lamp stays dark because one wire has come off."]) == ["en"]


def test_the_rest_of_a_long_text_does_not_matter():
    english = "The lamp stays dark because one wire has come off. " * 8
    assert languages([english + "Die Lampe leuchtet nicht. " * 100]) == ["en"]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the public data in ../shared/data")
@pytest.mark.parametrize(
    ("dataset", "language"), [("saf_v1_german", "de"), ("saf_v1_english", "en")]
)
def test_public_answers_are_told_right(dataset, language):
    rows = pq.read_table(DATA / "saf.parquet", filters=[("dataset", "=", dataset)]).to_pylist()
    texts = [row["text"] or "" for row in rows]
    texts = [text for text in texts if sum(map(str.isalpha, text)) >= FEWEST_LETTERS]
    found = [one for one in languages(texts) if one is not None]
    assert len(found) > 0.98 * len(texts)
    assert sum(one == language for one in found) > 0.995 * len(found)
