"""Is this machine fit for the night? Every check says what was found and what to do about it."""

import os
import platform
import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from flows.erase import unfinished
from flows.servers import answers
from flows.settings import SERVING, Settings, prefect_api, serving
from models.backbone import resolve_backbone
from tasks import checkup
from tasks.checkup import Check
from tasks.lock import holder, is_locked
from tasks.telling import told
from tasks.thresholds import read_thresholds
from tasks.tracking import CHAMPION, Tracking, list_adapters
from warehouse import db, items, reports

LEAST_FREE_GB, LEAST_FREE_SHARE = 2.0, 0.05
LEAST_MEMORY_MB = 1_500.0  # a night with the embedded backbone, where no run has been measured yet
# Newer ones install beside Prefect 3.8, and its server then fails: cron gets no runs.
TOO_NEW = {"fastapi": "0.153", "sqlalchemy": "2.1"}


def examine(settings: Settings) -> list[Check]:
    """Look at everything; nothing is changed, and one check that fails keeps no other from running.

    Args:
        settings: the settings.
    """
    held = is_locked(settings.home)
    looks: list[tuple[str, Callable[[], Iterable[Check]]]] = [
        ("disk", lambda: [_disk(settings.home)]),
        ("memory", lambda: [_memory(settings)]),
        ("versions", _versions),
        ("lock", lambda: [_lock(settings, held)]),
        ("student key", lambda: [_key(settings)]),
        ("limits", lambda: [_limits(settings)]),
        ("warehouse", lambda: _warehouse(settings, held)),
        ("adapters", lambda: _adapters(settings)),
        ("parts", lambda: [_leftovers(settings, held)]),
        ("inbox", lambda: _inbox(settings)),
        ("servers", lambda: _servers(settings)),
    ]
    return [check for name, look in looks for check in _looked(name, look, held)]


def _looked(name: str, look: Callable[[], Iterable[Check]], held: bool) -> Iterator[Check]:
    try:
        yield from look()
    except db.WarehouseLockedError:
        found = "the warehouse is open in another program"
        if held:
            yield Check(name, "note", found, "nothing: it belongs to the run going on")
        else:
            yield Check(name, "fault", found, "close it there: no run can write meanwhile")
    except Exception as error:  # of whatever kind: the others are still worth knowing
        yield Check(name, "fault", told(error), "mend this first, then ask again")


def _disk(home: Path) -> Check:
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        return Check("disk", "fault", f"{existing} is not writable", f"chown or chmod {existing}")
    usage = shutil.disk_usage(existing)
    free_gb, share = usage.free / 1e9, usage.free / usage.total
    found = f"{free_gb:,.1f} GB free of {usage.total / 1e9:,.1f} GB at {existing}"
    if free_gb < LEAST_FREE_GB:
        remedy = (
            f"make room: {LEAST_FREE_GB:.0f} GB at least; inbox/done, backups and "
            "mlartifacts grow, and GRADELINE_TRUNK_CACHE_GB=0 gives back the cache"
        )
        return Check("disk", "fault", found, remedy)
    if share < LEAST_FREE_SHARE:
        return Check("disk", "note", found, "make room soon")
    return Check("disk", "ok", found)


def _memory(settings: Settings) -> Check:
    """Free memory against what the last run that scored took."""
    free = psutil.virtual_memory().available / 1e6
    needed, source = LEAST_MEMORY_MB, "a night is expected to take"
    if _is_current(settings):
        with db.connect(settings.warehouse, read_only=True, wait_s=1) as connection:
            last = reports.last_run(connection, "nightly")
        if last is not None and last.peak_rss_mb:
            needed, source = last.peak_rss_mb, "the last night took"
    found = f"{free:,.0f} MB free; {source} {needed:,.0f} MB"
    if free < needed:
        return Check("memory", "fault", found, "end other programs, or give the machine more")
    return Check("memory", "ok", found)


def _is_current(settings: Settings) -> bool:
    """Whether the warehouse can be read as it is: opening an earlier one would migrate it."""
    path = settings.warehouse
    return path.exists() and checkup.warehouse_version(path).status == "ok"


def _versions() -> Iterator[Check]:
    """What is installed against what this program asks for."""
    wrong = [
        f"{name} {metadata.version(name)}, which must be below {limit}"
        for name, limit in TOO_NEW.items()
        if Version(metadata.version(name)) >= Version(limit)
    ]
    for line in metadata.requires("gradeline") or []:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            there = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} {there}, wanted {wanted.specifier}")
    named = ("gradeline", "prefect", "mlflow", "duckdb", "torch")
    found = ", ".join(f"{name} {metadata.version(name)}" for name in named)
    if wrong:
        yield Check("versions", "fault", "; ".join(wrong), "pip install -c constraints.txt -e .")
    else:
        yield Check("versions", "ok", f"Python {platform.python_version()}, {found}")


