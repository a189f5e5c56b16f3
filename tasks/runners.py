"""Who scores shards: this process, others of this machine, Ray, Dask, or Prefect workers.

The code that scores is the same for all of them, and so are the scores: a shard goes there by its
name, and comes back as a part beside the plan.
"""

import os
from dataclasses import dataclass
from typing import Any, Literal, cast

from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

Kind = Literal["here", "processes", "ray", "dask", "workers"]
FEWEST_RUNS = 2  # of Prefect workers, where it is not said how many


class RunnerNotInstalledError(RuntimeError):
    """A runner is asked for whose library is not installed."""


@dataclass(frozen=True)
class Runner:
    """The setting ``runner``, read.

    Attributes:
        kind: who.
        count: processes, or runs of Prefect workers, that score side by side; 0: not said.
        address: of a cluster that is there already; empty where it is started for the run.
    """

    kind: Kind
    count: int = 0
    address: str = ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether hosts score that have folders and settings of their own."""
        return self.kind == "workers" or bool(self.address)

    @property
    def side_by_side(self) -> int:
        """How many are to score at a time, as far as that is decided here."""
        return self.count or (FEWEST_RUNS if self.kind == "workers" else _cores())

    @property
    def threads(self) -> int | None:
        """Threads of each that scores; None: one per core of its host."""
        if self.kind in ("here", "workers"):
            return None
        return 1 if self.kind != "processes" else max(1, _cores() // self.side_by_side)


def runner_of(setting: str) -> Runner:
    """The setting ``here``, ``processes:4``, ``ray``, ``dask:ADDRESS``, ``workers:3`` ... read."""
    kind, _, rest = setting.partition(":")
    if kind in ("processes", "workers"):
        return Runner(cast("Kind", kind), count=int(rest or 0))
    return Runner(cast("Kind", kind), address=rest)


def task_runner(runner: Runner) -> TaskRunner[Any]:
    """Prefect's runner of tasks for processes, Ray and Dask; start it with ``with``.

    Raises:
        RunnerNotInstalledError: its library is not installed.
    """
    try:
        if runner.kind == "ray":
            return _ray(runner)
        if runner.kind == "dask":
            return _dask(runner)
    except ImportError as error:
        raise RunnerNotInstalledError(
            f"the runner {runner.kind!r} needs a library that is not installed: "
            f"pip install 'gradeline[{runner.kind}]', or set GRADELINE_RUNNER=processes"
        ) from error
    return ProcessPoolTaskRunner(max_workers=runner.side_by_side)


def _ray(runner: Runner) -> TaskRunner[Any]:
    from prefect_ray.task_runners import RayTaskRunner

    if runner.address:
        return cast("TaskRunner[Any]", RayTaskRunner(address=runner.address))
    local = {"include_dashboard": False, "log_to_driver": False, "num_cpus": runner.side_by_side}
    return cast("TaskRunner[Any]", RayTaskRunner(init_kwargs=local))


def _dask(runner: Runner) -> TaskRunner[Any]:
    from prefect_dask.task_runners import DaskTaskRunner

    if runner.address:
        return cast("TaskRunner[Any]", DaskTaskRunner(address=runner.address))
    local = {
        "n_workers": runner.side_by_side,
        "threads_per_worker": 1,  # what scores is made for one at a time
        "dashboard_address": None,
    }
    return cast("TaskRunner[Any]", DaskTaskRunner(cluster_kwargs=local))


def _cores() -> int:
    """Cores that this process may use; the machine's, where the system does not say."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1
