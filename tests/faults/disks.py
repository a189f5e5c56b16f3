"""Disks that are full in the middle of a run, and have room again afterwards."""

import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import forking
from faults.breakages import TABLES, said_well
from faults.content import Content, content, differences, twice
from faults.forking import Outcome, gradeline
from faults.kills import Reference
from faults.scenes import Scene, Stage


def disk_full(stage: Stage, scene: Scene, expected: Reference, room: float, mb: float) -> list[str]:
    """A file system with room for a part of what a run writes; then there is room again.

    Args:
        stage: where.
        scene: the command.
        expected: of undisturbed runs.
        room: the part of what a run writes that there is room for, 0 to 1.
        mb: what an undisturbed run writes, in MB.
    """
    with _small_file_system(stage, scene.eve, room * mb) as grow:
        full = stage.play(scene)
        told = said_well(full)
        if full.code not in (0, 1, 2):
            told.append(f"exit code {full.code} on a full disk: {full.said[-500:]}")
        grow()
        return told + _same_data(stage, expected, stage.play(scene))


@contextmanager
def _small_file_system(stage: Stage, eve: Path, mb: float) -> Iterator[Callable[[], None]]:
    shutil.rmtree(stage.home, ignore_errors=True)
    stage.home.mkdir()
    size = _size(eve) + int(mb * 1e6)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", stage.home], check=True)

    def grow() -> None:
        subprocess.run(["mount", "-o", "remount,size=2G", stage.home], check=True)

    try:
        shutil.copytree(eve, stage.home, symlinks=True, dirs_exist_ok=True)
        yield grow
    finally:
        subprocess.run(["umount", "-l", stage.home], check=True)


def can_mount(stage: Stage) -> bool:
    """Whether file systems of a size can be made here."""
    place = stage.folder / "probe"
    place.mkdir(exist_ok=True)
    made = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True)
    if made.returncode == 0:
        subprocess.run(["umount", place], check=True)
    return made.returncode == 0


def _size(folder: Path) -> int:
    """Bytes that a folder takes on a file system of pages of 4 kB."""
    sizes = (path.stat().st_size for path in folder.rglob("*") if path.is_file())
    pages = sum(-(-size // 4096) + 1 for size in sizes)
    return 4096 * (pages + sum(1 for path in folder.rglob("*") if path.is_dir()))


def written_mb(stage: Stage, scene: Scene) -> float:
    """How much an undisturbed run adds to its workspace, in MB."""
    stage.put_up(scene.eve)
    stage.play(scene)
    return (_size(stage.home) - _size(scene.eve)) / 1e6


def files_too_large(stage: Stage, scene: Scene, expected: Reference, kb: int) -> list[str]:
    """No file may grow beyond a size: what can be had of a full disk without being root."""

    def limited() -> int:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = kb * 1000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        return gradeline(stage.home, *scene.arguments)()

    stage.put_up(scene.eve)
    full = forking.run(limited, stage.log, environment=scene.environment)
    return said_well(full) + _same_data(stage, expected, stage.play(scene))


def _same_data(stage: Stage, expected: Reference, outcome: Outcome) -> list[str]:
    """Nothing is lost and nothing there twice, though a run that failed has its own row in runs."""
    held = content(stage.home)
    told = differences(_without_runs(held), _without_runs(expected.once))
    if outcome.code not in (expected.code, expected.code_again):
        told.append(f"exit code {outcome.code}: {outcome.said[-500:]}")
    return told + said_well(outcome) + (["a score was given twice"] if twice(stage.home) else [])


def _without_runs(held: Content) -> Content:
    """Tables and texts, whichever run brought each row."""
    of_runs = ("run_id=", "reused_from=")
    return {
        name: [
            row
            if isinstance(row, str)
            else tuple(cell for cell in row if not cell.startswith(of_runs))
            for row in held[name]
        ]
        for name in TABLES
    }
