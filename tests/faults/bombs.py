"""Files that are small until somebody opens them, and files that are large from the start."""

import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from faults.values import MARK

MB = 1_000_000
HEADER = "response_id,item_id,text,student_id\n"
TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/'
    'content-types"><Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/></Types>'
)
RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
    'relationships">{}</Relationships>'
)
RELATION = (
    '<Relationship Id="{}" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
    'relationships/{}" Target="{}"/>'
)
BOOK = (
    '<?xml version="1.0"?>{}<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/'
    'main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets>'
    '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>'
)
SHEET = (
    '<?xml version="1.0"?>{}<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/'
    'main">{}<sheetData>'
)
STRINGS = (
    '<?xml version="1.0"?>{}<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
)
NAMES = ("response_id", "item_id", "text")
LAUGHS = '<!DOCTYPE a [<!ENTITY b0 "ha">' + "".join(
    f'<!ENTITY b{n} "{f"&b{n - 1};" * 10}">' for n in range(1, 12)
) + "]>"  # fmt: skip


def _book(path: Path, sheet: Iterator[str], strings: Iterator[str] | None = None) -> Path:
    """A workbook by hand, written piece by piece."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", TYPES)
        target = RELATION.format("r1", "officeDocument", "xl/workbook.xml")
        archive.writestr("_rels/.rels", RELATIONS.format(target))
        archive.writestr("xl/workbook.xml", BOOK.format(""))
        parts = RELATION.format("r1", "worksheet", "worksheets/sheet1.xml")
        if strings is not None:
            parts += RELATION.format("r2", "sharedStrings", "sharedStrings.xml")
        archive.writestr("xl/_rels/workbook.xml.rels", RELATIONS.format(parts))
        for name, pieces in (
            ("xl/worksheets/sheet1.xml", sheet),
            ("xl/sharedStrings.xml", strings),
        ):
            if pieces is not None:
                with archive.open(name, "w", force_zip64=True) as stream:
                    for piece in pieces:
                        stream.write(piece.encode())
    return path


def _row(number: int, cells: tuple[str, ...]) -> str:
    inline = "".join(
        f'<c r="{"ABCDEFG"[at]}{number}" t="inlineStr"><is><t>{cell}</t></is></c>'
        for at, cell in enumerate(cells)
    )
    return f'<row r="{number}">{inline}</row>'


def _sheet(more: Iterator[str], doctype: str = "", dimension: str = "") -> Iterator[str]:
    yield SHEET.format(doctype, dimension) + _row(1, NAMES) + _row(2, ("r1", "A", MARK))
    yield from more
    yield "</sheetData></worksheet>"


def far_cell(folder: Path, _: random.Random) -> Path:
    """Two cells, as far from each other as a sheet is large."""
    far = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row>'
    return _book(folder / "far.xlsx", _sheet(iter([far])))


def far_column(folder: Path, _: random.Random) -> Path:
    """Many short rows and one very wide one."""
    rows = (f'<row r="{n}"><c r="A{n}"><v>{n}</v></c></row>' for n in range(3, 20_000))
    wide = '<row r="20001"><c r="XFD20001"><v>1</v></c></row>'
    return _book(folder / "wide.xlsx", _sheet(iter([*rows, wide])))


def false_dimension(folder: Path, _: random.Random) -> Path:
    """A sheet that says that it is as large as one can be, and is not."""
    said = '<dimension ref="A1:XFD1048576"/>'
    return _book(folder / "dimension.xlsx", _sheet(iter(()), dimension=said))


def laughing_sheet(folder: Path, _: random.Random) -> Path:
    """A billion laughs in the sheet."""
    cell = '<row r="3"><c r="A3" t="inlineStr"><is><t>&b11;</t></is></c></row>'
    return _book(folder / "laughs.xlsx", _sheet(iter([cell]), doctype=LAUGHS))


def laughing_strings(folder: Path, _: random.Random) -> Path:
    """A billion laughs in the shared strings."""
    cell = '<row r="3"><c r="A3" t="s"><v>0</v></c></row>'
    strings = iter([STRINGS.format(LAUGHS) + "<si><t>&b11;</t></si></sst>"])
    return _book(folder / "strings.xlsx", _sheet(iter([cell])), strings)


def external_entity(folder: Path, _: random.Random) -> Path:
    """An entity that would read a file of this machine."""
    cell = '<row r="3"><c r="A3" t="inlineStr"><is><t>&f;</t></is></c></row>'
    doctype = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]>'
    return _book(folder / "entity.xlsx", _sheet(iter([cell]), doctype=doctype))


def blank_sheet(folder: Path, _: random.Random) -> Path:
    """480 MB of blanks: just under the limit, 500 kB as a file."""
    return _book(folder / "blanks.xlsx", _sheet(" " * MB for _ in range(480)))


def one_string(folder: Path, _: random.Random) -> Path:
    """One shared string of 450 MB."""

    def pieces() -> Iterator[str]:
        yield STRINGS.format("") + "<si><t>"
        yield from ("y" * MB for _ in range(450))
        yield "</t></si></sst>"

    cell = '<row r="3"><c r="A3" t="s"><v>0</v></c></row>'
    return _book(folder / "string.xlsx", _sheet(iter([cell])), pieces())


def many_strings(folder: Path, _: random.Random) -> Path:
    """Shared strings of one letter, as many as fit under the limit."""

    def pieces() -> Iterator[str]:
        yield STRINGS.format("")
        yield from ("<si><t>y</t></si>" * 50_000 for _ in range(500))
        yield "</sst>"

    return _book(folder / "strings.xlsx", _sheet(iter(())), pieces())


def empty_cells(folder: Path, _: random.Random) -> Path:
    """Cells without end and without content."""
    row = "".join(f'<c r="{a}{b}{{n}}"/>' for a in "ABCDEFGH" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    rows = (f'<row r="{n}">' + row.replace("{n}", str(n)) + "</row>" for n in range(3, 60_000))
    return _book(folder / "cells.xlsx", _sheet(rows))


def lying_sizes(folder: Path, _: random.Random) -> Path:
    """An archive whose directory says that its 2 GB are 1 kB."""
    path = _book(folder / "lies.xlsx", _sheet(" " * MB for _ in range(2000)))
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    while at >= 0:
        length = int.from_bytes(data[at + 28 : at + 30], "little")
        if b"sheet1" in data[at + 46 : at + 46 + length]:
            data[at + 24 : at + 28] = (1000).to_bytes(4, "little")
        at = data.rfind(b"PK\x01\x02", 0, at)
    path.write_bytes(data)
    return path


def zip_of_zips(folder: Path, _: random.Random) -> Path:
    """Archives in archives, and a name that leads out of the folder."""
    inner = folder / "inner.zip"
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\x00" * 50 * MB)
    path = folder / "nested.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.write(inner, f"xl/{number}.zip")
        archive.writestr("../../x", "x")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    inner.unlink()
    return path


def one_field(folder: Path, _: random.Random) -> Path:
    """A field of 100 MB between two sound rows."""
    return _large(folder / "field.csv", HEADER + "r1,A,x,s\nr2,A,", ",s\nr3,A,x,s\n")


def one_quoted_field(folder: Path, _: random.Random) -> Path:
    """The same in quotes, over many lines."""
    start, end = HEADER + 'r1,A,x,s\nr2,A,"', '",s\nr3,A,x,s\n'
    return _large(folder / "quoted.csv", start, end, piece="y" * 999 + "\n")


def one_open_quote(folder: Path, _: random.Random) -> Path:
    """A quotation mark before 100 MB of rows, which never closes."""
    start = HEADER + 'r1,A,x,s\nr2,A,"'
    return _large(folder / "open.csv", start, "", piece="y,z,y,z," * 124 + "abcdefg\n")


def one_line_of_json(folder: Path, _: random.Random) -> Path:
    """A string of 100 MB in one JSON object."""
    start, end = '{"response_id": "r1", "item_id": "A", "text": "', '"}\n'
    return _large(folder / "line.jsonl", start, end)


def quotes_only(folder: Path, _: random.Random) -> Path:
    """100 MB of quotation marks."""
    return _large(folder / "quotes.csv", HEADER, "", piece='"' * 100)


def lines_only(folder: Path, _: random.Random) -> Path:
    """100 MB of line ends."""
    return _large(folder / "lines.csv", HEADER, "", piece="\n" * 100)


def no_line_end(folder: Path, _: random.Random) -> Path:
    """A header of 100 MB."""
    return _large(
        folder / "header.csv", "response_id,item_id,text,", "", piece="column," * 14 + "x,"
    )


def many_keys(folder: Path, _: random.Random) -> Path:
    """Every object has a thousand keys that no other has."""
    path = folder / "keys.jsonl"
    with path.open("w") as stream:
        for number in range(2000):
            keys = ",".join(f'"k{number}-{key}":1' for key in range(1000))
            stream.write(f'{{"response_id":"r{number}","item_id":"A","text":"x",{keys}}}\n')
    return path


def null_rows(folder: Path, _: random.Random) -> Path:
    """Parquet with a hundred million rows of nothing in a few kilobytes."""
    path = folder / "nulls.parquet"
    schema = pa.schema([(name, pa.string()) for name in NAMES])
    piece = pa.table({name: pa.nulls(MB, pa.string()) for name in NAMES})
    with pq.ParquetWriter(path, schema) as writer:
        for _ in range(100):
            writer.write_table(piece)
    return path


def one_text_often(folder: Path, _: random.Random) -> Path:
    """Parquet that holds one text of 8 MB, and says it two thousand times."""
    path = folder / "often.parquet"
    n = 2000
    text = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["y" * 8 * MB]))
    ids = pa.array([f"r{number}" for number in range(n)])
    columns = {"response_id": ids, "item_id": pa.array(["A"] * n), "text": text}
    pq.write_table(pa.table(columns), path, compression="zstd", dictionary_pagesize_limit=16 * MB)
    return path


def wide_parquet(folder: Path, _: random.Random) -> Path:
    """Parquet of 10,000 columns."""
    path = folder / "wide.parquet"
    columns = {f"c{number}": pa.array(["x"] * 20) for number in range(10_000)}
    ours = {name: pa.array([f"{name}{row}" for row in range(20)]) for name in NAMES}
    ours["item_id"] = pa.array(["A"] * 20)
    pq.write_table(pa.table({**ours, **columns}), path)
    return path


def _large(path: Path, start: str, end: str, piece: str = "y" * 100) -> Path:
    with path.open("w") as stream:
        stream.write(start)
        for _ in range(100):
            stream.write(piece * (MB // len(piece)))
        stream.write(end)
    return path


BOMBS: tuple[tuple[str, Callable[[Path, random.Random], Path]], ...] = tuple(
    (make.__name__.replace("_", " "), make)
    for make in (
        far_cell, far_column, false_dimension, laughing_sheet, laughing_strings, external_entity,
        blank_sheet, one_string, many_strings, empty_cells, lying_sizes, zip_of_zips, one_field,
        one_quoted_field, one_open_quote, one_line_of_json, quotes_only, lines_only, no_line_end,
        many_keys, null_rows, one_text_often, wide_parquet,
    )
)  # fmt: skip
EVERY = 400  # one seed in so many is a bomb


def is_bomb(seed: int) -> bool:
    """Whether a seed makes a bomb."""
    return seed % EVERY == 0


def bomb(seed: int) -> tuple[str, Callable[[Path, random.Random], Path]]:
    """The bomb of a seed, with its name."""
    return BOMBS[(seed // EVERY) % len(BOMBS)]
