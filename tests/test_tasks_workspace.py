"""What waits in the inbox, and where it goes once it has been read."""

from pathlib import Path

from tasks.exports import IngestOptions
from tasks.workspace import Export, IngestReport, clear_inbox, inbox_exports, ingest_exports
from warehouse import db
from warehouse.items import ItemRow, add_items

OPTIONS = IngestOptions(season=None, mapping_file=None, student_key=b"k" * 32)
SOUND = "response_id,item_id,text\n1,A,x\n"


def drop(inbox: Path, name: str, data: str = SOUND) -> None:
    path = inbox / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data)


def ingested(folder: Path) -> tuple[list[Export], IngestReport]:
    with db.connect(folder / "warehouse.duckdb") as connection:
        add_items(connection, [ItemRow("A", "overall", 0, 3)])
    exports = inbox_exports(folder / "inbox")
    report = ingest_exports.fn(
        folder / "warehouse.duckdb", folder / "responses", exports, "run", OPTIONS
    )
    return exports, report


def test_hidden_settled_and_unfinished_files_are_left_alone(tmp_path: Path) -> None:
    names = (
        "x.csv",
        "fall/y.csv",
        ".z.csv",
        ".sync/w.csv",
        "done/v.csv",
        "refused/u.csv",
        "t.part",
    )
    for name in names:
        drop(tmp_path, name)
    assert inbox_exports(tmp_path) == [
        Export(tmp_path / "x.csv", None),
        Export(tmp_path / "fall" / "y.csv", "fall"),
    ]


def test_two_files_of_one_name_go_each_its_own_way(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    drop(inbox, "fall/x.csv")
    drop(inbox, "spring/x.csv", "")
    exports, report = ingested(tmp_path)
    assert (report.accepted, [refusal.path for refusal in report.refusals]) == (
        1,
        [inbox / "spring" / "x.csv"],
    )
    clear_inbox.fn(inbox, exports, report)
    assert (inbox / "done" / "x.csv").read_text() == SOUND
    assert (inbox / "refused" / "x.csv").read_text() == ""
    assert inbox_exports(inbox) == []
