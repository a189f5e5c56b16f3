"""Which export files hold rows of one student, who is known by the hash of the pseudonym alone."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.encodings import sha256_of
from tasks.export_formats import Export, open_export
from tasks.export_rows import pseudonym
from tasks.exports import MAX_CHARACTERS, line_limit
from tasks.mapping_file import MappingFile
from tasks.reasons import ExportRefusedError, Fault

LONGEST_ID = 200  # characters; what is longer is a text, and no id


@dataclass(frozen=True)
class Sought:
    """Who is looked for.

    Attributes:
        pseudo_sha256: SHA-256 of the student's pseudonym.
        student_key: HMAC key that turns student ids into pseudonyms.
        response_ids: those of the student that are known.
    """

    pseudo_sha256: str
    student_key: bytes = field(repr=False)
    response_ids: frozenset[str] = field(repr=False)

    def is_student(self, cell: str) -> bool:
        """Whether a cell holds the student's real id."""
        cell = cell.strip()
        if not cell or len(cell) > LONGEST_ID:
            return False
        try:
            found = pseudonym(cell, self.student_key) or ""
        except UnicodeEncodeError:  # half a character: no id that was ever taken in
            return False
        return hash_of(found) == self.pseudo_sha256


@dataclass(frozen=True)
class Searched:
    """What was found in one file.

    Attributes:
        path: the file.
        sha256: of its bytes.
        rows: numbers of the student's rows; 1 is the first after the header.
        unread: rows that could not be read, -1 for the whole file: somebody has to look.
    """

    path: Path
    sha256: str
    rows: tuple[int, ...]
    unread: int


def hash_of(pseudonym_of_student: str) -> str:
    """How a student is named where nobody may be: SHA-256 of the pseudonym, hex."""
    return hashlib.sha256(pseudonym_of_student.encode()).hexdigest()


def search(path: Path, sought: Sought, mapping: MappingFile | None = None) -> Searched:
    """Look for a student's rows in an export.

    A row is the student's by the column of student ids, or by that of response ids. Where a file
    does not say which column that is, any cell will do: rather a file too many than one too few.
    """
    sha256 = sha256_of(path)
    if not path.stat().st_size:  # is refused as an export, and holds nobody
        return Searched(path, sha256, (), 0)
    found, unread = [], 0
    try:
        export = open_export(path, mapping, line_limit(MAX_CHARACTERS))
        is_theirs = _test(export, sought)
        for number, row in enumerate(export.rows(), 1):
            if isinstance(row, Fault):
                unread += 1
            elif is_theirs(row):
                found.append(number)
    except ExportRefusedError:
        unread = -1
    return Searched(path, sha256, tuple(found), unread)


def export_files(inbox: Path) -> Iterator[Path]:
    """Every file below the inbox: those that wait, the ingested and the refused ones."""
    yield from sorted(path for path in inbox.rglob("*") if path.is_file())


def _test(export: Export, sought: Sought) -> Callable[[list[str]], bool]:
    places = export.columns.positions
    student, response = places.get("student_id"), places.get("response_id")

    def is_theirs(row: list[str]) -> bool:
        ids = row if response is None else [row[response]]
        if any(cell.strip() in sought.response_ids for cell in ids):
            return True
        return any(map(sought.is_student, row if student is None else [row[student]]))

    return is_theirs
