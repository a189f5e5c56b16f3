"""The figures of a long run, in docs/faults.json and in words in docs/faults.md."""

import json
import platform
from pathlib import Path
from typing import Any

ROWS = ("received", "accepted", "rejected", "duplicate", "rated")
TITLE = """# What faults do to gradeline

`make faults` plays them all on the command line, in workspaces of three items and a few hundred
responses; a version of a minute or two is among the tests. After every fault the command is run
once more, and the workspace is compared with one in which nothing happened: every row of every
table, the texts, the names of all files, MLflow's runs and registry, the exit code. Left out are
times, run ids, what a run cost, and how many adapters it loaded. A raw score may differ by 1e-6:
after a crash, what is left to score is batched anew.
"""


def keep(found: dict[str, Any], path: Path) -> None:
    """Write what was played in the place of what earlier runs found of it, and all in words."""
    held = json.loads(path.read_text("utf-8")) if path.exists() else {}
    kills = {(one["scene"], one["at"]): one for one in held.get("kills", ())}
    kills |= {(one["scene"], one["at"]): one for one in found.get("kills", ())}
    broken = {**held.get("breakages", {}), **found.get("breakages", {})}
    held |= found | ({"kills": list(kills.values())} if kills else {})
    held |= {"breakages": broken} if broken else {}
    path.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n", "utf-8")
    path.with_suffix(".md").write_text(_page(held), "utf-8")


def _page(held: dict[str, Any]) -> str:
    parts = [TITLE]
    if "kills" in held:
        parts.append(_kills(held["kills"]))
    if "breakages" in held:
        parts.append(_breakages(held["breakages"]))
    if "fuzzing" in held:
        parts.append(_fuzzing(held["fuzzing"]))
    parts.append(f"{platform.machine()}, Python {platform.python_version()}.\n")
    return "\n".join(parts)


def _kills(kills: list[dict[str, Any]]) -> str:
    rows = [
        f"| {one['scene']} | {one['at']} | {one['landed']} | {one['taken_up']} "
        f"| {one['done_before']} | {len(one['failures'])} |"
        for one in kills
    ]
    total = sum(one["landed"] for one in kills)
    return f"""## kill -9

{total} kills of the command and of all that it had started, at random moments of the time it takes,
and just before steps that last: a file is named, removed or made. *Taken up*: the next run went on
with the killed one, under its id. *Committed*: the killed one had committed its work, and the next
run told what was left to tell.

| command | killed at | kills | taken up | committed | faults |
| --- | --- | ---: | ---: | ---: | ---: |
{_lines(rows)}"""


def _breakages(breakages: dict[str, dict[str, Any]]) -> str:
    rows = [
        f"| {name} | {one['trials']} | {len(one['faults'])} |" for name, one in breakages.items()
    ]
    return f"""## Other faults

Where a run fails instead of being killed, as on a full disk, it keeps its own row among the runs,
and the next one brings the data; there the data are compared, whichever run brought them.

| fault | times | faults found |
| --- | ---: | ---: |
{_lines(rows)}"""


def _fuzzing(fuzzed: dict[str, Any]) -> str:
    kinds: dict[str, int] = {}
    for kind, n in fuzzed["kinds"].items():
        kinds[_family(kind)] = kinds.get(_family(kind), 0) + n
    rows = [f"| {kind} | {n:,} |" for kind, n in sorted(kinds.items(), key=lambda one: -one[1])]
    files = {name: fuzzed["outcomes"].get(name, 0) for name in ("accepted", "unchanged", "refused")}
    counts = {name: fuzzed["rows"].get(name, 0) for name in ROWS}
    slowest, fattest = fuzzed["slowest"], fuzzed["fattest"]
    return f"""## Mutated exports

{fuzzed["files"]:,} files, each made by its seed: {files["accepted"]:,} were taken in, \
{files["unchanged"]:,} had the bytes
of an earlier one, {files["refused"]:,} were refused in words. Of {counts["received"]:,} rows \
{counts["accepted"]:,} were accepted,
{counts["rejected"]:,} rejected, {counts["duplicate"]:,} duplicates and {counts["rated"]:,} rated: \
each is in one place. Rows beside a damaged cell
came in word for word, nothing was written outside the workspace, and neither a refusal nor a
reject quotes a text. {len(fuzzed["failures"])} faults.

- slowest: {slowest[0]:.1f} s of computing ({slowest[1]}); the limit is 10 s
- largest peak memory: {fattest[0]:,.0f} MB ({fattest[1]}); the limit is 1,074 MB (1 GiB)

| what was done | files |
| --- | ---: |
{_lines(rows)}"""


def _lines(rows: list[str]) -> str:
    return "\n".join(rows) + "\n"


def _family(kind: str) -> str:
    for words, family in (
        ("cells", "cells that no cell should hold"),
        ("bytes", "bytes flipped, cut, doubled, swapped, put in"),
        ("shape", "lines, quotes, headers, JSON out of shape"),
        ("mapping", "mapping files"),
        ("bomb", "bombs: zip, XML, Parquet, fields of 100 MB"),
    ):
        if kind.startswith(words):
            return family
    return "other encodings"
