"""How long a night's evaluation and its logging take: ``python -m benchmarks.evaluation``.

Writes ``docs/evaluation.md`` and ``docs/evaluation.json``. A made-up night of 500 items and
100,000 human-scored responses is evaluated with all its bootstrap intervals, judged, written as an
HTML report and logged to MLflow's SQLite store. Beside it, scikit-learn and scipy compute the
figures that they have, with as many resamples, for some of the same items: all would take them an
hour. Rounds alternate which of the two goes first; a ratio compares the same items in one round.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from benchmarks.evaluation_data import DAY, make_warehouse
from benchmarks.evaluation_rivals import Interval, rated_items, rival_figures
from tasks import rules, run_log, tracking
from tasks.evaluating import evaluate_scores
from tasks.evaluating_days import evaluate_by_day
from tasks.evaluation import ItemEvaluation
from tasks.reporting import RunReport, write_report
from tasks.run_metrics import item_metrics
from tasks.thresholds import read_thresholds
from tasks.tracking import Child, Tracking
from warehouse import db, reports

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 60.0
SAMPLES = 1_000
AGREES_TO = 1e-9
LIBRARIES = ("numpy", "scikit-learn", "scipy", "mlflow", "duckdb", "matplotlib")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Round:
    """Seconds of one round.

    Attributes:
        evaluate_s: all items with all their intervals.
        by_day_s: agreement by day.
        judge_s: all rules of all items.
        report_s: the HTML report.
        log_s: the run in MLflow, with its children, tables and pictures.
        children_s: 500 children alone, without pictures: part of the above, measured apart.
        sample_s: the sampled items, ours.
        rival_s: the same items, scikit-learn and scipy.
    """

    evaluate_s: float
    by_day_s: float
    judge_s: float
    report_s: float
    log_s: float
    children_s: float
    sample_s: float
    rival_s: float


def main() -> int:
    """Measure, compare, record; 1 where a limit is missed or a figure differs."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(
            Path(folder),
            items=options.items,
            rows=options.rows,
            rival_items=options.rival_items,
            rounds=options.rounds,
        )
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    options.out.write_text(markdown(found), "utf-8")
    print(markdown(found))
    return 0 if within_limits(found) else 1


