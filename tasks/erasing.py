"""A student's traces outside of the warehouse: kept hidden states, exports, plans and parts."""

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.adapter_files import AdapterError
from models.adapter_folders import read_scoring
from models.backbone import BackboneError, load_backbone
from models.devices import DeviceName, device_named
from models.scorer import Scorer
from models.scoring_record import StudentRecord
from models.text import encode, with_limit
from models.trunk_cache import TrunkCache, key_of
from tasks.progress import progress
from tasks.student_rows import Searched, Sought, export_files, search

SETTLED = ("done", "refused")


@dataclass(frozen=True)
class InboxFiles:
    """Files of the inbox, by what an erasure does about them.

    Attributes:
        settled: ingested or refused files with rows of the student; they are removed whole, since
            what was ingested of them is in the responses.
        waiting: files with rows of the student that nobody has taken in yet.
        unclear: files with rows that cannot be read, so that somebody has to look.
    """

    settled: tuple[Searched, ...]
    waiting: tuple[Searched, ...]
    unclear: tuple[Searched, ...]


def search_inbox(inbox: Path, sought: Sought, exports: Collection[str]) -> InboxFiles:
    """Look through every file of the inbox.

    Args:
        inbox: the folder.
        sought: the student.
        exports: hashes of the files that brought responses of the student.
    """
    settled: list[Searched] = []
    waiting: list[Searched] = []
    unclear: list[Searched] = []
    files = list(export_files(inbox))
    with progress("searching files", len(files)) as advance:
        for path in files:
            found = search(path, sought)
            if found.rows or found.sha256 in exports:
                is_settled = path.relative_to(inbox).parts[0] in SETTLED
                (settled if is_settled else waiting).append(found)
            elif found.unread:
                unclear.append(found)
            advance(1)
    return InboxFiles(tuple(settled), tuple(waiting), tuple(unclear))


def remove_files(files: Sequence[Searched]) -> None:
    """Remove files."""
    for file in files:
        file.path.unlink(missing_ok=True)


def erase_states(
    cache: TrunkCache,
    texts: Sequence[str],
    *,
    backbone: str,
    max_tokens: int,
    precision: Literal["auto", "bf16", "fp32"],
    device: DeviceName,
    adapters: Path,
) -> int:
    """Remove what the shared trunk made of some texts.

    States of another backbone, precision or machine, where the texts may have keys that nobody
    can tell any more, go as a whole; so does everything if the backbone cannot be loaded.

    Args:
        cache: where states are kept.
        texts: the student's.
        backbone: Hugging Face id or folder.
        max_tokens: where texts are cut now.
        precision: of the encoder.
        device: where it computes.
        adapters: adapters' folders: an adapter may read fewer tokens than the backbone.

    Returns:
        how many entries of these texts there were.
    """
    if not cache.folder.exists() or not texts:
        return 0
    try:
        loaded = load_backbone(backbone, max_tokens=max_tokens)
    except BackboneError:
        shutil.rmtree(cache.folder)
        return 0
    scorer = Scorer(loaded, precision=precision, device=device_named(device))
    keys = {
        key_of(ids)
        for limit in _limits(max_tokens, adapters)
        for ids in encode(with_limit(loaded.tokenizer, limit), texts).token_ids
    }
    return cache.erase(keys, [scorer.circumstances])


def _limits(max_tokens: int, adapters: Path) -> set[int]:
    """Every limit on tokens that texts have been cut at."""
    limits = {max_tokens}
    for folder in adapters.glob("*/"):
        try:
            record = read_scoring(folder)
        except AdapterError:  # nothing has been scored with what cannot be read
            continue
        if not isinstance(record, StudentRecord):  # whose texts the trunk never sees
            limits.add(min(record.max_tokens, max_tokens))
    return limits
