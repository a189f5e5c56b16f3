"""The same plan, scored in every way there is: are the scores the same?

The sample bank is trained, and all its responses are planned once. That plan is then scored by
this process, by four processes, through Ray and Dask, from an S3-compatible store, and by three
Prefect workers that stand for three hosts: each has a folder and a workspace of its own, and finds
the plan, the texts and the adapters in the store alone. Once more with one of them killed.
Takes about ten minutes.

    python -m benchmarks.places

Writes ``docs/places.md`` and ``docs/places.json``.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.object_stores import NotInstalledError, free_port, running

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 45.0  # until the shards of a killed host are taken back; 15 minutes by default
SHARD_ROWS = 64
HOSTS = 3
POOL = "gradeline-shards"


@dataclass(frozen=True)
class Way:
    """A way to score the plan."""

    title: str
    runner: str = "here"
    in_store: bool = False
    kill_one: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it: against one process on the local disk.

    Attributes:
        title: of the way.
        precision: of the arithmetic.
        shards: how many there were.
        rows: scores computed.
        changed: reported scores that differ.
        largest: greatest difference of a raw score.
        seconds: from the plan to sound parts, starting the runner included.
        homes: hosts that had a hand in it.
    """

    title: str
    precision: str
    shards: int
    rows: int
    changed: int
    largest: float
    seconds: float
    homes: int


WAYS = (
    Way("this process, again"),
    Way("4 processes", "processes:4"),
    Way("Ray, started for it", "ray"),
    Way("Dask, started for it", "dask"),
    Way("this process, S3", in_store=True),
    Way("4 processes, S3", "processes:4", in_store=True),
    Way("Ray, S3", "ray", in_store=True),
    Way("3 Prefect workers, S3", f"workers:{HOSTS}", in_store=True),
    Way("3 Prefect workers, S3, one killed", f"workers:{HOSTS}", in_store=True, kill_one=True),
)


def main() -> None:
    """Measure, and write the report."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--store", choices=("ceph", "moto"), default="ceph")
    arguments.add_argument("--only", help="ways whose title holds this")
    options = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="places-")))
        store = options.store
        try:
            bucket = stack.enter_context(running(store, _made(folder / "store")))
        except NotInstalledError as error:
            print(f"{error}: moto instead", file=sys.stderr)
            store = "moto"
            bucket = stack.enter_context(running(store, folder / "store"))
        stack.enter_context(_prefect(folder))
        outcomes = _measured(folder, bucket, options.only)
    if options.only:
        return
    about = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "store": store}
    text = json.dumps({**about, "ways": [asdict(one) for one in outcomes]}, indent=2)
    (ROOT / "docs" / "places.json").write_text(text + "\n", encoding="utf-8")
    (ROOT / "docs" / "places.md").write_text(markdown(outcomes, store), encoding="utf-8")


def _measured(folder: Path, bucket: str, only: str | None) -> list[Outcome]:
    from flows.demo import demo
    from flows.settings import load_settings

    home = folder / "home"
    demo(load_settings(home))
    outcomes = []
    for precision in ("fp32", "bf16"):
        expected = None
        for number, way in enumerate((Way("this process"), *WAYS)):
            if expected is not None and only and only not in way.title:
                continue
            place = folder / f"{precision}-{number}"
            scores, outcome = _scored(home, place, bucket, way, precision, expected)
            expected = scores if expected is None else expected
            outcomes.append(outcome)
            print(outcome, flush=True)
            shutil.rmtree(place)
    return outcomes


def _scored(
    home: Path, place: Path, bucket: str, way: Way, precision: str, expected: pa.Table | None
) -> tuple[pa.Table, Outcome]:
    """Plan in a copy of the workspace, score in one way, and compare."""
    from flows import spreading
    from flows.scoring import computed_with, tracking_of
    from flows.settings import load_settings
    from tasks import planning
    from tasks.tracking import CHAMPION, fetch_adapters, list_adapters
    from warehouse import db, parts, runs

    shutil.copytree(home, place, ignore=shutil.ignore_patterns("prefect", "cache", ".lock*"))
    settings = load_settings(place).model_copy(
        update={
            "runner": way.runner,
            "storage": bucket.replace("?", f"/{place.name}?") if way.in_store else None,
            "trunk_cache_gb": 0.0,
            "max_tokens": 500,  # not the demo's, so that everything is computed
        }
    )
    if way.in_store:
        for path in (place / "responses").rglob("*.parquet"):
            with parts.whole_file(settings.responses / path.parent.name / path.name) as temporary:
                shutil.copy(path, temporary)
        shutil.rmtree(place / "responses")
    planning.SHARD_ROWS, spreading.PATIENCE_S = SHARD_ROWS, PATIENCE_S
    champions = list_adapters(tracking_of(load_settings(home)), CHAMPION)
    with db.connect(settings.warehouse) as connection:
        run_id = runs.start_run(connection, "backfill", datetime.now(UTC).date(), {})
    plan = planning.plan_scoring.fn(
        settings.warehouse,
        settings.plans,
        run_id,
        champions,
        planning.Selection(rescore=True),
        **computed_with(settings, precision),
    )
    fetch_adapters(tracking_of(load_settings(home)), champions, settings.adapters)
    with ExitStack() as stack:
        hosts = stack.enter_context(_hosts(place)) if way.runner.startswith("workers") else []
        advance = _killing(hosts) if way.kill_one else lambda _: None
        began = time.perf_counter()
        spreading.score_plan(settings, plan, precision, advance)
        seconds = time.perf_counter() - began
        homes = sum((host.home / "adapters").exists() for host in hosts) or 1
    scores = pa.concat_tables(
        [parts.read(planning.part_path(plan.path, shard)) for shard in plan.shards]
    ).sort_by([("item_id", "ascending"), ("trait", "ascending"), ("response_id", "ascending")])
    changed, largest = (0, 0.0) if expected is None else _difference(scores, expected)
    return scores, Outcome(
        way.title, precision, len(plan.shards), len(scores), changed, largest, seconds, homes
    )


def _difference(scores: pa.Table, expected: pa.Table) -> tuple[int, float]:
    """Reported scores that differ, and the greatest difference of raw ones."""
    for name in ("item_id", "trait", "response_id", "adapter_sha256", "engine"):
        if not scores[name].equals(expected[name]):
            raise RuntimeError(f"other rows were scored: their {name} differs")
    changed = pc.sum(pc.not_equal(scores["score"], expected["score"])).as_py()
    shift = np.abs(scores["raw_score"].to_numpy() - expected["raw_score"].to_numpy())
    return int(changed), float(shift.max())


@dataclass(frozen=True)
class Host:
    """A Prefect worker with a folder and a workspace of its own."""

    home: Path
    process: "subprocess.Popen[bytes]"


@contextmanager
def _hosts(place: Path) -> Iterator[list[Host]]:
    hosts = []
    try:
        for number in range(HOSTS):
            folder = _made(place / f"host-{number}")
            environment = {
                **os.environ,
                "GRADELINE_HOME": str(folder / "workspace"),
                "PREFECT_HOME": str(folder / "prefect"),
                "HOME": str(folder),
            }
            environment.pop("GRADELINE_STORAGE", None)
            worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
            quiet = (folder / "worker.log").open("wb")
            process = subprocess.Popen(
                [*worker, "--name", folder.name, "--limit", "1"],
                cwd=folder,
                env=environment,
                stdout=quiet,
                stderr=quiet,
                start_new_session=True,
            )
            hosts.append(Host(folder / "workspace", process))
        yield hosts
    finally:
        for host in hosts:
            _end(host, 15)
            _end(host, 9)
            host.process.wait()


def _killing(hosts: list[Host]) -> Callable[[int], None]:
    """Kills a host that is at work, with all its processes, when the first scores are there."""
    once = threading.Lock()

    def advance(_: int) -> None:
        if once.acquire(blocking=False):
            at_work = [host for host in hosts if (host.home / "adapters").exists()]
            _end(at_work[0], 9)

    return advance


def _end(host: Host, signal: int) -> None:
    """Signal a host's processes, the flow runs that its worker has started too."""
    try:
        worker = psutil.Process(host.process.pid)
        family = [worker, *worker.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal)
    psutil.wait_procs(family, timeout=30)


