"""What ``benchmarks.distillation`` has found, as figures, targets and a page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.distillation_cases import Case
from benchmarks.quality_arms import SEED
from models.agreement import exact_agreement, quadratic_weighted_kappa

RESAMPLES, ITEM_RESAMPLES = 10_000, 400
# On fewer scored answers nothing is said of an item by itself.
FEW = 30
WAYS = {
    "teacher": "teacher: adapter, default recipe",
    "student": "distilled student",
    "cascade": "cascade of both",
    "hard": "the same student, human scores only",
    "tfidf": "TF-IDF (words, characters) + ridge",
}
SOURCES = {
    "semeval": "SemEval-2013, 30 questions",
    "saf": "SAF, 22 questions",
    "examples": "the sample bank (synthetic)",
}
BELOW_TEACHER, TIMES_FASTER = 0.02, 100
CASCADE_BELOW, CASCADE_TIMES = 0.005, 5


def summary_of(
    cases: Sequence[Case], found: Mapping[str, Any], speed: Mapping[str, Any]
) -> dict[str, Any]:
    """All figures: per item, per source, over the public items, and what was asked for.

    An item whose unknown answers all have one score has no QWK and is left out of its mean.
    """
    fast = _speed(speed)
    times = float(np.median(fast["times_faster"]["student"]))
    rows = [_row(case, found[case.name], times) for case in cases]
    public = [row for row in rows if row["source"] != "examples"] or rows
    means = _means(public)
    return {
        "items": rows,
        "means": means,
        "sources": {
            source: _means([row for row in rows if row["source"] == source])
            for source in SOURCES
            if any(row["source"] == source for row in rows)
        },
        "differences": {
            "student - teacher": _difference(public, "student", "teacher"),
            "student - hard": _difference(public, "student", "hard"),
            "student - tfidf": _difference(public, "student", "tfidf"),
            "cascade - teacher": _difference(public, "cascade", "teacher"),
        },
        "speed": fast,
        "targets": _targets(public, means, fast),
    }


def _row(case: Case, found: Mapping[str, Any], times: float) -> dict[str, Any]:
    truth = np.array(found["truth"])
    ways = {}
    for way in WAYS:
        qwk = float(quadratic_weighted_kappa(truth, np.array(found[way])))
        exact = float(exact_agreement(truth, np.array(found[way])))
        ways[way] = {"qwk": None if np.isnan(qwk) else qwk, "exact": exact}
    names = (
        *("n", "unlabelled", "kept", "limit", "limit_rows", "trained_parameters"),
        *("student_bytes", "teacher_bytes", "teacher_train_s", "distil_cpu_s", "distil_teacher_s"),
    )
    return {
        "name": case.name,
        "source": case.source,
        "points": case.score_max - case.score_min + 1,
        "n_scored": len(truth),
        "ways": ways,
        "doubt": _doubt(truth, np.array(found["student"]), np.array(found["teacher"])),
        "cascade_times": _cascade_times(found["kept"], times),
        **{name: found[name] for name in names},
    }


def _cascade_times(kept: float, times: float) -> float:
    """How much faster than its teacher: that scores what is not kept, the student everything."""
    return 1 / (1 - kept + 1 / times)


def _doubt(truth: NDArray[Any], one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Standard error of the difference of two ways' QWK on one item, by bootstrap over answers."""
    draws = np.random.default_rng(SEED).integers(len(truth), size=(ITEM_RESAMPLES, len(truth)))
    found = [
        quadratic_weighted_kappa(truth[draw], one[draw])
        - quadratic_weighted_kappa(truth[draw], other[draw])
        for draw in draws
    ]
    known = [value for value in found if not np.isnan(value)]
    return float(np.std(known)) if len(known) > ITEM_RESAMPLES // 2 else None


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    judged = [row for row in rows if None not in [row["ways"][way]["qwk"] for way in WAYS]]
    names = ("kept", "student_bytes", "teacher_bytes", "trained_parameters", "distil_cpu_s")
    return {
        "items": len(judged),
        "ways": {
            way: {
                figure: float(np.mean([row["ways"][way][figure] for row in judged]))
                for figure in ("qwk", "exact")
            }
            for way in WAYS
        },
        **{name: float(np.mean([row[name] for row in judged])) for name in names},
    }


