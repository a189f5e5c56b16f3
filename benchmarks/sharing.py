"""Items that share lower blocks: many scores of one text, and a backfill that finds its trunk.

The first part gives each of a set of texts 1, 8 and 21 scores, by models of their own and by
adapters of several depths. The second scores texts with a second version of an adapter, without
and with what a run with the first version kept of the trunk. Weights are random, as only time is
measured here; what depth does to quality is in ``docs/depths.md``. Takes about ten minutes.

    python -m benchmarks.sharing

Writes ``docs/sharing.md``, ``docs/sharing.json`` and ``docs/sharing.svg``.
"""

import argparse
import copy
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.progress import track

from benchmarks.engine.adapters import Variant, base_adapter, random_adapter
from benchmarks.engine.backbones import ROOT, TITLES, backbone
from benchmarks.engine.machine import machine, versions
from benchmarks.engine.mixes import make_mix
from benchmarks.sharing_report import draw, markdown
from models.adapters import Adapter
from models.backbone import Backbone
from models.own_blocks import OwnBlocks
from models.scored import Scored
from models.scorer import Group, Scorer
from models.trunk import blocks_of
from models.trunk_cache import TrunkCache

ROUNDS = 5
SCORES = (1, 8, 21)
TEXTS = 96
BACKFILL_TEXTS = 600
# Adapters that take turns: as many sets of weights as are in use at a time.
DISTINCT = 3
CACHE_BYTES = 4_000_000_000
Setting = Literal["auto", "bf16", "fp32"]
MOVED = 0.02  # an own block's numbers are moved by this share of their size


@dataclass(frozen=True)
class System:
    """A way to give a text several scores.

    Attributes:
        name: for tables.
        shared: number of the backbone's blocks that all scores share.
        own: blocks that each score runs for itself.
        low_rank: by LoRA, else by blocks of the item's own.
    """

    name: str
    shared: int
    own: int
    low_rank: bool

    def layers(self, scores: int) -> int:
        """Blocks that run per text."""
        return self.shared + scores * self.own


def systems(n_blocks: int) -> list[System]:
    """Those that are compared, for a backbone of so many blocks; the first shares nothing."""
    half = n_blocks // 2
    return [
        System("a fully tuned model each", 0, n_blocks, False),
        System("LoRA on all blocks", 0, n_blocks, True),
        System("LoRA on the upper half", half, n_blocks - half, True),
        System("upper 3 blocks own", n_blocks - 3, 3, False),
        System("upper 3 own, compressed to 1", n_blocks - 3, 1, False),
        System("upper 2 blocks own", n_blocks - 2, 2, False),
        System("upper block own", n_blocks - 1, 1, False),
    ]


def adapters_of(system: System, encoder: Backbone) -> list[Adapter]:
    """Some adapters of a system, with random weights."""
    return [_adapter(system, encoder, number) for number in range(DISTINCT)]


def _adapter(system: System, encoder: Backbone, number: int) -> Adapter:
    if system.low_rank:
        share = system.shared / (system.shared + system.own)
        return random_adapter(encoder, Variant(8, 16.0, share), number)
    bare = base_adapter(encoder, number)
    blocks = copy.deepcopy(blocks_of(encoder.model)[system.shared : system.shared + system.own])
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for parameter in blocks.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter += MOVED * float(parameter.abs().mean()) * noise
    own = OwnBlocks.of(system.shared, list(blocks))
    record = bare.scoring.model_copy(update={"method": "partial", "first_block": system.shared})
    return replace(bare, scoring=record, own=own)


