"""Every row of a mutated export is accounted for, or the file is refused, in time and in memory."""

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import forking
from faults.bombs import is_bomb
from faults.fuzzed_rows import left_by_accepted, left_by_refused
from faults.mutations import Case, mutated

LIMIT_S, LIMIT_MB = 10.0, 1074.0  # 1 GiB in MB (10^6 bytes)
PATIENCE_S = 120.0  # a file that takes longer than the limit is told as slow, not as endless
BATCH = 50  # exports that one child ingests, one after another


@dataclass
class Fuzzed:
    """What came of a range of seeds."""

    files: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    slowest: tuple[float, str] = (0.0, "")
    fattest: tuple[float, str] = (0.0, "")
    failures: list[str] = field(default_factory=list)


def prepare(folder: Path) -> None:
    """A warehouse with two items, to be copied for every batch."""
    from tasks import exports
    from warehouse import db
    from warehouse.items import ItemRow, add_items

    assert exports
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "eve").mkdir(parents=True)

    def make() -> None:
        with db.connect(folder / "eve" / "warehouse.duckdb") as connection:
            rows = [ItemRow("A", "overall", 0, 3), ItemRow("007", "overall", 0, 3)]
            add_items(connection, rows)

    made = forking.run(make, folder / "log")
    assert made.code == 0, made.said


def fuzz(seeds: Sequence[int], folder: Path, told: Callable[[str], None]) -> Fuzzed:
    """Ingest the export of every seed, in children that may crash.

    Args:
        seeds: which.
        folder: for scratch; `prepare` has been there.
        told: is given a line for every fault.
    """
    found, began = Fuzzed(), time.monotonic()
    left = list(seeds)
    while left:
        size = 1 if is_bomb(left[0]) else BATCH
        batch = [seed for seed in left[:size] if size == 1 or not is_bomb(seed)]
        for fault in _batch(batch, folder, found):
            found.failures.append(fault)
            told(fault)
        done = {result["seed"] for result in _results(folder)}
        left = [seed for seed in left if seed not in done]
    found.seconds = time.monotonic() - began
    return found


def _batch(seeds: list[int], folder: Path, found: Fuzzed) -> list[str]:
    """The faults of a batch; it ends early where one of its exports ends the child."""
    shutil.rmtree(folder / "case", ignore_errors=True)
    # Deep enough for ../../x to lead to a folder of our own.
    home = folder / "case" / "a" / "b" / "home"
    home.mkdir(parents=True)
    shutil.copy(folder / "eve" / "warehouse.duckdb", home)
    (folder / "results").unlink(missing_ok=True)
    limit_s = PATIENCE_S + 5 * len(seeds)
    work = forking.run(lambda: _ingest_all(seeds, folder, home), folder / "log", limit_s=limit_s)
    results, faults = _results(folder), []
    for result in results:
        faults += _told(result, found, work.code if "seconds" not in result else 0, work.said)
    if work.code and (not results or "seconds" in results[-1]):
        faults.append(f"seeds {seeds}: ended with {work.code}: {work.said[-700:]}")
        _note(folder, [{"seed": seed} for seed in seeds])
    return faults


def _told(result: dict[str, Any], found: Fuzzed, code: int, said: str) -> list[str]:
    label = f"seed {result['seed']}, {result['kind']}"
    found.files += 1
    found.kinds[result["kind"]] += 1
    if "seconds" not in result:
        return [f"{label}: ended with {code}: {said[-700:]}"]
    found.outcomes[result["outcome"]] += 1
    found.rows.update(result["rows"])
    found.slowest = max(found.slowest, (round(result["seconds"], 2), label))
    found.fattest = max(found.fattest, (round(result["peak_mb"]), label))
    if result["seconds"] > LIMIT_S:
        result["faults"].append(f"took {result['seconds']:.1f} s")
    if result["peak_mb"] > LIMIT_MB:
        result["faults"].append(f"took {result['peak_mb']:.0f} MB")
    return [f"{label}: {fault}" for fault in result["faults"]]