@contextmanager
def _prefect(folder: Path) -> Iterator[None]:
    """A Prefect server with the pool and the deployment; the environment names it."""
    from flows.settings import LIBRARIES

    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    os.environ.update(
        LIBRARIES, PREFECT_HOME=str(folder / "prefect"), PREFECT_LOGGING_LEVEL="ERROR"
    )
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)],
            stdout=log,
            stderr=log,
        )
        try:
            os.environ["PREFECT_API_URL"] = api
            _await(api)
            _deploy()
            yield
        finally:
            server.terminate()
            server.wait(60)


def _await(api: str) -> None:
    from urllib.request import urlopen

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urlopen(f"{api}/health", timeout=5).close()  # noqa: S310
            return
        except OSError:
            time.sleep(0.5)
    raise TimeoutError(f"{api} does not answer")


def _deploy() -> None:
    from prefect.deployments.runner import EntrypointType

    from flows.shards import score_shards

    create = ["work-pool", "create", POOL, "--type", "process"]
    subprocess.run([sys.executable, "-m", "prefect", *create], check=True, capture_output=True)
    score_shards.to_deployment(
        "score-shards", work_pool_name=POOL, entrypoint_type=EntrypointType.MODULE_PATH
    ).apply()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def markdown(outcomes: list[Outcome], store: str) -> str:
    """The report."""
    named = {"ceph": "Ceph's object gateway", "moto": "moto, a stand-in"}[store]
    first, day = outcomes[0], f"{datetime.now(UTC):%-d %B %Y}"
    lines = [
        "# The same plan in every place",
        "",
        f"One plan of {first.rows:,} scores in {first.shards} shards, of the sample bank and",
        f"all-MiniLM-L6-v2, scored in every way there is (`python -m benchmarks.places`, {day};",
        f"two cores; S3 is {named}). A host is a Prefect worker with a folder and a workspace of",
        "its own, which finds plan, texts and adapters in the store alone. Differences are to the",
        "first line of the same precision. The seconds hold the start of the runner, and all hosts",
        "share two cores here: they say that it works, not how it grows.",
        "",
        "| precision | scored by | scores | changed | largest shift of a raw score | s | hosts |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {one.precision} | {one.title} | {one.rows:,} | {one.changed} | "
        f"{one.largest:.1e} | {one.seconds:.0f} | {one.homes} |"
        for one in outcomes
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
