"""Measure everything, write it down, and say what falls short: ``make bench``.

A run takes about an hour and a half on two cores and 14 GB under ``build/bench``, most of it the
rivals' merged models; making those and tuning the rivals takes the first run longer. With
``--scale 0.1`` it is a quick look: written under ``build``, as any run is that leaves something
out, and refused as evidence.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from benchmarks.engine import check, drift, latency, memory, precision, tuning
from benchmarks.engine.backbones import BUILD, ROOT, TITLES, backbone
from benchmarks.engine.batches import tokenised
from benchmarks.engine.ceiling import flops_per_token
from benchmarks.engine.figures import figures
from benchmarks.engine.log import log_to_mlflow
from benchmarks.engine.machine import code_sha256, machine, versions
from benchmarks.engine.measure import measure, token_lengths
from benchmarks.engine.mixes import SHAPES, Mix, histogram, make_mix
from benchmarks.engine.plan import systems_for
from benchmarks.engine.plots import draw
from benchmarks.engine.report import page
from benchmarks.engine.sections import Sections
from benchmarks.engine.systems import Setting
from benchmarks.engine.workers import cores
from tasks.progress import progress, silent

TOKENISING_TURNS = 5
Advance = Callable[[int], None]


class Bench:
    """One run: its mixes, its rounds, and what is finished of it."""

    def __init__(self, options: argparse.Namespace, advance: Advance):
        self.options, self.advance = options, advance
        self.sections = Sections(options.rounds, options.scale)
        self.mixes = {name: make_mix(name, options.scale) for name in options.mixes}

    def results(self) -> dict[str, Any]:
        """Everything that goes into the JSON file."""
        names = self.options.backbones
        speed = {name: {mix: self.speed(name, mix) for mix in self.mixes} for name in names}
        return {
            "format": 1,
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "scale": self.options.scale,
            "rounds": self.options.rounds,
            "machine": machine(),
            "versions": versions(),
            "code_sha256": code_sha256(),
            "mixes": {name: mix_figures(mix) for name, mix in self.mixes.items()},
            "flops_per_token": {name: self.flops(name) for name in names},
            "speed": speed,
            "latency": {name: self.latency(name) for name in names if name == "minilm"},
            "memory": {name: self.memory(name) for name in names},
            "drift": self.drift(),
            "precision": self.precision(),
            "training": training(),
        }

    def speed(self, name: str, mix: str) -> dict[str, Any]:
        """One mix on one backbone: settings first, then the rounds."""
        systems = systems_for(name, mix)
        steps = len(systems) * (self.options.rounds + 1)
        settings = self.settings(name, mix)

        def run() -> dict[str, Any]:
            found = measure(name, self.mixes[mix], self.options.rounds, settings, self.advance)
            print(f"{name}, {mix}: load average {os.getloadavg()[0]:.1f}", file=sys.stderr)
            return found

        found: dict[str, Any] = self.sections.section(
            f"speed-{name}-{mix}", run, lambda: self.advance(steps)
        )
        return found

    def settings(self, name: str, mix: str) -> dict[str, Setting]:
        """The rivals' settings for a mix; a quick look takes what is known."""
        if self.options.scale != 1:
            return tuning.untuned(name, mix)
        return tuning.tuned(name, make_mix(mix), self.advance)

    def latency(self, name: str) -> dict[str, Any]:
        """By size of group."""
        rounds = self.options.rounds
        steps = len(latency.KEYS) * len(latency.SIZES) * (rounds + 1)
        settings = self.settings(name, "paper")
        found: dict[str, Any] = self.sections.section(
            f"latency-{name}",
            lambda: latency.measure_latency(name, rounds, settings, self.advance),
            lambda: self.advance(steps),
        )
        return found

    def memory(self, name: str) -> dict[str, Any]:
        """By number of items."""
        found: dict[str, Any] = self.sections.section(
            f"memory-{name}",
            lambda: memory.measure_memory(name, self.advance),
            lambda: self.advance(len(memory.jobs(name))),
        )
        return found

    def drift(self) -> Any:
        """Of merging and unmerging."""
        made = self.sections.section("drift", drift.measure_both, lambda: None)
        self.advance(1)
        return made

    def precision(self) -> Any:
        """Of scores in bf16."""
        return self.sections.section(
            "precision",
            lambda: precision.measure_precision(cores(), self.advance),
            lambda: self.advance(precision.ITEMS),
        )

    def flops(self, name: str) -> dict[str, dict[str, float]]:
        """Operations per token by mix: a token attends to its whole text."""
        found = {}
        for mix_name, mix in self.mixes.items():
            lengths = np.concatenate(list(token_lengths(name, mix).values()))
            linear, attention = flops_per_token(
                backbone(name), float((lengths**2).sum() / lengths.sum())
            )
            found[mix_name] = {"linear": linear, "attention": attention}
        return found

    def steps(self) -> int:
        """How far the bar goes."""
        total, tries = 1 + precision.ITEMS, tuning.TRIES if self.options.scale == 1 else 0
        for name in self.options.backbones:
            total += len(memory.jobs(name))
            for mix in self.mixes:
                total += len(systems_for(name, mix)) * (self.options.rounds + 1)
                total += len(tuning.tuned_specs(name, mix)) * tries
        groups = len(latency.KEYS) * len(latency.SIZES) * (self.options.rounds + 1)
        again = len(tuning.tuned_specs("minilm", "paper")) * tries
        return total + (groups + again if "minilm" in self.options.backbones else 0)


def training() -> dict[str, Any]:
    """What ``benchmarks.training`` last found; nothing where it has not been run."""
    path = check.TRAINING
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


def mix_figures(mix: Mix) -> dict[str, Any]:
    """What a mix consists of, and how fast its texts are tokenised on their own."""
    texts = [text for item in mix.items for text in item.texts]
    lengths = np.concatenate(list(token_lengths("minilm", mix).values()))
    seconds = []
    for _ in range(TOKENISING_TURNS):
        began = time.perf_counter()
        tokenised("minilm", texts)
        seconds.append(time.perf_counter() - began)
    return {
        "title": mix.title,
        "items": len(mix.items),
        "responses_per_item": [len(item.texts) for item in mix.items],
        "tokens_per_text": histogram(lengths),
        "tokenised_responses_per_s": len(texts) / float(np.median(seconds)),
        "tokenised_tokens_per_s": float(lengths.sum() / np.median(seconds)),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and judge."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.environ.update(HF_HUB_OFFLINE="1")
    is_whole = (options.scale, options.backbones, options.mixes) == (1, list(TITLES), list(SHAPES))
    folder = ROOT / "docs" if is_whole else BUILD / "quick"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"load average {os.getloadavg()[0]:.1f} at the start", file=sys.stderr)
    bench = Bench(options, silent)
    with progress("benchmark", bench.steps()) as bench.advance:
        results = bench.results()
    found = figures(results)
    results["figures"] = [figure.as_row() for figure in found]
    (folder / "bench.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.md").write_text(page(results), encoding="utf-8")
    plots = draw(results, folder)
    log_to_mlflow(results, [folder / "bench.json", folder / "bench.md", *plots])
    bench.sections.clear()
    print((folder / "bench.md").read_text("utf-8").split("\n## ")[0])
    for problem in check.shortfalls(found):
        print(f"SHORT: {problem}")
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds, 5 or more")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: a quick look")
    parser.add_argument("--backbones", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--mixes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
