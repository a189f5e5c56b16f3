"""Time from strings to scores of one group, by its size: what small groups cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.engine.measure import REST_S, setting_of
from benchmarks.engine.mixes import ItemWork, make_mix
from benchmarks.engine.plan import SYSTEMS, Spec
from benchmarks.engine.systems import Setting
from benchmarks.engine.workers import Workers

SIZES = (1, 3, 10, 30, 100, 300)
KEYS = ("ours-bf16", "ours-fp32", "b2-bf16", "b2-fp32", "b0-bf16", "b0-fp32")
ADAPTERS = 27  # resident in PEFT's model


def measure_latency(
    backbone: str, rounds: int, settings: Mapping[str, Setting], advance: Callable[[int], None]
) -> dict[str, Any]:
    """Seconds per group by size and system, one figure for each round, each on another item.

    Args:
        backbone: the backbone's key.
        rounds: groups of each size; one more is run first and not counted.
        settings: the rivals' for the paper's mix, though always in one process, as there is but
            one group to score.
        advance: called with 1 for every group.
    """
    specs = [spec for spec in SYSTEMS if spec.key in KEYS]
    chosen = {spec.key: replace(setting_of(spec, settings), layout="threads") for spec in specs}
    residents = [ItemWork(number, ()) for number in range(ADAPTERS)]
    seconds: dict[str, dict[str, list[float]]] = {
        spec.key: {str(size): [] for size in SIZES} for spec in specs
    }
    with Workers(backbone).running() as workers:
        for spec in specs:
            workers.prepare(spec, "threads", [residents])
        for size in SIZES:
            for number in range(rounds + 1):
                group = one_group(size, number)
                for spec in specs if number % 2 == 0 else reversed(specs):
                    took = _group_s(workers, spec, group, chosen[spec.key])
                    if number:
                        seconds[spec.key][str(size)].append(took)
                    advance(1)
    return {
        "adapters_resident": ADAPTERS,
        "systems": {
            spec.key: {"label": spec.label, "group_s": seconds[spec.key]} for spec in specs
        },
    }


def one_group(size: int, number: int) -> ItemWork:
    """An item's first responses from the paper's mix, and its neighbours' where it has too few."""
    items = make_mix("paper").items
    texts: Sequence[str] = [
        text for step in range(size) for text in items[(number + step) % len(items)].texts
    ]
    return ItemWork(number % ADAPTERS, tuple(texts[:size]))


def _group_s(workers: Workers, spec: Spec, group: ItemWork, setting: Setting) -> float:
    time.sleep(REST_S / 4)
    timing, _ = workers.run(spec, [group], setting)
    return timing.total_s
