"""One item as the report shows it: figures that rest on enough responses, and what rules say."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.evaluation import NOT_KNOWN, Figure, ItemEvaluation
from tasks.report_rules import (
    AGREEMENT,
    GROUPED,
    SEVERITY,
    ItemKey,
    by_item,
    rule_named,
    urgency,
    worst,
)
from tasks.rules import RuleResult, Status

# (heading, name in figures, name in human_human, whether it is a share) of an item's own tables:
# those of the reported score and of two raters, then those of the trimmed raw score and beyond.
FIGURES = (
    ("QWK", "qwk", "qwk", False),
    ("kappa", "kappa", "kappa", False),
    ("exact", "exact", "exact", True),
    ("within 1 point", "adjacent", "adjacent", True),
    ("r, trimmed raw", "pearson_r", "pearson_r", False),
    ("SMD", "smd", "smd", False),
    ("QWK", "qwk_trimmed", "", False),
    ("SMD", "smd_trimmed", "", False),
    ("R²", "r2", "", False),
    ("RMSE", "rmse", "", False),
    ("disattenuated r", "disattenuated_r", "", False),
    ("PRMSE", "prmse", "", False),
    ("calibration error", "calibration_error", "", True),
)
BETWEEN_PEOPLE = sum(bool(people) for _, _, people, _ in FIGURES)


@dataclass(frozen=True)
class FigureRow:
    """A statistic of the machine with the first rater, and of the two raters."""

    heading: str
    machine: Figure
    people: Figure
    as_share: bool


@dataclass(frozen=True)
class ItemView:
    """An item in the report.

    Attributes:
        item: its evaluation.
        anchor: where its pictures are.
        results: what the rules say of it.
    """

    item: ItemEvaluation
    anchor: str
    results: tuple[RuleResult, ...]

    @property
    def key(self) -> ItemKey:
        """Item and trait."""
        return self.item.item_id, self.item.trait

    @property
    def name(self) -> str:
        """What to call it."""
        return self.item.name

    @property
    def worst(self) -> Status | None:
        """The gravest outcome of its rules."""
        return worst(self.results)

    @property
    def needs_eyes(self) -> bool:
        """Whether a rule failed or is flagged."""
        return self.worst in ("FAIL", "FLAG")

    @property
    def badges(self) -> list[tuple[Status, str]]:
        """Failed and flagged rules, by short names, failed ones first."""
        found: dict[str, Status] = {}
        for result in sorted(self.results, key=lambda r: SEVERITY[r.status]):
            if result.status in ("FAIL", "FLAG"):
                rule = rule_named(result.rule)
                plain = rule.group in (AGREEMENT, GROUPED)
                name = rule.short if plain else f"{rule.group.lower()}: {rule.short}"
                found[name] = result.status
        return sorted(((s, name) for name, s in found.items()), key=lambda b: -SEVERITY[b[0]])

    def figure(self, name: str) -> Figure:
        """A statistic of the machine with the first rater; not known where it rests on few."""
        return self._shown(self.item.figures.get(name, NOT_KNOWN))

    def people(self, name: str) -> Figure:
        """The same of the two raters."""
        return self._shown(self.item.human_human.get(name, NOT_KNOWN))

    @property
    def table(self) -> list[FigureRow]:
        """Every statistic, not known where it may not be shown."""
        return [
            FigureRow(heading, self.figure(machine), self.people(people), as_share)
            for heading, machine, people, as_share in FIGURES
        ]

    @property
    def mean_confidence(self) -> float:
        """Of its scored responses, where these are enough to be shown."""
        return self.item.mean_confidence if self.item.n_scored >= self.item.small_cell else math.nan

    def _shown(self, found: Figure) -> Figure:
        return found if found.n >= self.item.small_cell else NOT_KNOWN


def item_views(
    evaluations: Sequence[ItemEvaluation], results: Sequence[RuleResult]
) -> list[ItemView]:
    """Every item, those that need eyes first, then by id and trait."""
    grouped: Mapping[ItemKey, list[RuleResult]] = by_item(results)
    order = sorted(
        evaluations,
        key=lambda item: (
            urgency(grouped.get((item.item_id, item.trait), [])),
            item.item_id,
            item.trait,
        ),
    )
    return [
        ItemView(item, f"item-{place}", tuple(grouped.get((item.item_id, item.trait), ())))
        for place, item in enumerate(order)
    ]
