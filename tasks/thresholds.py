"""Limits that scores are held against: packaged defaults, a workspace's own file, and their diff.

Limits are configuration with consequences: one mistyped digit can zero thousands of essays. So a
file names only what it changes, an unknown name or an impossible value is an error, the limits in
force are known by a hash, and ``changes`` says what differs from those of the run before.
"""

import difflib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from tasks.rules import RULES
from tasks.strict_yaml import BLANK, YamlError, read_yaml

DEFAULTS = Path(__file__).with_name("thresholds.yaml")
ALL_ITEMS = "all items"
# A change by this factor or more is a slip of the decimal point rather than a decision.
SUSPICIOUS_FACTOR = 5.0


class ThresholdsError(ValueError):
    """A thresholds file cannot be used; the message says where and why."""


def _is_blank(given: Any) -> bool:
    return given is None or (isinstance(given, str) and given in BLANK)


def _none_if_blank(given: Any) -> Any:
    return None if _is_blank(given) else given


_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Number = Annotated[_Finite | None, BeforeValidator(_none_if_blank)]
_Count = Annotated[int | None, Field(ge=1)]


class LimitFile(BaseModel):
    """What a file says of one rule; what it leaves out stays as it was, ``~`` takes it away."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: _Number = None
    at_most: _Number = None
    flag: _Number = None
    fewest: _Count = None


class DriftFile(BaseModel):
    """What a file says of drift; see ``Drift``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float | None = Field(default=None, gt=0, le=0.05)
    flag_alpha: float | None = Field(default=None, gt=0, le=0.5)
    baseline_n: _Count = None
    recent: _Count = None
    fewest: _Count = None


class ThresholdsFile(BaseModel):
    """A thresholds file; every key may be left out.

    Attributes:
        small_cell, enough_rated, drift: see ``Thresholds``.
        rules: limits by rule.
        items: limits by rule for one ``item_id``, or ``item_id/trait``, which counts more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    small_cell: _Count = None
    enough_rated: _Count = None
    drift: DriftFile = DriftFile()
    rules: dict[str, LimitFile] = Field(default_factory=dict)
    items: dict[str, dict[str, LimitFile]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _nothing_said(cls, given: Any) -> Any:
        """An empty file, or a key with everything under it commented out."""
        if isinstance(given, dict):
            return {key: value for key, value in given.items() if not _is_blank(value)}
        return {} if _is_blank(given) else given

    @field_validator("rules")
    @classmethod
    def _known(cls, rules: dict[str, LimitFile]) -> dict[str, LimitFile]:
        for name in rules:
            if name not in RULES:
                near = difflib.get_close_matches(name, RULES, n=1, cutoff=0.0)[0]
                raise ValueError(f"unknown rule {name!r}; the nearest known one is {near!r}")
        return rules

    @field_validator("items")
    @classmethod
    def _known_by_item(
        cls, items: dict[str, dict[str, LimitFile]]
    ) -> dict[str, dict[str, LimitFile]]:
        for key, rules in items.items():
            try:
                cls._known(rules)
            except ValueError as error:
                raise ValueError(f"{key}: {error}") from error
        return items


class Limit(BaseModel):
    """What one rule asks of one item.

    Attributes:
        at_least, at_most: beyond it a rule fails; None for both where the rule only flags.
        flag: a softer limit, or the only one: beyond it a rule is flagged.
        fewest: with fewer responses nothing is judged; never below ``small_cell``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: float | None = None
    at_most: float | None = None
    flag: float | None = None
    fewest: int

    @property
    def hard(self) -> float | None:
        """The limit beyond which the rule fails; None where it only flags."""
        return self.at_least if self.at_most is None else self.at_most

    @property
    def soft(self) -> float:
        """The limit beyond which the rule is flagged: the softer one where there are two."""
        soft = self.hard if self.flag is None else self.flag
        return math.nan if soft is None else soft


