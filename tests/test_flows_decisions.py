"""What becomes of a run: limits, decisions, validity responses, reports."""

from pathlib import Path
from typing import Any

import pytest
from workspaces import NIGHT, decision_of, outcome, released, rows_of, write_export

from flows.settings import load_settings
from warehouse import db, reports


def test_adapters_with_an_unknown_past_hold_the_night(home: Path) -> None:
    from flows.nightly import nightly

    with db.connect(home / "warehouse.duckdb") as connection:
        connection.execute("DELETE FROM training_rows")
    run = nightly(administration_date=NIGHT, home=home).report.run
    assert run.status == "held"
    assert "does not know what the adapters" in run.message


def test_a_person_holds_and_releases_and_both_are_recorded(home: Path) -> None:
    from flows.nightly import nightly
    from flows.release import decide
    from flows.scoring import tracking_of

    first = nightly(administration_date=NIGHT, home=home)
    run_id = first.report.run.run_id
    assert released(home) == 25
    held = decide(run_id, "held", "A. Rater", "two parents called", home=home)
    assert (held.status, decision_of(home, run_id), released(home)) == ("held", "held", 0)
    assert "two parents called" in held.html.read_text("utf-8")
    with db.connect(home / "warehouse.duckdb", read_only=True) as connection:
        mlflow_run_id = reports.run(connection, run_id).mlflow_run_id
    assert mlflow_run_id is not None
    client = tracking_of(load_settings(home)).client()
    tags = client.get_run(mlflow_run_id).data.tags
    assert (tags["release_status"], tags["operator"]) == ("held", "A. Rater")
    decide(run_id, "released", "B. Chief", "read again, all is well", home=home)
    assert released(home) == 25
    decided = decide(run_id, "released", "B. Chief", "said twice", home=home).report.decisions
    assert [entry.decided_by for entry in decided] == ["gate", "A. Rater", "B. Chief", "B. Chief"]


def test_a_report_can_be_written_again(home: Path) -> None:
    from flows.nightly import nightly
    from flows.report import report

    first = nightly(administration_date=NIGHT, home=home)
    before = first.html.read_text("utf-8")
    first.html.unlink()
    again = report(first.report.run.run_id, home=home)
    assert again == first.html
    assert len(again.read_text("utf-8")) == pytest.approx(len(before), rel=0.02)


def test_a_mistyped_limit_is_shown_first_and_holds_what_it_should(home: Path) -> None:
    """Ohio 2018: a threshold of 50% was typed in place of 30%, and nobody saw the change."""
    from flows.nightly import nightly

    limits = home / "thresholds.yaml"
    limits.write_text("rules:\n  smd: {at_most: 0.15}\n", "utf-8")
    assert nightly(administration_date=NIGHT, home=home).report.threshold_changes == ()
    limits.write_text("rules:\n  smd: {at_most: 1.5}\n", "utf-8")
    second = nightly(administration_date=NIGHT, home=home)
    (change,) = second.report.threshold_changes
    assert (change.rule, change.before, change.after, change.suspicious) == ("smd", 0.15, 1.5, True)
    page = second.html.read_text("utf-8")
    shown = page[page.index("<body") :]
    assert shown.index("1.5") < shown.index("Where every row went")
    third = nightly(administration_date=NIGHT, home=home)
    assert third.report.threshold_changes == ()


def test_limits_that_cannot_be_used_stop_the_night_before_it_scores(home: Path) -> None:
    from flows.nightly import nightly
    from tasks.thresholds import ThresholdsError

    (home / "thresholds.yaml").write_text("rules:\n  qkw: {at_least: 0.7}\n", "utf-8")
    with pytest.raises(ThresholdsError, match="qwk"):
        nightly(administration_date=NIGHT, home=home)
    assert outcome(home) == []
    (home / "thresholds.yaml").unlink()
    assert nightly(administration_date=NIGHT, home=home).report.run.scored == 18


def test_validity_responses_are_scored_every_night_and_never_reported(home: Path) -> None:
    from flows.ingest import ingest
    from flows.nightly import nightly
    from flows.release import decide

    export = write_export(home / "known.csv", rows_of("007", "overall", 0, "v", 30))
    found = ingest([export], season="2026-spring", validity=True, home=home)
    assert found.status == "done"
    first = nightly(administration_date=NIGHT, home=home)
    assert (first.report.run.scored, first.report.run.reconciled) == (18, True)
    (validity,) = first.report.validity
    assert (validity.item_id, validity.n, validity.n_changed) == ("007", 30, 0)
    assert validity.exact.high < 0.7  # so small a model knows nothing
    assert (first.status, released(home)) == ("held", 0)
    assert "validity" in first.report.run.message
    decide(first.report.run.run_id, "released", "A. Rater", "a test", home=home)
    second = nightly(administration_date=NIGHT, home=home)
    (again,) = second.report.validity
    assert (again.n, again.n_changed, again.same_adapter) == (30, 0, True)
    assert again.exact_before == validity.exact.value
    assert not any(response_id.startswith("v") for response_id, *_ in outcome(home))
    assert released(home) == 25


def test_a_season_is_summed_up(home: Path) -> None:
    from flows.nightly import nightly
    from flows.scoring import tracking_of
    from flows.season import season
    from tasks.season import UnknownSeasonError

    nightly(administration_date=NIGHT, home=home)
    result = season("2026-spring", home=home)
    assert "1 run" in result.sentences[0]
    run = tracking_of(load_settings(home)).client().get_run(result.mlflow_run_id)
    assert run.data.tags["run_kind"] == "season"
    assert run.data.metrics["season/runs"] == 1
    with pytest.raises(UnknownSeasonError, match="2026-sprin"):
        season("2026-sprin", home=home)


def test_agreement_is_judged_on_all_that_the_champion_has_scored_so_far(home: Path) -> None:
    from flows.nightly import nightly

    def judged_on(result: Any) -> int:
        (qwk,) = [
            rule for rule in result.report.rules if (rule.item_id, rule.rule) == ("007", "qwk")
        ]
        return int(qwk.n)

    assert judged_on(nightly(administration_date=NIGHT, home=home)) == 12
    later = rows_of("007", "overall", 0, "m", 12, first=100)
    write_export(home / "inbox" / "2026-spring" / "second.csv", later)
    second = nightly(administration_date=NIGHT, home=home)
    assert [(item.item_id, item.n_rated) for item in second.report.evaluations] == [("007", 12)]
    assert judged_on(second) == 24
