"""Exports as they should not be: a seed decides the file, so that any of them can be made again.

A case either damages cells of a well-formed file, and then every row is accounted for and the
untouched ones go in; or it damages the file itself, and then nothing is known but that it must be
read or refused.
"""

import csv
import io
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from faults import bombs
from faults.values import COLUMNS, ENCODINGS, MAPPINGS, MARK, VALUES

FORMATS = ("csv", "tsv", "semicolons", "jsonl", "parquet", "xlsx")
TEXT_FORMATS = ("csv", "tsv", "semicolons", "jsonl")
Row = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A mutated export.

    Attributes:
        kind: what was done to it.
        path: the file.
        mapping: the mapping file beside it, if there is one.
        rows: how many rows it has, where that can be known.
        sound: text by response id of the rows that nothing was done to.
    """

    kind: str
    path: Path
    mapping: Path | None = None
    rows: int | None = None
    sound: tuple[tuple[str, str], ...] = ()


def mutated(seed: int, folder: Path) -> Case:
    """Make the export of a seed in a folder."""
    random_ = random.Random(seed)
    if bombs.is_bomb(seed):
        name, make = bombs.bomb(seed)
        return Case(f"bomb: {name}", make(folder, random_))
    kinds: tuple[tuple[int, Callable[[random.Random, Path], Case]], ...] = (
        (40, _cells), (30, _bytes), (10, _encoded), (12, _shaped), (8, _mapped)
    )  # fmt: skip
    (chosen,) = random_.choices([make for _, make in kinds], [weight for weight, _ in kinds])
    return chosen(random_, folder)


def _rows(random_: random.Random) -> list[Row]:
    name = f"{random_.getrandbits(40):x}"  # of no other export in the same warehouse
    return [
        {
            "response_id": f"r{name}-{number}",
            "item_id": random_.choice(("A", "007")),
            "text": f"{MARK} the wire, and \"so\" on {number}",
            "student_id": f"{MARK}-{number}",
            "submitted_at": "2026-03-12T10:00:00Z",
            "human_score": str(random_.randrange(4)),
            "season": "2026-spring",
        }
        for number in range(random_.randrange(1, 12))
    ]  # fmt: skip


def _cells(random_: random.Random, folder: Path) -> Case:
    """Some cells hold what no cell should."""
    rows = _rows(random_)
    touched = set()
    for _ in range(random_.randrange(1, 4)):
        number = random_.randrange(len(rows))
        value, column = random_.choice(VALUES), random_.choice(COLUMNS)
        rows[number] = {**rows[number], column: value}
        touched.add(number)
    form = random_.choice(FORMATS)
    path = write(folder / "export", form, rows)
    sound = [(row["response_id"], row["text"]) for at, row in enumerate(rows) if at not in touched]
    ids = [row["response_id"].strip() for row in rows]
    clear = tuple((name, text) for name, text in sound if ids.count(name) == 1)
    # A sheet and a line of JSON without any value are no rows, which is right.
    return Case(f"cells of {form}", path, rows=len(rows), sound=clear)


def _bytes(random_: random.Random, folder: Path) -> Case:
    """Bytes are flipped, cut out, doubled, put in or swapped."""
    form = random_.choice(FORMATS)
    path = write(folder / "export", form, _rows(random_))
    data = bytearray(path.read_bytes())
    for _ in range(random_.choice((1, 1, 2, 3, 10))):
        random_.choice(_DAMAGES)(data, random_)
    path.write_bytes(data)
    return Case(f"bytes of {form}", path)


def _encoded(random_: random.Random, folder: Path) -> Case:
    """Text in another encoding, with and without marks, or in two at once."""
    form = random_.choice(TEXT_FORMATS)
    rows = _rows(random_)
    for row in rows:
        row["text"] += random_.choice(("é ü ß", "日本語", "😀", "ÿ", "\u2028", "ẗ"))
    path = write(folder / "export", form, rows)
    words = path.read_text("utf-8")
    encoding = random_.choice(ENCODINGS)
    data = words.encode(encoding, "replace")
    if random_.random() < 0.3:
        at = random_.randrange(len(words))
        data = words[:at].encode("utf-8") + words[at:].encode(encoding, "replace")
    path.write_bytes(random_.choice((b"", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")) + data)
    return Case(f"{form} in {encoding}", path)


def _shaped(random_: random.Random, folder: Path) -> Case:
    """Lines and headers that are too long, too short, doubled, quoted or ended in other ways."""
    name = random_.choice(list(_SHAPES))
    path = folder / "export.csv"
    path.write_bytes(_SHAPES[name](random_).encode("utf-8", "surrogateescape"))
    return Case(f"shape: {name}", path)


def _mapped(random_: random.Random, folder: Path) -> Case:
    """A sound export with a mapping file that is not."""
    path = write(folder / "export", random_.choice(TEXT_FORMATS), _rows(random_))
    data = bytearray(random_.choice(MAPPINGS).encode("utf-8"))
    if random_.random() < 0.7:
        random_.choice(_DAMAGES)(data, random_)
    mapping = folder / "mapping.yaml"
    mapping.write_bytes(data)
    return Case("mapping file", path, mapping)


def write(path: Path, form: str, rows: list[Row]) -> Path:
    """Rows as a file of a format."""
    if form in ("csv", "tsv", "semicolons"):
        return _delimited(path.with_suffix(".csv"), form, rows)
    if form == "jsonl":
        path = path.with_suffix(".jsonl")
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        path.write_bytes("".join(lines).encode("utf-8", "surrogatepass"))
        return path
    if form == "parquet":
        path = path.with_suffix(".parquet")
        clean = [{name: _encodable(cell) for name, cell in row.items()} for row in rows]
        pq.write_table(pa.Table.from_pylist(clean), path)
        return path
    return _workbook(path.with_suffix(".xlsx"), rows)


def _delimited(path: Path, form: str, rows: list[Row]) -> Path:
    stream = io.StringIO()
    delimiter = {"csv": ",", "tsv": "\t", "semicolons": ";"}[form]
    writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(stream.getvalue().encode("utf-8", "surrogatepass"))
    return path


def _workbook(path: Path, rows: list[Row]) -> Path:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append([_cell(value) for value in row.values()])
    book.save(path)
    return path


def _cell(value: str) -> str:
    return ILLEGAL_CHARACTERS_RE.sub("?", _encodable(value))[:32_767]


def _encodable(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")


def _flip(data: bytearray, random_: random.Random) -> None:
    for _ in range(random_.choice((1, 1, 8, 64))):
        if data:
            data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)


def _cut(data: bytearray, random_: random.Random) -> None:
    at = random_.randrange(len(data) + 1)
    del data[at : at + random_.choice((1, 7, 100, len(data)))]


def _double(data: bytearray, random_: random.Random) -> None:
    at = random_.randrange(len(data) + 1)
    size = random_.choice((1, 20, 200))
    data[at:at] = data[at : at + size] * random_.choice((1, 2, 50))


def _put_in(data: bytearray, random_: random.Random) -> None:
    at = random_.randrange(len(data) + 1)
    junk = (b"\x00", b"\x00" * 40, b'"', b'"""', b"\r", b"\r\n\n", b"\xff", b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80", b",", b"\x1a", b"\x0c", b"{", b"\xef\xbb\xbf",
            random_.randbytes(30))  # fmt: skip
    data[at:at] = random_.choice(junk)