def measure(
    folder: Path,
    *,
    items: int,
    rows: int,
    rival_items: int,
    rounds: int,
    samples: int = SAMPLES,
) -> dict[str, Any]:
    """Make the night and measure it.

    Args:
        folder: an empty folder for warehouse, store and report.
        items: items of the night.
        rows: human-scored responses, of all items together.
        rival_items: how many of the items scikit-learn and scipy evaluate.
        rounds: how often everything is measured.
        samples: resamples behind each interval.
    """
    warehouse = folder / "warehouse.duckdb"
    run_id = make_warehouse(warehouse, items, rows)
    step = max(1, items // rival_items)
    sampled = [f"I{number:04}" for number in range(0, items, step)][:rival_items]
    where = Tracking(f"sqlite:///{folder / 'mlflow.db'}", folder, "benchmark")
    # The store is made here, once, as it is in a workspace before its first night.
    _, store_s = timed(lambda: tracking.start_run(where, "warm-up", "warm-up", {}))
    measured: list[Round] = []
    differences: dict[str, float] = {}
    for number in range(rounds):
        one, evaluations, rival = _round(
            folder, warehouse, run_id, where, sampled, samples, rival_first=bool(number % 2)
        )
        measured.append(one)
        differences = _differences(evaluations, rival)
    return {
        "items": items,
        "rows": rows,
        "resamples": samples,
        "rival_items": len(sampled),
        "rounds": [asdict(one) for one in measured],
        "median": {
            name: median(getattr(one, name) for one in measured) for name in asdict(measured[0])
        },
        "times_faster": [one.rival_s / one.sample_s for one in measured],
        "times_faster_per_item": [
            (one.rival_s / len(sampled)) / (one.evaluate_s / items) for one in measured
        ],
        "child_ms": 1000 * median(one.children_s for one in measured) / items,
        "make_store_s": store_s,
        "largest_difference": differences,
        "machine": _machine(),
    }


def within_limits(found: dict[str, Any]) -> bool:
    """Whether evaluation and logging stay below a minute, and the figures are the libraries'."""
    seconds = found["median"]
    agrees = found["largest_difference"]["value"] <= AGREES_TO
    return bool(agrees and seconds["evaluate_s"] < LIMIT_S and seconds["log_s"] < LIMIT_S)


def markdown(found: dict[str, Any]) -> str:
    """The page for people."""
    seconds = found["median"]
    rival_all = seconds["rival_s"] * found["items"] / found["rival_items"]
    machine, differ = found["machine"], found["largest_difference"]
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    return f"""# How long evaluation takes

`python -m benchmarks.evaluation`: {found["items"]} items, {found["rows"]:,} human-scored responses,
{found["resamples"]:,} resamples behind each interval; medians of {len(found["rounds"])} rounds.

| step | seconds |
| --- | ---: |
| evaluate all items, with intervals | {seconds["evaluate_s"]:.1f} |
| agreement by day | {seconds["by_day_s"]:.1f} |
| judge every rule | {seconds["judge_s"]:.1f} |
| HTML report | {seconds["report_s"]:.1f} |
| log to MLflow (SQLite): parent, {found["items"]} children, tables, pictures | \
{seconds["log_s"]:.1f} |
| of which the children, without pictures | {seconds["children_s"]:.1f} |

One child costs {found["child_ms"]:.0f} ms: create it, log all its figures in one batch, end it.
Making the store, once in a workspace's life, took {found["make_store_s"]:.1f} s more.

## Beside scikit-learn and scipy

For {found["rival_items"]} of the items, the figures that the libraries have (QWK, kappa, exact and
adjacent agreement, r, R², RMSE, SMD, and people's agreement with each other), each with
`scipy.stats.bootstrap` and as many resamples. Ours computes these and all others (QWK on continuous
scores, DSM by subgroup, degradation, disattenuated r, PRMSE, fairness).

| | seconds, {found["rival_items"]} items |
| --- | ---: |
| scikit-learn and scipy | {seconds["rival_s"]:.1f} |
| gradeline | {seconds["sample_s"]:.2f} |

On the same items, in the same round, ours took {_fractions(found["times_faster"])} of their time,
reading the warehouse included; per item of the whole night, which reads it once for all items,
{_fractions(found["times_faster_per_item"])}. All {found["items"]} items would take the libraries
about {rival_all / 60:.0f} minutes: this one figure is not measured, but their time for
{found["rival_items"]} items multiplied. Values differ by {differ["value"]:.0e} at most; ends of
intervals, which rest on other random resamples, by {differ["interval"]:.3f} at most.

{machine["processor"]}, {machine["cores"]} cores, Python {machine["python"]}; {libraries}.
"""


def _fractions(ratios: Sequence[float]) -> str:
    return ", ".join(f"1/{ratio:.0f}" for ratio in ratios)


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What it gave, and how many seconds it took."""
    began = time.perf_counter()
    given = work()
    return given, time.perf_counter() - began


def _round(
    folder: Path,
    warehouse: Path,
    run_id: str,
    where: Tracking,
    sampled: list[str],
    samples: int,
    *,
    rival_first: bool,
) -> tuple[Round, list[ItemEvaluation], dict[str, dict[str, Interval]]]:
    """Everything once; the sampled items by both, in the order that is asked for."""

    def rival() -> dict[str, dict[str, Interval]]:
        found = rated_items(warehouse, run_id, sampled)
        return {scale.item_id: rival_figures(scale, rows, samples, seed=0) for scale, rows in found}

    def ours() -> list[ItemEvaluation]:
        return evaluate_scores(warehouse, run_id, items=sampled, samples=samples)

    if rival_first:
        theirs, rival_s = timed(rival)
    sample, sample_s = timed(ours)
    if not rival_first:
        theirs, rival_s = timed(rival)
    evaluations, evaluate_s = timed(lambda: evaluate_scores(warehouse, run_id, samples=samples))
    by_day, by_day_s = timed(lambda: evaluate_by_day(warehouse, run_id))
    thresholds = read_thresholds(None)
    results, judge_s = timed(lambda: rules.judge(evaluations, thresholds))
    with db.connect(warehouse, read_only=True) as connection:
        run = reports.run(connection, run_id)
    # A run of its own for every round: a second log of one would first take the other away.
    run = replace(run, run_id=f"{run_id}-{time.monotonic_ns()}")
    report = RunReport(run=run, evaluations=tuple(evaluations), rules=tuple(results))
    html, report_s = timed(lambda: write_report(folder / "report.html", report))
    _, log_s = timed(
        lambda: run_log.log_scoring_run.fn(
            where, report, by_day, {}, html, thresholds=thresholds, data_sha256="made up"
        )
    )
    children_s = _children_s(where, evaluations)
    one = Round(evaluate_s, by_day_s, judge_s, report_s, log_s, children_s, sample_s, rival_s)
    return one, sample, theirs


def _children_s(where: Tracking, evaluations: Sequence[ItemEvaluation]) -> float:
    """Seconds for a child per item with its figures, and nothing else."""
    parent = tracking.start_run(where, "children", "children", {})
    children = [
        Child(
            name=item.name,
            tags={"item_id": item.item_id},
            params={"score_min": item.score_min},
            metrics={DAY: item_metrics(item, (), None)},
        )
        for item in evaluations
    ]
    return timed(lambda: tracking.log_children(where, parent, children))[1]


def _differences(
    ours: Sequence[ItemEvaluation], theirs: dict[str, dict[str, Interval]]
) -> dict[str, float]:
    """The largest difference of any figure of any item, in its value and in its interval."""
    values, ends = [0.0], [0.0]
    for item in ours:
        for name, rival in theirs[item.item_id].items():
            people = name.removeprefix("people ")
            figure = item.figures[name] if people == name else item.human_human[people]
            values.append(abs(figure.value - rival.value))
            ends += [abs(figure.low - rival.low), abs(figure.high - rival.high)]
    return {"value": max(values), "interval": max(ends)}


def _machine() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text("utf-8").splitlines() if cpu.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rival-items", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evaluation.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
