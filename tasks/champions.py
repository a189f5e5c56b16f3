"""Tonight's adapters: the registry's champions, or those known last where it cannot be reached."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tasks.tracking import CHAMPION, RegisteredAdapter, Tracking, TrackingError, list_adapters
from warehouse.parts import whole_file

logger = logging.getLogger(__name__)


def champions(tracking: Tracking, known: Path) -> list[RegisteredAdapter]:
    """The champion of every (item, trait), noted in a file for a night without the registry.

    A night need not wait for MLflow: whoever cannot reach the registry has promoted nobody since.

    Args:
        tracking: where the registry is.
        known: the JSON file that keeps them.

    Raises:
        TrackingError: the registry cannot be reached and no champions are known.
    """
    try:
        found = list_adapters(tracking, CHAMPION)
    except TrackingError as error:
        kept = _read(known)
        if kept is None:
            raise
        logger.warning("scoring with the %d champions known last: %s", len(kept), error)
        return kept
    _keep(known, found)
    return found


def _keep(known: Path, found: Sequence[RegisteredAdapter]) -> None:
    with whole_file(known) as path:
        path.write_text(json.dumps([asdict(one) for one in found]), "utf-8")


def _read(known: Path) -> list[RegisteredAdapter] | None:
    try:
        return [RegisteredAdapter(**one) for one in json.loads(known.read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return None
