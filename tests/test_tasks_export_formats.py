"""The same rows come out of every format and encoding, or the file is refused whole."""

import json
import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import parquet_rows, workbooks
from tasks.export_formats import open_export
from tasks.mapping_file import MappingFile, read_mapping
from tasks.reasons import ExportRefusedError, Fault

HEADER = ["response_id", "item_id", "text"]
ROWS = [["001", "A", "été, “quoted”"], ["002", "B", "plain"], ["003", "A", "naïve – yes"]]
CSV = "response_id,item_id,text\n" + "".join(f'{i},{j},"{t}"\n' for i, j, t in ROWS)


def written(folder: Path, data: bytes, name: str = "export.csv") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def rows(path: Path, mapping: MappingFile | None = None) -> list[object]:
    opened = open_export(path, mapping, line_limit=10_000)
    return [str(row.reason) if isinstance(row, Fault) else row for row in opened.rows()]


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"]
)
def test_encodings_are_found(tmp_path: Path, encoding: str) -> None:
    path = written(tmp_path, CSV.encode(encoding))
    opened = open_export(path, None, 10_000)
    assert list(opened.header) == HEADER
    assert list(opened.rows()) == ROWS
    assert opened.encoding == encoding


def test_latin_1_is_what_cp1252_cannot_be(tmp_path: Path) -> None:
    path = written(tmp_path, b"response_id,item_id,text\n1,A,caf\xe9 \x81\n")
    assert open_export(path, None, 10_000).encoding == "latin-1"
    assert rows(path) == [["1", "A", "café \x81"]]


def test_one_damaged_row_does_not_turn_a_utf8_file_into_nonsense(tmp_path: Path) -> None:
    data = CSV.encode() + b"004,A,caf\xe9\n" + "005,A,zoë\n".encode()
    found = rows(written(tmp_path, data))
    assert found[:3] == ROWS
    assert found[4] == ["005", "A", "zoë"]
    assert found[3] == ["004", "A", "caf\udce9"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    lines = [HEADER, ["1", "A", "yes; well, no|maybe" if delimiter == "\t" else "yes"]]
    data = "\r\n".join(delimiter.join(line) for line in lines).encode()
    assert rows(written(tmp_path, data)) == lines[1:]


def test_excels_separator_line_is_obeyed(tmp_path: Path) -> None:
    assert rows(written(tmp_path, b"sep=;\r\nid;item;answer\r\n1;A;x\r\n")) == [["1", "A", "x"]]


def test_a_lone_carriage_return_in_an_unquoted_cell_is_text(tmp_path: Path) -> None:
    assert rows(written(tmp_path, b"id,item,text\n1,A,x\ry\n2,B,z\n"))[0] == ["1", "A", "x\ry"]


def test_old_mac_line_ends(tmp_path: Path) -> None:
    assert rows(written(tmp_path, b"id,item,text\r1,A,x\r2,B,z\r"))[1] == ["2", "B", "z"]


def test_quotes_are_literal_in_the_asap_sas_layout(tmp_path: Path) -> None:
    data = 'Id\tEssaySet\tScore1\tScore2\tEssayText\n1\t1\t1\t1\t"Open, never closed\n'
    opened = open_export(written(tmp_path, data.encode(), "train.tsv"), None, 10_000)
    assert opened.layout == "ASAP-SAS"
    assert list(opened.rows()) == [["1", "1", "1", "1", '"Open, never closed']]


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_quotes_are_quotes_in_the_asap_sas_layout_with_another_delimiter(
    tmp_path: Path, delimiter: str
) -> None:
    header = delimiter.join(("Id", "EssaySet", "Score1", "Score2", "EssayText"))
    row = delimiter.join(("1", "1", "2", "2", f'"up{delimiter} then ""down"""'))
    opened = open_export(written(tmp_path, f"{header}\n{row}\n".encode()), None, 10_000)
    assert opened.layout == "ASAP-SAS"
    assert list(opened.rows()) == [["1", "1", "2", "2", f'up{delimiter} then "down"']]


def test_a_mapping_file_says_how_to_read(tmp_path: Path) -> None:
    mapping = MappingFile(columns={"text": "T"}, delimiter="|", encoding="utf-8", quoting="literal")
    assert rows(written(tmp_path, '\ufeffid|item|T\n1|A|"é\n'.encode()), mapping) == [
        ["1", "A", '"é']
    ]


def test_jsonl_has_every_key_of_the_file(tmp_path: Path) -> None:
    lines = [
        '{"id": "007", "item": 12345678901234567890, "answer": "x"}',
        "",
        '{"id": 8, "answer": null, "rater2": 2.0, "item": true}',
        '{"id": 9',
        '["no object"]',
        '{"id": 10, "item": "A", "answer": {"deep": 1}}',
        '{"id": 11, "item": "A", "answer": NaN}',
    ]
    path = written(tmp_path, "\n".join(lines).encode(), "export.jsonl")
    opened = open_export(path, None, 10_000)
    assert opened.header == ("id", "item", "answer", "rater2")
    assert rows(path) == [
        ["007", "12345678901234567890", "x", ""],
        ["8", "True", "", "2.0"],
        "bad_json",
        "bad_json",
        ["10", "A", parquet_rows.NESTED, ""],
        ["11", "A", "", ""],
    ]


def test_jsonl_nested_without_end_is_a_fault(tmp_path: Path) -> None:
    data = '{"id": 1, "item": 2, "text": 3}\n{"id": ' + "[" * 9_000
    assert rows(written(tmp_path, data.encode(), "export.jsonl"))[1] == "bad_json"


def test_parquet_keeps_whole_numbers_whole(tmp_path: Path) -> None:
    table = pa.table(
        {
            "response_id": pa.array([2**60 + 1, 2]),
            "item_id": pa.array([7.0, None]),  # how pandas keeps integers with gaps
            "text": pa.array(["x", None]).dictionary_encode(),
            "human_score": pa.array([1.5, 2.0]),
            "submitted_at": pa.array([datetime(2026, 3, 12, 14, 5), None]),
            "tags": pa.array([["a"], ["b"]]),
        }
    )
    path = tmp_path / "export.parquet"
    pq.write_table(table, path)
    assert rows(path) == [
        [str(2**60 + 1), "7", "x", "1.5", "2026-03-12T14:05:00", ""],
        ["2", "", "", "2", "", ""],  # what no column is read from stays unread
    ]


def test_xlsx_first_sheet(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["response_id", "item_id", "text", "submitted_at", "human_score"])
    sheet.append(["007", 12, "x\ny", datetime(2026, 3, 12, 14, 5), 2])
    sheet.append([])
    sheet.append([8.0, "A", None, None, 1.5])
    sheet.append([9, "A", "x", None, 1, "beyond"])
    path = tmp_path / "export.xlsx"
    book.save(path)
    assert rows(path) == [
        ["007", "12", "x\ny", "2026-03-12T14:05:00", "2"],
        ["8", "A", "", "", "1.5"],
        "row_too_long",
    ]


def test_a_workbook_that_unpacks_to_too_much_is_refused_unopened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbooks, "UNPACKED_BYTES", 1_000_000)
    path = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"0" * 2_000_000)
    assert path.stat().st_size < 10_000
    with pytest.raises(ExportRefusedError, match="unpacks to 2 MB"):
        open_export(path, None, 10_000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"\xef\xbb\xbf \r\n", "empty"),
        (b"\x1f\x8b\x08rest", "unpack it first"),
        (b"%PDF-1.7", "PDF"),
        (b"<html></html>", "web page"),
        (b'[{"id": 1}]', "one object per line"),
        (b"\xd0\xcf\x11\xe0old", "old or encrypted Office"),
        (b"PAR1 and no more", "Parquet"),
        (b"PK\x03\x04 and no more", "damaged"),
        (bytes(range(256)) * 20, "binary"),
        ("id,item,text\n".encode("utf-16") + b"x", "not valid utf-16"),
    ],
)
def test_files_that_cannot_be_read_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(ExportRefusedError, match=said):
        rows(written(tmp_path, data))


