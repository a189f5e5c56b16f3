"""kill -9 at random moments, then one more run: the content of an undisturbed one."""

import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from faults import forking
from faults.content import Content, content, differences, runs_of, twice
from faults.forking import Outcome, gradeline
from faults.scenes import Scene, Stage


@dataclass(frozen=True)
class Reference:
    """What undisturbed runs of a scene leave.

    Attributes:
        once: content after one run.
        again: content after the same command once more.
        code: the exit code of the first.
        code_again: the exit code of the second.
        seconds: how long the first took.
        steps: how many durable steps (files renamed, removed, made) it took.
    """

    once: Content
    again: Content
    code: int
    code_again: int
    seconds: float
    steps: int


@dataclass
class Kills:
    """What came of killing one command many times."""

    scene: str
    landed: int = 0
    missed: int = 0
    taken_up: int = 0  # the next run went on with the killed one
    done_before: int = 0  # what was killed had committed already: the next run is one of its own
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def reference(stage: Stage, scene: Scene) -> Reference:
    """Play a scene twice, undisturbed; the second time its steps are counted."""
    stage.put_up(scene.eve)
    first = stage.play(scene)
    assert first.code in (0, 2), f"{scene.name}: {first.code}\n{first.said}"
    once = content(stage.home)
    second = stage.play(scene)
    again = content(stage.home)
    stage.put_up(scene.eve)
    steps = _steps(stage, scene)
    return Reference(once, again, first.code, second.code, first.seconds, steps)


def at_random_moments(
    stage: Stage, scene: Scene, expected: Reference, count: int
) -> Iterator[tuple[str, Outcome]]:
    """Kill a scene's command many times; yields when it was killed, and how it ended.

    A run that had ended before is played once more, at the moment of another seed.
    """
    landed = seed = 0
    while landed < count and seed < 3 * count:
        seed += 1
        moment = random.Random(f"{scene.name} {seed}").uniform(0.01, expected.seconds)
        stage.put_up(scene.eve)
        outcome = stage.play(scene, kill_after_s=moment)
        landed += outcome.killed
        yield f"after {moment:.3f} s (seed {seed})", outcome


def at_steps(stage: Stage, scene: Scene, steps: list[int]) -> Iterator[tuple[str, Outcome]]:
    """Kill a scene's command just before chosen durable steps."""
    for step in steps:
        stage.put_up(scene.eve)
        work = forking.interrupted(
            gradeline(stage.home, *scene.arguments), _in_workspace(stage), at=step
        )
        outcome = forking.run(work, stage.log, environment=scene.environment)
        yield f"before step {step}", outcome


def kill_and_run_again(
    stage: Stage,
    scene: Scene,
    expected: Reference,
    kills: Iterator[tuple[str, Outcome]],
    told: Callable[[str], None],
) -> Kills:
    """After every kill one more run, and the comparison with an undisturbed workspace."""
    found, began = Kills(scene.name), time.monotonic()
    for moment, outcome in kills:
        if not outcome.killed:
            found.missed += 1
            continue
        found.landed += 1
        for fault in _once_more(stage, scene, expected, found):
            found.failures.append(f"{scene.name} killed {moment}: {fault}")
            told(found.failures[-1])
            shutil.rmtree(stage.folder / "failed", ignore_errors=True)
            shutil.copytree(stage.home, stage.folder / "failed", symlinks=True)
    found.seconds = time.monotonic() - began
    return found


def _once_more(stage: Stage, scene: Scene, expected: Reference, found: Kills) -> list[str]:
    outcome = stage.play(scene)
    held = content(stage.home)
    taken_up = runs_of(held) == runs_of(expected.once)
    found.taken_up += taken_up
    found.done_before += not taken_up
    wanted = expected.once if taken_up else expected.again
    code = expected.code if taken_up else expected.code_again
    told = differences(held, wanted)
    if outcome.code != code:
        told.append(f"exit code {outcome.code}, not {code}: {outcome.said[-600:]}")
    if twice(stage.home):
        told.append("a score was given twice")
    return told


def _steps(stage: Stage, scene: Scene) -> int:
    """How many durable steps a scene's command takes in its workspace."""
    count = stage.folder / "steps"
    is_ours = _in_workspace(stage)

    def work() -> int | None:
        seen = 0

        def chosen(event: str, arguments: tuple[object, ...]) -> bool:
            nonlocal seen
            seen += is_ours(event, arguments)
            return False

        code = forking.interrupted(gradeline(stage.home, *scene.arguments), chosen)()
        count.write_text(str(seen))
        return code

    forking.run(work, stage.log, environment=scene.environment)
    return int(count.read_text())


def _in_workspace(stage: Stage) -> Callable[[str, tuple[object, ...]], bool]:
    return partial(_concerns, str(stage.home))


def _concerns(home: str, event: str, arguments: tuple[object, ...]) -> bool:
    return any(str(argument).startswith(home) for argument in arguments)
