"""Every rival at its best: layout, token budget and rounding, chosen by trying them.

What was found is kept in ``build/bench/tuned.json`` for this processor and these versions, so
only the first run on a machine pays for it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from benchmarks.engine.backbones import BUILD
from benchmarks.engine.machine import fingerprint
from benchmarks.engine.measure import Advance
from benchmarks.engine.mixes import ItemWork, Mix, first_responses
from benchmarks.engine.plan import Spec, systems_for
from benchmarks.engine.systems import Layout, Setting
from benchmarks.engine.workers import Workers

START = Setting(token_budget=4096, round_to=8)
LAYOUTS: tuple[Layout, ...] = ("threads", "processes")
TOKEN_BUDGETS = (1024, 2048, 8192)
ROUNDINGS = (1, 16)
# Items and responses that each try scores: enough to tell settings apart, and no more.
TRIED = {
    ("minilm", "paper"): (6, None),
    ("minilm", "small"): (16, None),
    ("minilm", "large"): (2, 200),
    ("bert-base", "paper"): (2, 75),
    ("bert-base", "small"): (4, None),
    ("bert-base", "large"): (2, 40),
}
TURNS = 2  # the faster of them counts
TRIES = len(LAYOUTS) + len(TOKEN_BUDGETS) + len(ROUNDINGS)


def tuned_specs(backbone: str, mix: str) -> list[Spec]:
    """The systems that are tuned for a mix: those whose setting is named after them."""
    return [spec for spec in systems_for(backbone, mix) if spec.tuned_as == spec.key]


def tuned(backbone: str, mix: Mix, advance: Advance) -> dict[str, Setting]:
    """The settings for a mix, by ``Spec.tuned_as``; tried out where they are not known yet.

    Args:
        backbone: the backbone's key.
        mix: the work.
        advance: called with TRIES for each system of ``tuned_specs``.
    """
    kept = read()
    known = {**kept.get(f"{backbone}/{mix.name}", {})}
    missing = [spec for spec in tuned_specs(backbone, mix.name) if spec.key not in known]
    advance(TRIES * (len(tuned_specs(backbone, mix.name)) - len(missing)))
    if missing:
        items = first_responses(
            mix.items[: TRIED[backbone, mix.name][0]], TRIED[backbone, mix.name][1]
        )
        with Workers(backbone).running() as workers:
            for spec in missing:
                known[spec.key] = asdict(best(workers, spec, items, advance))
                kept[f"{backbone}/{mix.name}"] = known
                _write(kept)
    return {key: Setting(**setting) for key, setting in known.items()}


def untuned(backbone: str, mix: str) -> dict[str, Setting]:
    """What is known for a mix, and where nothing is, where tuning would start: for quick looks."""
    known = read().get(f"{backbone}/{mix}", {})
    starts = {spec.key: START for spec in tuned_specs(backbone, mix)}
    return {**starts, **{key: Setting(**setting) for key, setting in known.items()}}


def best(workers: Workers, spec: Spec, items: tuple[ItemWork, ...], advance: Advance) -> Setting:
    """Choose the layout first, then the budget, then the rounding."""
    for layout in LAYOUTS:
        workers.prepare(spec, layout, [items])
    chosen, seconds = START, float("inf")
    for step in (
        lambda setting: (replace(setting, layout=layout) for layout in LAYOUTS),
        lambda setting: (replace(setting, token_budget=tokens) for tokens in TOKEN_BUDGETS),
        lambda setting: (replace(setting, round_to=multiple) for multiple in ROUNDINGS),
    ):
        for setting in list(step(chosen)):
            took = min(workers.run(spec, items, setting)[0].score_s for _ in range(TURNS))
            advance(1)
            if took < seconds:
                chosen, seconds = setting, took
    for layout in LAYOUTS:
        workers.drop(spec, layout)
    return chosen


def read() -> dict[str, dict[str, Any]]:
    """What is known for this machine and these versions, by ``backbone/mix`` and key."""
    path = BUILD / "tuned.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    settings: dict[str, dict[str, Any]] = kept.get(fingerprint(), {})
    return settings


def _write(settings: Mapping[str, Any]) -> None:
    path = BUILD / "tuned.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**kept, fingerprint(): settings}, indent=1))
    temporary.replace(path)
