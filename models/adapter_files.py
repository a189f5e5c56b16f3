"""An adapter's files as bytes: read once, hashed, checked, and written whole.

What was hashed is what is used: no file is opened a second time. Nothing is ever unpickled.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BLOCKS, STUDENT = "blocks.safetensors", "student.safetensors"
HEAD, SCORING = "head.safetensors", "scoring.json"
FILES_OF: Mapping[str, frozenset[str]] = {
    "lora": frozenset({CONFIG, WEIGHTS, HEAD, SCORING}),
    "partial": frozenset({BLOCKS, HEAD, SCORING}),
    "student": frozenset({STUDENT, SCORING}),
}


class AdapterError(RuntimeError):
    """An adapter directory is incomplete, damaged, for another backbone, or does not reproduce."""


def read_files(folder: Path, files_of: Callable[[bytes], frozenset[str]]) -> dict[str, bytes]:
    """The content of an adapter directory, by file name.

    Args:
        folder: the directory.
        files_of: from its record's content to the names of all its files.

    Raises:
        AdapterError: a file is missing, cannot be read, or there is one too many.
    """
    found = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    files = {SCORING: read_bytes(folder / SCORING)} if SCORING in found else {}
    expected = files_of(files.get(SCORING, b""))
    if found != expected:
        raise AdapterError(
            f"{folder} is no adapter directory: missing {sorted(expected - found) or 'nothing'}, "
            f"not expected {sorted(found - expected) or 'nothing'}"
        )
    return files | {name: read_bytes(folder / name) for name in sorted(expected - {SCORING})}


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a directory of files whole or not at all; an older one there is replaced.

    Args:
        folder: the directory.
        write: writes the files into the empty directory that it is given.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        write(temporary)
        for path in temporary.iterdir():
            sync(path)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


def check_names(path: object, found: Collection[str], expected: Collection[str]) -> None:
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
