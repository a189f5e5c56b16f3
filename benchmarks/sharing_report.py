"""What ``benchmarks.sharing`` measured, as a page and a picture."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
mpl.rcParams.update({"svg.hashsalt": "gradeline", "svg.fonttype": "none", "font.size": 8})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what draws

# Less time than models of their own: what the published system saved (arXiv 2107.05377).
WANTED = {"8": 0.78, "21": 0.86}
WARM_WANTED = 2.0


def saved(many: dict[str, Any], name: str, scores: str, what: str = "computing_s") -> list[float]:
    """Share of the time of separate models that a system saves, round by round."""
    rounds = {system["name"]: system["rounds"][scores] for system in many["systems"]}
    first = many["systems"][0]["name"]
    return [
        1 - ours[what] / theirs[what]
        for ours, theirs in zip(rounds[name], rounds[first], strict=True)
    ]


def markdown(summary: dict[str, Any]) -> str:
    """The page."""
    machine = summary["machine"]
    lines = [
        "# Items that share their lower blocks",
        "",
        "Written by `python -m benchmarks.sharing`; every round is in `sharing.json`. Weights are "
        "random, so only time is told here: what depth does to quality is in "
        "[depths.md](depths.md).",
        "",
        f"Run on {summary['date']}: {summary['rounds']} rounds, interleaved, after one that is "
        f"not counted; {machine['cores']} cores of {machine['processor']}; load average "
        f"{summary['load_at_start']:.1f} at the start. Medians, smallest and largest in brackets.",
        "",
    ]
    for many in summary["many"]:
        lines += _many(many)
    lines += ["![time by number of scores](sharing.svg)", ""]
    for one in summary["backfill"]:
        lines += _backfill(one)
    return "\n".join(lines)


def _many(many: dict[str, Any]) -> list[str]:
    counts = list(many["systems"][0]["rounds"])
    wanted = ", ".join(f"{share:.0%} for {count} scores" for count, share in WANTED.items())
    lines = [
        f"## Many scores of one text, {many['backbone']}, {many['precision']}",
        "",
        f"{many['texts']} texts of about 20 words. Time is what the cores computed, per text and "
        "for all its scores; making adapters ready is left out, as models that stay in memory "
        "would not need it (with it, sharing saves more, see `sharing.json`). Time saved is "
        f"against a fully tuned model each, on the same kernels; published: {wanted} "
        "(arXiv 2107.05377).",
        "",
        "| | blocks run for "
        + ", ".join(counts)
        + " scores | "
        + " | ".join(f"ms, {count}" for count in counts)
        + " | further score, ms | "
        + " | ".join(f"time saved, {count}" for count in WANTED)
        + " |",
        "| --- | ---: |" + " ---: |" * (len(counts) + 1 + len(WANTED)),
    ]
    for system in many["systems"]:
        ms = {
            count: _median([r["computing_s"] for r in rounds]) * 1e3 / many["texts"]
            for count, rounds in system["rounds"].items()
        }
        least, most = counts[0], counts[-1]
        further = (ms[most] - ms[least]) / (int(most) - int(least))
        cells = [
            ", ".join(str(system["layers"][count]) for count in counts),
            *(f"{ms[count]:.1f}" for count in counts),
            f"{further:.2f}",
            *(_share(saved(many, system["name"], count)) for count in WANTED),
        ]
        lines.append(f"| {system['name']} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _backfill(one: dict[str, Any]) -> list[str]:
    lines = [
        f"## A backfill with another version of the adapter, {one['backbone']}",
        "",
        f"{one['texts']} texts. Cold: without a cache. Filling: the first run with one, which "
        f"writes it. Warm: the run after it, with another version; {WARM_WANTED:g} times as fast "
        "as cold is wanted. Scores are the same to the last bit in all rounds, or the benchmark "
        "fails.",
        "",
        "| | blocks shared | cold, s | filling, s | warm, s | warm is faster | kB per response |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for system in one["systems"]:
        rounds = system["rounds"]
        times = [_median([r[name] for r in rounds]) for name in ("cold_s", "filling_s", "warm_s")]
        ratios = [r["cold_s"] / r["warm_s"] for r in rounds]
        kilobytes = _median([r["bytes_per_response"] for r in rounds]) / 1e3
        lines.append(
            f"| {system['name']} | {system['shared']} | "
            + " | ".join(f"{seconds:.2f}" for seconds in times)
            + f" | {_median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {kilobytes:.1f} |"
        )
    return [*lines, ""]


def draw(summary: dict[str, Any], path: Path) -> None:
    """Milliseconds per text by number of scores, a panel per backbone."""
    figure, panels = plt.subplots(
        1, len(summary["many"]), figsize=(9, 3.6), layout="constrained", squeeze=False
    )
    for axis, many in zip(panels[0], summary["many"], strict=True):
        for number, system in enumerate(many["systems"]):
            counts = [int(count) for count in system["rounds"]]
            ms = [
                _median([r["computing_s"] for r in rounds]) * 1e3 / many["texts"]
                for rounds in system["rounds"].values()
            ]
            axis.plot(counts, ms, marker=".", color=f"C{number}", label=system["name"])
        axis.set_title(many["backbone"])
        axis.set_xlabel("scores of each text")
        axis.set_ylabel("ms per text")
        axis.set_ylim(bottom=0)
    panels[0][0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _share(values: list[float]) -> str:
    return f"{_median(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def _median(values: list[float]) -> float:
    return float(np.median(values))
