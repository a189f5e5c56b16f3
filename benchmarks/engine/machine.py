"""What must be known of machine and libraries to read a figure; never whose machine it is."""

import hashlib
import json
import os
import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.engine.backbones import ROOT

PACKAGES = (
    "gradeline",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "onnxruntime",
    "openvino",
    "sentence-transformers",
    "numpy",
    "safetensors",
)
# The instructions that decide how fast the precisions are against each other.
FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "amx_bf16",
    "amx_int8",
    "bf16",
    "i8mm",
    "asimddp",
)


@cache
def machine() -> dict[str, Any]:
    """Processor, its instructions, cores that may be used, and memory."""
    info = _cpu_info()
    flags = set(info.get("flags", info.get("Features", "")).split())
    return {
        "processor": info.get("model name") or platform.machine(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of the libraries that are compared or that the engine stands on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def fingerprint() -> str:
    """Changes with the machine and the versions."""
    content = json.dumps([machine(), versions()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def code_sha256() -> str:
    """Changes with the engine's and the benchmark's own code."""
    return hash_of(
        [*sorted((ROOT / "models").glob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]
    )


def hash_of(paths: Sequence[Path]) -> str:
    """Of the files' contents, in the order given; twelve digits."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _cpu_info() -> dict[str, str]:
    """The first processor's lines of the system's list; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in pairs}