def _difference(rows: Sequence[dict[str, Any]], one: str, other: str) -> dict[str, float]:
    """Mean difference in QWK with a 95% interval from a paired bootstrap over items."""
    pairs = [(row["ways"][one]["qwk"], row["ways"][other]["qwk"]) for row in rows]
    gains: NDArray[np.float64] = np.array([a - b for a, b in pairs if None not in (a, b)])
    draws = np.random.default_rng(SEED).integers(len(gains), size=(RESAMPLES, len(gains)))
    low, high = np.percentile(gains[draws].mean(axis=1), [2.5, 97.5])
    return {"mean": float(gains.mean()), "low": float(low), "high": float(high)}


def _speed(speed: Mapping[str, Any]) -> dict[str, Any]:
    """Responses per second of each way, and in each round its speed over the teacher's."""
    rounds, texts = speed["rounds"], speed["texts"]
    ways = ("teacher", "student", "cascade")
    return {
        "texts": texts,
        "words": speed["words"],
        "rounds": len(rounds),
        "per_cpu_s": {
            way: float(texts / np.median([one[way]["cpu_s"] for one in rounds])) for way in ways
        },
        "per_s": {
            way: float(texts / np.median([one[way]["wall_s"] for one in rounds])) for way in ways
        },
        "times_faster": {
            way: [one["teacher"]["cpu_s"] / one[way]["cpu_s"] for one in rounds] for way in ways[1:]
        },
    }


def _targets(
    rows: Sequence[dict[str, Any]], means: dict[str, Any], fast: dict[str, Any]
) -> list[dict[str, Any]]:
    qwk = {way: means["ways"][way]["qwk"] for way in WAYS}
    times = float(np.median(fast["times_faster"]["student"]))
    cascade_times = _cascade_times(float(np.mean([row["kept"] for row in rows])), times)
    below, gain = qwk["student"] - qwk["teacher"], qwk["student"] - qwk["hard"]
    cascade_below = qwk["cascade"] - qwk["teacher"]
    found = [
        (f"student within {BELOW_TEACHER} of its teacher", below, -BELOW_TEACHER),
        ("student above the one of human scores only", gain, 0.0),
        (f"student {TIMES_FASTER} times as fast as its teacher", times, TIMES_FASTER),
        (f"cascade within {CASCADE_BELOW} of the teacher", cascade_below, -CASCADE_BELOW),
        (f"cascade {CASCADE_TIMES} times as fast as the teacher", cascade_times, CASCADE_TIMES),
    ]
    return [
        {"what": what, "found": float(value), "needed": float(least), "met": bool(value >= least)}
        for what, value, least in found
    ]


def markdown(summary: Mapping[str, Any]) -> str:
    """The page."""
    public = summary["means"]
    lines = [
        "# Distilled students",
        "",
        f"Written by `python -m benchmarks.distillation` on {summary['date']}; the same figures "
        "are in `distillation.json`. Public items: one of five parts of each item's answers is "
        "scored by all, the other four are learned from. Sample bank: last season is learned from, "
        "the night is scored, and its unrated responses are learned from without scores. A "
        "cascade's limit is chosen on responses that are learned from, by students that did not.",
        "",
        *(
            [f"{summary['left']} further items are not measured yet.", ""]
            if summary["left"]
            else []
        ),
        "![QWK of students against their teachers, and QWK by speed](distillation.svg)",
        "",
        f"| {public['items']} public items | mean QWK | mean exact agreement |",
        "| --- | ---: | ---: |",
        *_way_rows(public),
        "",
        "| difference in QWK | mean | 95% interval over items |",
        "| --- | ---: | :---: |",
        *(
            f"| {name} | {row['mean']:+.3f} | {row['low']:+.3f} to {row['high']:+.3f} |"
            for name, row in summary["differences"].items()
        ),
        "",
        "| asked for | found | needed | |",
        "| --- | ---: | ---: | --- |",
        *(
            f"| {one['what']} | {one['found']:.3f} | {one['needed']:g} "
            f"| {'met' if one['met'] else '**missed**'} |"
            for one in summary["targets"]
        ),
        "",
        _sizes(public),
        "",
        _speeds(summary["speed"]),
        "",
    ]
    for source, title in SOURCES.items():
        if source in summary["sources"]:
            items = f"{summary['sources'][source]['items']} items"
            lines += [f"## {title[0].upper()}{title[1:]}", "", f"| {items} | mean QWK | exact |"]
            lines += ["| --- | ---: | ---: |", *_way_rows(summary["sources"][source]), ""]
    lines += ["## Item by item", "", *_item_rows(summary["items"])]
    return "\n".join([*lines, "", f"Versions: {summary['versions']}.", ""])