def test_a_zip_archive_is_no_workbook(tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("export.csv", CSV)
    with pytest.raises(ExportRefusedError, match="not a workbook"):
        open_export(path, None, 10_000)


def test_a_workbook_in_name_only(tmp_path: Path) -> None:
    path = tmp_path / "export.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("xl/workbook.xml", "no xml")
    with pytest.raises(ExportRefusedError, match="workbook cannot be read"):
        open_export(path, None, 10_000)


def test_the_name_of_a_file_does_not_matter(tmp_path: Path) -> None:
    data = json.dumps({"id": 1, "item": 2, "text": "x"}).encode()
    assert rows(written(tmp_path, data, "export.csv")) == [["1", "2", "x"]]


def test_a_file_that_is_not_in_the_encoding_that_was_named_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, CSV.encode("utf-8"))
    with pytest.raises(ExportRefusedError, match="not valid utf-16"):
        open_export(path, MappingFile(encoding="utf-16"), 10_000)


@pytest.mark.parametrize(
    "words",
    ["[" * 3_000, "{" * 3_000, "? [a]\n: b\n"]
    + [f"submitted_at_format: '{form}'\n" for form in ("%d%d", "%", "%Q", "%Y\u0000")],
)
def test_a_mapping_file_that_means_nothing_is_refused(tmp_path: Path, words: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(words)
    with pytest.raises(ExportRefusedError, match="mapping file cannot be used"):
        read_mapping(path)


def test_parquet_with_any_byte_changed_is_read_or_refused(tmp_path: Path) -> None:
    columns = {"response_id": pa.array(["r1", "r2"]), "item_id": pa.array(["A", "A"])}
    table = pa.table({**columns, "text": pa.array(["longer words", "others"])})
    path = tmp_path / "export.parquet"
    pq.write_table(table, path, compression="none")
    data = path.read_bytes()
    refused = 0
    for at in range(4, len(data) - 400):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x3F]) + data[at + 1 :])
        try:
            list(open_export(path, None, 10_000).rows())
        except ExportRefusedError:
            refused += 1
    assert refused
