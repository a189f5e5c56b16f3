"""Adapter directories: PEFT's LoRA files, a head, and a record of how it scores.

Four files and no others: ``adapter_config.json`` and ``adapter_model.safetensors`` as PEFT
writes and reads them, ``head.safetensors``, and ``scoring.json``.
"""

import importlib.metadata
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from safetensors.torch import save_file

from models.adapter_files import (
    CONFIG,
    FILES,
    HEAD,
    SCORING,
    WEIGHTS,
    AdapterError,
    files_sha256,
    read_bytes,
    read_files,
    sync,
    write_json,
)
from models.backbone import Backbone
from models.calibration import Calibration
from models.head_file import HeadRecord, head_record, head_tensors, read_head
from models.heads import Head, Scale
from models.lora import LowRank
from models.peft_config import read_config
from models.peft_lora import read_edits, read_tensors, written
from models.postprocessing import Scaling

__all__ = [
    "FILES",
    "Adapter",
    "AdapterError",
    "Probe",
    "Scoring",
    "adapter_sha256",
    "library_versions",
    "load_adapter",
    "read_scoring",
    "save_adapter",
]


# Two special tokens and one of the text's own.
FEWEST_TOKENS = 3
# Adapters made before these came lack them.
ADDED = frozenset({"calibration", "scaling"})
VERSIONED = ("torch", "transformers", "safetensors", "tokenizers", "numpy")


class Probe(BaseModel):
    """A fixed text of our own and the raw score this adapter gave it when it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    text: str
    raw_score: FiniteFloat


class Scoring(HeadRecord):
    """The contents of ``scoring.json``.

    Attributes:
        method: how the backbone is edited.
        backbone, backbone_sha256: name and hash of the backbone it was made for.
        score_min, score_max, trait: what is scored.
        max_tokens: longer texts are cut here.
        training_data_sha256: hash of what it was trained on; empty where that is not known.
        recipe, versions: how it was made.
        probes: see ``models.probes``.
        calibration: how sure its scores are, see ``models.calibration``; None where it was
            imported, or made before there was one.
        scaling: see ``models.postprocessing``; None as above, or where the scores allow none.
    """

    method: Literal["lora"] = "lora"
    backbone: str
    backbone_sha256: str
    score_min: int
    score_max: int
    trait: str
    max_tokens: int = Field(ge=FEWEST_TOKENS)
    training_data_sha256: str
    recipe: dict[str, int | float | str | bool | None]
    versions: dict[str, str]
    probes: tuple[Probe, ...]
    calibration: Calibration | None = None
    scaling: Scaling | None = None

    @field_validator("score_max")
    @classmethod
    def _is_above(cls, score_max: int, others: ValidationInfo) -> int:
        if score_max <= others.data.get("score_min", score_max):
            raise ValueError("score_max must be above score_min")
        return score_max


@dataclass(frozen=True)
class Adapter:
    """An adapter in memory.

    Attributes:
        edits: low-rank edits by the name of the backbone's layer.
        head: from pooled hidden states to logits.
        scoring: scale, backbone, limits, provenance and probes; agrees with the head.
        sha256: hash of its directory; empty while it has none.

    Raises:
        ValueError: ``scoring`` describes another head.
    """

    edits: Mapping[str, LowRank]
    head: Head
    scoring: Scoring
    sha256: str = field(default="")

    def __post_init__(self) -> None:
        if not self.scoring.describes(self.head):
            raise ValueError(
                f"the scoring record is not that of the head, {head_record(self.head)}"
            )

    @property
    def scale(self) -> Scale:
        """The score scale of the adapter's item."""
        return Scale(self.scoring.score_min, self.scoring.score_max)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what a new adapter computes."""
    return {name: importlib.metadata.version(name) for name in VERSIONED}


def adapter_sha256(folder: Path) -> str:
    """Hash over the sorted (name, sha256) pairs of the directory's four files.

    Raises:
        AdapterError: a file is missing, or there is one too many.
    """
    return files_sha256(read_files(folder))


def save_adapter(folder: Path, adapter: Adapter) -> str:
    """Write the adapter to ``folder``, whole or not at all; an older one there is replaced.

    Returns:
        the directory's ``adapter_sha256``.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        _write_files(temporary, adapter)
        digest = adapter_sha256(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return digest


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
            are not finite, another backbone, or a kind of LoRA that cannot be merged.
    """
    files = read_files(folder)
    digest = files_sha256(files)
    if expected_sha256 is not None and digest != expected_sha256:
        raise AdapterError(
            f"{folder} has sha256 {digest[:12]}, {expected_sha256[:12]} was registered: remove "
            "the folder, and it is fetched from the registry again"
        )
    scoring = _scoring(files[SCORING], folder / SCORING)
    if scoring.backbone_sha256 != backbone.sha256:
        raise AdapterError(
            f"{folder} was trained on {scoring.backbone} ({scoring.backbone_sha256[:12]}), "
            f"the loaded backbone is {backbone.name} ({backbone.sha256[:12]}): train it again, "
            "or set the backbone it was made for"
        )
    edits = _read_edits(files, folder, backbone)
    scale = Scale(scoring.score_min, scoring.score_max)
    head = read_head(files[HEAD], folder / HEAD, scoring, scale, backbone.hidden_size)
    return Adapter(edits, head, scoring, digest)


def _write_files(folder: Path, adapter: Adapter) -> None:
    config, tensors = written(adapter.edits)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    save_file(head_tensors(adapter.head), folder / HEAD, metadata={"format": "pt"})
    config["base_model_name_or_path"] = adapter.scoring.backbone
    write_json(folder / CONFIG, config)
    write_json(folder / SCORING, adapter.scoring.model_dump())
    for name in FILES:
        sync(folder / name)


def read_scoring(folder: Path) -> Scoring:
    """The scoring record of an adapter directory, nothing else being looked at.

    Raises:
        AdapterError: it cannot be read, or does not follow the format.
    """
    return _scoring(read_bytes(folder / SCORING), folder / SCORING)


def _scoring(content: bytes, path: Path) -> Scoring:
    try:
        scoring = Scoring.model_validate_json(content)
        # What may be left out when a record is made is never guessed when one is read.
        wrong = Scoring.model_fields.keys() - scoring.model_fields_set - ADDED
    except ValidationError as error:
        wrong = {".".join(map(str, found["loc"])) or "its JSON" for found in error.errors()}
    if wrong:
        raise AdapterError(f"{path} does not follow the format: see {', '.join(sorted(wrong))}")
    return scoring


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
