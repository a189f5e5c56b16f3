"""A full disk is told as what it is, whichever library met it."""

import errno
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.telling import is_disk_full

ROOT = Path(__file__).resolve().parent.parent
BANK = "items:\n  - {item_id: A, score_min: 0, score_max: 3}\n"


def chained(cause: Exception) -> Exception:
    """An error that was raised because of another, which is not shown with it."""
    try:
        try:
            raise cause
        except Exception:
            raise RuntimeError("withheld") from None
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), True),
        (RuntimeError('IO Error: Could not write file "x": No space left on device'), True),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), True),
        (chained(OSError(errno.ENOSPC, "")), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (ValueError("full"), False),
    ],
)
def test_whatever_says_that_there_is_no_room(error: Exception, full: bool) -> None:
    assert is_disk_full(error) is full


def no_file_grows() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_command_that_meets_a_full_disk_says_so(tmp_path: Path) -> None:
    (tmp_path / "bank.yaml").write_text(BANK)
    command = ["--home", str(tmp_path / "home"), "items", "add"]
    entry = "from flows.cli import entry; entry()"
    ended = subprocess.run(
        [sys.executable, "-c", entry, *command, str(tmp_path / "bank.yaml")],
        cwd=ROOT,
        preexec_fn=no_file_grows,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "is full: make room, and run again" in ended.stderr
    assert "Traceback" not in ended.stderr
