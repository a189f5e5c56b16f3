"""Parts and adapters that are damaged, servers that are gone, rivals, clocks that are set back.

Each function breaks one thing in the middle of a night and returns what was found wrong, a line
each; nothing is what should come of it.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb

from faults import forking
from faults.content import Content, content, differences, runs_of, twice
from faults.forking import CRASHED, Outcome, gradeline, interrupted
from faults.kills import Reference
from faults.scenes import SHARD_ROWS, Scene, Stage, stop

SMALL_SHARDS = (
    f"from tasks import planning; planning.SHARD_ROWS, planning.SPLIT_ROWS = {SHARD_ROWS}, "
    f"{2 * SHARD_ROWS}; from flows.cli import entry; entry()"
)
TRACEBACK = "Traceback (most recent call last)"
TABLES = ("table responses", "table scores", "table human_scores", "table rejects", "texts")


def is_part(_: str, arguments: tuple[object, ...]) -> bool:
    """Whether a step gives a part its name."""
    return len(arguments) > 1 and str(arguments[1]).endswith(".part.parquet")


def as_undisturbed(stage: Stage, expected: Reference, outcome: Outcome) -> list[str]:
    """What differs from an undisturbed workspace, after one run or after two."""
    held = content(stage.home)
    once = runs_of(held) == runs_of(expected.once)
    told = differences(held, expected.once if once else expected.again)
    if outcome.code != (expected.code if once else expected.code_again):
        told.append(f"exit code {outcome.code}: {outcome.said[-500:]}")
    return told + said_well(outcome) + (["a score was given twice"] if twice(stage.home) else [])


def said_well(outcome: Outcome) -> list[str]:
    """A person is told what is the matter, in words; what libraries log beside them may stay."""
    if outcome.code == CRASHED:
        at = outcome.said.rfind(TRACEBACK)
        last = next((line for line in outcome.said[at:].splitlines()[1:] if line[:1] > " "), "")
        return [f"a traceback instead of words, exit code {outcome.code}: {last[:300]}"]
    return []


# --- parts and adapters --------------------------------------------------------------------------


def _truncated(path: Path, random_: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: random_.randrange(len(data))])


def _flipped(path: Path, random_: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(random_.choice((1, 1, 1, 20))):
        data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    path.write_bytes(data)


def _of_another_shard(path: Path, _: random.Random) -> None:
    others = [other for other in path.parent.glob("*.part.parquet") if other != path]
    if others:
        shutil.copy(others[0], path)


def _gone(path: Path, _: random.Random) -> None:
    path.unlink()


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "truncated": _truncated,
    "flipped bytes": _flipped,
    "another shard's": _of_another_shard,
    "gone": _gone,
}


def damaged_parts(
    stage: Stage, scene: Scene, expected: Reference, damage: str, seed: int
) -> list[str]:
    """A run is killed after its third part; one or all parts are damaged; it runs again."""
    random_ = random.Random(seed)
    stage.put_up(scene.eve)
    work = interrupted(gradeline(stage.home, *scene.arguments), is_part, at=4)
    killed = forking.run(work, stage.log, environment=scene.environment)
    parts = sorted((stage.home / "parts").rglob("*.part.parquet"))
    if not killed.killed or len(parts) < 2:
        return [f"{len(parts)} parts lay there: {killed.said[-300:]}"]
    for path in random_.choice((parts, parts[:1], parts[1:])):
        DAMAGES[damage](path, random_)
    return as_undisturbed(stage, expected, stage.play(scene))


def damaged_adapter(stage: Stage, scene: Scene, expected: Reference, *, gone: bool) -> list[str]:
    """An adapter goes bad while a night scores: its item is held, all others are scored."""
    sha256 = _adapter(expected.once, "essay/1", "ideas")
    folder = stage.home / "adapters" / sha256

    def act() -> None:
        if gone:
            shutil.rmtree(folder)
        else:
            for path in folder.glob("*.safetensors"):
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 0xFF
                path.write_bytes(data)

    stage.put_up(scene.eve)
    work = interrupted(gradeline(stage.home, *scene.arguments), is_part, act=act)
    outcome = forking.run(work, stage.log, environment=scene.environment)
    told = said_well(outcome)
    scored, message, status = _scored(stage.home)
    wanted = {
        (row[2], row[4]) for row in expected.once["table scores"] if row[0] == _last(expected)
    }
    lost = {pair for pair in wanted - scored if pair[1] != "trait=ideas"}
    kept = {pair for pair in scored if pair[1] == "trait=ideas"}
    if lost or not wanted - scored:
        told.append(f"{len(lost)} scores of other items are missing, {len(wanted - scored)} in all")
    if kept & {pair for pair in wanted if pair[1] == "trait=ideas"} and gone:
        told.append(f"{len(kept)} scores by the adapter that was gone")
    if (outcome.code, status) != (2, "held") or "essay/1" not in message:
        told.append(f"exit code {outcome.code}, {status}: {message}")
    shutil.rmtree(folder, ignore_errors=True)  # as the message says; it is fetched again
    mended = stage.play(scene)
    scored, _, _ = _scored(stage.home)
    if not wanted <= scored:
        told.append(f"{len(wanted - scored)} scores are still missing: {mended.said[-300:]}")
    return told + said_well(mended)


def _adapter(held: Content, item: str, trait: str) -> str:
    """The hash of an item's adapter, as a ledger says it."""
    for row in held["table scores"]:
        cells = dict(cell.split("=", 1) for cell in row)
        if (cells["item_id"], cells["trait"]) == (item, trait) and cells[
            "adapter_sha256"
        ] != "None":
            return str(cells["adapter_sha256"])
    raise LookupError(f"nothing has scored {item}")


