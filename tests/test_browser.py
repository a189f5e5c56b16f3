"""The report and MLflow's page of a night, opened in a real browser that may leave no machine.

Screenshots stay in ``build/screenshots``. Everything skips, saying so, where there is no Chromium.
"""

import csv
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import save_tiny_encoder
from headless_browser import BROWSER, NAMES, SCREENSHOTS, Opened, opened, printed_page

from benchmarks.public_data import PublicItem, quality_items, read_items, write_bank
from benchmarks.public_data import write_export as write_public_export
from flows.settings import load_settings
from tasks import item_bank
from warehouse import db, items

ROOT = Path(__file__).resolve().parent.parent
PUBLIC = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"needs a browser: one of {NAMES}")

BANK = """
items:
  - {item_id: "007", score_min: 0, score_max: 2, prompt: "Why does the lamp glow?"}
  - {item_id: essay/1, score_min: 1, score_max: 3, traits: [ideas, form]}
"""
MAPPING = "subgroups: {first language: L1}\n"
WORDS = {0: "cold dark nothing", 1: "wire lamp maybe", 2: "current flows closed circuit"}
LANGUAGES = ("English", "English", "English", "Spanish", "Somali")
NIGHT = date(2026, 3, 12)
MARK, STUDENT = "zyxwvut", "S-47"  # in every response, and to be found on no page


