"""A Chromium without a window: what a page shows, and whom it asks for anything.

Names resolve to nothing but this machine, and what the browser asked for is read from its own log.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

SCREENSHOTS = Path(__file__).resolve().parent.parent / "build" / "screenshots"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)


@dataclass(frozen=True)
class Opened:
    """A page as the browser showed it.

    Attributes:
        dom: its elements once its scripts have run, as HTML.
        text: its words.
        asked: hosts that the page, and not the browser itself, asked for anything.
        connected: addresses that anything was connected to.
    """

    dom: str
    text: str
    asked: set[str]
    connected: set[str]


def opened(url: str, name: str, folder: Path, size: tuple[int, int] = (1100, 3000)) -> Opened:
    """Open a page; its screenshot stays under that name.

    Args:
        url: of the page.
        name: of the picture.
        folder: for the browser's profile and log.
        size: of its window.
    """
    log = folder / f"{name}.json"
    shown = _run(
        folder,
        f"--log-net-log={log}",
        "--virtual-time-budget=30000",
        f"--window-size={size[0]},{size[1]}",
        f"--screenshot={SCREENSHOTS / f'{name}.png'}",
        "--dump-dom",
        url,
    )
    dom = shown.decode()
    words = re.sub(r"<(style|script|title)\b.*?</\1>|<[^>]+>", " ", dom, flags=re.DOTALL)
    return Opened(dom, " ".join(words.split()), *_network(log))


def printed_page(url: str, name: str, folder: Path) -> Path:
    """Print a page; returns the PDF, which stays beside the screenshots."""
    printed = SCREENSHOTS / f"{name}.pdf"
    _run(folder, "--no-pdf-header-footer", f"--print-to-pdf={printed}", url)
    return printed


def _run(folder: Path, *arguments: str) -> bytes:
    assert BROWSER is not None
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    command = [
        BROWSER,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
        f"--user-data-dir={folder / 'profile'}",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, check=True, timeout=180).stdout


def _network(log: Path) -> tuple[set[str], set[str]]:
    """Hosts asked for by the page, and addresses connected to, of Chromium's own log."""
    recorded = json.loads(log.read_text("utf-8"))
    kinds = {number: name for name, number in recorded["constants"]["logEventTypes"].items()}
    asked, connected = set(), set()
    for event in recorded["events"]:
        found = event.get("params", {})
        if kinds[event["type"]] == "URL_REQUEST_START_JOB" and "url" in found:
            # What the browser asks for on its own behalf has no origin, nor has the page itself.
            if found.get("initiator") != "not an origin":
                asked.add(urlsplit(found["url"]).netloc)
        elif kinds[event["type"]] == "TCP_CONNECT_ATTEMPT" and "address" in found:
            connected.add(found["address"].rsplit(":", 1)[0])
    return asked, connected