def _last(expected: Reference) -> str:
    runs = [row[0] for row in expected.once["table runs"]]
    return str(max(runs, key=lambda name: int(name.rsplit("#", 1)[1])))


def _scored(home: Path) -> tuple[set[tuple[str, str]], str, str]:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT response_id, trait FROM scores").fetchall()
        ((message, status),) = connection.execute(
            "SELECT message, status FROM runs ORDER BY started_at DESC LIMIT 1"
        ).fetchall()
    return {(f"response_id={one}", f"trait={trait}") for one, trait in rows}, message, status


# --- servers, rivals, clocks ---------------------------------------------------------------------


def mlflow_down(stage: Stage, scene: Scene, expected: Reference, port: int) -> list[str]:
    """MLflow cannot be reached all night: scores are committed, and logged by the next night."""
    stage.put_up(scene.eve)
    away = {**scene.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    night = stage.run(*scene.arguments, environment=away)
    held = content(stage.home)
    missing = {name: expected.once[name] for name in TABLES}
    told = differences({name: held[name] for name in TABLES}, missing) + said_well(night)
    if night.code != expected.code:
        told.append(f"exit code {night.code}: {night.said[-500:]}")
    return told + as_undisturbed(stage, expected, stage.play(scene))


def mlflow_down_by_day(stage: Stage, scene: Scene, expected: Reference, port: int) -> list[str]:
    """Who starts a command that needs MLflow is told that it is not there; nothing changes."""
    stage.put_up(scene.eve)
    before = content(stage.home)
    away = {**scene.environment, "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"}
    refused = stage.run(*scene.arguments, environment=away)
    told = differences(content(stage.home), before) + said_well(refused)
    if refused.code != 1 or "cannot be used" not in refused.said:
        told.append(f"exit code {refused.code}: {refused.said[-500:]}")
    return told + as_undisturbed(stage, expected, stage.play(scene))


def two_at_once(stage: Stage, scene: Scene, expected: Reference, *, waits: bool) -> list[str]:
    """Two nightlies are started together: one waits for the other, or is refused."""
    stage.put_up(scene.eve)
    environment = {**scene.environment, "GRADELINE_LOCK_WAIT_S": "120" if waits else "0"}
    logs = [stage.folder / f"rival-{number}.log" for number in (1, 2)]
    work = gradeline(stage.home, *scene.arguments)
    pids = [forking.start(work, log, environment) for log in logs]
    ended = [forking.wait(pid, log) for pid, log in zip(pids, logs, strict=True)]
    held = content(stage.home)
    both = runs_of(held) > runs_of(expected.once)
    told = differences(held, expected.again if both else expected.once)
    told += [line for outcome in ended for line in said_well(outcome)]
    codes = sorted(outcome.code for outcome in ended)
    refused = sorted((expected.code, 2))
    if codes != (sorted((expected.code, expected.code_again)) if both else refused):
        told.append(f"exit codes {codes}: {ended[0].said[-300:]} | {ended[1].said[-300:]}")
    if twice(stage.home):
        told.append("a score was given twice")
    return told


def clock_set_back(stage: Stage, scene: Scene, expected: Reference) -> list[str]:
    """Everything that the workspace knows was done 400 days from now.

    That is what a clock that was set back by 400 days looks like, and needs no such clock.
    """
    stage.put_up(scene.eve)
    forward = partial(_put_forward, stage.home, 400)
    assert forking.run(forward, stage.log).code == 0
    outcome = stage.play(scene)
    return as_undisturbed(stage, expected, outcome) + _in_order(stage.home)


def clock_really_set_back(
    stage: Stage, scene: Scene, expected: Reference, library: Path
) -> list[str]:
    """The command believes, by libfaketime, that it is June 2025: before any response came."""
    stage.put_up(scene.eve)
    command = [
        *("env", f"LD_PRELOAD={library}", "FAKETIME=@2025-06-01 12:00:00"),
        *("FAKETIME_DONT_FAKE_MONOTONIC=1", *(f"{k}={v}" for k, v in scene.environment.items())),
        *(os.sys.executable, "-c", SMALL_SHARDS),  # type: ignore[attr-defined]
        *("--home", str(stage.home), *scene.arguments),
    ]
    began = time.monotonic()
    with stage.log.open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=600).returncode
    outcome = Outcome(code, time.monotonic() - began, 0.0, stage.log.read_text("utf-8"))
    return as_undisturbed(stage, expected, outcome) + _in_order(stage.home)


