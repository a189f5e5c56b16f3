"""Cells become typed values, or a reason."""

from datetime import UTC, datetime, timedelta

import pytest

from tasks.columns import map_columns
from tasks.export_rows import (
    CheckedRow,
    RowFaultError,
    RowRules,
    checked_or_fault,
    human_score,
    pseudonym,
    submitted_at,
)
from tasks.mapping_file import MappingFile
from tasks.reasons import SENTENCES, Fault, Reason

TODAY = datetime.now(UTC).date()
HEADER = ["response_id", "item_id", "text", "student_id", "submitted_at", "human_score", "season"]
RULES = RowRules(map_columns(HEADER, None), None, b"key", max_characters=50)
GOOD = ["007", "A1", "some words", "S-1", "2026-03-12T14:05:00Z", "2", "2026-spring"]


def checked(**cells: str) -> CheckedRow | Fault:
    return checked_or_fault([cells.get(n, v) for n, v in zip(HEADER, GOOD, strict=True)], RULES)


def reason(**cells: str) -> str:
    found = checked(**cells)
    assert isinstance(found, Fault)
    return str(found.reason)


def test_a_sound_row() -> None:
    row = checked()
    assert isinstance(row, CheckedRow)
    assert (row.response_id, row.item_id, row.season) == ("007", "A1", "2026-spring")
    assert row.submitted_at == datetime(2026, 3, 12, 14, 5, tzinfo=UTC)
    assert row.ratings == [(None, 1, 2.0)]
    assert row.characters == 10


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"response_id": " "}, "empty_response_id"),
        ({"item_id": ""}, "missing_item"),
        ({"response_id": "1.23457E+14"}, "damaged_id"),
        ({"response_id": "a\tb"}, "invalid_character"),
        ({"text": "x" * 51}, "text_too_long"),
        ({"text": "a\x00b"}, "invalid_character"),
        ({"text": "a\udce9b"}, "bad_encoding"),
        ({"text": "a\ud83db"}, "bad_encoding"),
        ({"submitted_at": "3/12/2026 2:05 PM"}, "bad_submitted_at"),
        ({"human_score": "two"}, "score_not_a_number"),
        ({"human_score": "2.25"}, "score_off_scale"),
        ({"season": ""}, "bad_season"),
        ({"season": "ü" * 50}, "bad_season"),
    ],
)
def test_what_is_wrong_with_a_row(cells: dict[str, str], expected: str) -> None:
    assert reason(**cells) == expected


def test_a_fault_says_no_text_and_no_student() -> None:
    found = checked(text="my secret" * 10, student_id="S-secret")
    assert "secret" not in repr(found)


def test_line_ends_are_made_one_kind() -> None:
    row = checked(text="a\r\nb\rc\nd")
    assert isinstance(row, CheckedRow)
    assert row.text == "a\nb\nc\nd"


@pytest.mark.parametrize("text", ["", "  ", "\n\t", "\u00a0"])
def test_blank_text_is_a_response_of_no_characters(text: str) -> None:
    row = checked(text=text)
    assert isinstance(row, CheckedRow)
    assert (row.text, row.characters) == (text, 0)


@pytest.mark.parametrize("text", ["日本語", "emoji 🎈", "tab\there", "\x0bpage\x0c"])
def test_text_of_any_script_is_kept(text: str) -> None:
    row = checked(text=text)
    assert isinstance(row, CheckedRow)
    assert row.text == text


@pytest.mark.parametrize(
    ("cell", "score"),
    [("3", 3.0), ("3.0", 3.0), ("2,5", 2.5), (" 1 ", 1.0), ("-1", -1.0), ("0", 0.0)],
)
def test_scores(cell: str, score: float) -> None:
    assert human_score(cell) == score


@pytest.mark.parametrize("cell", ["", " ", "-", "N/A", "na", "NULL", ".", "NaN"])
def test_signs_of_no_score(cell: str) -> None:
    assert human_score(cell) is None


@pytest.mark.parametrize("cell", ["inf", "1e2", "1_0", "4 / 5", "٣x", "--1", "1.", "0x1"])
def test_no_numbers(cell: str) -> None:
    with pytest.raises(RowFaultError):
        human_score(cell)


