"""What kind of file an export is and how its text is encoded, told from its bytes."""

import codecs
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from tasks.reasons import ExportRefusedError

CHUNK_BYTES = 1 << 20
SAMPLE_BYTES = 1 << 16
UTF8 = "utf-8"
UTF16 = ("utf-16-le", "utf-16-be")
CONTROLS = bytes(code for code in range(1, 32) if chr(code) not in "\t\n\v\f\r")
FOREIGN = {
    b"\x1f\x8b": "is compressed (gzip): unpack it first",
    b"%PDF": "is a PDF: export the responses as CSV",
    b"\xd0\xcf\x11\xe0": "is an old or encrypted Office file: save it as .xlsx or CSV",
    b"\xff\xfe\x00\x00": "is encoded in UTF-32: save it as UTF-8",
    b"\x00\x00\xfe\xff": "is encoded in UTF-32: save it as UTF-8",
    b"<": "looks like XML or a web page: export the responses as CSV",
}


def sha256_of(path: Path) -> str:
    """The hash of the file's bytes, hex."""
    digest = hashlib.sha256()
    for chunk in _chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def sniff_format(path: Path) -> str:
    """``parquet``, ``xlsx``, ``jsonl`` or ``delimited``, whatever the file is called.

    Raises:
        ExportRefusedError: it is empty, or something else that is recognised.
    """
    with path.open("rb") as handle:
        start = handle.read(SAMPLE_BYTES)
    if not start.strip(b"\x00 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise ExportRefusedError("the file is empty")
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"PK\x03\x04"):
        return "xlsx"
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise ExportRefusedError(f"the file {what}")
    if not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        controls = len(start) - len(start.translate(None, CONTROLS))
        if controls > max(32, 0.02 * len(start)):
            raise ExportRefusedError("the file is binary, in no format that is read here")
    first = start.lstrip(b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n")[:1]
    if first == b"[":
        raise ExportRefusedError("the file is a JSON array: write one object per line (JSONL)")
    return "jsonl" if first == b"{" else "delimited"


def detect_encoding(path: Path) -> str:
    """The encoding of a text file, from all of its bytes.

    A byte order mark decides; then zero bytes tell UTF-16. Valid UTF-8 is UTF-8. Otherwise the
    lines with bytes above 127 vote: where most are valid UTF-8, the file is UTF-8 with some
    damaged rows (text in an 8-bit encoding is hardly ever valid UTF-8), else it is cp1252, or
    latin-1 if it has bytes that cp1252 leaves undefined.

    Raises:
        ExportRefusedError: zero bytes that do not make UTF-16, so no text.
    """
    with path.open("rb") as handle:
        start = handle.read(SAMPLE_BYTES)
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\x00" in start:
        encoding = _utf16_by_zeros(start)
        if encoding:
            return encoding
    if _decodes(path, UTF8) or _mostly_utf8(path):
        return UTF8
    return "cp1252" if _decodes(path, "cp1252") else "latin-1"


def check_encoding(path: Path, encoding: str) -> None:
    """Check that a whole file can be decoded.

    UTF-8 is let through, since its damaged rows can be told one by one.

    Raises:
        ExportRefusedError: it cannot.
    """
    if encoding in (UTF8, "utf-8-sig", "latin-1") or _decodes(path, encoding):
        return
    raise ExportRefusedError(f"the file is not valid {encoding}: export it as UTF-8")


def open_text(path: Path, encoding: str) -> TextIO:
    r"""Open a text file by lines, without translating their ends.

    Lines end with \n (or \r\n); with \r only in a file that has no \n near its start, since some
    programs leave a \r inside a cell without quoting it. Bytes that do not decode as UTF-8 become
    lone surrogates, which the row checks look for.
    """
    errors = "surrogateescape" if encoding in (UTF8, "utf-8-sig") else "strict"
    with path.open(encoding=encoding, errors=errors, newline="") as handle:
        start = handle.read(SAMPLE_BYTES)
    end = "\r" if "\r" in start and "\n" not in start else "\n"
    return path.open(encoding=encoding, errors=errors, newline=end)


def _utf16_by_zeros(start: bytes) -> str | None:
    """UTF-16 without a mark: mostly Latin text has every other byte zero; else no text at all."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    half = len(start) // 2
    if odd > 0.4 * half and even < 0.1 * half:
        return "utf-16-le"
    if even > 0.4 * half and odd < 0.1 * half:
        return "utf-16-be"
    if even + odd > 0.1 * len(start):
        raise ExportRefusedError("the file is binary, in no format that is read here")
    return None


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeError:  # not only of bytes: UTF-16 without a mark has an error of its own
        return False
    return True


def _mostly_utf8(path: Path) -> bool:
    valid = foreign = 0
    with path.open("rb") as handle:
        while line := handle.readline(CHUNK_BYTES):
            if line.isascii():
                continue
            try:
                line.decode(UTF8)
                valid += 1
            except UnicodeDecodeError:
                foreign += 1
    return valid > foreign


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK_BYTES):
            yield chunk
