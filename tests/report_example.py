"""A made-up night as the report gets it: ten items, some of them in trouble."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import made_evaluations as made
import numpy as np
from numpy.typing import NDArray

from models.agreement import (
    adjacent_agreement,
    calibration_table,
    confusion_matrix,
    difference_of_standardized_means,
    exact_agreement,
    expected_calibration_error,
    kappa,
    pearson_r,
    quadratic_weighted_kappa,
    r_squared,
    risk_coverage,
    root_mean_squared_error,
    standardized_mean_difference,
)
from tasks.evaluation import (
    FairnessFigure,
    Figure,
    ItemEvaluation,
    SubgroupFigure,
    ValidityFigure,
)
from tasks.reporting import RunReport
from tasks.rules import RuleResult, judge, judge_validity
from tasks.thresholds import ThresholdChange, read_thresholds
from warehouse.release import ReleaseDecision
from warehouse.reports import RejectCount
from warehouse.trends import Administration

Floats = NDArray[np.float64]

NIGHT, STARTED = made.DAY, made.STARTED
LANGUAGES = ("English", "Spanish", "Vietnamese", "Arabic", "Somali")
RUN = replace(
    made.RUN,
    received=6213,
    accepted=6200,
    reused=220,
    scored=6240,
    adapters_loaded=11,
    peak_rss_mb=1211.4,
    mlflow_run_id="3f0d8a",
    message="SCI4-PUDDLE: score_point_shift (baseline, point 0) is 0.12, limit 0.05 (n = 540); "
    "ELA10-PHONES/ideas: qwk is 0.56, limit 0.70 (n = 391)",
    thresholds_sha256="9d41c0" + "0" * 58,
)
REJECTS = (
    RejectCount("district_a.csv", "score_off_scale", 5),
    RejectCount("district_b.csv", "unknown_item", 3),
    RejectCount("district_b.csv", "duplicate", 4),
)
SETTINGS = {
    "gradeline": "0.1.0",
    "backbone": "all-MiniLM-L6-v2",
    "backbone_sha256": "53aa51" + "7" * 58,
    "max_tokens": "512",
    "precision": "bf16",
}


def example_item(
    item_id: str,
    trait: str = "overall",
    *,
    rated: int = 400,
    points: int = 4,
    score_min: int = 0,
    noise: float = 0.5,
    bias: float = 0.0,
    somali_bias: float = 0.0,
    seed: int = 0,
) -> ItemEvaluation:
    """An item with scores drawn from a seed; more noise is less agreement."""
    draw = np.random.default_rng(seed)
    true = draw.normal((points - 1) / 2, points / 4, rated)
    groups = draw.choice(LANGUAGES, rated, p=(0.55, 0.2, 0.12, 0.1, 0.03))
    raw = true + draw.normal(bias, noise, rated) + somali_bias * (groups == "Somali")
    human, human_2 = (_on_scale(true + draw.normal(0, 0.35, rated), points) for _ in range(2))
    machine = _on_scale(raw, points)
    unsure = np.abs(np.clip(raw, 0, points - 1) - machine)
    confidence = np.clip(
        0.82 - 0.5 * unsure - 0.25 * (noise - 0.5) + draw.normal(0, 0.06, rated), 0.3, 1
    )
    double = rated // 3
    scored = rated + rated // 4
    return ItemEvaluation(
        item_id=item_id,
        trait=trait,
        adapter_versions=(2,),
        reported="rounded",
        score_min=score_min,
        score_max=score_min + points - 1,
        n_scored=scored,
        n_reused=0,
        n_coded=3,
        n_seen=0,
        n_rated=rated,
        n_double=double,
        figures=_figures(human, human_2, machine, raw, confidence, double),
        human_human=_human_human(human[:double], human_2[:double]),
        subgroups=_subgroups(human, raw, groups),
        fairness=(FairnessFigure("first language", "English", rated, 0.004, 0.21, 0.011, 0.08,
                                 0.006, 0.17),),
        calibration=calibration_table(human == machine, confidence),
        coverage=risk_coverage(human, machine, confidence),
        mean_confidence=float(confidence.mean()),
        mean_human=score_min + float(human.mean()),
        mean_machine=score_min + float(machine.mean()),
        latency_ms_p50=3.0 + seed % 5,
        latency_ms_p95=7.0 + 2 * (seed % 5),
        scoring_s=scored * 0.004,
        confusion=tuple(map(tuple, confusion_matrix(human, machine, np.arange(points)).tolist())),
        human_distribution=_shares(human, points),
        machine_distribution=_shares(machine, points),
        n_truncated=seed % 3,
        n_by_student=4 * (seed % 2),
        near_boundary=seed % 7,
        n_far_apart=int((np.abs(human - machine) >= 2).sum()),
    )  # fmt: skip


def unrated(item: ItemEvaluation, n_scored: int) -> ItemEvaluation:
    """The same item before anybody has rated it."""
    points = len(item.confusion)
    nothing = Figure(math.nan, math.nan, math.nan, 0)
    return replace(
        item,
        n_scored=n_scored,
        n_rated=0,
        n_double=0,
        figures=dict.fromkeys(item.figures, nothing),
        human_human=dict.fromkeys(item.human_human, nothing),
        subgroups=(),
        fairness=(),
        calibration=(),
        coverage=(),
        mean_human=math.nan,
        mean_machine=math.nan,
        confusion=((0,) * points,) * points,
        human_distribution=(math.nan,) * points,
        n_far_apart=0,
    )


def example_items() -> tuple[ItemEvaluation, ...]:
    """Ten items and traits: good, in trouble, and with hardly a rating."""
    return (
        example_item("0417", rated=620, seed=1),
        example_item("0533", rated=410, points=3, seed=2),
        example_item("BIO10-BEETLE", rated=540, seed=3),
        example_item("CIV8-LIBRARY", rated=36, seed=4),
        example_item("ELA10-PHONES", "conventions", rated=391, score_min=1, seed=5),
        example_item("ELA10-PHONES", "ideas", rated=391, score_min=1, points=6, noise=1.6, seed=6),
        example_item("ELA5-LANTERN", rated=455, points=5, bias=0.35, seed=7),
        example_item("SCI4-PUDDLE", rated=432, seed=8),
        example_item("SCI8-BEANS", rated=980, somali_bias=1.4, seed=9),
        unrated(example_item("SCI8-ROOTS", seed=10), n_scored=7),
    )


def example_trend(
    items: Sequence[ItemEvaluation], nights: int = 14, shifted: str = "SCI4-PUDDLE"
) -> tuple[Administration, ...]:
    """Administrations up to the night; one item has many more zeros in the last."""
    draw = np.random.default_rng(0)
    found = []
    for item in items:
        usual = np.array(item.machine_distribution)
        for night in range(nights):
            shares = draw.dirichlet(400 * usual + 1)
            tonight = night == nights - 1
            if tonight and item.item_id == shifted:
                shares = shares * (1 - 0.12 / (1 - shares[0]))
                shares[0] = 1 - shares[1:].sum()
            found.append(
                Administration(
                    item_id=item.item_id,
                    trait=item.trait,
                    score_min=item.score_min,
                    kind="nightly",
                    administration_date=NIGHT - timedelta(days=nights - 1 - night),
                    run_id=RUN.run_id if tonight else f"nightly-{night}",
                    decision="held" if tonight or night == 4 else "released",
                    n=item.n_scored,
                    mean_score=float(shares @ np.arange(len(shares))) + item.score_min,
                    shares=tuple(shares.tolist()),
                    mean_confidence=0.7,
                    coded=item.n_scored // 100,
                )
            )
    return tuple(found)


def drift_results(
    items: Sequence[ItemEvaluation], alarmed: str = "SCI4-PUDDLE", flagged: str = "BIO10-BEETLE"
) -> tuple[RuleResult, ...]:
    """What drift rules would say: one item has more zeros than ever, one has longer texts."""
    found = []
    for item in items:
        few = item.n_scored < 30
        for rule, limit in (
            ("psi", 0.25),
            ("score_point_shift", 0.05),
            ("mean_shift", 0.25),
            ("confidence_shift", 0.05),
            ("length_shift", 0.22),
        ):
            for reference in ("baseline", "recent"):
                found.append(
                    RuleResult(
                        item.item_id, item.trait, rule, reference,
                        "INSUFFICIENT_N" if few else "PASS",
                        math.nan if few else limit / 5, math.nan if few else 0.0,
                        math.nan if few else limit / 2, limit, item.n_scored,
                    )
                )  # fmt: skip
    alarm = RuleResult(
        alarmed, "overall", "score_point_shift", "baseline, point 0", "FAIL",
        0.121, 0.078, 0.164, 0.05, 540,
    )  # fmt: skip
    flag = RuleResult(
        flagged, "overall", "length_shift", "recent", "FLAG", 0.24, 0.19, 0.29, 0.22, 675
    )
    return (*found, alarm, flag)


def example_report(*, slip: bool = True, decided: bool = True) -> RunReport:
    """The night with everything a report can hold, held by the gate."""
    items, limits = example_items(), read_thresholds(None)
    validity = (
        ValidityFigure("0417", "overall", 60, Figure(0.85, 0.75, 0.93, 60),
                       Figure(0.88, 0.8, 0.94, 60), 0.85, 0, True),
        ValidityFigure("SCI8-BEANS", "overall", 42, Figure(0.71, 0.57, 0.83, 42),
                       Figure(0.8, 0.7, 0.9, 42), 0.83, 7, True),
        ValidityFigure("0533", "overall", 6, Figure(1, 1, 1, 6), Figure(1, 1, 1, 6),
                       math.nan, 0, False),
    )  # fmt: skip
    share = RuleResult("", "", "scored_share", "", "PASS", 0.99984, math.nan, math.nan, 0.995, 6241)
    gate = ReleaseDecision("held", "gate", RUN.message, STARTED + timedelta(seconds=82))
    changed = (
        ThresholdChange("all items", "qwk", "at_least", 0.7, 0.07, 0.1, True),
        ThresholdChange("0417", "smd", "at_most", 0.15, 0.2, 4 / 3, False),
    )
    return RunReport(
        run=RUN,
        evaluations=items,
        rejects=REJECTS,
        settings=SETTINGS,
        rules=(*judge(items, limits), *drift_results(items), *judge_validity(validity, limits),
               share),
        decisions=(gate,) if decided else (),
        threshold_changes=changed if slip else changed[1:],
        trend=example_trend(items),
        validity=validity,
    )  # fmt: skip


def long_report(n: int) -> RunReport:
    """A bank of that many items, a tenth of them in trouble, with thirty nights behind them."""
    few = example_items()[:9]
    good = [example_item("", rated=300, noise=0.15, seed=seed) for seed in range(20, 29)]
    items = tuple(
        replace((few if k % 10 == 7 else good)[k % 9], item_id=f"question-{k:03d}")
        for k in range(n)
    )
    limits = read_thresholds(None)
    drift = drift_results(items, alarmed="question-001", flagged="question-002")
    return RunReport(
        run=RUN,
        evaluations=items,
        rules=(*judge(items, limits), *drift),
        trend=example_trend(items, nights=30, shifted="question-001"),
        settings=SETTINGS,
    )


def _on_scale(raw: Floats, points: int) -> Floats:
    return np.clip(np.floor(raw + 0.5), 0, points - 1)


def _shares(scores: Floats, points: int) -> tuple[float, ...]:
    return tuple(float((scores == point).mean()) for point in range(points))


def _near(value: float, n: int) -> Figure:
    """With an interval as wide as an agreement figure's usually is."""
    half = 1.0 / math.sqrt(n)
    return Figure(value, value - half, min(1.0, value + half), n)


