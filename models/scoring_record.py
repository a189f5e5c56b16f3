"""What ``scoring.json`` says of an adapter: what it scores, how it was made, what it should give.

Torch is not needed to read it, as it is not needed to score with a student.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from models.adapter_files import FILES_OF, STUDENT, AdapterError
from models.calibration import Calibration
from models.cascade import Limit
from models.postprocessing import Scaling
from models.scores import Scale

Kind = Literal["ordinal", "classification"]
Pooling = Literal["mean", "first", "last"]  # over the hidden states of a text's tokens
Activation = Literal["tanh", "gelu", "relu", "none"]

# Two special tokens and one of the text's own.
FEWEST_TOKENS = 3


class Probe(BaseModel):
    """A fixed text of our own and the raw score this adapter gave it when it was made."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    text: str
    raw_score: FiniteFloat


def probes_of(texts: Sequence[str], raw_scores: NDArray[np.float64]) -> tuple[Probe, ...]:
    """Probes from n texts and the raw scores that they were given, float64 [n]."""
    return tuple(
        Probe(text=text, raw_score=float(raw)) for text, raw in zip(texts, raw_scores, strict=True)
    )


class Made(BaseModel):
    """What the records of all methods hold.

    Attributes:
        score_min, score_max, trait: what is scored.
        training_data_sha256: hash of what it was trained on; empty where that is not known.
        recipe, versions: how it was made.
        backbone, backbone_sha256: name and hash of the backbone it was made for, or with.
        probes: see ``models.probes``.
        calibration: how sure its scores are, see ``models.calibration``; None where it was
            imported, or made before there was one.
        scaling: see ``models.postprocessing``; None as above, or where the scores allow none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    score_min: int
    score_max: int
    trait: str
    backbone: str
    backbone_sha256: str
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

    @property
    def scale(self) -> Scale:
        """The item's score scale."""
        return Scale(self.score_min, self.score_max)


class HeadRecord(BaseModel):
    """The part of a record that describes the head.

    Attributes:
        head, pooling: see ``models.heads.Head``.
        head_tensors: the names in ``head.safetensors``, sorted.
        activation, norm_eps: of the layer before the last and of its norm, where there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    head: Kind = "ordinal"
    pooling: Pooling = "mean"
    head_tensors: tuple[str, ...] = ("bias", "weight")
    activation: Activation | None = None
    norm_eps: float | None = None


class StudentRecord(Made):
    """The record of a distilled student, which edits no backbone.

    Attributes:
        method: it is one.
        teacher_sha256: hash of the adapter that it learned from.
        trained_parameters: how many numbers of it were trained.
    """

    method: Literal["student"] = "student"
    teacher_sha256: str
    trained_parameters: int = Field(ge=1)


class CascadeRecord(BaseModel):
    """A student that scores before its teacher, and from which confidence its score stands.

    Attributes:
        student: the student's record.
        limit: see ``models.cascade``; chosen for the loss.
        most_loss: of quadratic weighted kappa against the teacher alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    student: StudentRecord
    limit: Limit
    most_loss: float = Field(ge=0)


class Scoring(Made, HeadRecord):
    """The record of an adapter that edits a backbone.

    Attributes:
        method: how the backbone is edited: by low-rank products, or by blocks of the item's own.
        max_tokens: longer texts are cut here.
        first_block: with own blocks, the number of the backbone's blocks below them.
        cascade: of the student that scores first; None where there is none.
    """

    method: Literal["lora", "partial"] = "lora"
    max_tokens: int = Field(ge=FEWEST_TOKENS)
    first_block: int | None = Field(default=None, ge=0)
    cascade: CascadeRecord | None = None


Record = Scoring | StudentRecord
# Adapters made before these came lack them.
ADDED = frozenset({"calibration", "scaling", "first_block", "cascade"})


def taught_by(record: Record) -> str:
    """Hash of the adapter that a student, by itself or of a cascade, learned from; else empty."""
    if isinstance(record, StudentRecord):
        return record.teacher_sha256
    return "" if record.cascade is None else record.cascade.student.teacher_sha256


def read_record(content: bytes, path: Path) -> Record:
    """A record from the bytes of its file.

    Args:
        content: the file's.
        path: where it came from, for errors.

    Raises:
        AdapterError: it does not follow the format.
    """
    kind: type[Record] = StudentRecord if _method(content) == "student" else Scoring
    try:
        record = kind.model_validate_json(content)
        # What may be left out when a record is made is never guessed when one is read.
        wrong = kind.model_fields.keys() - record.model_fields_set - ADDED
    except ValidationError as error:
        wrong = {".".join(map(str, found["loc"])) or "its JSON" for found in error.errors()}
        record = None
    if isinstance(record, Scoring) and (record.first_block is None) != (record.method == "lora"):
        wrong = {"first_block"}
    if record is None or wrong:
        raise AdapterError(f"{path} does not follow the format: see {', '.join(sorted(wrong))}")
    return record


def files_of(content: bytes) -> frozenset[str]:
    """The files of an adapter directory with such a record; LoRA's where it cannot be read."""
    files = FILES_OF.get(_method(content), FILES_OF["lora"])
    return files | {STUDENT} if _field(content, "cascade") is not None else files


def _method(content: bytes) -> str:
    return str(_field(content, "method"))


def _field(content: bytes, name: str) -> object:
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found.get(name) if isinstance(found, dict) else None