def _results(folder: Path) -> list[dict[str, Any]]:
    """What the child has noted, a line per export; one without seconds was in work at its end."""
    path = folder / "results"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    found: dict[int, dict[str, Any]] = {}
    for line in lines:
        result = json.loads(line)
        found[result["seed"]] = result
    return list(found.values())


def _note(folder: Path, results: list[dict[str, Any]]) -> None:
    with (folder / "results").open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(result) + "\n" for result in results)


def _ingest_all(seeds: list[int], folder: Path, home: Path) -> None:
    """In the child: make, ingest and check one export after another."""
    import duckdb

    # While it is open here, every other connection of this process is made in no time.
    with duckdb.connect(str(home / "warehouse.duckdb")) as warehouse:
        warehouse.execute("SET TimeZone = 'UTC'")
        for seed in seeds:
            exports = folder / "exports"
            shutil.rmtree(exports, ignore_errors=True)
            exports.mkdir()
            case = mutated(seed, exports)
            _note(folder, [{"seed": seed, "kind": case.kind}])
            result = _ingest(case, home, warehouse)
            result["faults"] += [f"wrote {path}" for path in _strays(folder, home)]
            _note(folder, [{"seed": seed, "kind": case.kind, **result}])


def _ingest(case: Case, home: Path, warehouse: Any) -> dict[str, Any]:
    """Explain and ingest one export, and say what is wrong with what it left."""
    from tasks.encodings import sha256_of
    from tasks.exports import ExportRefusedError, IngestOptions, explain_export, ingest_export

    options = IngestOptions(season="2026-spring", mapping_file=case.mapping, student_key=b"k" * 32)
    given = (home / "warehouse.duckdb", home / "responses", case.path, "run", options)
    result: dict[str, Any] = {"outcome": "taken in", "rows": {}}
    sha256 = sha256_of(case.path)
    _forget_peak()
    watch = _Watch()
    try:
        explain_export(case.path, case.mapping)
    except ExportRefusedError:
        result["outcome"] = "refused"
    explained_s = watch.seconds()
    watch = _Watch()
    try:
        counts = ingest_export(*given)
    except ExportRefusedError as error:
        faults = left_by_refused(home, warehouse, sha256, str(error))
        result["outcome"] = "refused"
    else:
        names = ("received", "accepted", "rated", "rejected", "duplicate")
        result |= {"outcome": counts.status, "rows": {one: getattr(counts, one) for one in names}}
        faults = left_by_accepted(case, home, warehouse, counts)
    result["seconds"] = max(explained_s, watch.seconds())
    result["peak_mb"] = _peak_mb()
    again = (*given[:3], "another run", options)
    if result["outcome"] == "accepted" and ingest_export(*again).status != "unchanged":
        faults.append("the same bytes again brought something")
    return {**result, "faults": faults}


class _Watch:
    """Time that passed, or that this process computed where others took its turns."""

    def __init__(self) -> None:
        self._began, self._computed = time.monotonic(), time.process_time()

    def seconds(self) -> float:
        """The smaller of the two, in seconds, from its making."""
        return min(time.monotonic() - self._began, time.process_time() - self._computed)


def _forget_peak() -> None:
    """Let the kernel count this process's peak memory from now on."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    status = Path("/proc/self/status").read_text("ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


def _strays(folder: Path, home: Path) -> list[str]:
    """What lies outside the workspace, and hidden files in it."""
    outside = [
        Path(place) / name
        for place, folders, names in os.walk(folder / "case")
        for name in (*folders, *names)
        if home not in (Path(place) / name, *(Path(place) / name).parents)
    ]
    ours = {home.parent, home.parent.parent}
    hidden = [path for path in home.iterdir() if path.name.startswith(".")]
    return [str(path.relative_to(folder)) for path in (*outside, *hidden) if path not in ours]
