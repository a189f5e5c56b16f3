"""Progress of long work: a bar and the time left on a terminal, else in the log; and in Prefect."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tasks.progress_artifact import published_progress

LOG_EVERY_S = 30.0
logger = logging.getLogger(__name__)


@contextmanager
def progress(
    description: str, total: int | None, found: int = 0
) -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work is; yields the function to call with each advance.

    A total that is not known beforehand (None) gives a count without the time left. In a flow run
    Prefect's pages show it too, where the total is known.

    Args:
        description: of the work.
        total: steps, those already done included.
        found: steps that are done already, by a run that was killed. They are advanced over first,
            and the time left is told by the others.
    """
    with _shown(description, total, found) as show:
        if total is None:
            yield show
            return
        with published_progress(description, total, found) as publish:

            def advance(steps: int) -> None:
                show(steps)
                publish(steps)

            yield advance


@contextmanager
def _shown(description: str, total: int | None, found: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _logged(description, total, found)
        return
    left = (TimeRemainingColumn(), TextColumn("left"))
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *left)
    count = (TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    shown = count if total is None else columns
    with Progress(TextColumn("{task.description}"), *shown, console=console) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)


def silent(steps: int) -> None:
    """Show nothing."""


def _logged(description: str, total: int | None, found: int) -> Callable[[int], None]:
    began = said = time.monotonic()
    done = 0

    def advance(steps: int) -> None:
        nonlocal done, said
        done += steps
        now = time.monotonic()
        if now - said >= LOG_EVERY_S and done:
            said = now
            if total is None:
                logger.info("%s: %d", description, done)
            elif done > found:
                left = (now - began) / (done - found) * (total - done)
                logger.info("%s: %d of %d, about %.0f s left", description, done, total, left)

    return advance
