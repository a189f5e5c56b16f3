"""What a run costs beside the model: ``python -m benchmarks.operations``.

A season of 10,000, 100,000 and 1,000,000 responses to 200 items is scored by ``gradeline backfill``
with a stand-in in the model's place, then once more as if the arithmetic had changed, so that every
score is replaced; and a night of 50,000 responses is scored with the real model. Each run has a
process of its own, whose time and memory are taken stage by stage. Writes ``docs/operations_scale``
(.json, .md, .svg).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import operations_data as made
from benchmarks.operations_report import draw, failures, markdown

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "operations"
DOCS = ROOT / "docs"
ITEMS = 200
SIZES = (10_000, 100_000, 1_000_000)
NIGHT = 50_000

Found = dict[str, Any]


def main() -> int:
    """Run what was asked for, and write what was found; 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--night", type=int, default=NIGHT, help="0 leaves the real model out")
    parser.add_argument("--items", type=int, default=ITEMS)
    parser.add_argument("--out", type=Path, default=DOCS / "operations_scale.json")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        kind, home = options.child
        print(json.dumps(CHILDREN[kind](Path(home), options)))
        return 0
    found = _begun(options)
    if options.night:
        found["night"] = _night(options.night, options)
        _write(found, options.out)
    for rows in options.sizes:
        found["backfills"].append(_season(rows, options))
        _write(found, options.out)
    print(markdown(found))
    return 1 if failures(found) else 0


def _begun(options: argparse.Namespace) -> Found:
    from benchmarks.engine.machine import machine

    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine(),
        "items": options.items,
        "exports": made.EXPORTS,
        "backfills": [],
    }


def _write(found: Found, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    draw(found, path.with_suffix(".svg"))


def _season(rows: int, options: argparse.Namespace) -> Found:
    home, load = WORK / f"season-{rows}", _load()
    shutil.rmtree(home, ignore_errors=True)
    try:
        prepared = _child("prepare", home, options, rows)
        first = _child("first", home, options)
        again = _child("again", home, options)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return {"rows": rows, "load": load, "prepare": prepared, "first": first, "again": again}


def _night(rows: int, options: argparse.Namespace) -> Found:
    home, load = WORK / f"night-{rows}", _load()
    shutil.rmtree(home, ignore_errors=True)
    try:
        _child("inbox", home, options, rows)
        return {"rows": rows, "load": load, **_child("night", home, options)}
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _load() -> float:
    """How many processes wanted to run in the minute before; a quiet machine has none."""
    return round(os.getloadavg()[0], 1)


def _child(kind: str, home: Path, options: argparse.Namespace, rows: int = 0) -> Found:
    """Run one step in a process of its own; ``process_s`` is its time from start to end."""
    command = [sys.executable, "-m", "benchmarks.operations", "--items", str(options.items)]
    command += ["--sizes", str(rows), "--child", kind, str(home)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: Found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "process_s": round(time.perf_counter() - began, 2)}


def _prepare(home: Path, options: argparse.Namespace) -> Found:
    """A workspace with bank, adapters and the season's responses."""
    settings = _settings(home)
    made.make_bank(settings, options.items)
    made.register(settings, options.items)
    exports = made.write_exports(home / "made", options.sizes[0], options.items)
    began = time.perf_counter()
    made.ingest(settings, exports)
    seconds = time.perf_counter() - began
    shutil.rmtree(home / "made")
    return {"ingest_s": round(seconds, 2)}


def _inbox(home: Path, options: argparse.Namespace) -> Found:
    """A workspace with bank and adapters, and one export in its inbox."""
    settings = _settings(home)
    made.make_bank(settings, options.items)
    made.register(settings, options.items)
    made.write_exports(settings.inbox / made.SEASON, options.sizes[0], options.items, 1)
    return {}


def _first(home: Path, _options: argparse.Namespace) -> Found:
    """The season is scored for the first time."""
    _settings(home)  # before Prefect is imported, which reads them then
    from benchmarks.operations_model import stand_in

    with stand_in(), _stage_peaks() as peaks:
        return _backfilled(home, peaks)


def _again(home: Path, options: argparse.Namespace) -> Found:
    """The season once more, in exact arithmetic: every score of the ledger is replaced."""
    os.environ["GRADELINE_PRECISION"] = "fp32"
    return _first(home, options)


def _backfilled(home: Path, peaks: Found) -> Found:
    settings = _settings(home)
    from flows.backfill import backfill

    return _told(backfill(seasons=[made.SEASON], home=settings.home).report.run, peaks)


def _scored_night(home: Path, _options: argparse.Namespace) -> Found:
    """The night, with the real model."""
    settings = _settings(home)
    from flows.nightly import nightly

    with _stage_peaks() as peaks:
        return _told(nightly(home=settings.home).report.run, peaks)


def _told(run: Any, peaks: Found) -> Found:
    return {
        "status": run.status,
        "held_reasons": list(run.held_reasons),
        "scored": run.scored,
        "reconciled": run.reconciled,
        "adapters_loaded": run.adapters_loaded,
        "responses_per_s": run.responses_per_s,
        "stage_seconds": dict(run.stage_seconds),
        "peak_rss_mb": {name: round(mb, 1) for name, mb in peaks.items()},
    }


def _settings(home: Path) -> Any:
    from flows.settings import load_settings, prepare_libraries

    settings = load_settings(home)
    prepare_libraries(settings)
    return settings


@contextmanager
def _stage_peaks() -> Iterator[Found]:
    """Yields a dictionary that fills with the largest resident memory of each stage, in MB.

    The kernel's high-water mark is reset when a stage begins (proc(5), clear_refs).
    """
    from tasks.time_split import TimeSplit

    plain, peaks = TimeSplit.stage, {}

    @contextmanager
    def measured(self: Any, name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        try:
            with plain(self, name):
                yield
        finally:
            peaks[name] = max(peaks.get(name, 0.0), _high_water_mb())

    TimeSplit.stage = measured  # type: ignore[method-assign]
    try:
        yield peaks
    finally:
        TimeSplit.stage = plain  # type: ignore[method-assign]


def _high_water_mb() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


CHILDREN = {
    "prepare": _prepare,
    "inbox": _inbox,
    "first": _first,
    "again": _again,
    "night": _scored_night,
}


if __name__ == "__main__":
    sys.exit(main())
