"""Rows of CSV and TSV files, read so that one broken row never takes its neighbours with it."""

from collections import deque
from collections.abc import Iterator
from typing import TextIO

from tasks.reasons import ExportRefusedError, Fault, Reason

MOST_EMPTY_LINES = 1_000_000
LINE_ENDS = frozenset(("\n", "\r\n", "\r"))
QUOTE = '"'
Row = list[str] | Fault


class _MisplacedQuoteError(ValueError):
    """A closing quotation mark is followed by something other than the cell's end."""


def physical_lines(handle: TextIO, limit: int) -> Iterator[str | None]:
    r"""Lines with their ends; None stands for a line over ``limit`` characters.

    The handle must find line ends without translating them, as ``encodings.open_text`` does.

    Raises:
        ExportRefusedError: line ends alone, more than MOST_EMPTY_LINES in a row: no table has them.
    """
    empty = 0
    while line := handle.readline(limit):
        empty = empty + 1 if line in LINE_ENDS else 0
        if empty > MOST_EMPTY_LINES:
            raise ExportRefusedError(
                f"the file has over {MOST_EMPTY_LINES} empty lines in a row: export it again"
            )
        if len(line) < limit or line.endswith(("\n", "\r")):
            yield line
            continue
        while (rest := handle.readline(limit)) and not rest.endswith(("\n", "\r")):
            pass  # read past the remainder, without keeping it
        yield None


class RecordReader:
    """Cells of a delimited file, record by record; the first record is the header.

    Quoting is Python's csv ("excel"): a cell that starts with a quotation mark ends at the next
    single one, doubled marks stand for one, line breaks inside are text. Unlike csv, a mark that
    does not close within ``limit`` characters, or closes in the middle of a later row, costs only
    the line it stands on: reading resumes at the next.
    """

    def __init__(
        self, lines: Iterator[str | None], delimiter: str, limit: int, *, literal_quotes: bool
    ):
        self._lines, self._put_back = lines, deque[str | None]()
        self._delimiter, self._limit, self._literal = delimiter, limit, literal_quotes

    def header(self) -> list[str]:
        """The cells of the first record, empty where there is none."""
        for line in self._remaining():
            if line is None:
                return []
            if line.strip():
                cells = self._cells(line, width=None)
                return [] if isinstance(cells, Fault) else cells
        return []

    def rows(self, width: int) -> Iterator[Row]:
        """Every further record that is not an empty line: ``width`` cells, or what is wrong."""
        for line in self._remaining():
            if line is None:
                yield Fault(Reason.ROW_TOO_LONG, f"a line of over {self._limit} characters")
            elif QUOTE not in line or self._literal:
                record = _chomp(line)
                if record:
                    yield _checked(record.split(self._delimiter), width)
            else:
                yield self._cells(line, width)

    def _remaining(self) -> Iterator[str | None]:
        while True:
            try:
                yield self._next_line()
            except StopIteration:
                return

    def _next_line(self) -> str | None:
        return self._put_back.popleft() if self._put_back else next(self._lines)

    def _cells(self, line: str, width: int | None) -> Row:
        """The record that starts with this line."""
        if self._literal:
            return _checked(_chomp(line).split(self._delimiter), width)
        try:
            cells = _split(_chomp(line), self._delimiter)
        except _MisplacedQuoteError:
            return self._inner_quotes(_chomp(line), width)
        return self._continued(line, width) if cells is None else _checked(cells, width)

    def _inner_quotes(self, record: str, width: int | None) -> Row:
        """A row whose cells hold undoubled quotation marks: "she said "hi" twice"."""
        if record.count(QUOTE) % 2 == 0:
            cells = _split(record, self._delimiter, inner_quotes=True)
            if cells is not None:
                return _checked(cells, width)
        return Fault(Reason.UNTERMINATED_QUOTE)

    def _continued(self, first: str, width: int | None) -> Row:
        """A record whose quoted cell runs over several lines."""
        taken: list[str] = []
        size, cells = len(first), None
        while cells is None:
            try:
                line = self._next_line()
            except StopIteration:
                break
            if line is None or size + len(line) > self._limit:
                self._put_back.appendleft(line)
                break
            taken.append(line)
            size += len(line)
            if QUOTE in line:
                try:
                    cells = _split(_chomp("".join((first, *taken))), self._delimiter)
                except _MisplacedQuoteError:
                    break
        if cells is not None and (len(cells) == width or not self._swallowed(taken, width)):
            return _checked(cells, width)
        self._put_back.extendleft(reversed(taken))
        return Fault(Reason.UNTERMINATED_QUOTE)

    def _swallowed(self, taken: list[str], width: int | None) -> bool:
        """Whether a line inside the record looks like a row of its own."""
        if width is None:
            return False
        plain = (line for line in taken if QUOTE not in line)
        return any(line.count(self._delimiter) == width - 1 for line in plain)


def _split(record: str, delimiter: str, *, inner_quotes: bool = False) -> list[str] | None:
    """The cells of a record without its line end; None where a quoted cell is not closed.

    Raises:
        _MisplacedQuoteError: a quoted cell goes on after its end, and not ``inner_quotes``.
    """
    cells: list[str] = []
    at, end = 0, len(record)
    while True:
        if record.startswith(QUOTE, at):
            stop = _closing(record, at + 1, delimiter if inner_quotes else "")
            if stop < 0:
                return None
            if stop + 1 < end and record[stop + 1] != delimiter:
                raise _MisplacedQuoteError
            cells.append(record[at + 1 : stop].replace(QUOTE * 2, QUOTE))
            at = stop + 1
        else:
            stop = record.find(delimiter, at)
            stop = end if stop < 0 else stop
            cells.append(record[at:stop])
            at = stop
        if at >= end:
            return cells
        at += 1


def _closing(record: str, at: int, delimiter: str) -> int:
    """Where the quoted cell is closed; with a delimiter given, only a mark before one closes."""
    while True:
        close = record.find(QUOTE, at)
        following = record[close + 1 : close + 2]
        if close < 0 or (following != QUOTE and (not delimiter or following in ("", delimiter))):
            return close
        at = close + (2 if following == QUOTE else 1)


def _checked(cells: list[str], width: int | None) -> Row:
    if width is None or len(cells) == width:
        return cells
    reason = Reason.ROW_TOO_LONG if len(cells) > width else Reason.ROW_TOO_SHORT
    return Fault(reason, f"{len(cells)} cells, the header has {width}")


def _chomp(line: str) -> str:
    r"""The line without its end; a \r alone is one too."""
    if line.endswith("\r\n"):
        return line[:-2]
    return line[:-1] if line.endswith(("\n", "\r")) else line