def _put_forward(home: Path, days: int) -> None:
    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        found = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() "
            "WHERE data_type LIKE 'TIMESTAMP%' AND column_name <> 'submitted_at' "
            "AND table_name IN (SELECT table_name FROM duckdb_tables())"
        ).fetchall()
        for table, column in found:
            connection.execute(
                f'UPDATE "{table}" SET "{column}" = "{column}" + INTERVAL {days} DAY'  # noqa: S608
            )


def _in_order(home: Path) -> list[str]:
    """Later runs, by their place in the table, have later times, and their scores count."""
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        ((behind,),) = connection.execute(
            "SELECT count(*) FROM current_scores c JOIN scores s USING (response_id, trait) "
            "WHERE s.rowid > (SELECT max(o.rowid) FROM scores o WHERE o.run_id = c.run_id)"
        ).fetchall()
        ((backwards,),) = connection.execute(
            "SELECT count(*) FROM runs a JOIN runs b ON b.rowid > a.rowid "
            "WHERE b.started_at < a.started_at OR b.finished_at < b.started_at"
        ).fetchall()
    told = [f"{behind} current scores are not the latest"] if behind else []
    return told + ([f"{backwards} runs stand before earlier ones"] if backwards else [])


def prefect_restarted(
    stage: Stage,
    scene: Scene,
    expected: Reference,
    server: "subprocess.Popen[bytes]",
    back_s: float,
) -> "tuple[list[str], subprocess.Popen[bytes]]":
    """The Prefect server is killed while a night scores, and comes back a while later."""
    stage.put_up(scene.eve)
    paused, go_on = stage.folder / "paused", stage.folder / "go-on"
    for mark in (paused, go_on):
        mark.unlink(missing_ok=True)

    def pause() -> None:
        paused.touch()
        while not go_on.exists():
            time.sleep(0.05)

    work = interrupted(gradeline(stage.home, *scene.arguments), is_part, act=pause)
    pid = forking.start(work, stage.log, scene.environment)
    deadline = time.monotonic() + 120
    while not paused.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    stop(server, at_once=True)
    go_on.touch()
    time.sleep(back_s)
    server = stage.start_prefect()
    forking.wait(pid, stage.log)
    held = content(stage.home)
    told = differences(
        {name: held[name] for name in TABLES}, {name: expected.once[name] for name in TABLES}
    )
    again = stage.play(scene)
    told += as_undisturbed(stage, expected, again)
    return told, server


def orphans_of_training(stage: Stage, scene: Scene) -> list[str]:
    """Who trains is killed alone: its worker processes end by themselves."""
    stage.put_up(scene.eve)
    pid = forking.start(gradeline(stage.home, *scene.arguments), stage.log, scene.environment)
    deadline = time.monotonic() + 60
    while len(_group(pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(3)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 20
    while _group(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = _group(pid)
    forking.kill_group(pid)
    return [f"{len(left)} processes went on after their parent was killed"] if left else []


def _group(leader: int) -> list[int]:
    """The living processes of a group, by its leader's id."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(words[2]) == leader and words[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def described(found: dict[str, list[str]]) -> str:
    """What was found wrong, by breakage, as JSON."""
    return json.dumps(found, indent=1)
