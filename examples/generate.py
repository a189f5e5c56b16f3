"""Make the sample exports: ``python examples/generate.py [--out DIR] [--tables]``.

Everything is drawn from fixed seeds, so the text files come out byte for byte the same. XLSX and
Parquet files hold the same cells, but carry the time and the version of their writer.
"""

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from students import Answer, Student, Topic, answer, enrol, rate, read_topic
from writers import Row, write_asap_sas, write_csv, write_jsonl, write_parquet, write_xlsx

HERE = Path(__file__).parent
FALL, SPRING = "2025-fall", "2026-spring"
RATER_SLIP = 0.075
ESSAY_SLIP = 0.1
SECOND_RATER = 0.4
NIGHT_RATED = 0.75
LONGEST_WORDS = 150
NIGHT_LIMIT = 20_000  # characters; a longer text is refused

# item: grade, responses in training, responses in the night
PLAN = {
    "SCI4-PUDDLE": (4, 120, 60),
    "SCI8-BEANS": (8, 140, 60),
    "0417": (6, 42, 50),
    "0533": (7, 130, 60),
    "ELA5-LANTERN": (5, 140, 60),
    "BIO10-BEETLE": (10, 150, 60),
    "CIV8-LIBRARY": (8, 40, 40),
    "ELA10-PHONES": (10, 96, 48),
}

CANONICAL = ("response_id", "item_id", "trait", "student_id", "submitted_at", "season",
             "human_score", "human_score_2", "text")  # fmt: skip
