"""Interleaved rounds: every system in turn on the same round's work, then the next round."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine import reference
from benchmarks.engine.adapters import adapter
from benchmarks.engine.batches import tokenised
from benchmarks.engine.mixes import ItemWork, Mix, first_responses
from benchmarks.engine.plan import Spec, systems_for, work
from benchmarks.engine.systems import Setting
from benchmarks.engine.workers import Timing, Workers

# The items and responses of each that a system's logits are compared on.
CHECKED_ITEMS, CHECKED_RESPONSES = 2, 5
# Threads that wait busily for more work have stopped by then.
REST_S = 0.2
Lengths = Mapping[int, NDArray[np.int64]]
Advance = Callable[[int], None]


def measure(
    name: str,
    mix: Mix,
    rounds: int,
    settings: Mapping[str, Setting],
    advance: Advance,
    specs: Sequence[Spec] | None = None,
) -> dict[str, Any]:
    """All systems on one mix.

    Args:
        name: the backbone's key.
        mix: the work.
        rounds: at least one.
        settings: by ``Spec.tuned_as``.
        advance: called with 1 after each system's preparation and after each run.
        specs: the systems, if not all that the plan has for the mix.

    Returns:
        by system: its label, setting, rounds and what else is to be known of it.

    Raises:
        WrongLogitsError: a system gives other logits than the reference.
        SystemFailedError: a system failed.
    """
    specs = systems_for(name, mix.name) if specs is None else specs
    lengths = token_lengths(name, mix)
    results: dict[str, dict[str, Any]] = {}
    with Workers(name).running() as workers:
        for spec in specs:
            setting = setting_of(spec, settings)
            turns = [work(mix, name, spec.share, number) for number in range(rounds)]
            figures = workers.prepare(spec, setting.layout, [checked_items(mix), *turns])
            results[spec.key] = {
                **_described(spec, setting),
                "largest_difference": compare(workers, spec, setting, mix, name),
                "apart": figures,
                "rounds": [],
            }
            advance(1)
        for number in range(rounds):
            # Every other round backwards, so that nobody always runs after the same neighbour.
            for spec in specs if number % 2 == 0 else reversed(specs):
                items = work(mix, name, spec.share, number)
                time.sleep(REST_S)
                timing, _ = workers.run(spec, items, setting_of(spec, settings))
                results[spec.key]["rounds"].append(_round(timing, items, lengths))
                advance(1)
    return results


def setting_of(spec: Spec, settings: Mapping[str, Setting]) -> Setting:
    """What a system runs with."""
    return settings[spec.tuned_as] if spec.tuned_as else Setting(layout=spec.layout)


def token_lengths(name: str, mix: Mix) -> dict[int, NDArray[np.int64]]:
    """Real tokens of each text, special ones included, by item number.

    Raises:
        ValueError: two texts of an item are the same to the model: deduplication would show.
    """
    lengths = {}
    for item in mix.items:
        token_ids = tokenised(name, item.texts)
        if len({ids.tobytes() for ids in token_ids}) != len(token_ids):
            raise ValueError(f"item {item.number} of the mix {mix.name} holds a text twice")
        lengths[item.number] = np.array([len(ids) for ids in token_ids], dtype=np.int64)
    return lengths


def checked_items(mix: Mix) -> tuple[ItemWork, ...]:
    """The few texts on which logits are compared."""
    return first_responses(mix.items[:CHECKED_ITEMS], CHECKED_RESPONSES)


def compare(workers: Workers, spec: Spec, setting: Setting, mix: Mix, name: str) -> float | None:
    """A system's largest difference from the reference's logits; None if it has no logits.

    Raises:
        WrongLogitsError: it is too large.
    """
    items = checked_items(mix)
    _, found = workers.run(spec, items, setting)
    if spec.baseline in ("ceiling", "machine"):
        return None
    differences = []
    for item in items:
        wanted = reference.logits_of(name, adapter(name, spec.variant, item.number), item.texts)
        differences.append(reference.check(spec.label, spec.precision, found[item.number], wanted))
    return max(differences)


def _described(spec: Spec, setting: Setting) -> dict[str, Any]:
    return {
        "baseline": spec.baseline,
        "label": spec.label,
        "precision": spec.precision,
        "variant": spec.variant,
        "share": spec.share,
        "setting": asdict(setting),
    }


def _round(timing: Timing, items: Sequence[ItemWork], lengths: Lengths) -> dict[str, Any]:
    """One run's figures; ``group_tokens`` counts the items' responses that were left out too."""
    done = sum(int(lengths[item.number][: len(item.texts)].sum()) for item in items)
    return {
        **asdict(timing),
        "tokens": timing.tokens or done,
        "responses": sum(len(item.texts) for item in items),
        "items": len(items),
        "group_tokens": sum(int(lengths[item.number].sum()) for item in items),
        "load_average": round(os.getloadavg()[0], 2),
    }
