"""Parts of a run that are finished, kept so that a run that was stopped goes on where it was."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.engine.backbones import BUILD
from benchmarks.engine.machine import code_sha256, fingerprint


class Sections:
    """Finished parts by name, good for one code, machine, number of rounds and scale.

    Args:
        rounds: of the run.
        scale: of the mixes.
    """

    def __init__(self, rounds: int, scale: float):
        name = f"{code_sha256()}-{fingerprint()}-{rounds}-{scale:g}"
        self.folder: Path = BUILD / "sections" / name

    def section(self, name: str, measure: Callable[[], Any], skipped: Callable[[], None]) -> Any:
        """The part as it was kept, or measured now and kept.

        Args:
            name: of the part.
            measure: makes it; the result must be JSON.
            skipped: called instead where it is there already.
        """
        path = self.folder / f"{name}.json"
        if path.exists():
            skipped()
            return json.loads(path.read_text("utf-8"))
        made = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(made))
        temporary.replace(path)
        return json.loads(path.read_text("utf-8"))

    def clear(self) -> None:
        """Forget it all: the run is finished, and the next one measures anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
