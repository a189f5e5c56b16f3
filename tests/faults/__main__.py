"""The long version: `cd tests && python -m faults`; `--short` is what CI plays."""

import argparse
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

# What is imported at the top is imported again by every process that trains: next to nothing.
ROOT = Path(__file__).resolve().parent.parent.parent
SECTIONS = ("kills", "breakages", "fuzzing")
REFERENCES: dict[str, Any] = {}


def main() -> int:
    """Play the chosen sections, and keep what they found; 1 if anything was wrong."""
    chosen = _options()
    began = time.monotonic()
    found: dict[str, Any] = {}
    if "fuzzing" in chosen.only:
        found["fuzzing"] = _fuzzing(chosen)
    if {"kills", "breakages"} & set(chosen.only):
        found |= _on_stage(chosen)
    faults = list(_failures(found))
    tell(f"{len(faults)} faults in {time.monotonic() - began:.0f} s")
    if chosen.keep:
        from faults.report import keep

        keep(found, chosen.keep)
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="faults", description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("/tmp/gradeline-faults"))  # noqa: S108
    options.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    options.add_argument("--short", action="store_true", help="what CI plays, in about a minute")
    options.add_argument("--kills", type=int, default=50, help="of each command (default: 50)")
    options.add_argument("--steps", type=int, default=20, help="kills before steps (default: 20)")
    options.add_argument("--scenes", nargs="+", help="kill these commands (default: all)")
    options.add_argument("--trials", nargs="+", help="breakages with these words (default: all)")
    options.add_argument("--seeds", type=int, nargs=2, default=(0, 10_000), help="first and last")
    options.add_argument("--keep", type=Path, metavar="JSON", help="where to keep the figures")
    return options.parse_args()


def tell(words: str) -> None:
    """A line for who waits."""
    sys.stdout.write(words[:1200] + "\n")
    sys.stdout.flush()


def _fuzzing(chosen: argparse.Namespace) -> Any:
    from faults.fuzzing import fuzz, prepare

    folder = chosen.folder / "fuzzing"
    prepare(folder)
    seeds = range(1, 150) if chosen.short else range(*chosen.seeds)
    found = fuzz(seeds, folder, tell)
    tell(f"fuzzing: {found.files} files, {found.seconds:.0f} s, {dict(found.outcomes)}")
    # `asdict` would take a Counter's pairs for its keys.
    return {
        name: dict(held) if isinstance(held, dict) else held for name, held in vars(found).items()
    }


def _on_stage(chosen: argparse.Namespace) -> dict[str, Any]:
    from faults.scenes import Stage

    stage = Stage(chosen.folder / "stage")
    stage.prepare()
    found: dict[str, Any] = {}
    server = stage.start_prefect()
    try:
        scenes = stage.scenes(until="nightly" if chosen.short else "backfill")
        if "kills" in chosen.only:
            found["kills"] = _kills(chosen, stage, scenes)
        if "breakages" in chosen.only:
            found["breakages"], server = _breakages(chosen, stage, scenes, server)
    finally:
        from faults.scenes import stop

        stop(server)
    return found


def _kills(chosen: argparse.Namespace, stage: Any, scenes: dict[str, Any]) -> list[Any]:
    from faults.kills import at_random_moments, at_steps, kill_and_run_again
    from faults.report import keep

    found = []
    for name in chosen.scenes or (("nightly",) if chosen.short else scenes):
        scene = scenes[name]
        expected = _reference(stage, scene)
        tell(f"{name}: {expected.seconds:.1f} s, {expected.steps} steps, code {expected.code}")
        count, at_most = (1, 2) if chosen.short else (chosen.kills, chosen.steps)
        steps = range(9, expected.steps, max(1, (expected.steps - 9) // max(1, at_most)))
        for at, kills in (
            ("random moments", at_random_moments(stage, scene, expected, count)),
            ("steps", at_steps(stage, scene, list(steps)[:at_most])),
        ):
            if (count if at == "random moments" else at_most) == 0:
                continue
            result = kill_and_run_again(stage, scene, expected, kills, tell)
            found.append({"at": at, "run_seconds": expected.seconds, **asdict(result)})
            tell(f"{name} at {at}: {result.landed} kills, {len(result.failures)} faults")
            if chosen.keep:  # after every command, since the whole takes hours
                keep({"kills": found}, chosen.keep)
    return found


def _reference(stage: Any, scene: Any) -> Any:
    """What undisturbed runs of a scene leave; played once."""
    from faults.kills import reference

    if scene.name not in REFERENCES:
        REFERENCES[scene.name] = reference(stage, scene)
    return REFERENCES[scene.name]


def _breakages(
    chosen: argparse.Namespace, stage: Any, scenes: dict[str, Any], server: Any
) -> tuple[dict[str, Any], Any]:
    from faults.all_breakages import Broken, long_trials, play_all, short_trials
    from faults.breakages import prefect_restarted
    from faults.report import keep

    played = ("nightly",) if chosen.short else ("ingest", "nightly", "backfill")
    expected = {name: _reference(stage, scenes[name]) for name in played}
    trials = (
        short_trials(stage, scenes["nightly"], expected["nightly"])
        if chosen.short
        else long_trials(stage, scenes, expected)
    )
    words = chosen.trials or [""]
    wanted = (trial for trial in trials if any(word in trial[0] for word in words))

    def kept(so_far: Any) -> None:
        if chosen.keep:
            sections = {name: asdict(broken) for name, broken in so_far.items()}
            keep({"breakages": sections}, chosen.keep)

    found = play_all(wanted, tell, kept)
    if not chosen.short and any(word in "Prefect restarted" for word in words):
        broken = found.setdefault("Prefect restarted in mid-run", Broken())
        for back_s in (0.0, 5.0, 60.0):
            given = (stage, scenes["nightly"], expected["nightly"])
            faults, server = prefect_restarted(*given, server, back_s)
            broken.trials += 1
            broken.faults += faults
            for fault in faults:
                tell(f"Prefect restarted after {back_s} s: {fault}")
    return {name: asdict(broken) for name, broken in found.items()}, server


def _failures(found: dict[str, Any]) -> Iterable[str]:
    yield from found.get("fuzzing", {}).get("failures", ())
    for kills in found.get("kills", ()):
        yield from kills["failures"]
    for broken in found.get("breakages", {}).values():
        yield from broken["faults"]


if __name__ == "__main__":
    sys.exit(main())
