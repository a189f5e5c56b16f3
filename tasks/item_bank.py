"""The item bank in YAML: read and checked, inferred from human scores, written."""

import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.export_rows import RowRules, checked_or_fault
from tasks.exports import MAX_CHARACTERS, SAMPLE_SEASON, open_for_reading
from tasks.mapping_file import read_mapping
from tasks.reasons import Fault
from tasks.strict_yaml import BLANK, YamlError, read_yaml
from warehouse.items import ItemRow

OVERALL = "overall"
Reported = Literal["rounded", "scaled"]


class BankError(ValueError):
    """An item bank cannot be used; the message says where and why."""


class Trait(BaseModel):
    """One trait of an item; what it does not say of itself is the item's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trait: str = Field(min_length=1)
    score_min: int | None = None
    score_max: int | None = None
    reported: Reported | None = None
    cut_scores: list[int] | None = None


class Item(BaseModel):
    """One item of a bank.

    Attributes:
        item_id: the question; a string, leading zeros included.
        score_min: lowest score point.
        score_max: highest score point.
        traits: names, or names with a scale of their own; none means one, ``overall``.
        prompt: what the student was asked.
        rubric: one text, or a text per score point.
        reference_answers: answers that deserve the highest score.
        reported: which score counts: ``rounded``, or ``scaled`` to the people's mean and spread.
        cut_scores: score points that decide something, such as passing, ascending; a score at or
            above one has crossed it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    item_id: str = Field(min_length=1)
    score_min: int
    score_max: int
    traits: list[Trait] = Field(default_factory=list)
    prompt: str | None = None
    rubric: str | dict[str, str] | None = None
    reference_answers: list[str] = Field(default_factory=list)
    reported: Reported = "rounded"
    cut_scores: list[int] = Field(default_factory=list)

    @field_validator("item_id", mode="after")
    @classmethod
    def _stripped(cls, item_id: str) -> str:
        if item_id != item_id.strip():
            raise ValueError("an item id has no white space around it")
        return item_id

    @field_validator("traits", mode="before")
    @classmethod
    def _named(cls, traits: Any) -> Any:
        """A bare name stands for a trait on the item's scale."""
        if traits in BLANK if isinstance(traits, str) else False:
            return []
        if not isinstance(traits, list):
            return traits
        return [{"trait": trait} if isinstance(trait, str) else trait for trait in traits]

    @field_validator("prompt", "rubric", mode="before")
    @classmethod
    def _blank_is_none(cls, words: Any) -> Any:
        return None if isinstance(words, str) and words in BLANK else words

    @model_validator(mode="after")
    def _scales(self) -> "Item":
        names = [trait.trait for trait in self.traits]
        if len(set(names)) < len(names):
            raise ValueError(f"item {self.item_id} has a trait twice")
        for row in self.rows():
            if row.score_max <= row.score_min:
                raise ValueError(
                    f"item {self.item_id} ({row.trait}): score_max {row.score_max} "
                    f"is not above score_min {row.score_min}"
                )
            _check_cut_scores(row)
        return self

    def rows(self) -> list[ItemRow]:
        """The item as the warehouse keeps it, one row per trait."""
        rubric = self.rubric
        if isinstance(rubric, dict):
            rubric = json.dumps(rubric, ensure_ascii=False)
        return [
            ItemRow(
                item_id=self.item_id,
                trait=trait.trait,
                score_min=self.score_min if trait.score_min is None else trait.score_min,
                score_max=self.score_max if trait.score_max is None else trait.score_max,
                prompt=self.prompt,
                rubric=rubric,
                reference_answers=tuple(self.reference_answers),
                reported=trait.reported or self.reported,
                cut_scores=tuple(self.cut_scores if trait.cut_scores is None else trait.cut_scores),
            )
            for trait in self.traits or [Trait(trait=OVERALL)]
        ]