class Drift(BaseModel):
    """How drift is judged.

    Attributes:
        alpha: chance of a drift alarm per item and night without any shift, at most.
        flag_alpha: the same of a flag.
        baseline_n: the baseline is an item's earliest administrations until it has as many
            responses.
        recent: the other reference is its last administrations, as many as this.
        fewest: responses that a reference needs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    alpha: float
    flag_alpha: float
    baseline_n: int
    recent: int
    fewest: int


class Thresholds(BaseModel):
    """The limits in force.

    Attributes:
        small_cell: figures of fewer responses are not shown.
        enough_rated: responses that a rule needs to be judged, unless it says itself.
        drift: how drift is judged.
        rules: limits of all rules.
        items: whole limits of the rules that differ for one ``item_id`` or ``item_id/trait``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    small_cell: int
    enough_rated: int
    drift: Drift
    rules: dict[str, Limit]
    items: dict[str, dict[str, Limit]]

    def limit_of(self, rule: str, item_id: str, trait: str) -> Limit:
        """The limit of a rule for an item and trait; a KeyError where there is no such rule."""
        return _in_force(self, f"{item_id}/{trait}", rule) or self.rules[rule]

    def as_json(self) -> str:
        """All limits; the same ones give the same text."""
        return json.dumps(self.model_dump(), sort_keys=True)

    @property
    def sha256(self) -> str:
        """Hash of the limits in force, whatever the files say around them."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()


@dataclass(frozen=True)
class ThresholdChange:
    """One setting that differs between two sets of limits.

    Attributes:
        scope: ``all items``, or the item or item/trait it is for.
        rule: the rule, ``drift``, or ``thresholds`` for what stands above both.
        setting: such as ``at_least``, or ``small_cell``.
        before, after: None where it was not, or is no more.
        factor: after by before; None where that is not defined.
        suspicious: it rather looks like a slip: a factor of five or more either way, for the
            limit or for what it leaves below 1, a lost sign, or a limit taken away.
    """

    scope: str
    rule: str
    setting: str
    before: float | None
    after: float | None
    factor: float | None
    suspicious: bool


def read_thresholds(path: Path | None) -> Thresholds:
    """The packaged limits, with those of a workspace's file over them, setting by setting.

    Args:
        path: the workspace's file; None or an absent one leaves the defaults.

    Raises:
        ThresholdsError: an unknown rule or key (the nearest known one is named), or a limit that
            the rule cannot have.
    """
    own = ThresholdsFile()
    try:
        if path is not None and (path.exists() or path.is_symlink()):
            own = read_yaml(path, ThresholdsFile)
        default = read_yaml(DEFAULTS, ThresholdsFile)
    except YamlError as error:
        raise ThresholdsError(str(error)) from error
    try:
        return _in_layers(default, own)
    except ValueError as error:
        raise ThresholdsError(f"{path}: {error}") from error


def thresholds_from_json(content: str) -> Thresholds:
    """What ``as_json`` wrote, as it was: no default is filled in, rules need not be known today.

    Raises:
        ValueError: the text is something else.
    """
    return Thresholds.model_validate_json(content)


def changes(before: Thresholds, after: Thresholds) -> tuple[ThresholdChange, ...]:
    """What differs between two sets of limits: above the rules, by rule, then by item.

    An item's own limit is compared with what held for the item before, be that its own or the
    common one. Where it only follows the common one, it is not told again.
    """
    found = [
        *_changed(ALL_ITEMS, "thresholds", _above(before), _above(after)),
        *_changed(ALL_ITEMS, "drift", before.drift.model_dump(), after.drift.model_dump()),
    ]
    for rule in dict.fromkeys([*RULES, *before.rules, *after.rules]):
        found += _changed_limit(ALL_ITEMS, rule, before.rules.get(rule), after.rules.get(rule))
    told = {(change.rule, change.setting, change.before, change.after) for change in found}
    for key in sorted({*before.items, *after.items}):
        for rule in dict.fromkeys([*before.items.get(key, ()), *after.items.get(key, ())]):
            old, new = _in_force(before, key, rule), _in_force(after, key, rule)
            found += [
                change
                for change in _changed_limit(key, rule, old, new)
                if (rule, change.setting, change.before, change.after) not in told
            ]
    return tuple(found)


def _in_layers(default: ThresholdsFile, own: ThresholdsFile) -> Thresholds:
    """Defaults, what the workspace says of all items, of an item, and of an item's trait."""
    above = {**_said(default), **_said(own)}
    small_cell, enough_rated = above["small_cell"], above["enough_rated"]
    drift = Drift(**{**_said(default.drift), **_said(own.drift)})
    drift = drift.model_copy(update={"fewest": max(drift.fewest, _least(small_cell))})
    if drift.fewest > drift.baseline_n:
        raise ValueError(
            f"drift.fewest: no baseline of {drift.baseline_n} responses (drift.baseline_n) has the "
            f"{drift.fewest} that it needs"
        )

    def limit(where: str, name: str, keys: Sequence[str]) -> Limit:
        layers = [default.rules, own.rules, *(own.items.get(key, {}) for key in keys)]
        said = {"fewest": enough_rated}
        for layer in layers:
            said |= _said(layer[name]) if name in layer else {}
        said["fewest"] = max(said["fewest"], RULES[name].fewest or _least(small_cell))
        return _checked(f"{where}.{name}", name, said)

    return Thresholds(
        small_cell=small_cell,
        enough_rated=enough_rated,
        drift=drift,
        rules={name: limit("rules", name, ()) for name in RULES},
        items={
            key: {name: limit(f"items.{key}", name, _keys(key)) for name in names}
            for key, names in own.items.items()
        },
    )


