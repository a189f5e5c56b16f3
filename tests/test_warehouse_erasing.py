"""Rows of a student leave the warehouse, and the bytes with them."""

import hashlib
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse import db, erasing, schema, text_erasing
from warehouse.compacting import compact

WHO = hashlib.sha256(b"them").hexdigest()
MARK = "SOUGHTRESPONSE"


def filled(path: Path, n: int = 3000) -> None:
    """A warehouse in which every string lies as it is, so that bytes can be searched for it."""
    with db.connect(path) as connection:
        connection.execute("SET force_compression = 'uncompressed'")
        connection.execute(
            "INSERT INTO responses (response_id, item_id, season, student_pseudo, text_sha256, "
            "characters, export_sha256, ingested_at) "
            "SELECT ? || '-' || n || '-', 'i', 's', if(n = 77, 'them', 'u' || n), 't' || n, 3, "
            "'e', now() FROM range(?) r(n)",
            [MARK, n],
        )
        connection.execute("CHECKPOINT")


def test_what_was_deleted_is_in_no_byte_of_a_compacted_file(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    filled(path)
    gone = f"{MARK}-77-".encode()
    with db.connect(path) as connection:
        erasing.begin(connection, WHO, "A. Rater", "memo")
        erasing.remove(connection, WHO)
        connection.execute("CHECKPOINT")
    assert gone in path.read_bytes()  # a row that is deleted is still there to be found
    compact(path)
    assert gone not in path.read_bytes()
    assert [other.name for other in tmp_path.iterdir()] == [path.name]
    with db.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM responses").fetchall() == [(2999,)]
        assert connection.execute("FROM final_scores").fetchall() == []
        with pytest.raises(duckdb.ConstraintException):
            connection.execute(
                "INSERT INTO items (item_id, trait, score_min, score_max, added_at) "
                "VALUES ('i', 't', 3, 1, now())"
            )


def test_a_compaction_waits_for_who_writes(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    filled(path, 10)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom warehouse import db\n"
        "with db.connect(Path(sys.argv[1])) as connection:\n"
        "    print('open', flush=True); time.sleep(1)\n"
        "    into = 'INSERT INTO erasures SELECT ?, ?, ?, now(), NULL, NULL'\n"
        "    connection.execute(into, list('xyz'))\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"open\n"
    compact(path)
    assert writer.wait(30) == 0
    writer.stdout.close()
    with db.connect(path) as connection:
        assert erasing.unfinished(connection) == ["x"]


def test_a_second_erasure_of_the_same_student_is_kept_beside_the_first(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    filled(path, 100)
    with db.connect(path) as connection:
        for number in range(2):
            erasing.begin(connection, WHO, f"person {number}", "memo")
            erasing.begin(connection, WHO, "somebody else", "going on with what was killed")
            assert erasing.unfinished(connection) == [WHO]
            erasing.finish(connection, WHO, erasing.remove(connection, WHO))
        found = connection.execute("SELECT erased_by FROM erasures ORDER BY begun_at").fetchall()
        assert found == [("person 0",), ("person 1",)]
        marks = connection.execute("SELECT row_sha256 FROM erased_responses").fetchall()
    assert marks == [(hashlib.sha256(f"{MARK}-77-\x1ft77".encode()).hexdigest(),)]


def text_file(path: Path, whose: list[str | None]) -> None:
    n = len(whose)
    rows = {
        "response_id": [f"r{number}" for number in range(n)],
        "item_id": ["i"] * n,
        "season": ["s"] * n,
        "student_pseudo": whose,
        "submitted_at": pa.nulls(n, schema.RESPONSES.field("submitted_at").type),
        "text": [f"text {number}" for number in range(n)],
        "text_sha256": ["h"] * n,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows, schema.RESPONSES), path, row_group_size=2)


def test_texts_leave_their_files_and_others_stay(tmp_path: Path) -> None:
    mixed, only, none = (tmp_path / "season=s" / f"{name}.parquet" for name in "abc")
    text_file(mixed, ["u", "them", None, "them", "v", "them"])
    text_file(only, ["them", "them"])
    text_file(none, ["u", None])
    untouched = none.read_bytes()
    (tmp_path / "season=s" / ".a.parquet.0a.tmp").write_bytes(b"text 1")
    assert text_erasing.erase_texts(tmp_path, WHO) == 5
    assert pq.read_table(mixed)["text"].to_pylist() == ["text 0", "text 2", "text 4"]
    assert pq.read_schema(mixed) == schema.RESPONSES
    assert sorted(path.name for path in mixed.parent.iterdir()) == [mixed.name, none.name]
    assert none.read_bytes() == untouched
    assert text_erasing.erase_texts(tmp_path, WHO, ["r0"]) == 2  # known by their ids alone
    assert text_erasing.erase_texts(tmp_path, WHO) == 0
