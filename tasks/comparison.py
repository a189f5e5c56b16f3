"""What a backfill would change of what people have been told: old scores against new ones.

A backfill scores responses again that may have been reported already. Before anything of it goes
out, every one of its scores is held beside the released score that it would replace. Where one of
these would be another, the run is held, and a person signs for the change or leaves it. Nobody has
to take the new scores on trust: where people have rated the same responses, both are held against
what they gave.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import duckdb
import numpy as np
from numpy.typing import NDArray

from models.agreement import (
    Difference,
    exact_agreement,
    over_items,
    paired_difference,
    quadratic_weighted_kappa,
    standardized_mean_difference,
)
from tasks.promotion import Crossing
from warehouse import comparison
from warehouse.comparison import OldRun, PairCount

SEED = 20
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class WithPeople:
    """Old and new scores of the same responses against the first rater; NaN where not defined.

    Attributes:
        n: rated responses from which neither adapter has learned.
        old_qwk, new_qwk: quadratic weighted kappa with the rater.
        low, high: 95% interval of new minus old, by bootstrap over responses.
        old_exact, new_exact: shares of exact agreement.
        changed: those whose score is another.
        nearer, farther: changed ones that came nearer to the rater's score, or went farther off.
    """

    n: int
    old_qwk: float
    new_qwk: float
    low: float
    high: float
    old_exact: float
    new_exact: float
    changed: int
    nearer: int
    farther: int


@dataclass(frozen=True)
class ItemComparison:
    """One item's (item and trait's) new scores beside the released ones that they would replace.

    Attributes:
        item_id, trait: whose they are.
        score_min, score_max: the scale.
        n: new scores that replace a released score.
        table: [K][K] how many, by old score (row) and new score (column), from score_min up.
        n_uncoded: those whose released outcome is a condition code; they are in no table.
        crossings: one for each of the item's cut scores.
        n_crossing: responses that cross one or more of them.
        first: new scores of responses that had none.
        unreleased: new scores in place of such as were never released.
        unreleased_changed: those of them that are another score.
        later: new scores that a later released score outlives.
        old_versions, new_versions: of the adapters that gave the scores.
        rated: of those that replace a released score, the ones whose response a person has rated.
    """

    item_id: str
    trait: str
    score_min: int
    score_max: int
    n: int
    table: tuple[tuple[int, ...], ...]
    n_uncoded: int
    crossings: tuple[Crossing, ...]
    n_crossing: int
    first: int
    unreleased: int
    unreleased_changed: int
    later: int
    old_versions: tuple[int, ...]
    new_versions: tuple[int, ...]
    rated: tuple[PairCount, ...]

    @property
    def name(self) -> str:
        """What to call it in tables."""
        return self.item_id if self.trait == "overall" else f"{self.item_id} · {self.trait}"

    @cached_property
    def shifts(self) -> dict[int, int]:
        """New score minus old one, in points, to how many; unchanged ones are 0."""
        found: Counter[int] = Counter()
        for old, row in enumerate(self.table):
            for new, n in enumerate(row):
                if n:
                    found[new - old] += n
        return dict(sorted(found.items()))

    @property
    def up(self) -> int:
        """Released scores that would rise."""
        return sum(n for shift, n in self.shifts.items() if shift > 0)

    @property
    def down(self) -> int:
        """Released scores that would fall."""
        return sum(n for shift, n in self.shifts.items() if shift < 0)

    @property
    def changed(self) -> int:
        """Released outcomes that would be another."""
        return self.up + self.down + self.n_uncoded

    @property
    def changed_share(self) -> float:
        """The share of released scores that would be another; NaN of none."""
        return self.changed / self.n if self.n else math.nan

    @property
    def largest_shift(self) -> int:
        """The largest change in points, either way."""
        return max(map(abs, self.shifts), default=0)

    @cached_property
    def exact(self) -> float:
        """Exact agreement of new and old scores; NaN of none."""
        return float(exact_agreement(*self._scores))

    @cached_property
    def qwk(self) -> float:
        """Quadratic weighted kappa of new and old scores; NaN where not defined."""
        return float(quadratic_weighted_kappa(*self._scores))

    @cached_property
    def smd(self) -> float:
        """Mean new minus mean old score, in standard deviations of the old ones."""
        return float(standardized_mean_difference(*self._scores))

    @cached_property
    def people(self) -> WithPeople:
        """Old and new scores against the first rater's."""
        return _with_people(self.rated)

    @property
    def _scores(self) -> tuple[Numbers, Numbers]:
        """Old and new score of each response."""
        table = np.array(self.table)
        old, new = np.nonzero(table)
        repeats = table[old, new]
        return np.repeat(old, repeats).astype(float), np.repeat(new, repeats).astype(float)


