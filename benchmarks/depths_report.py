"""What the trainings of ``benchmarks.depths`` come to: figures, intervals, a table, a plot."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.depths_arms import (
    ARMS,
    BLOCKS,
    CHOSEN,
    COMPRESSED,
    LORA,
    PARTIAL,
    SCORES_OF_ONE_TEXT,
    TITLES,
)
from benchmarks.public_data import PublicItem
from benchmarks.quality import FOLDS, folds_of
from benchmarks.quality_arms import SEED
from models.agreement import exact_agreement, quadratic_weighted_kappa

mpl.use("Agg")
# The same figures give the same file, and text stays text.
mpl.rcParams.update({"svg.hashsalt": "gradeline", "svg.fonttype": "none", "font.size": 9})

from matplotlib import pyplot as plt  # noqa: E402 - after the choice of what draws

RESAMPLES = 10_000
RIVALS = ("partial_all", "lora_all")
# The ten questions on which recipes were chosen, by their training folds; see experiments.md.
TUNED_ON = frozenset(
    {
        "beetle.VOLTAGE_GAP_EXPLAIN_WHY1",
        "beetle.OPT1_EXPLAIN_Q2",
        "beetle.VOLTAGE_DIFF_DISCUSS_1_Q",
        "beetle.BULB_ONLY_EXPLAIN_WHY2",
        "beetle.HYBRID_BURNED_OUT_WHY_Q2",
        "sciEntsBank.PS_2a",
        "english.8.1",
        "english.10.2",
        "english.12.3",
        "german.6",
    }
)
Kept = Callable[[PublicItem, int], Mapping[str, dict[str, Any]]]


def summarise(items: Sequence[PublicItem], kept: Kept) -> dict[str, Any]:
    """Figures of every way per item and in the mean, and each way against its rivals.

    Args:
        items: the questions.
        kept: what ``benchmarks.depths_arms.train_all`` gave for a question's fold.
    """
    rows = [_row(item, [kept(item, fold) for fold in range(FOLDS)]) for item in items]
    unseen = [row for row in rows if row["item_id"] not in TUNED_ON]
    return {
        "ways": [_way(rows, unseen, name) for name in TITLES],
        "items": rows,
    }


def _row(item: PublicItem, results: Sequence[Mapping[str, dict[str, Any]]]) -> dict[str, Any]:
    arms = {name: _agreement(item, [result[name] for result in results]) for name in ARMS}
    for name, (_, among) in CHOSEN.items():
        taken = [among[_cheapest([result[arm] for arm in among])] for result in results]
        picked = [result[arm] for result, arm in zip(results, taken, strict=True)]
        arms[name] = _agreement(item, picked) | {
            "blocks": float(np.mean([ARMS[arm].blocks for arm in taken])),
            "blocks_of_many": float(np.mean([ARMS[arm].blocks_of_many for arm in taken])),
            "own": float(np.mean([ARMS[arm].own for arm in taken])),
            "cpu_s": float(np.mean([_spent(name, result) for result in results])),
        }
    return {"item_id": item.item_id, "n": len(item.texts), "arms": arms}


def _cheapest(results: Sequence[dict[str, Any]]) -> int:
    from models.partial import cheapest

    human = np.array(results[0]["human"])
    return cheapest([np.array(result["validation"]) for result in results], human)


def _spent(name: str, result: Mapping[str, dict[str, Any]]) -> float:
    """CPU seconds of all that was trained to choose from."""
    return float(sum(result[arm]["cpu_s"] for arm in CHOSEN[name][1]))


def _agreement(item: PublicItem, results: Sequence[dict[str, Any]]) -> dict[str, float]:
    folds, machine = folds_of(item.scores), np.empty(len(item.texts), dtype=np.int64)
    for fold, result in enumerate(results):
        machine[folds == fold] = result["scores"]
    return {
        "qwk": float(np.nan_to_num(quadratic_weighted_kappa(item.scores, machine))),
        "exact": float(exact_agreement(item.scores, machine)),
        "cpu_s": float(np.mean([result["cpu_s"] for result in results])),
    }


def _way(
    rows: Sequence[dict[str, Any]], unseen: Sequence[dict[str, Any]], name: str
) -> dict[str, Any]:
    mine = [row["arms"][name] for row in rows]
    arm = ARMS.get(name)
    sizes = {
        size: getattr(arm, size) if arm else float(np.mean([one[size] for one in mine]))
        for size in ("own", "blocks", "blocks_of_many")
    }
    return {
        "name": name,
        "items": len(rows),
        **{what: float(np.mean([one[what] for one in mine])) for what in ("qwk", "exact", "cpu_s")},
        **sizes,
        "against": {rival: _against(rows, name, rival) for rival in RIVALS if rival != name},
        "against_on_others": {
            rival: _against(unseen, name, rival) for rival in RIVALS if rival != name and unseen
        },
    }


def _against(rows: Sequence[dict[str, Any]], name: str, rival: str) -> dict[str, Any]:
    """Mean difference in QWK and its 95% interval, a paired bootstrap over items."""
    gains = np.array([row["arms"][name]["qwk"] - row["arms"][rival]["qwk"] for row in rows])
    draws = np.random.default_rng(SEED).integers(len(gains), size=(RESAMPLES, len(gains)))
    low, high = np.percentile(gains[draws].mean(axis=1), [2.5, 97.5])
    return {
        "items": len(gains),
        "difference": float(gains.mean()),
        "low": float(low),
        "high": float(high),
    }


def markdown(summary: dict[str, Any]) -> str:
    """The summary for readers."""
    separate = BLOCKS * SCORES_OF_ONE_TEXT
    lines = [
        "# Own blocks, LoRA and compressed branches, by depth",
        "",
        f"Written by `{_command(summary)}` on {summary['date']}; the same figures are in "
        f"`depths.json`. {FOLDS}-fold cross-validation on {len(summary['items'])} public "
        "questions, train and unseen_answers together; every way learns from the same answers, "
        "holds out the same ones and scores the same ones with what it saved. QWK per item over "
        f"all its answers, then the mean. The backbone has {BLOCKS} blocks; blocks are those "
        f"executed for one score of a text, and for {SCORES_OF_ONE_TEXT} scores of one text, "
        f"where separate models execute {separate}. Intervals: paired bootstrap over items "
        f"({RESAMPLES:,} resamples). "
        "CPU seconds are of one training from texts to a saved adapter, of a compression without "
        "its teacher's, of a choice those of all that it chooses from.",
        "",
        "| way | own blocks | blocks | of 21 scores | mean QWK | exact | CPU-s "
        "| against full fine-tuning | against LoRA on all blocks |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | :---: | :---: |",
    ]
    lines += [_line(way, separate) for way in summary["ways"]]
    lines += ["", "![mean QWK by blocks executed](depths.svg)", "", *_others(summary)]
    names = list(TITLES)
    lines += [
        "",
        "## QWK per item",
        "",
        "| item | n | " + " | ".join(names) + " |",
        "| --- | ---: |" + " ---: |" * len(names),
    ]
    for row in summary["items"]:
        cells = [f"{row['arms'][name]['qwk'] + 0.0:.2f}" for name in names]
        lines.append(f"| {row['item_id']} | {row['n']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"Versions: {summary['versions']}.", ""])


def _command(summary: dict[str, Any]) -> str:
    return f"python -m benchmarks.depths {summary['arguments']}".strip()


def _line(way: dict[str, Any], separate: int) -> str:
    many = way["blocks_of_many"]
    cells = [
        TITLES[way["name"]],
        f"{way['own']:.3g}",
        f"{way['blocks']:.3g}",
        f"{many:.3g} ({1 - many / separate:.0%} less)",
        f"{way['qwk']:.3f}",
        f"{way['exact']:.1%}",
        f"{way['cpu_s']:.1f}",
        *(_difference(way["against"].get(rival)) for rival in RIVALS),
    ]
    return "| " + " | ".join(cells) + " |"


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"{found['difference']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def _others(summary: dict[str, Any]) -> list[str]:
    """The same differences without the questions that recipes were chosen on."""
    chosen = [way for way in summary["ways"] if way["name"] in CHOSEN and way["against_on_others"]]
    if not chosen:
        return []
    items = chosen[0]["against_on_others"]["lora_all"]["items"]
    lines = [f"On the {items} questions that played no part in choosing the recipes:", ""]
    for way in chosen:
        found = [_difference(way["against_on_others"][rival]) for rival in RIVALS]
        lines.append(
            f"- {TITLES[way['name']]}: {found[0]} against full fine-tuning, {found[1]} against "
            "LoRA on all blocks."
        )
    return lines


def draw(summary: dict[str, Any], path: Path) -> None:
    """Mean QWK by the blocks that 21 scores of one text execute."""
    ways = {way["name"]: way for way in summary["ways"]}
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    styles = (
        ("LoRA on the upper blocks", [arm.name for arm in LORA], "#1b6ca8", "o-"),
        ("own blocks", [arm.name for arm in PARTIAL], "#b3541e", "s-"),
        ("own blocks, compressed", [arm.name for arm in COMPRESSED[:2]], "#4f772d", "^--"),
        ("LoRA, compressed", [arm.name for arm in COMPRESSED[2:]], "#7b5ea7", "v--"),
    )
    for label, names, color, style in styles:
        points = [(ways[name]["blocks_of_many"], ways[name]["qwk"]) for name in names]
        axis.plot(*zip(*points, strict=True), style, color=color, label=label)
    for name, marker in zip(CHOSEN, "PXD", strict=True):
        way = ways[name]
        axis.plot(way["blocks_of_many"], way["qwk"], marker, color="#222222", label=TITLES[name])
    axis.set_xlabel(f"blocks executed for {SCORES_OF_ONE_TEXT} scores of one text")
    axis.set_ylabel("mean QWK")
    axis.legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)
