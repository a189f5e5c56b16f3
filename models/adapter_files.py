"""An adapter's files as bytes: read once, hashed, checked, and written whole.

What was hashed is what is used: no file is opened a second time. Nothing is ever unpickled.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HEAD, SCORING = "head.safetensors", "scoring.json"
FILES = frozenset({CONFIG, WEIGHTS, HEAD, SCORING})


class AdapterError(RuntimeError):
    """An adapter directory is incomplete, damaged, for another backbone, or does not reproduce."""


def read_files(folder: Path) -> dict[str, bytes]:
    """The content of an adapter directory, by file name.

    Raises:
        AdapterError: a file is missing, cannot be read, or there is one too many.
    """
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    if found != FILES:
        raise AdapterError(
            f"{folder} is no adapter directory: missing {sorted(FILES - found) or 'nothing'}, "
            f"not expected {sorted(found - FILES) or 'nothing'}"
        )
    return {name: read_bytes(folder / name) for name in sorted(FILES)}


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        AdapterError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error


def files_sha256(files: Mapping[str, bytes]) -> str:
    """Hash over the sorted (name, sha256) pairs of files."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name} {hashlib.sha256(files[name]).hexdigest()}\n".encode())
    return digest.hexdigest()


def tensors_of(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as float32.

    Args:
        content: the file's.
        path: where it came from, for errors.

    Raises:
        AdapterError: it is no safetensors file, or holds something else than finite numbers.
    """
    try:
        tensors: dict[str, Tensor] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise AdapterError(f"{path}: {name} holds {tensor.dtype}, not floating-point numbers")
        tensors[name] = tensor.float()
        # NumPy looks at the numbers once, torch three times.
        if not np.isfinite(tensors[name].numpy()).all():
            raise AdapterError(f"{path}: {name} holds values that are not finite numbers")
    return tensors


def check_names(path: Path, found: Collection[str], expected: Collection[str]) -> None:
    """Refuse a file that lacks a tensor, or holds one too many.

    Raises:
        AdapterError: naming up to three of each.
    """
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise AdapterError(
            f"{path}: missing tensors {missing[:3] or 'none'}, not expected {extra[:3] or 'none'}"
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON that is the same, byte for byte, whenever its content is."""
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
