"""The night: take in the inbox, score what waits, commit, log, report."""

from datetime import UTC, date, datetime
from pathlib import Path

from prefect import flow

from flows.ingest import files_of, ingest_options, refusal_reasons
from flows.scoring import RunResult, score_and_report, tracking_of
from flows.settings import load_settings
from tasks.planning import Selection
from tasks.tracking import CHAMPION, list_adapters
from tasks.workspace import clear_inbox, inbox_exports, ingest_exports, locked, recorded_run


@flow(name="nightly")
def nightly(
    season: str | None = None,
    mapping: Path | None = None,
    administration_date: date | None = None,
    home: Path | None = None,
) -> RunResult:
    """Ingest the inbox and score every response that has no outcome yet, with its champion.

    Args:
        season: the season of exports that name none.
        mapping: a YAML file that says which column is which, for exports that need one.
        administration_date: the day the run counts for; today where not given.
        home: the workspace; from the settings where not given.
    """
    settings = load_settings(home)
    day = administration_date or datetime.now(UTC).date()
    options = ingest_options(settings, season, mapping)
    with (
        locked(settings.home),
        recorded_run(settings.warehouse, "nightly", day, {"season": options.season}) as run_id,
    ):
        champions = list_adapters(tracking_of(settings), CHAMPION)
        exports = inbox_exports(settings.inbox)
        report = ingest_exports(settings.warehouse, settings.responses, exports, run_id, options)
        clear_inbox(settings.inbox, exports, report)
        return score_and_report(
            settings,
            run_id,
            champions,
            Selection(validity=True),
            files=files_of(report),
            reasons=refusal_reasons(report),
        )