@pytest.fixture(scope="module")
def prefect_server() -> Iterator[None]:
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module", autouse=True)
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    # Larger random weights than usual tell words apart, so that adapters learn something.
    backbone = save_tiny_encoder(tmp_path_factory.mktemp("encoders") / "b", initializer_range=0.3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADELINE_BACKBONE", str(backbone))
        patch.setenv("GRADELINE_WORKERS", "1")
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield


@dataclass(frozen=True)
class Night:
    """A night's run in its workspace."""

    home: Path
    run_id: str
    status: str
    html: Path

    @property
    def mlflow_run(self) -> str:
        """The run's page, below MLflow's address."""
        from warehouse import reports

        with db.connect(self.home / "warehouse.duckdb", read_only=True) as connection:
            found = reports.run(connection, self.run_id).mlflow_run_id
        assert found is not None
        return found


def add_items(home: Path, bank: Path) -> None:
    with db.connect(load_settings(home).warehouse) as connection:
        items.add_items(connection, item_bank.item_rows(item_bank.read_bank(bank)))


def scored_night(home: Path, day: date, mapping: Path | None = None) -> Night:
    from flows.nightly import nightly

    result = nightly(season="2026-spring", mapping=mapping, administration_date=day, home=home)
    return Night(home, result.report.run.run_id, result.status, result.html)


def rows_of(item_id: str, prefix: str, n: int, *, err: int, zeros: int) -> list[dict[str, Any]]:
    """Made-up responses whose words give their score away.

    Two raters err with ``err`` responses of 10, either way; ``zeros`` of 10 more are empty words.
    """
    draw = random.Random(f"{item_id} {prefix}")
    rows = []
    for number in range(n):
        points = 0 if draw.randrange(10) < zeros else draw.randrange(3)
        slips = draw.choices((-1, 0, 1), (err, 20 - 2 * err, err), k=2)
        given = [min(2, max(0, points + slip)) for slip in slips]
        rows.append(
            {
                "response_id": f"{prefix}-{item_id}-{number:03}",
                "item_id": item_id,
                "text": " ".join([*draw.choices(WORDS[points].split(), k=6), MARK, str(number)]),
                "student_id": f"{STUDENT}{number}",
                "submitted_at": "2026-03-12T10:00:00Z",
                "trait": "overall",
                "human_score": given[0],
                "human_score_2": given[1],
                "L1": LANGUAGES[number % len(LANGUAGES)],
            }
        )
    return rows


def write_export(path: Path, prefix: str, n: int, *, err: int = 1, zeros: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = rows_of("007", prefix, n, err=err, zeros=zeros)
    for row in rows_of("essay/1", prefix, n, err=err, zeros=0):
        scores = {name: row[name] + 1 for name in ("human_score", "human_score_2")}
        rows += [{**row, **scores, "trait": trait} for trait in ("ideas", "form")]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def nights(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> list[Night]:
    """Three nights over made-up items with two raters, groups and validity responses.

    In the third, one item has many more zeros than before.
    """
    from flows.ingest import ingest
    from flows.train import train

    home = tmp_path_factory.mktemp("nights")
    bank, mapping = home / "bank.yaml", home / "mapping.yaml"
    bank.write_text(BANK, "utf-8")
    mapping.write_text(MAPPING, "utf-8")
    add_items(home, bank)
    export = write_export(home / "training.csv", "t", 240)
    assert ingest([export], "2025-fall", mapping, home=home).status == "done"
    known = write_export(home / "validity.csv", "v", 24, err=0)
    assert ingest([known], "2026-spring", mapping, validity=True, home=home).status == "done"
    train(home=home)
    found = []
    for n, zeros in enumerate((0, 0, 6)):
        write_export(home / "inbox" / f"night-{n}.csv", f"n{n}", 250, zeros=zeros)
        found.append(scored_night(home, NIGHT + timedelta(days=n), mapping))
    return found


@pytest.fixture(scope="module")
def public_night(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A night over four public questions; half of their answers are trained on before."""
    if not PUBLIC.is_dir():
        pytest.skip(f"{PUBLIC} is absent: no public answers to score")
    from flows.ingest import ingest
    from flows.train import train

    home = tmp_path_factory.mktemp("public")
    chosen = [halved(item) for item in most_answered(quality_items(read_items(PUBLIC), 2))]
    write_bank(home / "bank.yaml", chosen)
    add_items(home, home / "bank.yaml")
    write_public_export(home / "training.csv", chosen, unseen=False, season="2025-fall")
    assert ingest([home / "training.csv"], home=home).status == "done"
    train(home=home)
    (home / "inbox").mkdir()
    write_public_export(home / "inbox" / "night.csv", chosen, unseen=True, season="2026-spring")
    return scored_night(home, NIGHT)


def most_answered(public: Sequence[PublicItem]) -> list[PublicItem]:
    """Two questions of SemEval-2013 and two of SAF."""
    by_answers = sorted(public, key=lambda item: -len(item.texts))
    return [
        item
        for scale in sorted({item.score_max for item in public})
        for item in [item for item in by_answers if item.score_max == scale][:2]
    ]


def halved(item: PublicItem) -> PublicItem:
    return replace(item, unseen=np.arange(len(item.texts)) % 2 == 1)


@pytest.fixture
def mlflow_ui() -> Iterator[Any]:
    """Starts MLflow's server over a workspace and returns its address; stops it at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def serve(home: Path) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        store = f"sqlite:///{home / 'mlflow.db'}"
        command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", store]
        command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        # A session of its own: the server's workers end with it.
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/health", started[-1])
        return address

    yield serve
    for server in started:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _wait_for(url: str, server: "subprocess.Popen[bytes]") -> None:
    for tried in count():
        assert server.poll() is None, "mlflow ui ended at once"
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 -- our own address
                return
        except (URLError, OSError):
            assert tried < 240, "mlflow ui does not answer"
            time.sleep(0.5)


def test_a_page_that_asks_for_the_world_is_noticed(tmp_path: Path) -> None:
    """The watch itself: what is asserted below would fail for such a page."""
    page = tmp_path / "leaky.html"
    page.write_text('<p>seen<img src="http://example.invalid/x.png">', "utf-8")
    found = opened(page.as_uri(), "leaky", tmp_path, (400, 300))
    (SCREENSHOTS / "leaky.png").unlink()
    assert found.text == "seen"
    assert found.asked == {"example.invalid"}
    assert found.connected == set()


def test_the_report_of_a_night_is_whole_in_a_browser(nights: list[Night], tmp_path: Path) -> None:
    night = nights[1]
    found = opened(night.html.as_uri(), "report", tmp_path)
    assert found.asked == set()
    assert found.connected == set()
    assert night.status == "released"
    assert "Released by the gate" in found.text
    assert "✓ Drift 3 items within the limits" in found.text
    for heading in (
        "Where every row went", "Decisions", "Rules", "Agreement with human raters",
        "Item by item", "Standardized differences, by group", "Confidence", "Drift",
        "Validity responses", "Speed and memory", "Refused and repeated rows", "Configuration",
    ):  # fmt: skip
        assert re.search(rf"<h2[^>]*>{heading}</h2>", found.dom), heading
    for picture in ("QWK by item", "score distribution of", "calibration of", "risk and coverage"):
        assert f'aria-label="{picture}' in found.dom
    assert found.dom.count('aria-label="score points of') == 3
    assert "reconcile: 750 rows received" in found.text
    assert re.search(r"007 1 250 250 0\.\d\d", found.text)
    assert re.search(r"machine second rater English (Somali|Spanish)", found.text)
    assert re.search(r"007 24 \d+%", found.text)
    assert MARK not in found.dom
    assert STUDENT not in found.text
    assert (SCREENSHOTS / "report.png").stat().st_size > 50_000


def test_a_night_with_many_more_zeros_is_held_and_shows_them(
    nights: list[Night], tmp_path: Path
) -> None:
    assert [night.status for night in nights] == ["released", "released", "held"]
    found = opened(nights[2].html.as_uri(), "report_drift", tmp_path, (1100, 9000))
    assert "✕ Drift 1 item fails" in found.text
    drift = found.text.split("here it is to be seen.")[1].split("Validity responses")[0]
    assert re.search(
        r"007 .* FAIL share of a score point, change: baseline, point 0: 0\.\d\d", drift
    )
    assert "007" in found.text.split("Where every row went")[0]


def test_a_night_over_public_answers_is_gated_for_all_to_see(
    public_night: Night, tmp_path: Path
) -> None:
    found = opened(public_night.html.as_uri(), "report_public", tmp_path)
    assert found.asked == set()
    # A random backbone of two layers agrees with nobody.
    assert public_night.status == "held"
    assert "Held by the gate" in found.text
    assert re.search(r"item \S+: qwk −?0\.\d\d.*? is below 0\.70, n = 1\d\d", found.text)
    assert re.search(r'<td class="FAIL[^"]*" title="QWK, first rater and machine', found.dom)
    assert "the counts reconcile" in found.text.lower()


def test_the_report_prints(nights: list[Night], tmp_path: Path) -> None:
    printed = printed_page(nights[1].html.as_uri(), "report", tmp_path)
    pages = len(re.findall(rb"/Type\s*/Page\b", printed.read_bytes()))
    assert 3 <= pages <= 12


def test_mlflow_shows_the_night_its_tables_and_its_figures(
    nights: list[Night], mlflow_ui: Any, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    night, size = nights[1], (1500, 1800)
    client = MlflowClient(f"sqlite:///{night.home / 'mlflow.db'}")
    run = client.get_run(night.mlflow_run)
    address = mlflow_ui(night.home)
    host = urlsplit(address).netloc
    page = f"{address}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"

    def look(path: str, name: str) -> Opened:
        """In the view for models: MLflow's own first choice is that for language models."""
        return opened(f"{page}{path}?workflowType=machine_learning", name, tmp_path, size)

    overview = look("", "mlflow_run")
    for words in (night.run_id, "007 overall", "essay/1 ideas", "release_status", "n/scored"):
        assert words in overview.text
    assert "750 received = 500 accepted" in overview.text

    rules = look("/artifacts/eval/rules.json", "mlflow_rules")
    for words in ("degradation_qwk", "score_point_shift", "essay/1"):
        assert words in rules.text

    drawn = [entry.path for entry in client.list_artifacts(run.info.run_id, "figures")]
    pictures = [path for path in drawn if path.endswith(".png")]
    assert pictures
    figure = look(f"/artifacts/{pictures[0]}", "mlflow_figure")
    assert re.search(r"<img[^>]+src=.blob:", figure.dom)

    report = look("/artifacts/report.html", "mlflow_report")
    assert "<iframe" in report.dom
    for found in (overview, rules, figure, report):
        assert found.asked <= {host, ""}  # the empty one: what MLflow hands to its own page
        assert found.connected <= {"127.0.0.1"}
        assert MARK not in found.dom
