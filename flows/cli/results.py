"""The command lines that decide about runs and read what they left."""

from typing import TYPE_CHECKING

from flows.cli.options import as_json, command

if TYPE_CHECKING:
    from flows.cli.options import Commands


def add(commands: "Commands") -> None:
    """Add these commands."""
    _decide(commands, "release", "let a run's scores go out, whatever held them")
    _decide(commands, "hold", "keep a run's scores back, whatever released them")
    _report(commands)
    _season_summary(commands)
    _thresholds(commands)
    _status(commands)


def _decide(commands: "Commands", name: str, summary: str) -> None:
    decide = command(
        commands,
        name,
        summary,
        f"gradeline {name} nightly-20260312-020001-3f9c --by 'A. Rater' --reason 'read, memo 7'",
    )
    decide.add_argument("run_id", metavar="RUN", help="the run, as `gradeline status` names it")
    decide.add_argument("--by", required=True, metavar="NAME", help="who decides; it is recorded")
    decide.add_argument("--reason", required=True, metavar="TEXT", help="why; it is recorded")
    as_json(decide)


def _report(commands: "Commands") -> None:
    report = command(
        commands,
        "report",
        "write the report of a run again, from what the warehouse holds",
        "gradeline report nightly-20260312-020001-3f9c",
    )
    report.add_argument("run_id", metavar="RUN", help="the run, as `gradeline status` names it")
    as_json(report)


def _season_summary(commands: "Commands") -> None:
    season = command(
        commands,
        "season",
        "sum up a season's nights: agreement, drift and decisions over time",
        "gradeline season 2026-spring",
    )
    season.add_argument("season", metavar="S", help="the season")
    as_json(season)


def _thresholds(commands: "Commands") -> None:
    thresholds = command(
        commands,
        "thresholds",
        "show the limits in force and what the workspace's own file changes",
        "gradeline thresholds",
    )
    as_json(thresholds)


def _status(commands: "Commands") -> None:
    status = command(commands, "status", "what the last run did", "gradeline status --json")
    status.add_argument("--kind", help="the last run of this kind (nightly, train, ...)")
    as_json(status)
