"""Every breakage of the long version, and the few of the short one."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from faults import breakages as breaks
from faults import disks
from faults.kills import Reference
from faults.scenes import Scene, Stage, free_port

FAKETIME = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"),
)
Trial = tuple[str, Callable[[], list[str]]]


@dataclass
class Broken:
    """What came of one kind of breakage.

    Attributes:
        trials: how many times something was broken.
        faults: what was found wrong, a line each.
        seconds: in all.
    """

    trials: int = 0
    faults: list[str] = field(default_factory=list)
    seconds: float = 0.0


def play_all(
    trials: Iterator[Trial],
    told: Callable[[str], None],
    kept: Callable[[dict[str, Broken]], None],
) -> dict[str, Broken]:
    """Break one thing after another; a trial that cannot be carried out is a fault, too.

    Args:
        trials: what to break.
        told: is given a line for every fault.
        kept: is given what was found so far, after every trial.
    """
    found: dict[str, Broken] = {}
    for name, trial in trials:
        broken, began = found.setdefault(name, Broken()), time.monotonic()
        try:
            faults = trial()
        except Exception as error:  # the others are still worth playing
            faults = [f"could not be played: {type(error).__name__}: {error}"]
        broken.trials += 1
        broken.seconds += time.monotonic() - began
        broken.faults += faults
        for fault in faults:
            told(f"{name}: {fault}"[:400])
        kept(found)
    return found


def long_trials(
    stage: Stage, scenes: dict[str, Scene], expected: dict[str, Reference]
) -> Iterator[Trial]:
    """The long version."""
    for damage in breaks.DAMAGES:
        for seed in range(4):
            name = "nightly" if seed % 2 else "backfill"
            given = (stage, scenes[name], expected[name], damage, seed)
            yield f"a part {damage}", partial(breaks.damaged_parts, *given)
    yield from short_trials(stage, scenes["nightly"], expected["nightly"])
    night = (stage, scenes["nightly"], expected["nightly"])
    yield "an adapter damaged in mid-run", partial(breaks.damaged_adapter, *night, gone=False)
    yield "MLflow down all night", partial(breaks.mlflow_down, *night, free_port())
    for _ in range(3):
        for waits in (True, False):
            yield "two nightlies at once", partial(breaks.two_at_once, *night, waits=waits)
    back = (stage, scenes["backfill"], expected["backfill"])
    refused = partial(breaks.mlflow_down_by_day, *back, free_port())
    yield "MLflow down for a backfill", refused
    yield "clock set back", partial(breaks.clock_set_back, *back)
    for library in FAKETIME:
        if library.exists():
            faked = partial(breaks.clock_really_set_back, *night, library)
            yield "clock set back (libfaketime)", faked
    yield (
        "workers of a killed training",
        partial(breaks.orphans_of_training, stage, scenes["train"]),
    )
    yield from _disks(stage, scenes, expected)


def short_trials(stage: Stage, night: Scene, expected: Reference) -> Iterator[Trial]:
    """What is broken in CI: what needs no rights and no more servers, and no other test breaks."""
    given = (stage, night, expected)
    yield "a part flipped bytes", partial(breaks.damaged_parts, *given, "flipped bytes", 1)
    yield "an adapter gone in mid-run", partial(breaks.damaged_adapter, *given, gone=True)
    yield "two nightlies at once", partial(breaks.two_at_once, *given, waits=False)
    yield "clock set back", partial(breaks.clock_set_back, *given)


def _disks(
    stage: Stage, scenes: dict[str, Scene], expected: dict[str, Reference]
) -> Iterator[Trial]:
    mounts = disks.can_mount(stage)
    for name, scene in scenes.items():
        if name == "train":
            continue
        quick = name == "ingest"  # the others wait two minutes for MLflow's store
        for kb in (30, 300, 3000) if quick else (300,):
            large = partial(disks.files_too_large, stage, scene, expected[name], kb)
            yield "files cannot grow", large
        if mounts:
            mb = disks.written_mb(stage, scene)
            for room in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9) if quick else (0.05, 0.3, 0.7):
                full = partial(disks.disk_full, stage, scene, expected[name], room, mb)
                yield "disk full", full