def _way_rows(means: Mapping[str, Any]) -> list[str]:
    return [
        f"| {title} | {means['ways'][way]['qwk']:.3f} | {means['ways'][way]['exact']:.1%} |"
        for way, title in WAYS.items()
    ]


def _sizes(means: Mapping[str, Any]) -> str:
    return (
        f"A student has {means['trained_parameters']:,.0f} trained parameters in the mean and "
        f"takes {means['student_bytes'] / 1e3:.0f} kB with the frozen vectors of its words, an "
        f"adapter {means['teacher_bytes'] / 1e3:.0f} kB beside the backbone. Distilling one took "
        f"{means['distil_cpu_s']:.1f} CPU-s, its teacher's scoring included. The cascade's student "
        f"kept {means['kept']:.0%} of the responses."
    )


def _speeds(fast: Mapping[str, Any]) -> str:
    times = {way: np.array(values) for way, values in fast["times_faster"].items()}
    return (
        f"Speed, medians of {fast['rounds']} rounds in turn on one core, {fast['texts']:,} "
        f"different answers of {fast['words']:.0f} words: teacher "
        f"{fast['per_cpu_s']['teacher']:,.0f} responses per CPU-second, student "
        f"{fast['per_cpu_s']['student']:,.0f} "
        f"({np.median(times['student']):.0f} times, {times['student'].min():.0f} to "
        f"{times['student'].max():.0f}), a cascade that keeps four in five "
        f"{fast['per_cpu_s']['cascade']:,.0f} ({np.median(times['cascade']):.1f} times)."
    )


def _small(rows: Sequence[dict[str, Any]]) -> str:
    """What an item's own answers are too few to say."""
    doubts = sorted(row["doubt"] for row in rows if row["doubt"] is not None)
    few = [row for row in rows if row["n_scored"] < FEW]
    told = sum(doubt <= BELOW_TEACHER / 2 for doubt in doubts)
    below = [row["name"] for row in rows if _clearly_below(row)]
    unkept = [row for row in rows if not row["kept"]]
    return (
        f"Too small for a word on one item: {len(few)} of {len(rows)} items have fewer than {FEW} "
        f"scored answers ({min(row['n_scored'] for row in rows)} at least). The difference in QWK "
        f"of student and teacher has a standard error of {np.median(doubts):.3f} on one item "
        f"({doubts[0]:.3f} to {doubts[-1]:.3f}), and of {BELOW_TEACHER / 2:g} or less on {told}; "
        f"whether a student lies within {BELOW_TEACHER} can so be said of the mean alone. Further "
        f"below its teacher by more than two standard errors: {', '.join(below) or 'none'}. "
        f"On {len(unkept)} items the cascade's student kept nothing."
    )


def _clearly_below(row: Mapping[str, Any]) -> bool:
    student, teacher = (row["ways"][way]["qwk"] for way in ("student", "teacher"))
    if row["doubt"] is None or None in (student, teacher):
        return False
    return bool(student - teacher + 2 * row["doubt"] < -BELOW_TEACHER)


def _item_rows(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "QWK and exact agreement; student less teacher in QWK, with its standard error (bootstrap "
        "over the item's scored answers); the share that the cascade's student kept, and how many "
        "times as fast as its teacher the cascade so is; size of the student's file.",
        "",
        _small(rows),
        "",
        f"| item | learned from | scored | {' | '.join(WAYS)} | student - teacher | kept | times "
        "| kB |",
        "| --- | ---: | ---: |" + " ---: |" * (len(WAYS) + 4),
    ]
    for row in rows:
        shown = " | ".join(_cell(row["ways"][way]) for way in WAYS)
        lines.append(
            f"| {row['name']} | {row['n']}{_more(row)} | {row['n_scored']} | {shown} | {_gap(row)} "
            f"| {row['kept']:.0%} | {row['cascade_times']:.1f} | {row['student_bytes'] / 1e3:.0f} |"
        )
    return lines


def _cell(way: Mapping[str, float | None]) -> str:
    qwk = "-" if way["qwk"] is None else f"{round(way['qwk'], 2) + 0.0:.2f}"
    return f"{qwk}, {way['exact']:.0%}"


def _more(row: Mapping[str, Any]) -> str:
    return f" + {row['unlabelled']}" if row["unlabelled"] else ""


def _gap(row: Mapping[str, Any]) -> str:
    student, teacher = (row["ways"][way]["qwk"] for way in ("student", "teacher"))
    if row["doubt"] is None or None in (student, teacher):
        return "-"
    return f"{student - teacher:+.2f} ± {row['doubt']:.2f}"
