"""Where the time of a run goes: seconds by stage, and of scoring what the model took.

The seconds are wall time of the process that brings a run to its end. A run that was killed and
taken up again says what its last process spent.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

# In the order they come in; model is a part of score, and other is what belongs to no stage.
STAGES = (
    "ingest", "plan", "fetch", "score", "commit", "compare", "judge", "report", "log", "catch_up",
)  # fmt: skip
MODEL, TOTAL = "model", "total"

Entry = TypeVar("Entry")


class TimeSplit:
    """A clock that knows what it is timing.

    Args:
        before: seconds of stages that an earlier process has spent on the same run; they count.
    """

    def __init__(self, before: Mapping[str, float] | None = None) -> None:
        self._began = time.perf_counter()
        self._seconds = dict(before or {})
        self._before = self._seconds.pop(TOTAL, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside as a stage; one that comes twice is added up."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._add(name, time.perf_counter() - began)

    def model(self, model_s: float, shards_s: float) -> None:
        """Say what of the stage ``score`` was spent on the model.

        Args:
            model_s: seconds of all shards on the model.
            shards_s: seconds of all shards on everything. Where shards were scored side by side
                these are more than the stage took; the model is then given its share of the stage.
        """
        side_by_side = shards_s / self._seconds.get("score", shards_s) if shards_s else 1.0
        self._add(MODEL, model_s / max(side_by_side, 1.0))

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds so far by stage, with ``total``; rounded to milliseconds."""
        total = self._before + time.perf_counter() - self._began
        return {name: round(value, 3) for name, value in {**self._seconds, TOTAL: total}.items()}

    def _add(self, name: str, seconds: float) -> None:
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds


class Stopwatch:
    """Adds up how long one waits for the entries of iterators."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def waiting_for(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        """Yield the entries; the time until each of them, and until the end, is added."""
        iterator = iter(entries)
        while True:
            began = time.perf_counter()
            try:
                entry = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield entry


def without_model(seconds: Mapping[str, float]) -> float | None:
    """The share of a run's time that was spent on anything but the model; None if not known."""
    total = seconds.get(TOTAL)
    return None if not total or MODEL not in seconds else 1 - seconds[MODEL] / total


def stages(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """Stages with their seconds, in order, the time that belongs to none of them at the end."""
    named = [(name, seconds[name]) for name in STAGES if name in seconds]
    unknown = sorted(set(seconds) - {*STAGES, MODEL, TOTAL})
    named += [(name, seconds[name]) for name in unknown]
    rest = seconds.get(TOTAL, 0.0) - sum(value for _, value in named)
    return [*((name.replace("_", " "), value) for name, value in named), ("other", max(rest, 0.0))]


def time_sentence(seconds: Mapping[str, float]) -> str:
    """The time split on a line; empty where it is not known."""
    if TOTAL not in seconds:
        return ""
    said = ", ".join(f"{name} {_shown(name, value, seconds)}" for name, value in stages(seconds))
    share = without_model(seconds)
    rest = "" if share is None else f"; all but the model {share:.1%}"
    return f"{seconds[TOTAL]:,.1f} s: {said}{rest}"


def _shown(name: str, value: float, seconds: Mapping[str, float]) -> str:
    of_it = f" (model {seconds[MODEL]:,.1f})" if name == "score" and MODEL in seconds else ""
    return f"{value:,.1f}{of_it}"
