"""Evaluations, rules and runs made up for tests of what is told about them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from models.agreement import ConfidenceBin, Kept
from tasks.evaluation import (
    NOT_KNOWN,
    DayEvaluation,
    FairnessFigure,
    Figure,
    ItemEvaluation,
    SubgroupFigure,
)
from tasks.reporting import RunReport
from tasks.rules import RuleResult, Status
from warehouse.breakdown import Breakdown, ExportFile, FarApart, WithoutScore
from warehouse.release import ReleaseDecision
from warehouse.reports import RejectCount, Run
from warehouse.trends import Administration

NAN = math.nan
DAY = date(2026, 3, 12)
STARTED = datetime(2026, 3, 12, 2, 0, 1, tzinfo=UTC)
RUN = Run(
    run_id="nightly-20260312-020001-3f9c",
    kind="nightly",
    status="held",
    administration_date=DAY,
    started_at=STARTED,
    finished_at=STARTED + timedelta(seconds=83.4),
    received=1213,
    accepted=1200,
    rejected=8,
    duplicate=4,
    rated=1,
    waiting=50,
    scored=1240,
    coded=6,
    routed=3,
    failed=1,
    files_accepted=3,
    files_refused=0,
    files_unchanged=1,
    adapters_loaded=2,
    peak_rss_mb=812.4,
    responses_per_s=143.21,
    mlflow_run_id=None,
    parameters={"season": "2026-spring"},
    message="",
)
NAMES = (
    "qwk", "kappa", "exact", "adjacent", "smd", "qwk_trimmed", "smd_trimmed", "pearson_r", "r2",
    "rmse", "degradation_qwk", "degradation_r", "degradation_exact", "degradation_smd",
    "disattenuated_r", "prmse", "calibration_error",
)  # fmt: skip
BETWEEN_PEOPLE = ("qwk", "kappa", "exact", "adjacent", "pearson_r", "smd")


def figures(n: int, n_double: int, **values: float) -> dict[str, Figure]:
    """Every figure of an item, those not given at .5."""
    beyond = ("degradation", "disattenuated_r", "prmse")
    found = {}
    for name in NAMES:
        rests_on = n_double if name.startswith(beyond) else n
        value = values.get(name, 0.5)
        found[name] = Figure(value, value - 0.05, value + 0.05, rests_on) if rests_on else NOT_KNOWN
    return found


def item(item_id: str = "plants", **changes: Any) -> ItemEvaluation:
    """An item on a scale of 0 to 2 with 120 rated responses, 40 of them by two people."""
    made = ItemEvaluation(
        item_id=item_id,
        trait="overall",
        adapter_versions=(2,),
        reported="rounded",
        score_min=0,
        score_max=2,
        n_scored=210,
        n_reused=0,
        n_coded=1,
        n_seen=0,
        n_rated=120,
        n_double=40,
        figures=figures(120, 40, qwk=0.791, exact=0.725, smd=-0.042),
        human_human={name: Figure(0.846, 0.8, 0.9, 40) for name in BETWEEN_PEOPLE},
        subgroups=(group("first language", "Español/Català", 0.12, 35),),
        fairness=(FairnessFigure("first language", "English", 110, *(0.02, 0.04) * 3),),
        calibration=(
            ConfidenceBin(0.4, 0.6, 60, 0.52, 0.55),
            ConfidenceBin(0.6, 0.95, 60, 0.8, 0.9),
        ),
        coverage=(Kept(1.0, 120, 0.4, 0.725, 0.791), Kept(0.5, 60, 0.7, 0.9, 0.88)),
        mean_confidence=0.71,
        mean_human=1.1,
        mean_machine=1.07,
        latency_ms_p50=3.4,
        latency_ms_p95=7.6,
        scoring_s=0.84,
        confusion=((21, 9, 0), (7, 31, 10), (0, 7, 35)),
        human_distribution=(0.25, 0.4, 0.35),
        machine_distribution=(0.24, 0.39, 0.37),
        n_truncated=0,
        n_by_student=0,
        near_boundary=2,
        n_far_apart=3,
    )
    return replace(made, **changes)


def few(item_id: str = "maps", n: int = 9) -> ItemEvaluation:
    """An item with too few rated responses to show anything of them."""
    return item(
        item_id,
        n_scored=n,
        n_rated=n,
        n_double=0,
        figures=figures(n, 0, qwk=0.31),
        human_human=dict.fromkeys(BETWEEN_PEOPLE, NOT_KNOWN),
        subgroups=(),
        fairness=(),
        calibration=(ConfidenceBin(0.4, 0.6, n, 0.5, 0.5),),
        coverage=(Kept(1.0, n, 0.4, 0.5, 0.31),),
        confusion=((n, 0, 0), (0, 0, 0), (0, 0, 0)),
    )


def unrated(item_id: str = "poems") -> ItemEvaluation:
    """An item that nobody has rated; its scores were copied, so nothing was timed."""
    return replace(
        few(item_id, 0),
        n_scored=30,
        n_reused=30,
        calibration=(),
        coverage=(),
        mean_human=NAN,
        mean_machine=NAN,
        latency_ms_p50=NAN,
        latency_ms_p95=NAN,
        scoring_s=0.0,
        human_distribution=(NAN,) * 3,
    )


def group(attribute: str, level: str, dsm: float, n: int) -> SubgroupFigure:
    return SubgroupFigure(attribute, level, Figure(dsm, dsm - 0.1, dsm + 0.1, n), 1.0, 1.1)


def rule(
    item_id: str, name: str, status: Status, value: float, limit: float, **more: Any
) -> RuleResult:
    trait = "overall" if item_id else ""
    found = RuleResult(item_id, trait, name, "", status, value, value, value, limit, 120)
    return replace(found, **more)


def trend(
    item_id: str, zeros: Mapping[date, float], held: tuple[date, ...] = ()
) -> tuple[Any, ...]:
    """Administrations of 100 responses on a scale of 0 to 2, by their share of zeros."""
    return tuple(
        Administration(
            item_id=item_id,
            trait="overall",
            score_min=0,
            run_id=f"nightly-{day:%Y%m%d}",
            kind="nightly",
            administration_date=day,
            decision="held" if day in held else "released",
            n=100,
            coded=1,
            mean_score=1.5 * (1 - share),
            shares=(share, (1 - share) / 2, (1 - share) / 2),
            mean_confidence=0.7,
        )
        for day, share in zeros.items()
    )


def decided(decision: Any, by: str, reason: str) -> ReleaseDecision:
    return ReleaseDecision(decision, by, reason, STARTED + timedelta(minutes=2))


REASON = "item plants: QWK .55 is below .70"
RULES = (
    rule("plants", "qwk", "FAIL", 0.55, 0.7),
    rule("maps", "qwk", "INSUFFICIENT_N", 0.31, 0.7, n=9),
    rule("seeds", "smd", "FLAG", 0.19, 0.15),
    rule("plants", "score_point_shift", "FAIL", 0.117, 0.05, subject="0", n=1000),
    rule("", "scored_share", "PASS", 0.9992, 0.995, n=1241),
)
BREAKDOWN = Breakdown(
    seasons=("2026-spring",),
    exports=(ExportFile("a.csv", "ab" * 32, 1213, 1200, 8, 4, 1),),
    without_score=(WithoutScore("lanterns", "overall", 4),),
    far_apart=(FarApart("plants", "overall", "=R-0007"), FarApart("plants", "overall", "R-0031")),
)
REPORT = RunReport(
    run=RUN,
    evaluations=(item(), few(), item("seeds"), unrated()),
    rejects=(RejectCount("a.csv", "score_off_scale", 3),),
    settings={"gradeline": "0.1.0", "backbone": "tiny", "backbone_sha256": "5f" * 32},
    rules=RULES,
    decisions=(decided("held", "gate", REASON),),
    breakdown=BREAKDOWN,
    trend=(
        *trend("plants", {DAY - timedelta(days=n): 0.36 for n in range(5, 0, -1)}),
        *trend("plants", {DAY: 0.48}, held=(DAY,)),
    ),
)
BY_DAY = (
    DayEvaluation("plants", "overall", date(2026, 3, 10), 60, 40, 0.8, 0.7),
    DayEvaluation("plants", "overall", date(2026, 3, 11), 150, 80, 0.78, 0.73),
    DayEvaluation("maps", "overall", date(2026, 3, 11), 9, 9, 0.31, 0.5),
)
