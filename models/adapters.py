"""Adapter directories: an item's edits of the backbone, a head, and a record of how it scores.

Beside ``head.safetensors`` and ``scoring.json`` lie ``adapter_config.json`` and
``adapter_model.safetensors``, as PEFT writes and reads them, or ``blocks.safetensors`` with blocks
of the item's own; in a cascade ``student.safetensors`` too; and no other file. Directories of
students are in ``models.student_adapter``.
"""

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import save_file

from models.adapter_files import (
    BLOCKS,
    CONFIG,
    HEAD,
    SCORING,
    STUDENT,
    WEIGHTS,
    AdapterError,
    write_folder,
    write_json,
)
from models.adapter_folders import adapter_sha256, open_folder
from models.backbone import Backbone
from models.head_file import describes, head_record, head_tensors, read_head
from models.heads import Head
from models.lora import LowRank
from models.own_blocks import OwnBlocks, checked_blocks, read_blocks, save_blocks
from models.peft_config import read_config
from models.peft_lora import read_edits, read_tensors, written
from models.scores import Scale
from models.scoring_record import (
    Probe,
    Scoring,
    StudentRecord,
)
from models.student import written as written_student
from models.student_adapter import StudentAdapter, student_of

__all__ = [
    "Adapter",
    "AdapterError",
    "Probe",
    "Scoring",
    "library_versions",
    "load_adapter",
    "save_adapter",
]


VERSIONED = ("torch", "transformers", "safetensors", "tokenizers", "numpy")


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory.

    Attributes:
        edits: low-rank edits by the name of the backbone's layer.
        head: from pooled hidden states to logits.
        scoring: scale, backbone, limits, provenance and probes; agrees with head and blocks.
        sha256: hash of its directory; empty while it has none.
        own: the item's own upper blocks; then there are no low-rank edits.
        student: scores first, in a cascade; the record says from which confidence its score stands.

    Raises:
        ValueError: ``scoring`` describes another head or other blocks.
        AdapterError: the student is of another scale, trait or backbone.
    """

    edits: Mapping[str, LowRank]
    head: Head
    scoring: Scoring
    sha256: str = field(default="")
    own: OwnBlocks | None = None
    student: StudentAdapter | None = None

    def __post_init__(self) -> None:
        if not describes(self.scoring, self.head):
            raise ValueError(
                f"the scoring record is not that of the head, {head_record(self.head)}"
            )
        first_block = None if self.own is None else self.own.first_block
        method = "lora" if self.own is None else "partial"
        if (self.scoring.method, self.scoring.first_block) != (method, first_block):
            raise ValueError(f"the scoring record is not that of a {method} adapter")
        if self.own is not None and self.edits:
            raise ValueError("an adapter has low-rank edits or blocks of its own, never both")
        if (self.student is None) != (self.scoring.cascade is None):
            raise ValueError("a cascade is an adapter with a student and a record of both")
        if self.student is not None and not _is_of(self.student.scoring, self.scoring):
            raise AdapterError(
                "the cascade's student is of another scale, trait or backbone than its teacher"
            )

    @property
    def scale(self) -> Scale:
        """The score scale of the adapter's item."""
        return self.scoring.scale


def _is_of(student: StudentRecord, teacher: Scoring) -> bool:
    """Whether a cascade's student scores what its teacher scores."""
    names = ("score_min", "score_max", "trait", "backbone_sha256")
    return all(getattr(student, name) == getattr(teacher, name) for name in names)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a new adapter computes."""
    return {name: importlib.metadata.version(name) for name in VERSIONED}


def save_adapter(folder: Path, adapter: Adapter) -> str:
    """Write the adapter to ``folder``, whole or not at all; an older one there is replaced.

    Returns:
        the directory's ``adapter_sha256``.
    """
    write_folder(folder, lambda temporary: _write_files(temporary, adapter))
    return adapter_sha256(folder)


def load_adapter(
    folder: Path, backbone: Backbone, *, expected_sha256: str | None = None
) -> Adapter:
    """Read and check an adapter directory; every file is read once, and that is hashed and used.

    Its stored probe predictions are compared when it scores: see ``models.scorer``.

    Args:
        folder: the directory.
        backbone: what it must have been made for.
        expected_sha256: the ``adapter_sha256`` it must have, where that is known.

    Raises:
        AdapterError: another hash, missing or extra files or tensors, wrong shapes, values that
            are not finite, another backbone, a kind of LoRA that cannot be merged, or blocks that
            do not fit the backbone.
    """
    found = open_folder(folder, expected_sha256)
    files, digest, scoring = found.files, found.sha256, found.record
    if not isinstance(scoring, Scoring):
        raise AdapterError(f"{folder} holds a student, which edits no backbone")
    if scoring.backbone_sha256 != backbone.sha256:
        raise AdapterError(
            f"{folder} was trained on {scoring.backbone} ({scoring.backbone_sha256[:12]}), "
            f"the loaded backbone is {backbone.name} ({backbone.sha256[:12]}): train it again, "
            "or set the backbone it was made for"
        )
    head = read_head(files[HEAD], folder / HEAD, scoring, scoring.scale, backbone.hidden_size)
    student = None
    if scoring.cascade is not None:
        student = student_of(files[STUDENT], scoring.cascade.student, folder)
    if scoring.method == "lora":
        edits = _read_edits(files, folder, backbone)
        return Adapter(edits, head, scoring, digest, student=student)
    own = _read_own(files, folder, scoring, backbone)
    return Adapter({}, head, scoring, digest, own, student)


def _write_files(folder: Path, adapter: Adapter) -> None:
    if adapter.own is not None:
        save_blocks(folder / BLOCKS, adapter.own)
    else:
        config, tensors = written(adapter.edits)
        save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
        config["base_model_name_or_path"] = adapter.scoring.backbone
        write_json(folder / CONFIG, config)
    if adapter.student is not None:
        (folder / STUDENT).write_bytes(written_student(adapter.student.student))
    save_file(head_tensors(adapter.head), folder / HEAD, metadata={"format": "pt"})
    write_json(folder / SCORING, adapter.scoring.model_dump())


def _read_edits(files: Mapping[str, bytes], folder: Path, backbone: Backbone) -> dict[str, LowRank]:
    config = read_config(files[CONFIG], folder / CONFIG)
    if config.modules_to_save:
        raise AdapterError(
            f"{folder / CONFIG} has modules_to_save; here the head lies in {HEAD}: take the "
            "adapter in with `gradeline import-adapter`"
        )
    tensors = read_tensors(files[WEIGHTS], folder / WEIGHTS)
    edits = read_edits(config, tensors, backbone.modules, folder)
    unused = [name for name in edits if name.startswith("pooler.")]
    if unused:
        raise AdapterError(
            f"{folder} edits {unused[0]}, which no head reads: take the adapter in with "
            "`gradeline import-adapter`, which puts that layer into the head"
        )
    return edits


def _read_own(
    files: Mapping[str, bytes], folder: Path, scoring: Scoring, backbone: Backbone
) -> OwnBlocks:
    own = read_blocks(files[BLOCKS], folder / BLOCKS, scoring.first_block or 0)
    checked_blocks(own, backbone.model, folder / BLOCKS)
    return own
