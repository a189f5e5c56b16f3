"""A whole export goes in once, every row in one place, or the file is refused and nothing stays."""

import csv
import io
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks import exports
from tasks.exports import (
    ExportRefusedError,
    IngestCounts,
    IngestOptions,
    explain_export,
    ingest_export,
)
from tasks.item_bank import item_rows, read_bank
from warehouse import db, responses
from warehouse.items import ItemRow, add_items

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
DATA = ROOT.parent / "shared" / "data"
OPTIONS = IngestOptions(season="2026-spring", mapping_file=None, student_key=b"k" * 32)
HEADER = "response_id,item_id,student_id,human_score,text\n"


class Workspace:
    """A warehouse with two items, and a folder for exports."""

    def __init__(self, folder: Path):
        self.folder, self.warehouse = folder, folder / "warehouse.duckdb"
        with db.connect(self.warehouse) as connection:
            add_items(connection, [ItemRow("A", "overall", 0, 3), ItemRow("007", "overall", 0, 3)])

    def ingest(
        self, data: str | bytes, name: str = "export.csv", options: IngestOptions = OPTIONS
    ) -> IngestCounts:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return self.ingest_file(path, options)

    def ingest_file(self, path: Path, options: IngestOptions = OPTIONS) -> IngestCounts:
        return ingest_export(self.warehouse, self.folder / "responses", path, "run", options)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with db.connect(self.warehouse, read_only=True) as connection:
            return connection.execute(statement).fetchall()

    def texts(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in (self.folder / "responses").rglob("*.parquet"):
            table = pq.ParquetFile(path).read(["response_id", "text"]).to_pydict()
            found |= dict(zip(table["response_id"], table["text"], strict=True))
        return found

    def leftovers(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.name.startswith(".")]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_an_export_goes_in_and_the_same_bytes_again_change_nothing(workspace: Workspace) -> None:
    data = HEADER + "0001,007,S-1,2,first\n0002,A,S-2,,second\n"
    counts = workspace.ingest(data)
    assert (counts.status, counts.received, counts.accepted) == ("accepted", 2, 2)
    again = workspace.ingest(data, "renamed.csv")
    assert (again.status, again.received, again.export_sha256) == (
        "unchanged",
        0,
        counts.export_sha256,
    )
    assert workspace.query("SELECT response_id, item_id FROM responses ORDER BY 1") == [
        ("0001", "007"),
        ("0002", "A"),
    ]
    assert workspace.texts() == {"0001": "first", "0002": "second"}
    assert workspace.leftovers() == []


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ['"', 'he said "no"', "a\nb", "a\r\nb", ",", "'", "", "日本", "=1+1", " x "]
)


