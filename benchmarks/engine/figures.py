"""From what was measured to the figures that have a target."""

from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks.engine.backbones import TITLES
from benchmarks.engine.memory import ITEMS, at_items, per_item
from benchmarks.engine.rates import Spread, ratios, spread
from benchmarks.engine.targets import EQUAL_QWK, TARGETS, TRAINING_SIZES, Figure

Results = dict[str, Any]
PRECISIONS = ("bf16", "fp32")
SHORT = {"minilm": "MiniLM", "bert-base": "BERT-base"}
COMPILED = (
    ("OpenVINO bf16", "b7-openvino-bf16", "bf16"),
    ("OpenVINO fp32", "b7-openvino-fp32", "fp32"),
    ("ONNX Runtime fp32", "b7-onnx-fp32", "fp32"),
)
USERS = (("B2'", "b2-user"), ("B6 pipeline", "b6-pipeline-32"))


def figures(results: Results) -> list[Figure]:
    """Every figure that has a target, in the order of the targets; None where not measured."""
    found: list[Figure] = []
    for part in (_users, _compiled, _b2, _ceiling, _machine, _latency, _memory):
        for backbone in TITLES:
            found += part(results, backbone)
    return [*found, *_training(results), *_precision(results)]


def rounds_of(results: Results, backbone: str, mix: str, key: str) -> list[dict[str, Any]]:
    """A system's rounds; empty where it was not measured."""
    system = results.get("speed", {}).get(backbone, {}).get(mix, {}).get(key, {})
    rounds: list[dict[str, Any]] = system.get("rounds", [])
    return rounds


def over(
    results: Results, backbone: str, mix: str, ours: str, theirs: str, *, loading: bool = False
) -> Spread | None:
    """How many times faster one system was than another; None where one was not measured."""
    pair = [rounds_of(results, backbone, mix, key) for key in (ours, theirs)]
    return ratios(*pair, loading=loading) if all(pair) else None


def machine_share(results: Results, backbone: str, mix: str, precision: str) -> Spread | None:
    """The engine's products, attention's among them, as a share of the machine's product rate."""
    plain = over(results, backbone, mix, f"ours-{precision}", f"matrix-{precision}")
    work = results.get("flops_per_token", {}).get(backbone, {}).get(mix)
    if plain is None or work is None:
        return None
    factor = (work["linear"] + work["attention"]) / work["linear"]
    return Spread(plain.median * factor, plain.low * factor, plain.high * factor)


def below(value: Spread | None) -> Spread | None:
    """A ratio of rates as the share by which times are lower."""
    if value is None:
        return None
    return Spread(1 - 1 / value.median, 1 - 1 / value.low, 1 - 1 / value.high)


def memory_of(results: Results, backbone: str, key: str, name: str) -> float | None:
    """Megabytes of a system with 27 items; None where it was not measured."""
    points = results.get("memory", {}).get(backbone, {}).get("systems", {}).get(key)
    return at_items(points, ITEMS, name) if points else None


def _figure(target: str, case: str, value: Spread | None) -> Figure:
    if value is None:
        return Figure(target, case, None)
    return Figure(target, case, value.median, value.low, value.high)


def _users(results: Results, backbone: str) -> Iterator[Figure]:
    for precision in PRECISIONS:
        for label, key in USERS:
            value = over(results, backbone, "large", f"ours-{precision}", key)
            yield _figure(f"users-{precision}", f"{SHORT[backbone]}, {label}", value)


def _compiled(results: Results, backbone: str) -> Iterator[Figure]:
    for mix in ("paper", "small", "large"):
        for label, key, precision in COMPILED:
            for loading in (False, True):
                value = over(results, backbone, mix, f"ours-{precision}", key, loading=loading)
                counted = "compiling counted" if loading else "compiling not counted"
                yield _figure("compiled", f"{SHORT[backbone]}, {mix}, {label}, {counted}", value)


def _b2(results: Results, backbone: str) -> Iterator[Figure]:
    for mix in ("small", "paper", "large"):
        for precision in PRECISIONS:
            value = over(results, backbone, mix, f"ours-{precision}", f"b2-{precision}")
            target = "b2-small" if mix == "small" else "b2-others"
            yield _figure(target, f"{SHORT[backbone]}, {mix}, {precision}", value)


def _ceiling(results: Results, backbone: str) -> Iterator[Figure]:
    for mix in ("large", "small"):
        for precision in PRECISIONS:
            value = over(results, backbone, mix, f"ours-{precision}", f"ceiling-{precision}")
            yield _figure(f"ceiling-{mix}", f"{SHORT[backbone]}, {precision}", value)


def _machine(results: Results, backbone: str) -> Iterator[Figure]:
    for precision in PRECISIONS:
        value = machine_share(results, backbone, "large", precision)
        yield _figure(f"machine-{precision}", SHORT[backbone], value)


def _latency(results: Results, backbone: str) -> Iterator[Figure]:
    for precision in PRECISIONS:
        value = over(results, backbone, "paper", f"ours-{precision}", "b0-user", loading=True)
        case = f"{SHORT[backbone]}, {precision}, B0 as users run it (fp32)"
        yield _figure("latency", case, below(value))


def _memory(results: Results, backbone: str) -> Iterator[Figure]:
    theirs = memory_of(results, backbone, "b1-fp32", "steady_mb")
    measured = results.get("memory", {}).get(backbone, {})
    for precision in PRECISIONS:
        case = f"{SHORT[backbone]}, {precision}, every adapter kept in memory"
        ours = memory_of(results, backbone, f"ours-{precision}", "steady_mb")
        known = ours is not None and theirs is not None
        yield Figure("memory", case, 1 - ours / theirs if known else None)  # type: ignore[operator]
        points = measured.get("systems", {}).get(f"ours-{precision}")
        sizes = per_item(points, "steady_mb") / measured["adapter_file_mb"] if points else None
        yield Figure("per-item", case, sizes)


def _training(results: Results) -> Iterator[Figure]:
    """Times faster, where the quality is equal; a faster training that learns less is no figure."""
    cases = {case["answers"]: case for case in results.get("training", {}).get("cases", [])}
    for answers in TRAINING_SIZES:
        case = cases.get(answers)
        if case is None:
            yield Figure("training", f"{answers} answers", None)
            continue
        text = f"{answers} answers, QWK {case['qwk_ours']:.3f} and {case['qwk_peft']:.3f}"
        is_equal = case["qwk_ours"] >= case["qwk_peft"] - EQUAL_QWK
        value = spread(case["times_faster"]) if is_equal else None
        yield _figure("training", text, value)


def _precision(results: Results) -> Iterator[Figure]:
    measured = results.get("precision", {})
    if "difference" not in measured:
        yield Figure("qwk", "trained adapters of public items", None)
        return
    changed, answers = measured["flips"], measured["answers"]
    case = f"{len(measured['items'])} trained adapters; {changed} of {answers} scores changed"
    yield Figure("qwk", case, abs(measured["difference"]))


def worst(found: Sequence[Figure]) -> Figure:
    """The figure that says most: one not measured, else the one farthest on the wrong side."""
    missing = [figure for figure in found if figure.value is None]
    if missing:
        return missing[0]
    sign = -1 if TARGETS[found[0].target].needs == "at most" else 1
    return min(found, key=lambda figure: sign * (figure.value or 0.0))