def _least(small_cell: int) -> int:
    """Responses below which nothing is judged: a variance needs two."""
    return max(2, small_cell)


def _said(file: BaseModel) -> dict[str, Any]:
    return file.model_dump(exclude_unset=True)


def _keys(key: str) -> list[str]:
    """The keys of ``items`` that hold for one of them, the closest last."""
    item_id, slash, _ = key.rpartition("/")
    return [item_id, key] if slash else [key]


def _checked(where: str, name: str, said: Mapping[str, Any]) -> Limit:
    rule, limit = RULES[name], Limit(**said)
    wrong = "at_most" if rule.direction == "at_least" else "at_least"
    if said.get(wrong) is not None:
        raise ValueError(f"{where}: this rule has {rule.direction}, not {wrong}")
    if math.isnan(limit.soft):
        raise ValueError(f"{where}: neither {rule.direction} nor flag is left to hold a value to")
    for setting, value in ((rule.direction, limit.hard), ("flag", limit.flag)):
        if value is not None and not rule.lowest <= value <= rule.highest:
            raise ValueError(
                f"{where}.{setting}: {value:g} is no possible limit; it lies between "
                f"{rule.lowest:g} and {rule.highest:g}"
            )
    if limit.hard is not None and rule.is_beyond(limit.soft, limit.hard):
        raise ValueError(
            f"{where}.flag: {limit.soft:g} is beyond {rule.direction} {limit.hard:g}, but flag is "
            "the softer limit"
        )
    return limit


def _in_force(thresholds: Thresholds, key: str, rule: str) -> Limit | None:
    """What holds for an item's key: its own limit, that of its item, or the common one."""
    for scope in reversed(_keys(key)):
        if rule in thresholds.items.get(scope, {}):
            return thresholds.items[scope][rule]
    return thresholds.rules.get(rule)


def _above(thresholds: Thresholds) -> dict[str, Any]:
    return thresholds.model_dump(include={"small_cell", "enough_rated"})


def _changed_limit(
    scope: str, rule: str, before: Limit | None, after: Limit | None
) -> Iterator[ThresholdChange]:
    old, new = (limit.model_dump() if limit else {} for limit in (before, after))
    return _changed(scope, rule, old, new)


def _changed(
    scope: str, rule: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[ThresholdChange]:
    for setting in dict.fromkeys([*before, *after]):
        old, new = before.get(setting), after.get(setting)
        if old == new:
            continue
        factors = [_factor(old, new)]
        if old is not None and new is not None and setting != "fewest" and _ends_at_one(rule):
            factors.append(_factor(1 - old, 1 - new))  # .995 and .95 are far apart, too
        slip = old is not None and any(map(_is_slip, factors))
        yield ThresholdChange(scope, rule, setting, old, new, factors[0], slip)


def _ends_at_one(rule: str) -> bool:
    return rule in RULES and RULES[rule].highest == 1


def _factor(before: float | None, after: float | None) -> float | None:
    return after / before if before and after is not None else None


def _is_slip(factor: float | None) -> bool:
    return factor is None or not 1 / SUSPICIOUS_FACTOR < factor < SUSPICIOUS_FACTOR