def _figures(
    human: Floats, human_2: Floats, machine: Floats, raw: Floats, confidence: Floats, double: int
) -> dict[str, Figure]:
    n, two = len(human), slice(0, double)
    found = {
        "qwk": quadratic_weighted_kappa(human, machine),
        "kappa": kappa(human, machine),
        "exact": exact_agreement(human, machine),
        "adjacent": adjacent_agreement(human, machine),
        "smd": standardized_mean_difference(human, machine),
        "qwk_trimmed": quadratic_weighted_kappa(human, raw),
        "smd_trimmed": standardized_mean_difference(human, raw),
        "pearson_r": pearson_r(human, raw),
        "r2": r_squared(human, raw),
        "rmse": root_mean_squared_error(human, raw),
    }
    beyond = {
        "degradation_qwk": found["qwk"] - quadratic_weighted_kappa(human[two], human_2[two]),
        "degradation_r": found["pearson_r"] - pearson_r(human[two], human_2[two]),
        "disattenuated_r": found["pearson_r"] / math.sqrt(pearson_r(human[two], human_2[two])),
        "prmse": found["pearson_r"] ** 2,
    }
    error = expected_calibration_error(human == machine, confidence)
    return {
        **{name: _near(value, n) for name, value in found.items()},
        **{name: _near(value, double) for name, value in beyond.items()},
        "calibration_error": Figure(error, math.nan, math.nan, n),
    }


def _human_human(human: Floats, human_2: Floats) -> dict[str, Figure]:
    statistics = {
        "qwk": quadratic_weighted_kappa,
        "kappa": kappa,
        "exact": exact_agreement,
        "adjacent": adjacent_agreement,
        "pearson_r": pearson_r,
        "smd": standardized_mean_difference,
    }
    return {name: _near(found(human, human_2), len(human)) for name, found in statistics.items()}


def _subgroups(human: Floats, raw: Floats, groups: NDArray[np.str_]) -> tuple[SubgroupFigure, ...]:
    dsm = difference_of_standardized_means(human, raw, groups)
    return tuple(
        SubgroupFigure(
            attribute="first language",
            level=level,
            dsm=Figure(dsm[level], dsm[level] - 0.1, dsm[level] + 0.1, n),
            mean_human=float(human[groups == level].mean()),
            mean_machine=float(raw[groups == level].mean()),
        )
        for level in LANGUAGES
        if (n := int((groups == level).sum())) >= 10
    )
