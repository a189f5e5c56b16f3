"""One process that holds one system for some items, and says how much memory that takes.

Counted is what the process has beyond itself with its libraries imported, after all groups have
been scored, and the most it had on the way: resident pages of its own and of the model files it
has mapped. Pages of the libraries' code are left out, as they come in when they are first run, and
so is what neighbours happen to share: both say nothing of a system. Private pages (USS) and all
resident ones (RSS) are given beside it.

    python -m benchmarks.engine.holding ours minilm bf16 27
"""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import peft  # noqa: F401 - every process has the same libraries imported
import psutil
import torch
from transformers.utils import logging

from benchmarks.engine.adapters import adapter_folder
from benchmarks.engine.backbones import backbone
from benchmarks.engine.mixes import ItemWork, make_mix
from benchmarks.engine.ours import Engine
from benchmarks.engine.rivals_models import InTurn
from benchmarks.engine.rivals_peft import SetAdapter
from benchmarks.engine.systems import Clock, Place, Setting
from models.adapters import load_adapter
from models.scorer import Group

# Every process scores as many groups, whatever the number of items that share them, so that the
# libraries' own caches are alike.
GROUPS = {"minilm": 100, "bert-base": 27}
TEXTS = 20
MB = 1e6
Score = Callable[[Sequence[ItemWork]], object]


def measured(system: str, place: Place, n: int) -> dict[str, float]:
    """Bring a system up for n items, score groups of their texts, and report megabytes."""
    for dtype in (torch.float32, torch.bfloat16):
        _ = torch.ones(64, 64, dtype=dtype) @ torch.ones(64, 64, dtype=dtype)
    items = make_mix("paper").items
    before = _now()
    _reset_peak()
    score = HOLDERS[system](place, range(n))
    score(
        [
            ItemWork(group % n, items[group % len(items)].texts[:TEXTS])
            for group in range(GROUPS[place.backbone])
        ]
    )
    after = _now()
    return {
        "items": n,
        "steady_mb": after["data"] - before["data"],
        "peak_mb": after["data"] - before["data"] + _peak_mb() - after["resident"],
        "private_mb": after["private"] - before["private"],
        "resident_mb": after["resident"] - before["resident"],
        "libraries_mb": before["resident"],
    }


def hold_ours(place: Place, numbers: Sequence[int]) -> Score:
    """The engine, with every adapter kept in memory as the rivals' models are."""
    engine, encoder = Engine(place), backbone(place.backbone)
    adapters = [
        load_adapter(adapter_folder(place.backbone, place.variant, number), encoder)
        for number in numbers
    ]

    def score(work: Sequence[ItemWork]) -> object:
        groups = [
            Group(lambda item=item: adapters[item.number], item.texts)  # type: ignore[misc]
            for item in work
        ]
        return list(engine.scorer.score_groups(groups))

    return score


def hold_in_turn(place: Place, _: Sequence[int]) -> Score:
    """The engine as the nightly flow runs it: each adapter is read for its turn and let go."""
    engine = Engine(place)
    return lambda work: engine.run(work, Setting(), Clock())


def hold_models(place: Place, numbers: Sequence[int]) -> Score:
    """B1: every item's full model."""
    system = InTurn(place)
    models = [system.load(number) for number in numbers]

    def score(work: Sequence[ItemWork]) -> object:
        with torch.inference_mode():
            return [system.score(models[item.number], item, Setting()) for item in work]

    return score


def hold_peft(place: Place, numbers: Sequence[int]) -> Score:
    """B2: one model, every adapter loaded into it."""
    system = SetAdapter(place)
    system.prepare(numbers)
    return lambda work: [system.run([item], Setting(), Clock()) for item in work]


HOLDERS: dict[str, Callable[[Place, Sequence[int]], Score]] = {
    "ours": hold_ours,
    "ours-in-turn": hold_in_turn,
    "b1": hold_models,
    "b2": hold_peft,
}


def _now() -> dict[str, float]:
    gc.collect()
    process = psutil.Process()
    info, files = process.memory_full_info(), process.memory_maps(grouped=True)
    code = sum(file.rss for file in files if ".so" in file.path or file.path == process.exe())
    return {
        "data": (info.rss - code) / MB,
        "private": info.uss / MB,
        "resident": info.rss / MB,
    }


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    """The most that was resident since the reset: the kernel's high-water mark."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (mark,) = (line for line in lines if line.startswith("VmHWM:"))
    return float(mark.split()[1]) * 1024 / MB


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    system, name, precision, count = sys.argv[1:]
    print(json.dumps(measured(system, Place(name, "recipe", precision), int(count))))  # type: ignore[arg-type]
