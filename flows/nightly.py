"""The night: take in the inbox, score what waits, commit, log, report."""

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow

from flows.forms import AdministrationDate, Home, Mapping, Season
from flows.ingest import ingest_options, refusal_reasons
from flows.scoring import RunResult, score_and_report, tracking_of
from flows.settings import load_settings
from tasks.champions import champions
from tasks.planning import Selection
from tasks.time_split import TimeSplit
from tasks.workspace import clear_inbox, inbox_exports, ingest_exports, locked, recorded_run
from warehouse import db, reports, runs, scores

# A night that hangs ends before the next one, which would wait for it; what it has scored is kept.
LONGEST_NIGHT_S = 23 * 3600


@flow(name="nightly", timeout_seconds=LONGEST_NIGHT_S)
def nightly(
    season: Season = None,
    mapping: Mapping = None,
    administration_date: AdministrationDate = None,
    home: Home = None,
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
        locked(settings.home, wait_s=settings.lock_wait_s),
        recorded_run(settings.warehouse, "nightly", day, {"season": options.season}) as run_id,
    ):
        split = TimeSplit()
        adapters = champions(tracking_of(settings), settings.champions)
        with split.stage("ingest"):
            exports = inbox_exports(settings.inbox)
            report = ingest_exports(
                settings.warehouse, settings.responses, exports, run_id, options
            )
            refused = _keep_refusals(settings.warehouse, run_id, refusal_reasons(report))
            clear_inbox(settings.inbox, exports, report)
        return score_and_report(
            settings,
            run_id,
            adapters,
            Selection(validity=True),
            files=_files(settings.warehouse, run_id, len(refused), report.unchanged),
            reasons=refused,
            split=split,
        )


def _keep_refusals(warehouse: Path, run_id: str, refused: list[str]) -> list[str]:
    """Keep which files were refused before they leave the inbox, where nobody finds them again.

    Returns:
        All that this run has refused, also before it was killed and taken up again.
    """
    with db.connect(warehouse) as connection:
        before = reports.run(connection, run_id).held_reasons
        reasons = [*before, *(reason for reason in refused if reason not in before)]
        runs.hold(connection, run_id, reasons)
    return reasons


def _files(warehouse: Path, run_id: str, refused: int, unchanged: int) -> scores.Files:
    with db.connect(warehouse, read_only=True) as connection:
        return scores.Files(scores.files_ingested(connection, run_id), refused, unchanged)
