"""Progress of long work: a bar with the time left on a terminal, log lines elsewhere."""

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

LOG_EVERY_S = 30.0
logger = logging.getLogger(__name__)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how far a piece of work is; yields the function to call with each advance.

    A total that is not known beforehand (None) gives a count without the time left.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _logged(description, total)
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


def _logged(description: str, total: int | None) -> Callable[[int], None]:
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
            else:
                left = (now - began) / done * (total - done)
                logger.info("%s: %d of %d, about %.0f s left", description, done, total, left)

    return advance
