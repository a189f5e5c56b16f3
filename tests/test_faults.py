"""The short version of `make faults`: a night that is killed and starved, and mutated exports."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent


@pytest.mark.parametrize("section", ["fuzzing", "breakages"])
def test_nothing_is_lost_and_nothing_done_twice(tmp_path: Path, section: str) -> None:
    """In a process of its own, since one that has threads must not fork."""
    command = [sys.executable, "-m", "faults", "--short", "--folder", str(tmp_path), "--only"]
    sections = [section] if section == "fuzzing" else ["kills", section]
    played = subprocess.run(
        [*command, *sections],
        cwd=TESTS,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert played.returncode == 0, played.stdout[-4000:]
    assert "\n0 faults in " in f"\n{played.stdout}"
