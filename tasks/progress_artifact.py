"""Progress of long work on Prefect's pages: a bar and the time left, renewed while it runs.

A thread of its own talks to Prefect, so that a server that is slow or gone holds up no work.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import cast
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import FlowRunContext

from tasks.report_text import duration
from tasks.telling_prefect import told_to_prefect

RENEW_EVERY_S = 10.0
LAST_WORD_S = 5.0  # how long the end of the work waits for Prefect


@contextmanager
def published_progress(
    description: str, total: int, found: int = 0
) -> Iterator[Callable[[int], None]]:
    """Show on Prefect's pages how far a piece of work is; yields what to call with each advance.

    Of the steps, ``found`` were done before, and say nothing of the time left. Outside a flow run
    nothing is shown. The artifact's key is the description's first word.
    """
    if FlowRunContext.get() is None:
        yield _nothing
        return
    bar = _Bar(description, total, found)
    context = copy_context()  # by which Prefect knows whose artifact it is
    thread = threading.Thread(target=context.run, args=(bar.keep_renewed,), daemon=True)
    thread.start()
    try:
        yield bar.advance
    finally:
        bar.ended.set()
        thread.join(LAST_WORD_S)


class _Bar:
    """How far the work is, and the artifact that says so."""

    def __init__(self, description: str, total: int, found: int) -> None:
        self.description, self.total, self.found, self.done = description, total, found, 0
        self.began, self.ended = time.monotonic(), threading.Event()

    def advance(self, steps: int) -> None:
        self.done += steps

    def keep_renewed(self) -> None:
        """Publish now, every few seconds, and once more at the end; not again once it failed."""
        artifact: UUID | None = None
        with told_to_prefect("progress"):
            while not self.ended.is_set():
                artifact = self._publish(artifact)
                self.ended.wait(RENEW_EVERY_S)
            self._publish(artifact)

    def _publish(self, artifact: UUID | None) -> UUID:
        percent, words = self._percent(), self._words()
        if artifact is None:
            key = f"{self.description.split()[0].lower()}-progress"
            return cast("UUID", create_progress_artifact(percent, key=key, description=words))
        return cast("UUID", update_progress_artifact(artifact, percent, description=words))

    def _percent(self) -> float:
        return round(100 * self.done / self.total, 1) if self.total else 100.0

    def _words(self) -> str:
        """What is done and, while it runs, how much longer it will take."""
        elapsed = time.monotonic() - self.began
        words = f"{self.description}: {self.done:,} of {self.total:,} after {duration(elapsed)}"
        if self.found < self.done < self.total and not self.ended.is_set():
            left = elapsed / (self.done - self.found) * (self.total - self.done)
            words += f", about {duration(left)} left"
        return words


def _nothing(steps: int) -> None:
    """Outside a flow run."""
