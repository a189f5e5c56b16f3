"""A comparison made up for tests of what is told about it."""

import numpy as np

from tasks.comparison import ScoreComparison, summed_up
from warehouse.comparison import OldRun, PairCount, Replaces


def pair(
    old: int | None,
    new: int,
    n: int = 1,
    *,
    human: float | None = None,
    replaces: Replaces = "released",
    item_id: str = "plants",
    trait: str = "overall",
    points: int = 4,
    cuts: tuple[int, ...] = (2,),
) -> PairCount:
    """So many scores, from adapter v1 to v2, of an item that begins at 0."""
    version = None if old is None else 1
    return PairCount(item_id, trait, 0, points - 1, cuts, replaces, version, 2, old, new, human, n)


def drawn(item_id: str, n: int, moved: float, *, points: int = 4, rated: bool = True,
          cuts: tuple[int, ...] = (2,), trait: str = "overall") -> list[PairCount]:  # fmt: skip
    """An item of which a share of scores moves, mostly towards the rater's."""
    draw = np.random.default_rng(len(item_id) + n)
    human = draw.integers(0, points, n)
    old = np.clip(human + draw.choice((-1, 0, 0, 0, 1, 2), n), 0, points - 1)
    nearer = np.where(draw.random(n) < 0.8, np.sign(human - old), draw.choice((-1, 1), n))
    new = np.where(draw.random(n) < moved, np.clip(old + nearer, 0, points - 1), old)
    cells, counts = np.unique(np.stack([old, new, human]), axis=1, return_counts=True)
    return [
        pair(o, v, k, human=h if rated else None, item_id=item_id, trait=trait, points=points,
             cuts=cuts)
        for (o, v, h), k in zip(cells.T.tolist(), counts.tolist(), strict=True)
    ]  # fmt: skip


def example_comparison() -> ScoreComparison:
    """Eight items: changed much, changed little, not at all, few, and without a rating."""
    rows = [
        *drawn("0417", 620, 0.12, cuts=(2, 3)),
        *drawn("0533", 410, 0.03, points=3, cuts=()),
        *drawn("BIO10-BEETLE", 540, 0.3),
        pair(0, 2, 11, human=1, item_id="BIO10-BEETLE"),
        pair(3, 1, 3, human=3, item_id="BIO10-BEETLE"),
        *drawn("CIV8-LIBRARY", 36, 0.2, rated=False, cuts=()),
        *drawn("ELA10-PHONES", 391, 0.05, trait="conventions", cuts=()),
        *drawn("ELA10-PHONES", 391, 0.4, points=6, trait="ideas"),
        pair(2, 3, 4, item_id="SCI8-ROOTS"),
        pair(1, 1, 300, item_id="ZERO"),
        pair(None, 1, 25, item_id="ZERO", replaces="nothing"),
        pair(1, 2, 9, item_id="ZERO", replaces="unreleased"),
    ]
    old = (OldRun("nightly-20260301-020001-1a2b", True, 2000), OldRun("backfill-x", False, 9))
    return summed_up(rows, old)
