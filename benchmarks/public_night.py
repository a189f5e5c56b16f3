"""One training run and one night over all 204 public items: ``make public-night``.

182 SemEval-2013 questions and 22 SAF questions become one bank. The training split is ingested and
trained on; the unseen answers arrive in the inbox and are scored. Exits 1 unless every adapter was
loaded exactly once and every row is accounted for. Writes ``docs/public_night.md``.
"""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.public_data import read_items, write_bank, write_export
from flows.settings import load_settings, prepare_libraries
from tasks.reporting import RunReport

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
HOME = ROOT / "build" / "public_night"
REPORT = ROOT / "docs" / "public_night.md"
NIGHT = date(2013, 6, 14)  # the day of the SemEval-2013 workshop

Figures = dict[str, float | str]


def main() -> int:
    """Run it all in a workspace of its own, and check what came out."""
    if not DATA.is_dir():
        print(f"{DATA} is absent: nothing to run on")
        return 1
    shutil.rmtree(HOME, ignore_errors=True)
    settings = load_settings(HOME)
    prepare_libraries(settings)
    figures = run(HOME)
    problems = failures(figures)
    REPORT.write_text(page(figures, problems), encoding="utf-8")
    print(REPORT.read_text(encoding="utf-8"))
    return 1 if problems else 0


def run(home: Path) -> Figures:
    """Ingest, train, drop the night's export into the inbox, score; returns the figures."""
    from flows.ingest import ingest
    from flows.nightly import nightly
    from flows.train import train
    from tasks import item_bank
    from warehouse import db, items

    settings = load_settings(home)
    public = read_items(DATA)
    write_bank(home / "bank.yaml", public)
    with db.connect(settings.warehouse) as connection:
        items.add_items(connection, item_bank.item_rows(item_bank.read_bank(home / "bank.yaml")))
    seen = write_export(home / "train.csv", public, unseen=False, season="2013-train")
    ingest([home / "train.csv"], home=home)
    trained, train_s = _timed(lambda: train(home=home))
    settings.inbox.mkdir(parents=True, exist_ok=True)
    unseen = write_export(settings.inbox / "unseen.csv", public, unseen=True, season="2013-unseen")
    night, night_s = _timed(lambda: nightly(administration_date=NIGHT, home=home))
    run = night.report.run
    with db.connect(settings.warehouse, read_only=True) as connection:
        (used,) = connection.execute(
            "SELECT count(DISTINCT adapter_sha256) FROM scores WHERE run_id = $1", [run.run_id]
        ).fetchall()
    return {
        "items": len(public),
        "training_responses": seen,
        "adapters_trained": len(trained.trained),
        "train_s": train_s,
        "train_s_per_item": sum(row.seconds for row in trained.trained) / len(trained.trained),
        "unseen_answers": unseen,
        "received": run.received,
        "scored": run.scored,
        "rejected": run.rejected,
        "duplicate": run.duplicate,
        "reconciled": run.reconciled,
        "decision": night.status,
        **rules(night.report),
        "adapters_loaded": run.adapters_loaded,
        "adapters_used": used[0],
        "night_s": night_s,
        "responses_per_s": run.responses_per_s or 0.0,
        "peak_rss_mb": run.peak_rss_mb or 0.0,
    }


def rules(report: RunReport) -> dict[str, int]:
    """Outcomes of the rules, and items that some rule has judged."""
    outcomes = Counter(result.status for result in report.rules)
    judged = {
        (result.item_id, result.trait)
        for result in report.rules
        if result.item_id and result.status != "INSUFFICIENT_N"
    }
    return {
        "items_in_the_rules": len({r.item_id for r in report.rules if r.item_id}),
        "items_with_enough_to_judge": len(judged),
        "rules_passed": outcomes["PASS"],
        "rules_flagged": outcomes["FLAG"],
        "rules_failed": outcomes["FAIL"],
        "too_few_responses": outcomes["INSUFFICIENT_N"],
    }


def failures(figures: Figures) -> list[str]:
    """What is not as it must be."""
    wanted = {
        "one adapter per item": figures["adapters_trained"] == figures["items"],
        "each adapter loaded exactly once": figures["adapters_loaded"]
        == figures["adapters_used"]
        == figures["items"],
        "every unseen answer scored": figures["scored"] == figures["unseen_answers"],
        "the counts reconcile": bool(figures["reconciled"]),
        "every item has an outcome for its rules": figures["items_in_the_rules"]
        == figures["items"],
        "held if a rule failed, released if none did": figures["decision"]
        == ("held" if figures["rules_failed"] else "released"),
    }
    return [sentence for sentence, holds in wanted.items() if not holds]


def page(figures: Figures, problems: list[str]) -> str:
    """The figures as a page."""
    lines = [
        "# A night over 204 public items",
        "",
        "`make public-night`: SemEval-2013 Task 7 and SAF; adapters learn from the training",
        "splits and score the unseen answers. Times are wall seconds on a shared 2-core machine.",
        "",
        "| figure | value |",
        "| --- | ---: |",
        *(f"| {name} | {_shown(value)} |" for name, value in figures.items()),
        "",
        *(f"**Not as it must be: {problem}.**" for problem in problems),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value if isinstance(value, bool | int) else round(value, 1))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
