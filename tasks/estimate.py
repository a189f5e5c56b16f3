"""What a backfill would do and take, worked out without doing any of it.

The time is that of computing the scores, from what computing each item's took in the last runs of
this workspace; planning, the commit, evaluation and the report come on top, and are little where
there is much to compute.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from warehouse.estimates import ItemCounts, Rate

# Measured on 200,000 scores of a four-point scale: what a score takes in the warehouse, and in a
# part, which is there until the commit only. 52 and 55, rounded up for longer scales.
LEDGER_BYTES, PART_BYTES = 80, 80
COUNTS = ("computed", "copied", "coded", "routed", "kept")


@dataclass(frozen=True)
class ItemEstimate:
    """One item and trait: what would become of its responses, and the seconds it would take.

    Attributes:
        item_id, trait: whose they are.
        adapters: those that would score them, such as ``v2``.
        computed: scores to compute.
        copied: scores that the ledger has for the same text.
        coded: blank responses, which get a condition code.
        routed: responses that no adapter scores.
        kept: responses that are left as they are.
        seconds: of computing; NaN where no run here has been timed.
        measured: the seconds rest on scores of this very item.
    """

    item_id: str
    trait: str
    adapters: tuple[str, ...]
    computed: int
    copied: int
    coded: int
    routed: int
    kept: int
    seconds: float
    measured: bool

    @property
    def name(self) -> str:
        """What to call it in tables."""
        return self.item_id if self.trait == "overall" else f"{self.item_id} · {self.trait}"


@dataclass(frozen=True)
class BackfillEstimate:
    """What a backfill would do; nothing of it is done.

    Attributes:
        adapter: which adapters were asked for.
        items: by item and trait, also those of which nothing would be scored.
        responses: that would be touched.
        timed: scores that the estimate of time rests on.
        trunk_bytes: what the trunk's cache may yet grow by.
        free_bytes: free on the workspace's disk.
        lost: adapters that would be needed and that the registry holds no more.
    """

    adapter: str
    items: tuple[ItemEstimate, ...]
    responses: int
    timed: int
    trunk_bytes: int
    free_bytes: int
    lost: tuple[str, ...] = ()

    @cached_property
    def totals(self) -> dict[str, int]:
        """Each count over all items."""
        return {name: sum(getattr(item, name) for item in self.items) for name in COUNTS}

    @property
    def seconds(self) -> float:
        """Of computing everything; NaN where no run here has been timed."""
        return math.fsum(item.seconds for item in self.items if item.computed)

    @property
    def parts_bytes(self) -> int:
        """Of parts, until the commit."""
        return self.totals["computed"] * PART_BYTES

    @property
    def ledger_bytes(self) -> int:
        """That the warehouse grows by."""
        return (self.totals["computed"] + self.totals["copied"]) * LEDGER_BYTES

    @property
    def needed_bytes(self) -> int:
        """All of it together."""
        return self.parts_bytes + self.ledger_bytes + self.trunk_bytes


def estimated(counts: Sequence[ItemCounts], rates: Sequence[Rate]) -> list[ItemEstimate]:
    """Give every item the seconds that computing its scores would take.

    Items differ by the length of their answers, so each one's own latency counts, stretched by what
    scoring takes beyond its batches (loading adapters, reading texts). An item that was never
    computed here is taken for an average one.
    """
    n = sum(rate.n for rate in rates)
    scoring_s, batches_s = (
        math.fsum(getattr(rate, name) for rate in rates) for name in ("scoring_s", "batches_s")
    )
    usual = scoring_s / n if n else math.nan
    stretch = scoring_s / batches_s if batches_s else math.nan
    own = {(rate.item_id, rate.trait): rate.batches_s / rate.n * stretch for rate in rates}
    return [_item(one, own.get((one.item_id, one.trait), math.nan), usual) for one in counts]


def _item(one: ItemCounts, own_s: float, usual_s: float) -> ItemEstimate:
    measured = own_s == own_s
    each = own_s if measured else usual_s
    return ItemEstimate(
        item_id=one.item_id,
        trait=one.trait,
        adapters=tuple(f"v{version}" for version in one.versions),
        computed=one.computed,
        copied=one.copied,
        coded=one.coded,
        routed=one.routed,
        kept=one.kept,
        seconds=each * one.computed if one.computed else 0.0,
        measured=measured,
    )