@pytest.mark.parametrize(
    ("cell", "hour"),
    [
        ("2026-03-12T14:05:00Z", 14),
        ("2026-03-12T14:05:00", 14),
        ("2026-03-12 14:05", 14),
        ("2026-03-12T14:05:00+02:00", 12),
        ("2026-03-12 14:05:00 UTC", 14),
        ("2026/03/12 2:05:00 PM", 14),
        ("12.03.2026 14:05", 14),
        ("12 March 2026 2:05 PM", 14),
        ("2026-03-12", 0),
    ],
)
def test_times(cell: str, hour: int) -> None:
    found = submitted_at(cell, None, TODAY)
    assert found is not None
    assert found.tzinfo == UTC
    assert (found.year, found.month, found.day, found.hour) == (2026, 3, 12, hour)


def test_a_named_form_reads_what_could_be_read_in_two_ways() -> None:
    found = submitted_at("3/12/2026 2:05 PM", "%m/%d/%Y %I:%M %p", TODAY)
    assert found == datetime(2026, 3, 12, 14, 5, tzinfo=UTC)


@pytest.mark.parametrize("cell", ["9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+10:00"])
def test_times_outside_the_calendar(cell: str) -> None:
    with pytest.raises(RowFaultError):
        submitted_at(cell, None, TODAY)


@pytest.mark.parametrize(
    ("cell", "form"),
    [
        ("1989-12-31T23:59:59Z", None),
        ("1990-01-01T00:00:00+02:00", None),
        ("0026-03-12", None),
        ("2926-03-12", None),
        ("14:05", "%H:%M"),
        ((datetime.now(UTC) + timedelta(days=3)).isoformat(), None),
    ],
)
def test_impossible_times(cell: str, form: str | None) -> None:
    with pytest.raises(RowFaultError) as caught:
        submitted_at(cell, form, TODAY)
    assert caught.value.fault == Fault(Reason.BAD_SUBMITTED_AT, "before 1990 or after tomorrow")


@pytest.mark.parametrize(
    "moment", [datetime(1990, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(hours=14)]
)
def test_the_first_and_last_possible_times(moment: datetime) -> None:
    assert submitted_at(moment.isoformat(), None, TODAY) == moment


@pytest.mark.parametrize("column", ["response_id", "item_id", "season"])
def test_an_answer_is_no_identifier(column: str) -> None:
    assert reason(**{column: "word " * 41}) == "id_too_long"
    assert isinstance(checked(**{column: " " * 300 + "x" * 60}), CheckedRow)


def test_a_text_of_megabytes_is_refused_at_a_glance() -> None:
    found = checked(text="x" * 30_000_000)
    assert found == Fault(Reason.TEXT_TOO_LONG, "30000000 characters, the limit is 50", "007", "A1")


def test_pseudonyms_are_hmac_sha256() -> None:
    # RFC 4231, test case 2
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert pseudonym("what do ya want for nothing?", b"Jefe") == expected
    assert pseudonym("", b"Jefe") is None


GROUPED = MappingFile(subgroups={"first language": "season", "school": "student_id"})


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        (" Klingon ", [("first language", "Klingon")]),
        ("日本語", [("first language", "日本語")]),
        ("", []),
        (" \t", []),
        ("x" * 100, [("first language", "x" * 100)]),
    ],
)
def test_subgroups_are_trimmed_and_empty_cells_are_none(cell, found) -> None:
    rules = RowRules(map_columns(HEADER, GROUPED), "2026", b"key", max_characters=50)
    row = checked_or_fault([*GOOD[:3], " ", *GOOD[4:6], cell], rules)
    assert isinstance(row, CheckedRow)
    assert row.subgroups == found


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("x" * 101, "bad_subgroup"),
        ("a\tb", "bad_subgroup"),
        ("a\nb", "bad_subgroup"),
        ("a\x00b", "invalid_character"),
        ("a\udce9b", "bad_encoding"),
    ],
)
def test_a_subgroup_that_cannot_be_shown_is_refused(cell: str, expected: str) -> None:
    rules = RowRules(map_columns(HEADER, GROUPED), "2026", b"key", max_characters=50)
    fault = checked_or_fault([*GOOD[:6], cell], rules)
    assert isinstance(fault, Fault)
    assert (str(fault.reason), fault.response_id) == (expected, "007")
    assert cell not in repr(fault)


def test_every_reason_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
