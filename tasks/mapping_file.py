"""What a person may say about an export in YAML, and the layouts that need nobody to say it."""

import codecs
import difflib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from tasks.reasons import ExportRefusedError
from tasks.strict_yaml import YamlError, read_yaml

REQUIRED = ("response_id", "item_id", "text")
CANONICAL = (*REQUIRED, "student_id", "submitted_at", "human_score", "human_score_2", "trait",
             "season")  # fmt: skip
CONSTANTS = ("item_id", "trait", "season")
GROUP_CHARACTERS = 100  # of an attribute or a level


def is_group_name(words: str) -> bool:
    """Whether an attribute or a level, trimmed, may be shown in a table."""
    return bool(words) and len(words) <= GROUP_CHARACTERS and words.isprintable()


def _known_names(given: dict[str, str], known: Sequence[str]) -> dict[str, str]:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown key {name!r}; the nearest known one is {near!r}")
    return given


class RatingColumns(BaseModel):
    """Columns with the scores of one trait, in exports that have a column per trait."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    human_score: str
    human_score_2: str | None = None


class MappingFile(BaseModel):
    """What a person says about an export, in YAML; every key may be left out.

    Attributes:
        columns: header of the column by canonical name; named columns replace detection.
        constants: a value for all rows: ``season``, ``item_id`` or ``trait``.
        traits: score columns by trait, where each trait has its own.
        subgroups: header of the column by attribute, such as ``first_language: L1``: the groups
            that scores are compared between.
        delimiter: one character, or ``tab``.
        encoding: a Python codec, such as ``cp1252``.
        quoting: ``literal`` where quotation marks are text.
        submitted_at_format: strptime's, such as ``%m/%d/%Y %H:%M``; taken as UTC without a zone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: dict[str, str] = Field(default_factory=dict)
    constants: dict[str, str] = Field(default_factory=dict)
    traits: dict[str, RatingColumns] = Field(default_factory=dict)
    subgroups: dict[str, str] = Field(default_factory=dict)
    delimiter: str | None = None
    encoding: str | None = None
    quoting: Literal["standard", "literal"] = "standard"
    submitted_at_format: str | None = None

    @field_validator("columns")
    @classmethod
    def _canonical(cls, columns: dict[str, str]) -> dict[str, str]:
        return _known_names(columns, CANONICAL)

    @field_validator("constants")
    @classmethod
    def _constant(cls, constants: dict[str, str]) -> dict[str, str]:
        return _known_names(constants, CONSTANTS)

    @field_validator("subgroups")
    @classmethod
    def _attributes(cls, subgroups: dict[str, str]) -> dict[str, str]:
        named = {attribute.strip(): column for attribute, column in subgroups.items()}
        for attribute in named:
            if not is_group_name(attribute):
                raise ValueError(
                    f"the attribute {attribute[:GROUP_CHARACTERS]!r} is empty, longer than "
                    f"{GROUP_CHARACTERS} characters, or holds a control character"
                )
        if len(named) < len(subgroups):
            raise ValueError("an attribute is given twice")
        return named

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        if delimiter in ("tab", "\\t"):
            return "\t"
        if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
            raise ValueError("the delimiter is one character, or the word tab")
        return delimiter

    @field_validator("submitted_at_format")
    @classmethod
    def _reads_what_it_writes(cls, form: str | None) -> str | None:
        if form is not None:
            try:
                datetime.strptime(datetime(2026, 3, 12, 14, 5).strftime(form), form)
            except (ValueError, re.error):
                raise ValueError(f"{form[:100]!r} is no form of a time for strptime") from None
        return form

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "".encode(encoding)
            except LookupError:
                raise ValueError(f"{encoding!r} is no known encoding") from None
            name = codecs.lookup(encoding).name
            return "utf-8-sig" if name == "utf-8" else name  # with or without a mark
        return encoding


# The test part of ASAP-SAS has no score columns. Both layouts are told by their exact headers;
# the quoting is that of the tab-separated files they came in.
ASAP_SAS = MappingFile(
    columns={
        "response_id": "Id",
        "item_id": "EssaySet",
        "text": "EssayText",
        "human_score": "Score1",
        "human_score_2": "Score2",
    },
    quoting="literal",
)
# domain1_score is the resolved score, a sum for some sets; the raters' own are what people gave.
ASAP_AES = MappingFile(
    columns={
        "response_id": "essay_id",
        "item_id": "essay_set",
        "text": "essay",
        "human_score": "rater1_domain1",
        "human_score_2": "rater2_domain1",
    },
    traits={"domain2": RatingColumns(human_score="rater1_domain2", human_score_2="rater2_domain2")},
)


def read_mapping(path: Path | None) -> MappingFile | None:
    """Read a mapping file; no path, no mapping.

    Raises:
        ExportRefusedError: the file is absent or faulty; the nearest known key is named.
    """
    if path is None:
        return None
    try:
        return read_yaml(path, MappingFile)
    except YamlError as error:
        raise ExportRefusedError(f"the mapping file cannot be used: {error}") from error


def known_layout(header: Sequence[str]) -> tuple[str, MappingFile] | None:
    """A built-in layout and its name, where the header is exactly that layout's."""
    headers = set(header)
    if headers >= {"Id", "EssaySet", "EssayText"}:
        return "ASAP-SAS", ASAP_SAS
    if headers >= {"essay_id", "essay_set", "essay", "rater1_domain1", "rater2_domain1"}:
        return "ASAP-AES", ASAP_AES
    return None
