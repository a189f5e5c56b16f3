"""S3-compatible stores on loopback, as real as this machine offers.

Ceph's object gateway (Debian's packages ceph-mon, ceph-osd, radosgw) is a store that is run in
earnest: a cluster of one, in memory, here. moto is a stand-in from PyPI that answers as Amazon
documents it, and takes what Ceph refuses.
"""

import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from pyarrow import fs

from flows.settings import STORES

CEPH = ("ceph", "ceph-mon", "ceph-osd", "ceph-authtool", "monmaptool", "radosgw", "radosgw-admin")
KEYS = {
    "AWS_ACCESS_KEY_ID": "grade-access-key",
    "AWS_SECRET_ACCESS_KEY": "grade-secret-key",
    "AWS_DEFAULT_REGION": "default",
    "AWS_EC2_METADATA_DISABLED": "true",
}
CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{monitor}]
keyring = {folder}/keyring
public addr = 127.0.0.1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
run dir = {folder}
log file = {folder}/$name.log
pid file = {folder}/$name.pid
admin socket = {folder}/$name.asok
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
osd max object name len = 256
osd max object namespace len = 64
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw run sync thread = false
"""


class NotInstalledError(RuntimeError):
    """A store's programs are not on this machine."""


@contextmanager
def running(kind: str, folder: Path) -> Iterator[str]:
    """Start a store, make a bucket in it, and yield the bucket's URL.

    The environment holds the keys to it, until the store is stopped.

    Args:
        kind: ``ceph`` or ``moto``.
        folder: an empty one, for its files.

    Raises:
        NotInstalledError: its programs are not there.
    """
    with ExitStack() as stack:
        stack.enter_context(_environment({**KEYS, **STORES}))
        port = stack.enter_context(_ceph(folder) if kind == "ceph" else _moto())
        client = fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True
        )
        name = f"school-{secrets.token_hex(3)}"
        client.create_dir(name)
        yield f"s3://{name}/night?endpoint_override=127.0.0.1:{port}&scheme=http"


@contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _moto() -> Iterator[int]:
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        raise NotInstalledError("moto is not installed")
    port = free_port()
    with _process([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]):
        _answers(port)
        yield port


@contextmanager
def _ceph(folder: Path) -> Iterator[int]:
    if any(shutil.which(name) is None for name in CEPH):
        raise NotInstalledError("Ceph is not installed: apt install ceph-mon ceph-osd radosgw")
    port, monitor, fsid = free_port(), free_port(), str(uuid.uuid4())
    config = folder / "ceph.conf"
    config.write_text(CONFIG.format(fsid=fsid, monitor=monitor, port=port, folder=folder))
    ours, keyring = ["-c", str(config)], str(folder / "keyring")
    for number, name in enumerate(("mon.", "client.admin", "client.rgw", "osd.0")):
        caps = ["--cap", "mon", "allow *", "--cap", "osd", "allow *"]
        new = ["-C"] if number == 0 else []
        _run(["ceph-authtool", *new, keyring, "--gen-key", "-n", name, *caps])
    monmap = str(folder / "monmap")
    address = ["--addv", "a", f"[v2:127.0.0.1:{monitor}]"]
    _run(["monmaptool", "--create", *address, "--fsid", fsid, monmap])
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    _run(["ceph-mon", *ours, "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring])
    osd = str(uuid.uuid4())
    with ExitStack() as stack:
        stack.enter_context(_process(["ceph-mon", *ours, "-i", "a", "-f"]))
        _run(["ceph", *ours, "osd", "new", osd])
        _run(["ceph-osd", *ours, "-i", "0", "--mkfs", "--osd-uuid", osd])
        _run(["ceph", *ours, "osd", "crush", "add", "0", "1.0", "host=here"])
        stack.enter_context(_process(["ceph-osd", *ours, "-i", "0", "-f"]))
        gateway = [*ours, "-n", "client.rgw", "--keyring", keyring]
        stack.enter_context(_process(["radosgw", *gateway, "-f"]))
        _answers(port)
        access, secret = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
        user = ["--uid", "school", "--display-name", "school"]
        keys = ["--access-key", access, "--secret-key", secret]
        _run(["radosgw-admin", *gateway, "user", "create", *user, *keys])
        yield port


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, timeout=60, capture_output=True)


@contextmanager
def _process(command: Sequence[str]) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=os.environ)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
            return
        except HTTPError:  # it answers
            return
        except (URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