@dataclass(frozen=True)
class ScoreComparison:
    """All of a run's scores beside those that they would replace.

    Attributes:
        items: by item and trait; those that replace nothing released are among them.
        old_runs: whose scores they would replace.
    """

    items: tuple[ItemComparison, ...]
    old_runs: tuple[OldRun, ...] = ()

    @property
    def n(self) -> int:
        """New scores that replace a released one."""
        return self.total("n")

    @property
    def changed(self) -> int:
        """Released scores that would be another."""
        return self.total("changed")

    @property
    def changed_share(self) -> float:
        """Their share; NaN where nothing released is replaced."""
        return self.changed / self.n if self.n else math.nan

    @property
    def replacing(self) -> tuple[ItemComparison, ...]:
        """Items that replace released scores, those with the largest share of changes first."""
        found = [item for item in self.items if item.n]
        return tuple(
            sorted(found, key=lambda item: (-item.changed_share, item.item_id, item.trait))
        )

    @property
    def furthest(self) -> ItemComparison | None:
        """The item with the largest single change; None where nothing changes."""
        moved = [item for item in self.items if item.largest_shift]
        return max(moved, key=lambda item: item.largest_shift, default=None)

    def total(self, name: str) -> int:
        """A count summed over items."""
        return sum(getattr(item, name) for item in self.items)

    def mean_qwk(self, small_cell: int) -> float:
        """The mean over items with enough scores to be shown, never of all scores together."""
        return over_items(item.qwk for item in self.items if item.n >= small_cell).mean


def summed_up(counts: Iterable[PairCount], old_runs: Sequence[OldRun] = ()) -> ScoreComparison:
    """A comparison from its counts.

    Args:
        counts: as the warehouse keeps them, the rows of an item together.
        old_runs: whose scores are replaced.
    """
    grouped = groupby(counts, key=lambda one: (one.item_id, one.trait))
    return ScoreComparison(tuple(_of_item(list(rows)) for _, rows in grouped), tuple(old_runs))


def kept_comparison(connection: duckdb.DuckDBPyConnection, run_id: str) -> ScoreComparison | None:
    """What a run changes of what was released, as kept; None where it was not compared."""
    counts = comparison.counts(connection, run_id)
    return summed_up(counts, comparison.old_runs(connection, run_id)) if counts else None


def changes_in(counts: Iterable[PairCount]) -> dict[tuple[str, str, int | None, int], int]:
    """Released scores that would be another: item, trait, old and new score, to how many."""
    found: Counter[tuple[str, str, int | None, int]] = Counter()
    for row in counts:
        if row.replaces == "released" and row.old_score != row.new_score:
            found[row.item_id, row.trait, row.old_score, row.new_score] += row.n
    return dict(found)


