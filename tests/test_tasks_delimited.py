"""A broken row costs itself and nothing else; sound files read as Python's csv reads them."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.delimited import RecordReader, physical_lines
from tasks.reasons import Fault, Reason


def read(
    text: str, width: int | None = None, limit: int = 10_000, delimiter: str = ",", line_end="\n"
):
    """The header and the rows, faults as their codes."""
    lines = physical_lines(io.StringIO(text, newline=line_end), limit)
    reader = RecordReader(lines, delimiter, limit, literal_quotes=False)
    header = reader.header()
    rows = reader.rows(width or len(header))
    return header, [str(row.reason) if isinstance(row, Fault) else row for row in rows]


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ['"', '""', 'say "hi"', "a\nb", "a\r\nb", "\r", ",", '","', '"\n"', " x "]
)


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3).filter(any), max_size=8),
    st.sampled_from([",", ";", "\t"]),
    # csv.writer quotes a lone \r only where it is part of the line end.
    st.sampled_from([("\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_ALL), ("\r\n", csv.QUOTE_MINIMAL)]),
)
def test_what_csv_writes_is_read_back(rows, delimiter, style) -> None:
    written, (line_end, quoting) = io.StringIO(), style
    writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows([["a", "b", "c"], *rows])
    assert read(written.getvalue(), delimiter=delimiter) == (["a", "b", "c"], rows)


@given(st.text(st.sampled_from('a,"\n\r'), max_size=60))
def test_any_text_is_read_to_its_end(text: str) -> None:
    """No input makes the reader fail or stall, and a line is never part of two rows."""
    _, rows = read("h,i\n" + text)
    assert len(rows) <= text.count("\n") + 1


def test_a_stray_quote_costs_one_row() -> None:
    _, rows = read('id,text\n1,"it broke\n2,fine\n3,"also, fine"\n4,plain\n')
    assert rows == ["unterminated_quote", ["2", "fine"], ["3", "also, fine"], ["4", "plain"]]


def test_a_stray_quote_without_another_costs_one_row() -> None:
    _, rows = read('id,text\n1,"it broke\n2,fine\n3,plain\n')
    assert rows == ["unterminated_quote", ["2", "fine"], ["3", "plain"]]


def test_a_stray_quote_that_closes_beside_a_delimiter_costs_one_row() -> None:
    _, rows = read('id,text,note\n1,"it broke,x\n2,fine,y\n3,so,"\n4,plain,\n')
    broken = "unterminated_quote"
    assert rows == [broken, ["2", "fine", "y"], broken, ["4", "plain", ""]]


def test_a_quote_open_for_longer_than_the_limit_costs_one_row() -> None:
    filler = "".join(f"{number},fine\n" for number in range(100))
    _, rows = read(f'id,text\n1,"it broke\n{filler}9,"x"\n', limit=200)
    assert rows[0] == "unterminated_quote"
    assert len(rows) == 102
    assert all(isinstance(row, list) for row in rows[1:])


def test_undoubled_quotes_inside_a_cell_stay_text() -> None:
    _, rows = read('id,text\n1,"she said "hi" to me"\n2,5" of rain\n')
    assert rows == [["1", 'she said "hi" to me'], ["2", '5" of rain']]


def test_a_cell_cut_off_after_an_inner_quote_is_not_taken_for_whole() -> None:
    _, rows = read('id,text\n1,"she said "hi"\n2,x\n')
    assert rows == ["unterminated_quote", ["2", "x"]]


def test_rows_of_another_width() -> None:
    _, rows = read("a,b\n1\n1,2,3\n1,2\n\n")
    assert rows == ["row_too_short", "row_too_long", ["1", "2"]]


def test_a_quoted_row_over_two_lines_that_is_too_long_is_one_row() -> None:
    _, rows = read('a,b\n1,"two\nlines",3\n4,5\n')
    assert rows == ["row_too_long", ["4", "5"]]


def test_an_endless_line_is_one_fault() -> None:
    _, rows = read("a,b\n1," + "x" * 1000 + "\n2,y\n", limit=100)
    assert rows == ["row_too_long", ["2", "y"]]


def test_an_endless_last_line_is_one_fault() -> None:
    _, rows = read("a,b\n2,y\n1," + "x" * 1000, limit=100)
    assert rows == [["2", "y"], "row_too_long"]


def test_literal_quotes_are_text() -> None:
    lines = iter(["a\tb\n", '1\t"Open\n', '2\tclose"\n'])
    reader = RecordReader(lines, "\t", 100, literal_quotes=True)
    assert reader.header() == ["a", "b"]
    assert list(reader.rows(2)) == [["1", '"Open'], ["2", 'close"']]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_ends_a_row(end: str) -> None:
    written = end.join(["a,b", "1,2", "3,4"])
    found = read(written, line_end="\r" if end == "\r" else "\n")
    assert found == (["a", "b"], [["1", "2"], ["3", "4"]])


def test_a_header_may_run_over_lines() -> None:
    assert read('id,"what do\nyou think"\n1,x\n') == (["id", "what do\nyou think"], [["1", "x"]])


def test_no_text_has_no_header() -> None:
    assert read("\n\n") == ([], [])


def test_faults_never_quote_the_row() -> None:
    lines = iter(["a,b\n", "secret,words,here\n", '1,"secret words\n'])
    reader = RecordReader(lines, ",", 100, literal_quotes=False)
    reader.header()
    faults = list(reader.rows(2))
    assert [fault.reason for fault in faults] == [Reason.ROW_TOO_LONG, Reason.UNTERMINATED_QUOTE]
    assert "secret" not in repr(faults)
