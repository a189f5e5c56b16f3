"""What the trainings of ``benchmarks.training`` come to: figures, intervals, a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.quality_arms import SEED, Scores
from benchmarks.training_jobs import ARMS, PEFT_RATES, Result
from models.agreement import quadratic_weighted_kappa

RESAMPLES = 1000


def case(results: Sequence[Result]) -> dict[str, Any]:
    """The figures of one size.

    ``times_faster`` has one ratio of CPU times per round. QWK is taken per question over all its
    folds, or per draw, then averaged; the interval of the difference is a paired bootstrap over
    the answers of each.
    """
    rounds = sorted({result.job.round for result in results})
    upper = [result for result in results if result.arm == "upper"]
    groups = sorted({result.job.group for result in results})
    scored = [_scored(results, group) for group in groups]
    qwk_ours, qwk_peft = (
        float(np.mean([quadratic_weighted_kappa(truth, pair[arm]) for truth, pair in scored]))
        for arm in ("ours", "peft")
    )
    low, high = _interval(scored)
    return {
        "answers": results[0].job.answers,
        "trainings": sum(result.arm == "ours" for result in results),
        "rounds": len(rounds),
        "qwk_ours": qwk_ours,
        "qwk_peft": qwk_peft,
        "difference": qwk_ours - qwk_peft,
        "interval": [low, high],
        "times_faster": [_ratio(results, "peft", number, "cpu_s") for number in rounds],
        "wall_times_faster": [_ratio(results, "peft", number, "wall_s") for number in rounds],
        "times_faster_upper": _ratio(results, "upper", upper[0].job.round, "cpu_s"),
        **{
            f"{arm}_{what}": _mean(results, arm, what)
            for arm in ARMS
            for what in ("cpu_s", "wall_s", "epochs")
        },
        "peft_rate": PEFT_RATES[results[0].job.answers],
    }


def _ratio(results: Sequence[Result], rival: str, number: int, what: str) -> float:
    """A rival's time over ours, in one round, on the jobs that both ran."""
    times = {
        arm: sum(getattr(r, what) for r in results if r.arm == arm and r.job.round == number)
        for arm in (rival, "ours")
    }
    return float(times[rival] / times["ours"])


def _mean(results: Sequence[Result], arm: str, what: str) -> float:
    return float(np.mean([getattr(result, what) for result in results if result.arm == arm]))


def _scored(results: Sequence[Result], group: str) -> tuple[Scores, dict[str, Scores]]:
    """Human and machine scores of a question's or draw's unknown answers, in one order."""
    members = [result for result in results if result.job.group == group]
    pair: dict[str, Scores] = {}
    for arm in ("ours", "peft"):
        mine = sorted((r for r in members if r.arm == arm), key=lambda r: r.job.round)
        truth = np.concatenate([result.job.truth for result in mine])
        pair[arm] = np.concatenate([result.scores for result in mine])
    return truth, pair


def _interval(scored: Sequence[tuple[Scores, dict[str, Scores]]]) -> tuple[float, float]:
    """95% interval of the mean difference in QWK."""
    random = np.random.default_rng(SEED)
    means = []
    for _ in range(RESAMPLES):
        differences = []
        for truth, pair in scored:
            rows = random.integers(len(truth), size=len(truth))
            ours, peft = (
                quadratic_weighted_kappa(truth[rows], pair[arm][rows]) for arm in ("ours", "peft")
            )
            differences.append(ours - peft)
        means.append(np.nanmean(differences))
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def markdown(summary: dict[str, Any]) -> str:
    """The summary for readers."""
    lines = [
        "# Training against plain PEFT",
        "",
        f"Written by `python -m benchmarks.training` on {summary['date']}; the same figures are in "
        "`training.json`. " + summary["method"],
        "",
        "| answers | way | CPU-s | wall-s | epochs | QWK | times faster, CPU | wall |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in summary["cases"]:
        for arm, title in ARMS.items():
            lines.append(
                f"| {row['answers']:,} | {title} | {row[f'{arm}_cpu_s']:.2f} "
                f"| {row[f'{arm}_wall_s']:.2f} | {row[f'{arm}_epochs']:.1f} | {_cells(row, arm)} |"
            )
    lines.append("")
    for row in summary["cases"]:
        lines.append(
            f"- {row['answers']:,} answers: {row['trainings']} trainings in {row['rounds']} "
            f"rounds; QWK {row['difference']:+.3f} against PEFT, 95% interval "
            f"{row['interval'][0]:+.3f} to {row['interval'][1]:+.3f}; PEFT's peak rate "
            f"{row['peft_rate']:g}."
        )
    return "\n".join([*lines, "", f"Versions: {summary['versions']}.", ""])


def _cells(row: dict[str, Any], arm: str) -> str:
    """QWK and ratios of one way."""
    if arm == "ours":
        return f"{row['qwk_ours']:.3f} | |"
    if arm == "upper":
        return f"| {row['times_faster_upper']:.2f} |"
    spreads = [
        f"{np.median(row[name]):.2f} ({min(row[name]):.2f} to {max(row[name]):.2f})"
        for name in ("times_faster", "wall_times_faster")
    ]
    return f"{row['qwk_peft']:.3f} | {spreads[0]} | {spreads[1]}"
