"""The figures as a page: targets first, then every table behind them."""

from collections.abc import Iterator
from typing import Any

from benchmarks.engine.backbones import TITLES
from benchmarks.engine.check import refusals, table
from benchmarks.engine.figures import SHORT, Results, figures, over, worst
from benchmarks.engine.memory import ROUNDS
from benchmarks.engine.method import METHOD
from benchmarks.engine.mixes import SHAPES
from benchmarks.engine.rates import rate, spread
from benchmarks.engine.targets import TARGETS, Figure
from tasks.evaluation import NEAR_BOUNDARY

PRECISION_OF_OURS = {"bf16": "bf16", "fp32": "fp32", "int8": "bf16"}


def page(results: Results) -> str:
    """The whole page."""
    lines = [
        *_top(results),
        *_must_show(figures(results)),
        *_losses(results),
        *_speed(results),
        *_latency(results),
        *_memory(results),
        *_precision(results),
        *_drift(results),
        *_mixes(results),
        *METHOD,
        "## Every figure with a target",
        "",
        *table(figures(results)),
    ]
    return "\n".join(lines).rstrip() + "\n"


def system_rows(results: Results, backbone: str, mix: str) -> Iterator[dict[str, Any]]:
    """A mix's systems, fastest first, with what a reader compares."""
    systems = results.get("speed", {}).get(backbone, {}).get(mix, {})
    rows = []
    for key, system in systems.items():
        rounds = system["rounds"]
        ours = f"ours{'-wide' if system['variant'] == 'wide' else ''}-"
        ours += PRECISION_OF_OURS[system["precision"]]
        rows.append(
            {
                "key": key,
                "ours": ours,
                **system,
                "rate": spread([rate(one) for one in rounds]),
                "loaded": spread([rate(one, loading=True) for one in rounds]),
                "has_load": any(one["load_s"] for one in rounds),
                "per_response": spread([one["responses"] / one["score_s"] for one in rounds]),
                "cpu": spread([one["tokens"] / one["score_cpu_s"] for one in rounds]),
                "ours_faster": over(results, backbone, mix, ours, key),
            }
        )
    yield from sorted(rows, key=lambda row: -row["rate"].median)


def losses(results: Results) -> list[str]:
    """A sentence for every rival that was faster than the engine at its precision."""
    found = []
    for backbone in results.get("speed", {}):
        for mix in results["speed"][backbone]:
            for row in system_rows(results, backbone, mix):
                faster = row["ours_faster"]
                if row["baseline"] in ("ours", "ceiling", "machine") or faster is None:
                    continue
                if faster.median < 1:
                    loaded = over(results, backbone, mix, row["ours"], row["key"], loading=True)
                    found.append(
                        f"{SHORT[backbone]}, {SHAPES[mix].title}: {row['label']} "
                        f"({row['baseline']}) is {1 / faster.median:.2f} times as fast as "
                        f"gradeline in {PRECISION_OF_OURS[row['precision']]}"
                        + (
                            f", {1 / loaded.median:.2f} with its loads counted"
                            if loaded and row["has_load"]
                            else ""
                        )
                    )
    return found


def _top(results: Results) -> list[str]:
    machine = results["machine"]
    return [
        "# The scoring engine against everything else",
        "",
        "Written by `make bench`; the same figures and every round are in `bench.json`, and "
        "`make bench-check` holds them against the targets. Texts are distinct, so nothing is "
        "gained from deduplication. Rates are medians over interleaved rounds, smallest and "
        "largest in brackets, in real tokens: padding does not count.",
        "",
        f"Run on {results['date']}: {results['rounds']} rounds, {machine['cores']} cores of "
        f"{machine['processor']} ({', '.join(machine['flags'])}), {machine['memory_gb']} GB; "
        + ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        + f". Load average during the rounds: {_loads(results)}.",
        "",
        *(f"**No evidence: {reason}.**\n" for reason in refusals(results)),
    ]


def _loads(results: Results) -> str:
    loads = [
        one["load_average"]
        for mixes in results.get("speed", {}).values()
        for systems in mixes.values()
        for system in systems.values()
        for one in system["rounds"]
    ]
    found = spread(loads) if loads else None
    return f"{found.median:.1f} ({found.low:.1f} to {found.high:.1f})" if found else "none"


def _must_show(found: list[Figure]) -> list[str]:
    """One line for each target: its worst case, and how many of its cases are met."""
    lines = [
        "| figure | needed | worst case measured | which | cases met | |",
        "| --- | --- | --- | --- | ---: | --- |",
    ]
    for key, target in TARGETS.items():
        cases = [figure for figure in found if figure.target == key]
        poorest, met = worst(cases), sum(figure.is_met for figure in cases)
        verdict = "met" if met == len(cases) else "**not met**"
        lines.append(
            f"| {target.title} | {target.text} | {poorest.measured} | {poorest.case} "
            f"| {met} of {len(cases)} | {verdict} |"
        )
    return [*lines, ""]


def _losses(results: Results) -> list[str]:
    found = losses(results)
    if not found:
        return ["No rival was faster than the engine at its precision on any mix.", ""]
    return ["Where a rival wins:", "", *(f"- {sentence}" for sentence in found), ""]


def _speed(results: Results) -> list[str]:
    lines: list[str] = []
    for backbone, mixes in results.get("speed", {}).items():
        for mix in mixes:
            lines += [
                f"## {TITLES[backbone]}: {SHAPES[mix].title}",
                "",
                "| | system | tokens/s | responses/s | tokens per CPU-s | tokens/s, loads counted "
                "| gradeline is faster | largest logit difference |",
                "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
                *(_speed_line(row) for row in system_rows(results, backbone, mix)),
                "",
            ]
    return [*lines, "![throughput by system](bench_throughput.svg)", ""] if lines else []


