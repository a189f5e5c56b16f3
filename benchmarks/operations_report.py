"""What ``benchmarks.operations`` measured, as a page and a picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams.update({"svg.hashsalt": "gradeline", "svg.fonttype": "none", "font.size": 8})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what draws

from tasks.time_split import MODEL, TOTAL, stages, without_model  # noqa: E402 - as above

PLAN_AND_COMMIT_S = 120.0
LARGEST = 1_000_000
OVERHEAD = 0.05
PEAK_MB = 3_000.0
KINDS = {
    "first": "scored for the first time",
    "again": "scored once more, every score replaced",
}

Found = dict[str, Any]


def failures(found: Found) -> list[str]:
    """What is not as it must be, a sentence each."""
    problems = []
    for season in found["backfills"]:
        for kind in KINDS:
            problems += _faults(season["rows"], kind, season[kind])
    night = found.get("night")
    if night:
        share = without_model(night["stage_seconds"])
        if share is None or share >= OVERHEAD:
            problems.append(f"a night spends {share or 1:.1%} on other things than the model")
        if night["scored"] != night["rows"] or not night["reconciled"]:
            problems.append("the night has not scored every response")
    return problems


def _faults(rows: int, kind: str, run: Found) -> list[str]:
    problems = []
    if run["scored"] != rows or not run["reconciled"]:
        problems.append(f"{rows:,} responses, {kind}: {run['scored']:,} scored")
    seconds = _plan_and_commit(run)
    if rows <= LARGEST and seconds >= PLAN_AND_COMMIT_S:
        problems.append(f"{rows:,} responses, {kind}: plan and commit took {seconds:.0f} s")
    if rows <= LARGEST and _peak(run) >= PEAK_MB:
        problems.append(f"{rows:,} responses, {kind}: {_peak(run):,.0f} MB at most")
    return problems


def markdown(found: Found) -> str:
    """The page."""
    machine = found["machine"]
    lines = [
        "# What a run costs beside the model",
        "",
        "Written by `python -m benchmarks.operations`; everything is in `operations_scale.json`.",
        "",
        f"Run on {found['date']}: {machine['cores']} cores of {machine['processor']}, "
        f"{machine['memory_gb']} GB, load average {_loads(found)} at the start of each. A season "
        f"of {found['exports']} exports over {found['items']} items, one response in ten rated by "
        "a person, is scored by `gradeline backfill`, with a stand-in in the model's place that "
        "scores a text by its length. Stages are the run's own time split, in seconds; memory is "
        "the largest resident size within the stage, of a process that holds all libraries.",
        "",
    ]
    for kind, title in KINDS.items():
        lines += [f"## A season {title}", "", *_season(found["backfills"], kind), ""]
    if found["backfills"]:
        lines += ["![seconds by number of responses, stage by stage](operations_scale.svg)", ""]
    if "night" in found:
        lines += _night(found["night"], found["items"])
    lines += [f"**Not as it must be: {problem}.**\n" for problem in failures(found)]
    return "\n".join(lines).rstrip() + "\n"


def _loads(found: Found) -> str:
    pieces = [*found["backfills"], *([found["night"]] if "night" in found else [])]
    return ", ".join(f"{piece['load']:g} ({piece['rows']:,} responses)" for piece in pieces)


def _season(backfills: list[Found], kind: str) -> list[str]:
    runs = [(season["rows"], season[kind]) for season in backfills]
    if not runs:
        return []
    names = [name for name, _ in stages(runs[-1][1]["stage_seconds"])]
    last_rows, last = runs[-1]
    head = "".join(f" {rows:,} |" for rows, _ in runs)
    lines = [
        f"| stage |{head} growth | µs per response | MB |",
        "| --- |" + " ---: |" * (len(runs) + 3),
    ]
    for name in names:
        cells = [dict(stages(run["stage_seconds"])).get(name, 0.0) for _, run in runs]
        key = name.replace(" ", "_")
        lines.append(_line(name, cells, last_rows, last["peak_rss_mb"].get(key)))
    lines.append(_line("of score: stand-in", _of(runs, MODEL), last_rows, None))
    lines.append(_line("**all**", _of(runs, TOTAL), last_rows, _peak(last)))
    both = ", ".join(f"{_plan_and_commit(run):.1f} s" for _, run in runs)
    ingest = ", ".join(f"{season['prepare']['ingest_s']:.1f} s" for season in backfills)
    return [
        *lines,
        "",
        f"Plan and commit together: {both}. Growth is from the last size but one to the last.",
        *([f"Ingesting the exports before: {ingest}."] if kind == "first" else []),
    ]


def _of(runs: list[tuple[int, Found]], name: str) -> list[float]:
    return [run["stage_seconds"].get(name, 0.0) for _, run in runs]


def _line(name: str, cells: list[float], rows: int, peak_mb: float | None) -> str:
    growth = f"{cells[-1] / cells[-2]:.1f}" if len(cells) > 1 and cells[-2] > 0 else "–"
    seconds = "".join(f" {cell:,.2f} |" for cell in cells)
    memory = "" if peak_mb is None else f"{peak_mb:,.0f}"
    return f"| {name} |{seconds} {growth} | {1e6 * cells[-1] / rows:,.1f} | {memory} |"


def _night(night: Found, items: int) -> list[str]:
    seconds = night["stage_seconds"]
    share = without_model(seconds)
    rows = [
        f"| {name} | {spent:,.1f} | {spent / seconds[TOTAL]:.1%} |"
        for name, spent in (*stages(seconds), ("of score: the model", seconds[MODEL]))
    ]
    return [
        f"## A night of {night['rows']:,} responses to {items} items, with the real model",
        "",
        f"{seconds[TOTAL]:,.1f} s, {share or 0:.1%} of it for everything but the model "
        f"(wanted: under {OVERHEAD:.0%}); {night['responses_per_s']:,.0f} scores/s. The process, "
        f"with loading libraries and starting Prefect, took {night['process_s']:,.1f} s.",
        "",
        "| stage | seconds | share |",
        "| --- | ---: | ---: |",
        *rows,
        "",
    ]


def _plan_and_commit(run: Found) -> float:
    return float(run["stage_seconds"]["plan"] + run["stage_seconds"]["commit"])


def _peak(run: Found) -> float:
    return float(max(run["peak_rss_mb"].values()))


def draw(found: Found, path: Path) -> None:
    """Seconds by number of responses, a line per stage and a panel per kind of run."""
    if not found["backfills"]:
        return
    figure, panels = plt.subplots(1, len(KINDS), figsize=(7.2, 3.2), sharey=True)
    for axes, (kind, title) in zip(panels, KINDS.items(), strict=True):
        sizes = [season["rows"] for season in found["backfills"]]
        splits = [dict(stages(season[kind]["stage_seconds"])) for season in found["backfills"]]
        for name in splits[-1]:
            seconds = [max(split.get(name, 0.0), 1e-3) for split in splits]
            axes.plot(sizes, seconds, marker="o", markersize=3, linewidth=1, label=name)
        axes.plot(
            sizes, [1e-5 * size for size in sizes], "--", color="#999", label="10 µs a response"
        )
        axes.set(xscale="log", yscale="log", title=title, xlabel="responses")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