def _lock(settings: Settings, held: bool) -> Check:
    by = holder(settings.home)
    if not held:
        died = f"{by} was killed holding it" if by else "free"
        remedy = "nothing: the system has let go of it" if by else ""
        return Check("lock", "note" if by else "ok", died, remedy)
    found = f"held by {by or 'another process'}"
    began = datetime.strptime(by.since, "%Y-%m-%d %H:%M:%S UTC") if by else None
    hours = (datetime.now(UTC) - began.replace(tzinfo=UTC)).total_seconds() / 3600 if began else 0
    if by and hours > max(settings.lock_wait_s / 3600, 1):
        return Check(
            "lock",
            "fault",
            f"{found}, {hours:.0f} h by now: others have given up waiting",
            f"see what process {by.pid} does; if it hangs, end it: what it has committed stays",
        )
    return Check("lock", "note", found, "nothing: others wait until it has ended")


def _key(settings: Settings) -> Check:
    return checkup.key_file(settings.student_key_file or settings.home / "student.key")


def _limits(settings: Settings) -> Check:
    read_thresholds(settings.thresholds)
    own = settings.thresholds.exists()
    return Check("limits", "ok", str(settings.thresholds) if own else "the defaults")


def _warehouse(settings: Settings, held: bool) -> Iterator[Check]:
    path = settings.warehouse
    version = checkup.warehouse_version(path)
    yield version
    if path.exists() and version.status == "ok":
        yield from checkup.runs_left_open(path, held)
        yield checkup.clock(path, [path, settings.home / SERVING])
        yield _erasures(settings)


def _erasures(settings: Settings) -> Check:
    """Students who were to be erased, and of whom something is here (again)."""
    left = len(unfinished(settings.home))
    if left:
        found = f"{left} erasures were stopped, or undone by a restored backup"
        return Check("erasures", "fault", found, "gradeline erase --unfinished")
    return Check("erasures", "ok", "none is left to be finished")


def _adapters(settings: Settings) -> Iterator[Check]:
    """The backbone, the registry, and the champions in it."""
    backbone = resolve_backbone(settings.backbone)
    yield Check("backbone", "ok", f"{backbone.name}, sha256 {backbone.sha256[:12]}")
    store = settings.tracking_uri
    if store.startswith("http") and not answers(f"{store.rstrip('/')}/health"):
        return  # told below; MLflow's own client would try for minutes
    if store.startswith("sqlite:") and not (settings.home / "mlflow.db").exists():
        yield Check("champions", "note", "no adapter is registered yet", "gradeline train")
        return
    if not _is_current(settings):
        return  # told above; to read it would migrate it
    found = list_adapters(Tracking(store, settings.home, settings.programme), CHAMPION)
    with db.connect(settings.warehouse, read_only=True, wait_s=1) as connection:
        bank = items.list_items(connection)
    yield from checkup.champions(found, bank, settings.adapters, backbone.sha256)


def _leftovers(settings: Settings, held: bool) -> Check:
    plans = settings.plans
    return checkup.leftovers(plans if isinstance(plans, Path) else settings.parts, held)


def _inbox(settings: Settings) -> Iterator[Check]:
    refused, done = (
        sum(entry.is_file() for entry in folder.iterdir()) if folder.is_dir() else 0
        for folder in (settings.inbox / "refused", settings.inbox / "done")
    )
    if refused:
        remedy = "mend and drop them again, or remove them; reports say what was wrong"
        yield Check("inbox", "note", f"{refused} refused files in {settings.inbox}/refused", remedy)
    if done:
        remedy = "remove them when your backups hold them: real student ids are in them"
        yield Check("inbox", "note", f"{done} ingested files in {settings.inbox}/done", remedy)
    if not refused and not done:
        yield Check("inbox", "ok", "no file was refused")


def _servers(settings: Settings) -> Iterator[Check]:
    served, api = serving(settings.home), prefect_api()
    if served is None and (settings.home / SERVING).exists():
        yield Check(
            "servers",
            "fault",
            "`gradeline serve` was killed, or its Prefect does not answer",
            f"start `gradeline serve` again; its logs are in {settings.home / 'logs'}",
        )
    elif served is not None:
        yield Check("Prefect", "ok", f"{served['prefect']} answers")
        yield from _answering("MLflow", served["mlflow"])
    elif api is not None:
        yield from _answering("Prefect", api, "/health")
    else:
        remedy = "gradeline serve, or set PREFECT_API_URL to a server of yours"
        yield Check("servers", "note", "nothing is on a schedule here", remedy)
    if settings.mlflow_tracking_uri and settings.mlflow_tracking_uri.startswith("http"):
        yield from _answering("MLflow", settings.mlflow_tracking_uri)


def _answering(name: str, address: str, path: str = "/health") -> Iterator[Check]:
    if answers(f"{address.rstrip('/')}{path}"):
        yield Check(name, "ok", f"{address} answers")
    else:
        yield Check(name, "fault", f"{address} does not answer", f"start {name} there again")