def held_reason(found: ScoreComparison) -> str | None:
    """Why a person has to sign, in a sentence; None where no released score would be another."""
    if not found.changed:
        return None
    share = max(found.changed_share, 0.001)  # one of a million is not none
    told = [f"{found.total('up'):,} up and {found.total('down'):,} down"]
    if found.furthest is not None:
        points = found.furthest.largest_shift
        told.append(f"by {points} {'point' if points == 1 else 'points'} at most")
    if found.total("n_uncoded"):
        told.append(f"{found.total('n_uncoded'):,} of them from a condition code")
    if any(item.crossings for item in found.items):
        told.append(f"{found.total('n_crossing'):,} across a cut score")
    scores = "score" if found.changed == 1 else "scores"
    return (
        f"{found.changed:,} of {found.n:,} released scores would change ({share:.1%}), "
        f"{', '.join(told)}: whoever releases the run answers for the changed {scores}"
    )


def _of_item(rows: Sequence[PairCount]) -> ItemComparison:
    first = rows[0]
    released = [row for row in rows if row.replaces == "released"]
    scored = [row for row in released if row.old_score is not None]
    unreleased = [row for row in rows if row.replaces == "unreleased"]
    crossings = [_crossing(cut, scored) for cut in first.cut_scores]
    return ItemComparison(
        item_id=first.item_id,
        trait=first.trait,
        score_min=first.score_min,
        score_max=first.score_max,
        n=_sum(released),
        table=_table(first.score_min, first.score_max, scored),
        n_uncoded=_sum(released) - _sum(scored),
        crossings=tuple(crossings),
        n_crossing=_sum(row for row in scored if _crosses(row, first.cut_scores)),
        first=_sum(row for row in rows if row.replaces == "nothing"),
        unreleased=_sum(unreleased),
        unreleased_changed=_sum(row for row in unreleased if row.old_score != row.new_score),
        later=_sum(row for row in rows if row.replaces == "later"),
        old_versions=_versions(row.old_version for row in released),
        new_versions=_versions(row.new_version for row in rows),
        rated=tuple(row for row in scored if row.human_score is not None),
    )


def _sum(rows: Iterable[PairCount]) -> int:
    return sum(row.n for row in rows)


def _versions(found: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({version for version in found if version is not None}))


def _table(low: int, high: int, rows: Iterable[PairCount]) -> tuple[tuple[int, ...], ...]:
    found: Counter[tuple[int | None, int]] = Counter()
    for row in rows:
        found[row.old_score, row.new_score] += row.n
    points = range(low, high + 1)
    return tuple(tuple(found[old, new] for new in points) for old in points)


def _crosses(row: PairCount, cuts: Iterable[int]) -> bool:
    old = row.old_score
    return old is not None and any((old < cut) != (row.new_score < cut) for cut in cuts)


def _crossing(cut: int, rows: Sequence[PairCount]) -> Crossing:
    across = [row for row in rows if _crosses(row, [cut])]
    upwards = _sum(row for row in across if row.new_score >= cut)
    return Crossing(cut, upwards=upwards, downwards=_sum(across) - upwards)


def _with_people(rows: Sequence[PairCount]) -> WithPeople:
    """Both against the rater's; counts are spread out again, which costs the bootstrap nothing."""
    repeats = [row.n for row in rows]
    human, old, new = (
        np.repeat(np.array(values, dtype=np.float64), repeats)
        for values in (
            [row.human_score for row in rows],
            [row.old_score for row in rows],
            [row.new_score for row in rows],
        )
    )
    gain = _gain(human, old, new)
    before, after = np.abs(old - human), np.abs(new - human)
    return WithPeople(
        n=human.size,
        old_qwk=float(quadratic_weighted_kappa(human, old)),
        new_qwk=float(quadratic_weighted_kappa(human, new)),
        low=gain.low,
        high=gain.high,
        old_exact=float(exact_agreement(human, old)),
        new_exact=float(exact_agreement(human, new)),
        changed=int((old != new).sum()),
        nearer=int((after < before).sum()),
        farther=int((after > before).sum()),
    )


def _gain(human: Numbers, old: Numbers, new: Numbers) -> Difference:
    if human.size < 2 or (old == new).all():
        return Difference(math.nan, math.nan, math.nan, human.size)
    return paired_difference(human, new, old, seed=SEED)
