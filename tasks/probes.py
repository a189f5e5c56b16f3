"""Which adapters have reproduced their probe predictions here: it need not be shown every night.

An adapter is known by the hash of its files, which is checked whenever it is loaded. While the
adapter, the backbone with its configuration and tokeniser, the longest input, the program, the
libraries, the processor and the precision stay the same, so do the probes' scores. The note lies
beside the adapter's directory; without it they are scored again.
"""

import json
import secrets
from pathlib import Path

from models.scorer import Scorer


def was_reproduced(adapters: Path, adapter_sha256: str, scorer: Scorer) -> bool:
    """Whether the adapter has reproduced its probes in circumstances that can be relied on."""
    return not scorer.is_unproven and scorer.circumstances in _noted(
        _path(adapters, adapter_sha256)
    )


def note_reproduced(adapters: Path, adapter_sha256: str, scorer: Scorer) -> None:
    """Note that it has."""
    path = _path(adapters, adapter_sha256)
    noted = _noted(path)
    if scorer.circumstances in noted:
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.write_text(json.dumps([*noted, scorer.circumstances], indent=2), encoding="utf-8")
    temporary.replace(path)


def _path(adapters: Path, adapter_sha256: str) -> Path:
    return adapters / f"{adapter_sha256}.probes.json"


def _noted(path: Path) -> list[str]:
    try:
        noted = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []  # not noted, or not whole: the probes are scored again
    return noted if isinstance(noted, list) else []