def many_scores(name: str, rounds: int, precision: Setting) -> dict[str, Any]:
    """Seconds to give every text several scores, system by system, interleaved."""
    encoder = backbone(name)
    scorer = Scorer(encoder, precision=precision)
    compared = systems(len(blocks_of(encoder.model)))
    texts = [text for item in make_mix("paper").items for text in item.texts][:TEXTS]
    adapters = {system.name: adapters_of(system, encoder) for system in compared}
    figures: dict[tuple[str, int], list[dict[str, float]]] = {}
    for number in track(range(rounds + 1), f"scores of one text, {name}"):
        for system in compared:
            for scores in SCORES:
                found = _timed_scores(scorer, adapters[system.name], texts, scores)
                if number:  # the first round compiles the kernels' shapes
                    figures.setdefault((system.name, scores), []).append(found)
    return {
        "backbone": TITLES[name],
        "texts": len(texts),
        "precision": scorer.precision,
        "systems": [
            {
                "name": system.name,
                "layers": {str(scores): system.layers(scores) for scores in SCORES},
                "rounds": {str(scores): figures[system.name, scores] for scores in SCORES},
            }
            for system in compared
        ],
    }


def _timed_scores(
    scorer: Scorer, adapters: Sequence[Adapter], texts: Sequence[str], scores: int
) -> dict[str, float]:
    groups = [
        Group(lambda one=adapters[number % DISTINCT]: one, texts, verify=False)  # type: ignore[misc]
        for number in range(scores)
    ]
    wall, cpu = time.perf_counter(), time.process_time()
    results = [_scores(result) for result in scorer.score_groups(groups)]
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        # Without the adapters' being made ready, which models that stay in memory need once.
        "computing_s": sum(float(result.latency_ms.sum()) for result in results) / 1e3,
    }


def backfill(name: str, rounds: int, precision: Setting) -> dict[str, Any]:
    """Seconds to score texts with a second version, without and with what the first one kept."""
    encoder = backbone(name)
    mix = make_mix("paper")
    texts = [text for item in mix.items for text in item.texts][:BACKFILL_TEXTS]
    rows = []
    for system in systems(len(blocks_of(encoder.model)))[2:]:
        first, second, _ = adapters_of(system, encoder)
        found = [
            _timed_backfill(encoder, first, second, texts, precision)
            for _ in track(range(rounds + 1), f"backfill, {name}, {system.name}")
        ][1:]
        rows.append({"name": system.name, "shared": system.shared, "rounds": found})
    return {"backbone": TITLES[name], "texts": len(texts), "systems": rows}


def _timed_backfill(
    encoder: Backbone, first: Adapter, second: Adapter, texts: Sequence[str], precision: Setting
) -> dict[str, float]:
    """One round; scores must be the same bits with and without what was kept."""
    with tempfile.TemporaryDirectory() as folder:
        cache = TrunkCache(Path(folder), CACHE_BYTES)
        plain, kept, again = (
            Scorer(encoder, precision=precision, trunk_cache=one) for one in (None, cache, cache)
        )
        without_s, expected = _timed(lambda: plain.score(second, texts, verify=False))
        filling_s, _ = _timed(lambda: kept.score(first, texts, verify=False))
        warm_s, found = _timed(lambda: again.score(second, texts, verify=False))
        if not np.array_equal(found.raw_score, expected.raw_score):
            raise RuntimeError("a warm backfill gave other scores than a cold one")
        return {
            "cold_s": without_s,
            "filling_s": filling_s,
            "warm_s": warm_s,
            "bytes_per_response": cache.size() / len(texts),
            "tokens_per_response": float(expected.tokens.mean()),
        }


def _timed(score: Callable[[], Scored]) -> tuple[float, Scored]:
    started = time.perf_counter()
    result = score()
    return time.perf_counter() - started, result


def _scores(result: Scored | Exception) -> Scored:
    if isinstance(result, Exception):
        raise result
    return result


def main() -> int:
    """Measure both parts, print the tables, write the files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    options = parser.parse_args()
    rounds, precision = options.rounds, options.precision
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="true")
    load = os.getloadavg()[0]
    summary = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": machine(),
        "versions": versions(),
        "rounds": rounds,
        "load_at_start": load,
        "many": [many_scores(name, rounds, precision) for name in TITLES],
        "backfill": [backfill(name, rounds, precision) for name in TITLES],
    }
    text = markdown(summary)
    docs = ROOT / "docs"
    (docs / "sharing.json").write_text(json.dumps(summary, indent=1) + "\n")
    (docs / "sharing.md").write_text(text)
    draw(summary, docs / "sharing.svg")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