@given(st.lists(TEXTS, min_size=1, max_size=8))
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_row_of_a_csv_is_accounted_for_and_every_text_is_kept(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    workspace = Workspace(tmp_path_factory.mktemp("csv"))
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(["response_id", "item_id", "text"])
    writer.writerows([f"r{number}", "A", text] for number, text in enumerate(texts))
    counts = workspace.ingest(written.getvalue())
    refused = {f"r{row - 1}" for (row,) in workspace.query("SELECT row FROM rejects")}
    controls = {*map(chr, range(9)), *map(chr, range(14, 32)), "\x7f"}
    expected = {
        f"r{number}": text.replace("\r\n", "\n").replace("\r", "\n")
        for number, text in enumerate(texts)
        if not controls & set(text)
    }
    assert counts.received == len(texts) == counts.accepted + counts.rejected
    assert workspace.texts() == expected
    assert refused == {f"r{number}" for number in range(len(texts))} - set(expected)
    # The same rows in a file of other bytes bring nothing.
    again = workspace.ingest(written.getvalue().rstrip("\r\n") + "\r\n\r\n", "again.csv")
    assert (again.accepted, again.duplicate) == (0, counts.accepted)


def test_students_are_pseudonyms_everywhere(workspace: Workspace) -> None:
    workspace.ingest(HEADER + "1,A,Jane-Doe-77,2,x\n2,A,Jane-Doe-77,9,x\n3,A,,1,x\n")
    pseudonyms = workspace.query("SELECT student_pseudo FROM responses ORDER BY response_id")
    assert len(pseudonyms[0][0]) == 64
    assert pseudonyms[1] == (None,)
    for path in workspace.folder.rglob("*"):
        if path.is_file() and path.name != "export.csv":
            assert b"Jane-Doe" not in path.read_bytes()


def test_another_key_makes_other_pseudonyms(workspace: Workspace) -> None:
    workspace.ingest(HEADER + "1,A,S,2,x\n")
    workspace.ingest(HEADER + "2,A,S,2,x\n", "b.csv", replace(OPTIONS, student_key=b"j" * 32))
    assert len(workspace.query("SELECT DISTINCT student_pseudo FROM responses")) == 2
    assert "k" * 32 not in repr(OPTIONS)


def test_the_season_of_the_column_comes_before_the_one_given(workspace: Workspace) -> None:
    workspace.ingest("id,item,text,season\n1,A,x,2025-fall\n2,A,x,\n")
    assert workspace.query("SELECT season FROM responses ORDER BY response_id") == [
        ("2025-fall",),
        ("2026-spring",),
    ]


def test_no_rows_tonight_is_no_error(workspace: Workspace) -> None:
    counts = workspace.ingest(HEADER)
    assert (counts.status, counts.received) == ("accepted", 0)


@pytest.mark.parametrize(
    ("data", "options", "said"),
    [
        ("", OPTIONS, "empty"),
        ("id,points,text\n1,2,x\n", OPTIONS, "no column for item_id"),
        ("1,A,the water rose\n2,A,it fell\n", OPTIONS, "a header row is needed"),
        ("id,item,text,answer\n1,A,x,y\n", OPTIONS, "could each be text"),
        (HEADER + "1,A,S,2,x\n", replace(OPTIONS, season=None), "no season"),
    ],
)
def test_a_refused_file_leaves_nothing(workspace: Workspace, data, options, said) -> None:
    with pytest.raises(ExportRefusedError, match=said) as caught:
        workspace.ingest(data, options=options)
    assert "water" not in str(caught.value)
    assert workspace.query("SELECT count(*) FROM exports") == [(0,)]
    assert workspace.leftovers() == []
    assert not (workspace.folder / "responses").exists()


def write_first_row(path: Path, cells: list[str]) -> None:
    """A file of one row, in the format that its name says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table({cell: ["x"] for cell in cells}), path)
    elif path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.append(cells)
        book.save(path)
    elif path.suffix == ".jsonl":
        path.write_text(json.dumps(dict.fromkeys(cells, "x")) + "\n")
    else:
        path.write_text(",".join(cells) + "\n")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "xlsx"])
@pytest.mark.parametrize("mapping", [None, "columns: {text: the water}"])
def test_a_refusal_quotes_no_cell_of_the_first_row(
    workspace: Workspace, suffix: str, mapping: str | None
) -> None:
    """A file without a header has a student's words there; `answer` makes it look like one."""
    path, mapping_file = workspace.folder / f"export.{suffix}", None
    if mapping:
        mapping_file = workspace.folder / "mapping.yaml"
        mapping_file.write_text(mapping)
    write_first_row(path, ["Jane-Doe-77", "answer", "the water rose"])
    with pytest.raises(ExportRefusedError) as caught:
        workspace.ingest_file(path, replace(OPTIONS, mapping_file=mapping_file))
    said = str(caught.value)
    assert "Jane" not in said
    assert "rose" not in said
    assert "3 columns" in said
    assert "`gradeline ingest --explain FILE`" in said
    assert "item_id" in said
    shown = explain_export(path, mapping_file).problems
    assert any("the water rose" in problem for problem in shown)


def test_a_season_column_that_is_something_else_is_refused(workspace: Workspace) -> None:
    rows = "".join(f"{number},A,x,{number}\n" for number in range(60))
    with pytest.raises(ExportRefusedError, match="60 different values") as caught:
        workspace.ingest("id,item,text,season\n" + rows)
    assert str(caught.value).count("mapping file") == 1
    assert workspace.query("SELECT count(*) FROM responses") == [(0,)]


def test_an_export_of_unknown_items_is_told_of_the_bank_and_not_of_mapping(
    workspace: Workspace,
) -> None:
    with pytest.raises(ExportRefusedError, match="gradeline items add") as caught:
        workspace.ingest(HEADER + "1,Z,S,2,x\n")
    assert "mapping file" not in str(caught.value)


@pytest.mark.parametrize("name", ["absent.csv", "folder.csv"])
def test_what_is_no_file_is_refused(workspace: Workspace, name: str) -> None:
    (workspace.folder / "folder.csv").mkdir()
    with pytest.raises(ExportRefusedError):
        workspace.ingest_file(workspace.folder / name)


def test_a_file_that_grows_while_it_is_read_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = workspace.folder / "export.csv"
    stage = exports.stage

    def stage_while_it_grows(*arguments: Any) -> None:
        stage(*arguments)
        with path.open("a") as handle:
            handle.write("2,A,S,1,more\n")

    monkeypatch.setattr(exports, "stage", stage_while_it_grows)
    with pytest.raises(ExportRefusedError, match="still being written"):
        workspace.ingest(HEADER + "1,A,S,2,x\n")
    assert workspace.query("SELECT count(*) FROM responses") == [(0,)]


def test_what_a_killed_ingest_left_is_replaced(workspace: Workspace) -> None:
    data = HEADER + "1,A,S,2,x\n"
    path = workspace.folder / "export.csv"
    path.write_text(data)
    sha256 = exports.sha256_of(path)
    orphan = workspace.folder / "responses" / "season=2026-spring" / f"{sha256[:12]}.parquet"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"half")
    (workspace.folder / f".ingest-{sha256[:12]}").mkdir()
    assert workspace.ingest_file(path).accepted == 1
    assert workspace.texts() == {"1": "x"}
    assert workspace.leftovers() == []