def _swap(data: bytearray, random_: random.Random) -> None:
    half = random_.randrange(len(data) + 1)
    data[:] = data[half:] + data[:half]


_DAMAGES = (_flip, _flip, _cut, _double, _put_in, _put_in, _swap)
_HEADER = "response_id,item_id,text,student_id\n"


def _lines(random_: random.Random, line: str) -> str:
    return _HEADER + line * random_.randrange(1, 40)


_SHAPES: dict[str, Callable[[random.Random], str]] = {
    "10,000 columns": lambda _: ",".join(f"c{n}" for n in range(10_000)) + "\n" + "x," * 9_999,
    "10,000 columns and ours": lambda _: (
        _HEADER.strip() + "," + ",".join(f"c{n}" for n in range(9_996)) + "\n"
        + ("r1,A,x,s" + "," * 9_996 + "\n") * 50
    ),
    "one header many times": lambda r: "text," * r.randrange(2, 2000) + "item_id,response_id\n1,2",
    "no header": lambda _: f"1,A,{MARK},s\n2,A,{MARK},s\n",
    "only delimiters": lambda r: "," * r.randrange(200_000) + "\n" + "\n" * r.randrange(1000),
    "only quotes": lambda r: '"' * r.randrange(1, 200_000),
    "quotes that never close": lambda r: _lines(r, f'r1,A,"{MARK} x,s\n'),
    "quotes inside": lambda r: _lines(r, f'r1,A,"{MARK} "x" y",s\n'),
    "a quote closed late": lambda r: _lines(r, f'r1,A,"{MARK}\nr2,A,x",s\n'),
    "mixed line ends": lambda r: _lines(r, r.choice(("r1,A,x,s\r", "r1,A,x,s\r\n", "r1,A,x\x85"))),
    "ragged rows": lambda r: _HEADER + "".join(
        ",".join(["x"] * r.randrange(9)) + "\n" for _ in range(r.randrange(200))
    ),
    "a line of a megabyte": lambda _: _HEADER + f"r1,A,{MARK}" + "y" * 1_000_000 + ",s\nr2,A,x,s\n",
    "a thousand rows": lambda _: _HEADER + "".join(f"r{n},A,{MARK} {n},s\n" for n in range(1000)),
    "a header of a megabyte": lambda _: "response_id,item_id,text," + "h" * 1_000_000 + "\n1,A,x,y",
    "separator line": lambda r: f"sep={r.choice(',;|:')}\n" + _lines(r, "r1,A,x,s\n"),
    "one seasons each": lambda r: "response_id,item_id,text,season\n" + "".join(
        f"r{n},A,x,season {n}\n" for n in range(r.randrange(70))
    ),
    "deep JSON": lambda r: '{"a":' * r.randrange(1, 100_000) + "1" + "}" * r.randrange(100_000),
    "wide JSON": lambda _: "".join(
        json.dumps({"response_id": f"r{n}", "item_id": "A", "text": "x",
                    **{f"k{n}-{m}": 1 for m in range(40)}}) + "\n" for n in range(250)
    ),
    "numbers without end": lambda r: '{"response_id":' + "9" * r.randrange(1, 90_000)
    + ',"item_id":"A","text":1e99999,"human_score":1E+400}\n',
    "keys given twice": lambda _: '{"response_id":1,"response_id":2,"item_id":"A","text":"x"}\n',
    "values of JSON's own": lambda _: '{"response_id":NaN,"item_id":Infinity,"text":null}\n' * 3,
    "a list": lambda _: json.dumps([{"response_id": 1}]),
    "white space": lambda r: r.choice((" ", "\t", "\n", "\x0b", "\u3000")) * r.randrange(1, 10_000),
}  # fmt: skip
