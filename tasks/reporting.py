"""The report of a run: one HTML file that opens anywhere, prints, and asks nothing of a network.

It holds counts, shares and agreement: no response's text, no response id, no student.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from tasks.charts import bar_chart, qwk_chart
from tasks.evaluation import (
    ENOUGH_RATED,
    NEAR_BOUNDARY,
    SMALL_CELL,
    ItemEvaluation,
    by_qwk,
)
from tasks.summary import median_qwk
from warehouse.parts import whole_file
from warehouse.reports import RejectCount, Run

# With more items than this, tables and pictures of single items begin folded.
OPEN_ITEMS = 40
# Runs of these kinds answer for every row that came in.
SCORING = ("nightly", "backfill")
HEADLINES = {
    "done": "Done",
    "held": "Held: look into it before scores are released",
    "refused": "Refused: nothing was changed",
    "failed": "Failed: nothing of this run counts",
    "running": "Still running: these figures are not final",
}


@dataclass(frozen=True)
class RunReport:
    """What there is to tell about one run.

    Attributes:
        run: the run as the warehouse has it.
        evaluations: agreement, latency and distributions by item and trait.
        rejects: refused and repeated rows, by file and reason.
        settings: configuration and hashes to print; nothing secret.
        warnings: sentences that a reader should not miss.
    """

    run: Run
    evaluations: tuple[ItemEvaluation, ...]
    rejects: tuple[RejectCount, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def write_report(path: Path, summary: RunReport) -> Path:
    """Write the report of a run to ``path``, whole or not at all; returns the path."""
    run = summary.run
    page = _template().render(
        run=run,
        headline=HEADLINES.get(run.status, run.status),
        scoring=run.kind in SCORING,
        outcomes=_outcomes(run),
        **_totals(summary.evaluations),
        items=summary.evaluations,
        agreement=_agreement_sentence(summary.evaluations),
        chart=qwk_chart(summary.evaluations),
        bar_chart=bar_chart,
        rejects=summary.rejects,
        settings={**run.parameters, **summary.settings},
        warnings=summary.warnings,
        boundary_width=NEAR_BOUNDARY,
        enough_rated=ENOUGH_RATED,
        small_cell=SMALL_CELL,
        open_items=OPEN_ITEMS,
        written_at=datetime.now(UTC),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, "utf-8")
    return path


def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("tasks"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        count=lambda value: f"{value:,}", figure=figure, share=share, duration=duration
    )
    return environment.get_template("report.html.j2")


def figure(value: float | None, digits: int = 2) -> str:
    """A number with thousands separators and a true minus sign; a dash where undefined."""
    if value is None or math.isnan(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−")


def share(value: float, digits: int = 0) -> str:
    """A share between 0 and 1 as per cent."""
    return "–" if math.isnan(value) else f"{value:.{digits}%}"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _outcomes(run: Run) -> dict[str, list[tuple[str, int, str]]]:
    """(name, rows, meaning) of all that can become of a row received, and of a response."""
    return {
        "received": [
            ("accepted", run.accepted, "a new response"),
            ("rejected", run.rejected, "refused: see below"),
            ("duplicate", run.duplicate, "repeats what is already here"),
            ("rated", run.rated, "a human score for a known response"),
        ],
        "planned": [
            ("scored", run.scored, f"a score for every trait{_of_them_reused(run)}"),
            ("coded", run.coded, "a condition code instead of a score"),
            ("routed", run.routed, "left to people: the item has no adapter"),
            ("failed", run.failed, "scoring failed; planned again next run"),
        ],
    }


def _of_them_reused(run: Run) -> str:
    return f"; {run.reused:,} of them reused" if run.reused else ""


def _totals(evaluations: Sequence[ItemEvaluation]) -> dict[str, int]:
    return {
        "seen": sum(item.n_seen for item in evaluations),
        "double": sum(item.n_double for item in evaluations),
        "reused": sum(item.n_reused for item in evaluations),
        "truncated": sum(item.n_truncated for item in evaluations),
        "near_boundary": sum(item.near_boundary for item in evaluations),
    }


def _agreement_sentence(evaluations: Sequence[ItemEvaluation]) -> str:
    rated = by_qwk(evaluations)
    if not rated:
        return "None of these responses has a human score yet, so agreement is not known."
    enough = [item for item in rated if item.enough_rated]
    if not enough:
        return (
            f"No item has {ENOUGH_RATED} or more rated responses: too few to judge any by. QWK is "
            f"defined for {len(rated)} of {len(evaluations)} items; its median over them is "
            f"{figure(median_qwk(rated))}."
        )
    lowest = enough[-1]
    return (
        f"{len(enough)} of {len(evaluations)} items have {ENOUGH_RATED} or more rated responses. "
        f"Their median QWK is {figure(median_qwk(enough))}; the lowest is {figure(lowest.qwk)}, "
        f"of item {lowest.name}."
    )