def test_an_export_that_a_killed_run_took_in_counts_for_it_when_it_goes_on(
    workspace: Workspace,
) -> None:
    data = HEADER + "1,A,S,2,x\n2,Z,S,2,x\n"
    first = workspace.ingest(data)
    stale = workspace.folder / ".ingest-0123456789ab"
    stale.mkdir()
    half = workspace.folder / "responses" / "season=2026-spring" / ".0123.parquet.4567.tmp"
    half.write_bytes(b"half")
    again = workspace.ingest(data)
    assert not half.exists()
    assert (again.status, again.received, again.accepted) == ("accepted", 2, 1)
    assert again.rejected == first.rejected == 1
    assert workspace.ingest(data, "copy.csv").status == "unchanged"
    assert workspace.query("SELECT count(*) FROM responses") == [(1,)]
    assert workspace.leftovers() == []


def die_before_the_end(folder: Path) -> None:
    responses._insert = lambda *_: os._exit(9)  # type: ignore[assignment]
    ingest_export(
        folder / "warehouse.duckdb", folder / "responses", folder / "export.csv", "run", OPTIONS
    )


def test_an_ingest_that_is_killed_can_be_done_again(workspace: Workspace) -> None:
    (workspace.folder / "export.csv").write_text(HEADER + "1,A,S,2,x\n2,Z,S,2,x\n")
    process = multiprocessing.get_context("spawn").Process(
        target=die_before_the_end, args=(workspace.folder,)
    )
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert workspace.texts() == {"1": "x"}  # written, but nothing refers to it
    for table in ("responses", "human_scores", "rejects", "exports"):
        assert workspace.query(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608
    counts = workspace.ingest_file(workspace.folder / "export.csv")
    assert (counts.received, counts.accepted, counts.rejected) == (2, 1, 1)
    assert workspace.leftovers() == []


@pytest.mark.parametrize("validity", [True, False])
def test_the_same_bytes_for_another_purpose_are_refused(
    workspace: Workspace, validity: bool
) -> None:
    data, first = HEADER + "1,A,,2,x\n", replace(OPTIONS, validity=validity)
    assert workspace.ingest(data, options=first).accepted == 1
    assert workspace.ingest(data, "again.csv", options=first).status == "unchanged"
    with pytest.raises(ExportRefusedError, match="were taken in before"):
        workspace.ingest(data, options=replace(OPTIONS, validity=not validity))


def test_a_mapping_file_with_a_column_per_trait(workspace: Workspace) -> None:
    with db.connect(workspace.warehouse) as connection:
        add_items(connection, [ItemRow("E", trait, 1, 6) for trait in ("ideas", "style")])
    mapping = workspace.folder / "mapping.yaml"
    given = {
        "columns": {"text": "T", "submitted_at": "When"},
        "constants": {"item_id": "E"},
        "traits": {"ideas": {"human_score": "I1", "human_score_2": "I2"},
                   "style": {"human_score": "S1"}},
        "submitted_at_format": "%m/%d/%Y",
    }  # fmt: skip
    mapping.write_text(yaml.safe_dump(given))
    data = "id,T,When,I1,I2,S1\n1,x,3/12/2026,5,6,4\n2,y,3/13/2026,,,3\n"
    counts = workspace.ingest(data, options=replace(OPTIONS, mapping_file=mapping))
    assert counts.accepted == 2
    found = workspace.query(
        "SELECT response_id, trait, rater, human_score FROM human_scores ORDER BY ALL"
    )
    assert found == [
        ("1", "ideas", 1, 5.0),
        ("1", "ideas", 2, 6.0),
        ("1", "style", 1, 4.0),
        ("2", "style", 1, 3.0),
    ]


def test_asap_aes_with_its_second_domain(workspace: Workspace) -> None:
    with db.connect(workspace.warehouse) as connection:
        add_items(connection, [ItemRow("1", "overall", 1, 6)])
        add_items(connection, [ItemRow("2", "overall", 1, 6), ItemRow("2", "domain2", 1, 4)])
    header = (
        "essay_id\tessay_set\tessay\trater1_domain1\trater2_domain1\trater3_domain1\t"
        "domain1_score\trater1_domain2\trater2_domain2\tdomain2_score\n"
    )
    rows = '1\t1\t"Dear ""editor"" caf\xe9"\t4\t4\t\t8\t\t\t\n2\t2\tessay\t3\t4\t\t3\t2\t3\t2\n'
    counts = workspace.ingest((header + rows).encode("latin-1"), "aes.tsv")
    assert (counts.accepted, counts.rejected) == (2, 0)
    assert workspace.texts()["1"] == 'Dear "editor" café'
    found = workspace.query(
        "SELECT response_id, trait, rater, human_score FROM human_scores ORDER BY ALL"
    )
    assert found == [
        ("1", "overall", 1, 4.0),
        ("1", "overall", 2, 4.0),
        ("2", "domain2", 1, 2.0),
        ("2", "domain2", 2, 3.0),
        ("2", "overall", 1, 3.0),
        ("2", "overall", 2, 4.0),
    ]


def test_explaining_changes_nothing_and_quotes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("ID;Question ID;Answer;Note\n1;A;secret words;y\n2;A\n")
    found = explain_export(path, None)
    assert found.columns == {"response_id": "ID", "item_id": "Question ID", "text": "Answer"}
    assert (found.format, found.encoding, found.delimiter) == ("csv", "utf-8", "semicolon")
    assert (found.sampled, found.faults, found.ignored) == (2, {"row_too_short": 1}, ["Note"])
    assert any("--season" in warning for warning in found.warnings)
    assert "secret" not in repr(found)
    assert list(tmp_path.iterdir()) == [path]


def test_explaining_what_would_be_refused(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    path.write_text("id,text\n1,secret words\n")
    found = explain_export(path, None)
    assert "no column for item_id" in found.problems[0]
    assert "secret" not in repr(found)


def table(first_column: str, second_column: str) -> list[list[str]]:
    """The rows of the table in examples/README.md whose header starts with these columns."""
    lines = (EXAMPLES / "README.md").read_text("utf-8").splitlines()
    start = f"| {first_column} | {second_column} "
    begin = next(at for at, line in enumerate(lines) if line.startswith(start)) + 2
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_sample_exports_come_out_as_their_readme_says(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with db.connect(workspace.warehouse) as connection:
        add_items(connection, item_rows(read_bank(EXAMPLES / "bank.yaml")))
    for name, received, accepted, rated, duplicate, rejected in table("file", "received"):
        counts = workspace.ingest_file(EXAMPLES / name)
        found = (counts.received, counts.accepted, counts.rated, counts.duplicate, counts.rejected)
        assert found == tuple(map(int, (received, accepted, rated, duplicate, rejected))), name
    expected = {
        (Path(name).name, int(row), outcome)
        for name, row, outcome, _ in table("file", "row")
        if outcome != "accepted"
    }
    assert set(workspace.query("SELECT file, row, reason FROM rejects")) == expected
    blank = {(int(row),) for _, row, outcome, _ in table("file", "row") if outcome == "accepted"}
    assert workspace.query("SELECT count(*) FROM responses WHERE characters = 0") == [(2,)]
    assert len(blank) == 2


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the public data is not at {DATA}")
def test_public_data_goes_in_as_it_is(tmp_path: Path) -> None:
    """Chinese answers on scales of 0 to 10 points, some of them blank."""
    workspace = Workspace(tmp_path)
    options = replace(OPTIONS, infer_items=True)
    counts = workspace.ingest_file(DATA / "ads_zh.parquet", options)
    assert counts.received == pq.ParquetFile(DATA / "ads_zh.parquet").metadata.num_rows
    assert counts.accepted > 0.9 * counts.received
    assert workspace.query("SELECT count(DISTINCT item_id) FROM responses") == [(15,)]