def _speed_line(row: dict[str, Any]) -> str:
    own, faster = row["rate"], row["ours_faster"]
    loaded = f"{row['loaded'].median:,.0f}" if row["has_load"] else ""
    times = ""
    if faster is not None and row["baseline"] != "ours":
        times = f"{faster.median:.2f} ({faster.low:.2f} to {faster.high:.2f})"
    difference = row["largest_difference"]
    shown = "" if difference is None else f"{difference:.1e}"
    responses = "" if row["baseline"] == "machine" else f"{row['per_response'].median:,.0f}"
    return (
        f"| {row['baseline']} | {row['label']}{_setting(row)} "
        f"| {own.median:,.0f} ({own.low:,.0f} to {own.high:,.0f}) "
        f"| {responses} "
        f"| {row['cpu'].median:,.0f} | {loaded} | {times} | {shown} |"
    )


def _setting(row: dict[str, Any]) -> str:
    if row["baseline"] in ("ours", "ceiling", "machine") or row["share"] == "few":
        return ""
    setting = row["setting"]
    return (
        f" ({setting['layout']}, {setting['token_budget']} tokens, widths by {setting['round_to']})"
    )


def _latency(results: Results) -> list[str]:
    lines: list[str] = []
    for backbone, measured in results.get("latency", {}).items():
        systems = measured["systems"]
        sizes = list(next(iter(systems.values()))["group_s"])
        lines += [
            f"## Latency by size of group, {SHORT[backbone]}",
            "",
            f"Milliseconds from strings to scores of one group, adapters and models loaded from "
            f"disk where the system does so ({measured['adapters_resident']} adapters are resident "
            "in PEFT's model, loaded beforehand).",
            "",
            "| system | " + " | ".join(f"{size} responses" for size in sizes) + " |",
            "| --- |" + " ---: |" * len(sizes),
        ]
        for system in systems.values():
            cells = [f"{1e3 * spread(system['group_s'][size]).median:,.1f}" for size in sizes]
            lines.append(f"| {system['label']} | " + " | ".join(cells) + " |")
        lines += ["", "![latency by size of group](bench_latency.svg)", ""]
    return lines


def _memory(results: Results) -> list[str]:
    lines: list[str] = []
    for backbone, measured in results.get("memory", {}).items():
        lines += [
            f"## Memory, {SHORT[backbone]}",
            "",
            f"Megabytes beyond a process with the libraries imported; the adapter's file has "
            f"{measured['adapter_file_mb']:.2f}. Peak counts the work's own buffers. Medians of "
            f"{ROUNDS} processes each.",
            "",
            "| system | items | steady | peak | private (USS) | resident (RSS) |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        for system, points in measured["systems"].items():
            lines += [
                f"| {system} | {point['items']:.0f} | {point['steady_mb']:,.0f} "
                f"| {point['peak_mb']:,.0f} | {point['private_mb']:,.0f} "
                f"| {point['resident_mb']:,.0f} |"
                for point in points
            ]
        lines.append("")
    return [*lines, "![memory by number of items](bench_memory.svg)", ""] if lines else []


def _precision(results: Results) -> list[str]:
    measured = results.get("precision", {})
    lines = ["## bf16 against fp32 on trained adapters", ""]
    if "items" not in measured:
        return [*lines, f"Not measured: {measured.get('skipped', 'it was left out')}.", ""]
    return [
        *lines,
        f"Mean QWK {measured['mean_qwk_fp32']:.4f} in fp32 and {measured['mean_qwk_bf16']:.4f} in "
        f"bf16 over {len(measured['items'])} items; {measured['flips']} of {measured['answers']} "
        f"held-out scores changed, {measured['flips_near_boundary']} of them within "
        f"{NEAR_BOUNDARY} points of the middle between two score points, where "
        f"{measured['near_boundary']} raw scores lie.",
        "",
        "| item | answers | QWK fp32 | QWK bf16 | scores changed | near a boundary |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row['item_id']} | {row['answers']} | {row['qwk_fp32']:.3f} "
            f"| {row['qwk_bf16']:.3f} | {row['flips']} | {row['flips_near_boundary']} |"
            for row in measured["items"]
        ),
        "",
    ]


def _drift(results: Results) -> list[str]:
    return [
        "## What merging and unmerging leaves behind (B5)",
        "",
        *(
            f"- {row['precision']}, {row['cycles']} cycles: weights off by up to "
            f"{row['largest_weight_change']:.1e} (mean size {row['mean_weight']:.1e}), logits by "
            f"up to {row['largest_logit_change']:.1e}."
            for row in results.get("drift", [])
        ),
        "",
    ]


def _mixes(results: Results) -> list[str]:
    lines = [
        "## The mixes",
        "",
        "| mix | items | responses | tokens | mean | median | p95 | tokenised on their own |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for mix in results["mixes"].values():
        texts = mix["tokens_per_text"]
        lines.append(
            f"| {mix['title']} | {mix['items']} | {texts['texts']:,} | {texts['tokens']:,} "
            f"| {texts['mean']:.1f} | {texts['median']:.0f} | {texts['p95']:.0f} "
            f"| {mix['tokenised_responses_per_s']:,.0f} responses/s |"
        )
    lines += ["", "Texts by number of tokens:", ""]
    for name, mix in results["mixes"].items():
        counts = mix["tokens_per_text"]["counts"]
        lines.append(
            f"- {name}: " + ", ".join(f"{count:,} of {size}" for size, count in counts.items())
        )
    return [*lines, ""]