PLAIN = tuple(name for name in CANONICAL if name != "trait")
EAST = {
    "response_id": "ID", "item_id": "Question ID", "student_id": "Student ID",
    "submitted_at": "Submitted at", "season": "Season", "human_score": "Score 1",
    "human_score_2": "Score 2", "text": "Answer",
}  # fmt: skip
PORTAL = {
    "response_id": "id", "item_id": "question_id", "student_id": "student_id",
    "submitted_at": "submitted_at", "season": "season", "human_score": "rater1",
    "human_score_2": "rater2", "text": "response",
}  # fmt: skip
ESSAYS = {
    "response_id": "response_id", "item_id": "task_id", "trait": "trait",
    "student_id": "student_id", "submitted_at": "submitted_at", "season": "season",
    "human_score": "score1", "human_score_2": "score2", "text": "essay",
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """A row made faulty on purpose; row 1 is the first after the header."""

    row: int
    reason: str
    note: str


@dataclass
class Export:
    """One file: rows of named cells, and what ingest must make of them."""

    path: str
    write: Callable[[Path, list[Row]], None]
    rows: list[Row]
    faults: list[Fault] = field(default_factory=list)

    def plant(self, row: int, reason: str, note: str, **cells: str) -> None:
        """Insert a copy of the row before it, with an id of its own and the cells changed.

        Faults are planted in ascending order of row, so that no later one moves an earlier.
        """
        before = self.rows[row - 2]
        own_id = {"response_id": "9" + before["response_id"][1:]}
        self.rows.insert(row - 1, {**before, **own_id, **cells})
        self.faults.append(Fault(row, reason, note))

    def counts(self) -> dict[str, int]:
        """Received rows and what becomes of them; the first is the sum of the others."""
        reasons = [fault.reason for fault in self.faults if fault.reason != "accepted"]
        duplicate = reasons.count("duplicate")
        kept = len(self.rows) - len(reasons)
        accepted = len({row["response_id"] for row in self._sound()})
        return {
            "received": len(self.rows),
            "accepted": accepted,
            "rated": kept - accepted,
            "duplicate": duplicate,
            "rejected": len(reasons) - duplicate,
        }

    def _sound(self) -> Iterator[Row]:
        refused = {fault.row for fault in self.faults if fault.reason != "accepted"}
        return (row for at, row in enumerate(self.rows, 1) if at not in refused)


def main() -> None:
    """Write all files below --out, or print the tables that README.md holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="folder for training/ and inbox/")
    parser.add_argument("--tables", action="store_true", help="print README.md's tables instead")
    options = parser.parse_args()
    exports = make_exports()
    if options.tables:
        print("\n".join(tables(exports)))
        return
    for export in exports:
        path = options.out / export.path
        path.parent.mkdir(parents=True, exist_ok=True)
        export.write(path, export.rows)


def make_exports() -> list[Export]:
    """Every export of the sample, faults included."""
    bank = yaml.safe_load((HERE / "bank.yaml").read_text("utf-8"))["items"]
    fall, night = {}, {}
    for number, item in enumerate(bank, 1):
        item_id = item["item_id"]
        topic = read_topic(HERE / "ideas" / f"{item_id}.yaml")
        _, in_training, in_night = PLAN[item_id]
        texts: set[str] = set()
        fall[item_id] = _respond(item, topic, number * 1_000, in_training, FALL, texts)
        night[item_id] = _respond(item, topic, 50_000 + number * 1_000, in_night, SPRING, texts)
    return _training(fall) + _inbox(night)


def _respond(
    item: dict[str, Any], topic: Topic, first_id: int, n: int, season: str, texts: set[str]
) -> list[Row]:
    """Rows of n students' responses to the item: one each, or one per trait."""
    draw = random.Random(f"{season} {topic.item_id}")
    rows = []
    for at, student in enumerate(_students(topic.item_id, season, n, draw)):
        lowest = item["score_min"]
        made = answer(topic, student, lowest, draw, new_wordings=season == SPRING)
        while made.text in texts or len(made.text.split()) > LONGEST_WORDS:
            made = answer(topic, student, lowest, draw, new_wordings=season == SPRING)
        texts.add(made.text)
        row = {
            "response_id": f"{first_id + at * 3 + draw.randrange(3):07}",
            "item_id": topic.item_id,
            "student_id": student.student_id,
            "submitted_at": _time(season, draw),
            "season": season,
            "text": made.text,
        }
        rows += _rated(row, item, made, draw)
    return rows


def _students(item_id: str, season: str, n: int, draw: random.Random) -> list[Student]:
    """Students of the item's grade; some answer several items of their grade."""
    grade = PLAN[item_id][0]
    numbers = range(1, 171) if season == FALL else range(201, 271)
    return [enrol(f"S-{grade:03}{number:03}") for number in draw.sample(numbers, n)]


def _time(season: str, draw: random.Random) -> str:
    """In school hours: of one week in the fall, of a single day in the spring."""
    day = f"2025-10-{draw.randrange(13, 18)}" if season == FALL else "2026-03-12"
    return f"{day}T{draw.randrange(8, 16):02}:{draw.randrange(60):02}:{draw.randrange(60):02}Z"


def _rated(row: Row, item: dict[str, Any], made: Answer, draw: random.Random) -> list[Row]:
    """The response with its raters' scores: one row, or one for each trait that was rated.

    In the night a part is not rated: such an essay has one row, without scores.
    """
    rated = row["season"] == FALL or draw.random() < NIGHT_RATED
    twice = rated and draw.random() < SECOND_RATER
    traits = item.get("traits") or [{**item, "trait": ""}]
    rows = []
    for trait in traits if rated else traits[:1]:
        right = made.conventions if trait["trait"] == "conventions" else made.score
        slip = ESSAY_SLIP if trait["trait"] else RATER_SLIP
        scores = [rate(right, trait["score_min"], trait["score_max"], slip, draw) for _ in "12"]
        first, second = str(scores[0]) if rated else "", str(scores[1]) if twice else ""
        rows.append({**row, "trait": trait["trait"], "human_score": first, "human_score_2": second})
    return rows


def _training(fall: dict[str, list[Row]]) -> list[Export]:
    science = fall["SCI4-PUDDLE"] + fall["SCI8-BEANS"] + fall["BIO10-BEETLE"]
    return [
        Export("training/science.csv", write_csv(PLAIN), science),
        Export("training/short-answers.tsv", write_asap_sas, fall["0417"] + fall["0533"]),
        Export("training/reading.jsonl", write_jsonl(PORTAL), fall["ELA5-LANTERN"]),
        Export("training/essays.csv", write_csv(ESSAYS), fall["ELA10-PHONES"]),
        Export(
            "training/letters.csv",
            write_csv(EAST, delimiter=";", encoding="cp1252", line_end="\r\n"),
            fall["CIV8-LIBRARY"],
        ),
    ]


def _inbox(night: dict[str, list[Row]]) -> list[Export]:
    reading, beetle, beans = night["ELA5-LANTERN"], night["BIO10-BEETLE"], night["SCI8-BEANS"]
    east = night["CIV8-LIBRARY"] + reading[:30] + beetle[:30]
    day = "inbox/2026-03-12"
    semicolons = write_csv(EAST, delimiter=";", encoding="cp1252", line_end="\r\n")
    utf16 = write_csv(PLAIN, delimiter="\t", encoding="utf-16", line_end="\r\n")
    exports = [
        Export(f"{day}-science.csv", write_csv(PLAIN), night["SCI4-PUDDLE"] + beans[:45]),
        Export(f"{day}-east-district.csv", semicolons, east),
        Export(f"{day}-short-answers.tsv", write_asap_sas, night["0417"]),
        Export(f"{day}-history.tsv", utf16, night["0533"]),
        Export(f"{day}-portal.jsonl", write_jsonl(PORTAL), reading[30:] + beetle[30:]),
        Export(f"{day}-essays.xlsx", write_xlsx(ESSAYS), night["ELA10-PHONES"]),
        Export(f"{day}-makeup.parquet", write_parquet(PLAIN), beans[45:]),
    ]
    for export in exports:
        _spoil(export)
    return exports


def _spoil(export: Export) -> None:
    """Plant this file's faults, each in a row of its own."""
    same, unrated = export.rows, {"human_score": "", "human_score_2": ""}
    match export.path.removeprefix("inbox/2026-03-12-"):
        case "science.csv":
            export.plant(9, "unknown_item", "item id misspelled", item_id="SCI4-PUDLE")
            export.plant(17, "duplicate", "the row before, again", **same[15])
            export.plant(25, "score_off_scale", "3 on a scale of 0 to 2", human_score="3")
            export.plant(33, "accepted", "blank text, to be coded B", text="", **unrated)
            export.plant(41, "row_too_short", "cut off after the second score", cut="yes")
            export.plant(49, "row_too_long", "one cell too many", extra="yes")
            export.plant(57, "empty_response_id", "no response id", response_id="")
            long_text = (same[64]["text"] + " ") * (NIGHT_LIMIT // len(same[64]["text"]) + 1)
            export.plant(66, "text_too_long", f"over {NIGHT_LIMIT:,} characters", text=long_text)
        case "east-district.csv":
            export.plant(12, "missing_item", "no item id", item_id="")
            export.plant(30, "score_not_a_number", "a score in words", human_score="two")
            export.plant(52, "bad_submitted_at", "no date", submitted_at="Thursday after lunch")
            export.plant(60, "accepted", "blank text, to be coded B", text="   ", **unrated)
        case "short-answers.tsv":
            export.plant(20, "row_too_short", "cut off after the second score", cut="yes")
        case "portal.jsonl":
            other = {"response_id": same[19]["response_id"]}
            export.plant(22, "response_conflict", "the id of row 20, another text", **other)
        case "essays.xlsx":
            export.plant(15, "unknown_trait", "the item has no such trait", trait="voice")
        case "makeup.parquet":
            export.plant(8, "duplicate", "the row before, again", **same[6])


def tables(exports: list[Export]) -> Iterator[str]:
    """README.md's two tables, line by line."""
    yield "| file | received | accepted | rated | duplicate | rejected |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for export in exports:
        yield f"| {export.path} | " + " | ".join(map(str, export.counts().values())) + " |"
    yield ""
    yield "| file | row | outcome | what is wrong with it |"
    yield "| --- | ---: | --- | --- |"
    for export in exports:
        for fault in export.faults:
            yield f"| {export.path} | {fault.row} | {fault.reason} | {fault.note} |"


if __name__ == "__main__":
    main()