class ItemBank(BaseModel):
    """A list of items, each id once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    items: list[Item]

    @model_validator(mode="after")
    def _unique(self) -> "ItemBank":
        seen: set[str] = set()
        for item in self.items:
            if item.item_id in seen:
                raise ValueError(f"item {item.item_id} is there twice")
            seen.add(item.item_id)
        return self


def read_bank(path: Path) -> ItemBank:
    """Read a YAML bank.

    Raises:
        BankError: it is absent or faulty; an unknown key is answered with the nearest known one.
    """
    try:
        return read_yaml(path, ItemBank)
    except YamlError as error:
        raise BankError(str(error)) from error


def item_rows(bank: ItemBank) -> list[ItemRow]:
    """The bank as the warehouse keeps it, one row per item and trait."""
    return [row for item in bank.items for row in item.rows()]


def infer_bank(export: Path, mapping_file: Path | None) -> ItemBank:
    """A bank from human-scored responses: every item with the scale that its scores span.

    It is a guess: a score point that nobody was given is not in it. Rows that cannot be read are
    left out.

    Raises:
        ExportRefusedError: the export cannot be read.
        BankError: it has no human scores, or an item has scores of one value only.
    """
    spans = _spans(export, mapping_file)
    flat = sorted({item_id for (item_id, _), (low, high) in spans.items() if low == high})
    if not spans or flat:
        what = f"only one score point for {', '.join(flat[:10])}" if flat else "no human scores"
        raise BankError(f"{export.name} has {what}: write the scale in a bank by hand")
    traits: dict[str, list[Trait]] = defaultdict(list)
    for (item_id, trait), (low, high) in sorted(spans.items()):
        traits[item_id].append(Trait(trait=trait, score_min=low, score_max=high))
    return ItemBank(items=[_inferred(item_id, found) for item_id, found in traits.items()])


def bank_yaml(bank: ItemBank) -> str:
    """The bank as YAML that ``read_bank`` reads back the same."""
    items = bank.model_dump(exclude_defaults=True)["items"]
    return yaml.safe_dump({"items": items}, allow_unicode=True, sort_keys=False)


def _check_cut_scores(row: ItemRow) -> None:
    """A cut at the lowest score point, or beyond the highest, would part nothing."""
    cuts = row.cut_scores
    if list(cuts) != sorted(set(cuts)):
        raise ValueError(f"item {row.item_id} ({row.trait}): cut_scores {list(cuts)} do not ascend")
    if cuts and not row.score_min < cuts[0] <= cuts[-1] <= row.score_max:
        raise ValueError(
            f"item {row.item_id} ({row.trait}): cut_scores {list(cuts)} are not above score_min "
            f"{row.score_min} and at most score_max {row.score_max}"
        )


def _spans(export: Path, mapping_file: Path | None) -> dict[tuple[str, str], tuple[int, int]]:
    """(item_id, trait) to the lowest and highest score, rounded outwards."""
    opened = open_for_reading(export, read_mapping(mapping_file), MAX_CHARACTERS)
    rules = RowRules(opened.columns, SAMPLE_SEASON, b"", MAX_CHARACTERS)
    spans: dict[tuple[str, str], tuple[int, int]] = {}
    for row in opened.rows():
        checked = row if isinstance(row, Fault) else checked_or_fault(row, rules)
        if isinstance(checked, Fault):
            continue
        for named, _, score in checked.ratings:
            key = checked.item_id, named or checked.trait or OVERALL
            low, high = spans.get(key, (math.floor(score), math.ceil(score)))
            spans[key] = min(low, math.floor(score)), max(high, math.ceil(score))
    return spans


def _inferred(item_id: str, traits: list[Trait]) -> Item:
    low = min(trait.score_min or 0 for trait in traits)
    high = max(trait.score_max or 0 for trait in traits)
    named = [] if [trait.trait for trait in traits] == [OVERALL] else traits
    return Item(item_id=item_id, score_min=low, score_max=high, traits=named)
