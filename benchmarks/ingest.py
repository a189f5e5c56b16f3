"""Peak memory and speed of ingesting a generated CSV: ``python -m benchmarks.ingest``.

Writes ``docs/ingest.json``. The ingest runs in a process of its own, so that its peak resident
memory is that of the ingest alone. Texts, ids and scores are random words and numbers; one row in
five holds quotation marks, commas or a line break, and a few are faulty.
"""

import argparse
import csv
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tasks.exports import IngestOptions, ingest_export
from warehouse import db
from warehouse.items import ItemRow, add_items

ROOT = Path(__file__).resolve().parent.parent
LIMIT_MB = 1.5 * 1024
ITEMS = [f"I{number:03}" for number in range(200)]
WORDS = (
    "because the water heat moves plant light energy changed since more less river people "
    "number graph it was they would could shadow sun metal cell friction speed reason evidence"
)
HEADER = ("response_id", "item_id", "student_id", "submitted_at", "human_score", "text")


def main() -> int:
    """Generate, ingest in a child process, record; 1 where memory or counts are off."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "ingest.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_ingest(options.child)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        export = Path(folder) / "export.csv"
        _write_export(export, options.rows)
        figures = {
            "rows": options.rows,
            "file_mb": round(export.stat().st_size / 1e6, 1),
            **_measured(Path(folder)),
            "cpu": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
        }
    options.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(figures, indent=2))
    sound = figures["received"] == options.rows and figures["peak_rss_mb"] < LIMIT_MB
    return 0 if sound else 1


def _measured(folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.ingest", "--child", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _ingest(folder: Path) -> dict[str, float]:
    warehouse = folder / "warehouse.duckdb"
    with db.connect(warehouse) as connection:
        add_items(connection, [ItemRow(item_id, "overall", 0, 3) for item_id in ITEMS])
    began = time.perf_counter()
    options = IngestOptions(season="2026-spring", mapping_file=None, student_key=b"k" * 32)
    counts = asdict(
        ingest_export(warehouse, folder / "responses", folder / "export.csv", "bench", options)
    )
    seconds = time.perf_counter() - began
    rows = ("received", "accepted", "rejected", "duplicate", "rated")
    return {
        **{name: counts[name] for name in rows},
        "seconds": round(seconds, 1),
        "rows_per_s": round(counts["received"] / seconds),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _write_export(path: Path, rows: int) -> None:
    draw = random.Random(20260312)  # noqa: S311 - not for secrets
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(HEADER)
        for number in range(rows):
            item = "NOWHERE" if number % 1000 == 999 else draw.choice(ITEMS)
            student = f"S-{draw.randrange(50_000):06}"
            minute = draw.randrange(60 * 24)
            handed_in = f"2026-03-12T{minute // 60:02}:{minute % 60:02}:00Z"
            score = draw.choice(("", "0", "1", "2", "3"))
            writer.writerow((f"{number:08}", item, student, handed_in, score, _text(draw)))


def _text(draw: random.Random) -> str:
    words = draw.choices(WORDS.split(), k=draw.randrange(5, 80))
    if draw.random() < 0.2:
        words[2] = draw.choice(('"' + words[2] + '"', words[2] + ",", words[2] + "\n"))
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
