"""What becomes of each row, given what the warehouse knows and the rows before it."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.reasons import SENTENCES
from warehouse import db, responses, schema
from warehouse.items import ItemRow, add_items
from warehouse.responses import (
    STAGED_RATINGS,
    STAGED_ROWS,
    STAGED_SUBGROUPS,
    RowCounts,
    StagedExport,
    UnusableExportError,
    ingest,
)
from warehouse.texts import read_texts

WORDS = {str(reason): sentence for reason, sentence in SENTENCES.items()}
ITEMS = [
    ItemRow("A", "overall", 0, 3),
    ItemRow("B", "overall", 1, 4),
    ItemRow("E", "ideas", 1, 6),
    ItemRow("E", "style", 1, 4),
    ItemRow("S", "sense", 0, 2),
]


class Bench:
    """A warehouse, and a folder of staged exports for it."""

    def __init__(self, folder: Path, connection: duckdb.DuckDBPyConnection):
        self.folder, self.connection, self.exports = folder, connection, 0

    def staged(self, *rows: dict[str, Any]) -> StagedExport:
        """Stage rows; ``scores`` is a list of (trait, rater, score), ``groups`` a mapping."""
        self.exports += 1
        lines, ratings, subgroups = [], [], []
        for number, row in enumerate(rows, 1):
            text = row.get("text", "words")
            lines.append(
                {"row": number, "item_id": "A", "season": "2026", "text": text,
                 "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
                 "characters": len(text), **row}
            )  # fmt: skip
            for trait, rater, score in row.get("scores", []):
                ratings.append(
                    {"row": number, "trait": trait, "rater": rater, "human_score": score}
                )
            for attribute, level in row.get("groups", {}).items():
                subgroups.append({"row": number, "attribute": attribute, "level": level})
        sha256 = f"{self.exports:064}"[::-1]
        kinds = ("rows", "ratings", "subgroups")
        paths = [self.folder / f"{kind}-{self.exports}.parquet" for kind in kinds]
        pq.write_table(pa.Table.from_pylist(lines, STAGED_ROWS), paths[0])
        pq.write_table(pa.Table.from_pylist(ratings, STAGED_RATINGS), paths[1])
        pq.write_table(pa.Table.from_pylist(subgroups, STAGED_SUBGROUPS), paths[2])
        return StagedExport(*paths, sha256, f"{self.exports}.csv", "run", {"text": "text"})

    def ingest(
        self, *rows: dict[str, Any], infer_items: bool = False, validity: bool = False
    ) -> RowCounts:
        staged = replace(self.staged(*rows), validity=validity)
        return ingest(
            self.connection, self.folder / "responses", staged, WORDS, infer_items=infer_items
        )

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement).fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with db.connect(tmp_path / "warehouse.duckdb") as connection:
        add_items(connection, ITEMS)
        yield Bench(tmp_path, connection)


def row(response_id: str, *scores: float, **more: Any) -> dict[str, Any]:
    """A row whose raters gave these scores."""
    given = [(more.get("trait"), rater, score) for rater, score in enumerate(scores, 1)]
    return {"response_id": response_id, "scores": given, **more}


def test_responses_and_scores_are_taken_in(bench: Bench) -> None:
    counts = bench.ingest(row("1", 2, 3), row("2"), row("3", 1.5, item_id="B"))
    assert counts == RowCounts(received=3, accepted=3)
    found = bench.query("SELECT response_id, item_id, season, characters FROM responses ORDER BY 1")
    assert found == [("1", "A", "2026", 5), ("2", "A", "2026", 5), ("3", "B", "2026", 5)]
    scores = bench.query(
        "SELECT response_id, trait, rater, human_score FROM human_scores ORDER BY ALL"
    )
    assert scores == [("1", "overall", 1, 2.0), ("1", "overall", 2, 3.0), ("3", "overall", 1, 1.5)]
    assert bench.query("SELECT received, accepted, rejected FROM exports") == [(3, 3, 0)]


def test_texts_lie_sorted_in_a_file_per_season(bench: Bench) -> None:
    bench.ingest(
        row("2", text="two"),
        row("1", item_id="B", text="one"),
        row("0", item_id="A", text="nil", season="20/27"),
        row("9", item_id="A", text="nine"),
    )
    first, second = sorted((bench.folder / "responses").rglob("*.parquet"))
    assert [first.parent.name, second.parent.name] == ["season=20%2F27", "season=2026"]
    table = pq.read_table(second, partitioning=None)
    assert table.schema.equals(schema.RESPONSES)
    assert table["response_id"].to_pylist() == ["2", "9", "1"]
    wanted = bench.connection.sql("SELECT * FROM responses").to_arrow_table()
    texts = read_texts(bench.folder / "responses", wanted)
    assert texts == {"0": "nil", "1": "one", "2": "two", "9": "nine"}


def test_the_same_rows_in_another_export_are_duplicates(bench: Bench) -> None:
    rows = [row("1", 2), row("2")]
    bench.ingest(*rows)
    counts = bench.ingest(*rows)
    assert counts == RowCounts(received=2, duplicate=2, reasons={"duplicate": 2})
    assert bench.query("SELECT row, reason, response_id FROM rejects ORDER BY 1") == [
        (1, "duplicate", "1"),
        (2, "duplicate", "2"),
    ]
    assert bench.query("SELECT count(*) FROM responses") == [(2,)]
    assert len(list((bench.folder / "responses").rglob("*.parquet"))) == 1


def test_repeats_inside_one_export_are_decided_by_order(bench: Bench) -> None:
    counts = bench.ingest(row("1"), row("1", text="other"), row("1"), row("1", item_id="B"))
    assert (counts.accepted, counts.duplicate) == (1, 1)
    assert counts.reasons == {"response_conflict": 2, "duplicate": 1}
    found = bench.query("SELECT row, reason FROM rejects ORDER BY 1")
    assert found == [(2, "response_conflict"), (3, "duplicate"), (4, "response_conflict")]


def test_a_known_id_with_another_text_or_item_is_a_conflict(bench: Bench) -> None:
    bench.ingest(row("1"))
    counts = bench.ingest(row("1", text="other"), row("1", item_id="B"))
    assert counts == RowCounts(received=2, rejected=2, reasons={"response_conflict": 2})


def test_a_refused_row_is_not_the_first_of_its_id(bench: Bench) -> None:
    counts = bench.ingest(row("1", 9, text="other"), row("1"))
    assert (counts.accepted, counts.reasons) == (1, {"score_off_scale": 1})


def test_later_scores_are_recorded_and_repeats_are_not(bench: Bench) -> None:
    bench.ingest(row("1"))
    assert bench.ingest(row("1", 2)) == RowCounts(received=1, rated=1)
    assert bench.ingest(row("1", 2, 3)) == RowCounts(received=1, rated=1)
    assert bench.ingest(row("1", 2, 3)).duplicate == 1
    assert bench.query("SELECT rater, human_score FROM human_scores ORDER BY 1") == [(1, 2), (2, 3)]


def test_another_score_of_the_same_rater_is_refused(bench: Bench) -> None:
    bench.ingest(row("1", 2))
    counts = bench.ingest(row("1", 3, 1))
    assert counts.reasons == {"human_score_conflict": 1}
    assert bench.query("SELECT rater, human_score FROM human_scores") == [(1, 2.0)]


def test_a_row_per_trait(bench: Bench) -> None:
    rows = [
        row("1", 5, 6, item_id="E", trait="ideas"),
        row("1", 3, item_id="E", trait="style"),
        row("2", item_id="E", trait="ideas"),
    ]
    assert bench.ingest(*rows) == RowCounts(received=3, accepted=2, rated=1)
    assert bench.query("SELECT trait, count(*) FROM human_scores GROUP BY 1 ORDER BY 1") == [
        ("ideas", 2),
        ("style", 1),
    ]


def test_scores_of_a_refused_row_may_come_with_a_later_one(bench: Bench) -> None:
    """Row 2 contradicts row 1 about ideas; what it says about style comes with row 3."""
    both = [("ideas", 1, 2.0), ("style", 1, 3.0)]
    counts = bench.ingest(
        row("1", 5, item_id="E", trait="ideas"),
        row("1", item_id="E") | {"scores": both},
        row("1", 3, item_id="E", trait="style"),
    )
    assert (counts.accepted, counts.rated) == (1, 1)
    assert counts.reasons == {"human_score_conflict": 1}
    assert bench.query("SELECT trait, human_score FROM human_scores ORDER BY 1") == [
        ("ideas", 5.0),
        ("style", 3.0),
    ]


def test_an_items_only_trait_needs_no_name(bench: Bench) -> None:
    bench.ingest(row("1", 2, item_id="S"))
    assert bench.query("SELECT trait FROM human_scores") == [("sense",)]


@pytest.mark.parametrize(
    ("faulty", "reason", "found"),
    [
        (row("1", item_id="Z"), "unknown_item", ""),
        (row("1", item_id="E", trait="voice"), "unknown_trait", ""),
        (row("1", 2, item_id="E"), "unknown_trait", ""),
        (row("1", 4), "score_off_scale", "(4 on a scale of 0 to 3)"),
        (row("1", 2, -0.5), "score_off_scale", "(-0.5 on a scale of 0 to 3)"),
        (row("1", fault="text_too_long", found="9 characters"), "text_too_long", "(9 characters)"),
    ],
)
def test_refused_rows_keep_their_reason(bench: Bench, faulty, reason, found) -> None:
    counts = bench.ingest(faulty, row("2"))
    assert (counts.accepted, counts.rejected, counts.reasons) == (1, 1, {reason: 1})
    ((kept, detail),) = bench.query("SELECT reason, detail FROM rejects")
    assert kept == reason
    assert detail.startswith(WORDS[reason])
    assert detail.endswith(found)


def test_what_is_no_id_is_not_kept_in_rejects(bench: Bench) -> None:
    bench.ingest(row("and then the water went", item_id="up to the sky"), row("x" * 65, 9))
    assert bench.query("SELECT response_id, item_id FROM rejects ORDER BY row") == [
        (None, None),
        (None, "A"),
    ]


def test_an_export_of_unknown_items_only_can_come_again(bench: Bench) -> None:
    staged = bench.staged(row("1", 1, item_id="Z"), row("2", item_id="Y"))
    with pytest.raises(responses.UnusableExportError, match="items add"):
        ingest(bench.connection, bench.folder / "responses", staged, WORDS)
    add_items(bench.connection, [ItemRow("Z", "overall", 0, 3)])
    counts = ingest(bench.connection, bench.folder / "responses", staged, WORDS)
    assert (counts.accepted, counts.reasons) == (1, {"unknown_item": 1})


def test_items_are_inferred_on_request(bench: Bench) -> None:
    rows = [row("1", 1, item_id="N"), row("2", 3.5, item_id="N"), row("3", item_id="N")]
    flat = row("4", 1, item_id="FLAT")
    counts = bench.ingest(*rows, flat, infer_items=True)
    assert (counts.accepted, counts.reasons) == (3, {"unknown_item": 1})
    found = bench.query("SELECT trait, score_min, score_max FROM items WHERE item_id = 'N'")
    assert found == [("overall", 1, 4)]


def test_a_failure_leaves_nothing_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MOST_SEASONS", 0)
    with pytest.raises(responses.UnusableExportError):
        bench.ingest(row("1", 1))
    monkeypatch.undo()
    monkeypatch.setattr(responses, "json", None)  # fails at the last insert
    with pytest.raises(AttributeError):
        bench.ingest(row("1", 1))
    for table in ("responses", "human_scores", "rejects", "exports"):
        assert bench.query(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608
    assert list((bench.folder / "responses").rglob("*.parquet")) == []
    monkeypatch.undo()
    assert bench.ingest(row("1", 1)).accepted == 1


@pytest.mark.parametrize("sentinel", [-99, -1, 999])
def test_a_sentinel_among_the_scores_is_not_taken_for_a_scale(
    bench: Bench, sentinel: float
) -> None:
    rows = [row("1", 0, item_id="N"), row("2", 3, item_id="N"), row("3", sentinel, item_id="N")]
    with pytest.raises(UnusableExportError, match="span no likely scale") as caught:
        bench.ingest(*rows, infer_items=True)
    assert str(sentinel) in str(caught.value)
    assert bench.query("SELECT count(*) FROM items WHERE item_id = 'N'") == [(0,)]
    assert bench.query("SELECT count(*) FROM responses") == [(0,)]


def test_a_scale_of_0_to_100_can_be_inferred_and_old_scales_are_left_alone(bench: Bench) -> None:
    add_items(bench.connection, [ItemRow("W", "overall", -200, 800)])
    rows = [row("1", 0, item_id="N"), row("2", 100, item_id="N"), row("3", -99, item_id="W")]
    assert bench.ingest(*rows, infer_items=True).accepted == 3
    found = bench.query("SELECT score_min, score_max FROM items WHERE item_id = 'N'")
    assert found == [(0, 100)]


def test_subgroups_of_accepted_rows_are_kept(bench: Bench) -> None:
    bench.ingest(
        row("1", groups={"L1": "Klingon", "school": "x"}),
        row("2"),
        row("3", 9, groups={"L1": "Navi"}),
        row("1", 1, groups={"L1": "Vulcan"}),
    )
    found = bench.query("SELECT response_id, attribute, level FROM subgroups ORDER BY ALL")
    assert found == [("1", "L1", "Klingon"), ("1", "school", "x")]


def test_a_subgroup_that_holds_students_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "MOST_LEVELS", 2)
    rows = [row(str(n), groups={"school": "x", "L1": f"Jane {n}"}) for n in range(3)]
    with pytest.raises(UnusableExportError, match="'L1' holds 3 different values") as caught:
        bench.ingest(*rows)
    assert "Jane" not in str(caught.value)
    assert bench.query("SELECT count(*) FROM responses") == [(0,)]


def test_validity_responses_need_their_known_score(bench: Bench) -> None:
    second_only = row("3", item_id="A") | {"scores": [(None, 2, 1.0)]}
    counts = bench.ingest(row("1", 2), row("2"), second_only, row("4", 9), validity=True)
    assert (counts.accepted, counts.rejected) == (1, 3)
    assert counts.reasons == {"no_known_score": 2, "score_off_scale": 1}
    assert bench.query("SELECT response_id, purpose FROM responses") == [("1", "validity")]
    assert bench.query("SELECT human_score FROM human_scores") == [(2.0,)]


@pytest.mark.parametrize("validity", [True, False])
def test_a_response_is_there_for_one_purpose(bench: Bench, validity: bool) -> None:
    bench.ingest(row("1", 2), validity=validity)
    again = bench.ingest(row("1", 2), row("1", 2, 3), row("2", 2), validity=not validity)
    assert (again.accepted, again.reasons) == (1, {"purpose_conflict": 2})
    same = bench.ingest(row("1", 2), validity=validity)
    assert same.reasons == {"duplicate": 1}
    assert bench.query("SELECT count(*) FROM human_scores WHERE rater = 2") == [(0,)]
