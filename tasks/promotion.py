"""Whether a challenger takes the champion's place: promote it, keep the champion, or ask a person.

Both score the same held-out responses, to which neither was fitted, as the item reports them.
The figures are recorded with the challenger in the registry; this is what they lead to:

promote
    It agrees better with people by more than chance (the whole 95% interval of the difference
    in quadratic weighted kappa lies above 0), on ENOUGH_ROWS responses or more, and no cut score
    is crossed in one direction by more than MOST_CROSSING of them. Or the champion cannot be used
    at all, its files being lost or made for another backbone, and there are FEWEST_ROWS responses
    that say how good the challenger is.
ask
    Better by more than chance, but on fewer responses, or more than MOST_CROSSING cross a cut
    score in one direction: as many students would pass, or fail, only because an adapter changed.
    Or the champion cannot be used, and there are too few responses to say how good the challenger
    is, or ENOUGH_ROWS say that it does not agree with people at all. Or nobody knows what the
    champion was trained on, so that it may have seen the held-out responses: a challenger that is
    ahead even so is promoted as above, any other is asked about.
    Or it is not better, but takes a fraction of the champion's time, as a student does, and gives
    up no more than MOST_GIVEN_UP of QWK: whether that is worth it is for people to say.
keep
    All else: not better by more than chance, or too few responses to tell.

While nobody has answered, the champion stays, and the challenger waits under that alias.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from models.agreement import paired_difference, quadratic_weighted_kappa

Verdict = Literal["promote", "keep", "ask"]

FEWEST_ROWS = 10  # fewer held-out responses cannot tell two adapters apart
ENOUGH_ROWS = 30  # fewer do not carry a promotion that nobody has looked at
MOST_CROSSING = 0.05
MOST_GIVEN_UP = 0.02
SEED = 20


@dataclass(frozen=True)
class Flaw:
    """Why a champion cannot be compared with.

    Attributes:
        reason: a phrase about "it".
        usable: whether it can score tonight all the same.
    """

    reason: str
    usable: bool


@dataclass(frozen=True)
class Crossing:
    """Held-out responses that a challenger puts on the other side of a cut score.

    Attributes:
        cut_score: the lowest score on its upper side.
        upwards: responses below it by the champion's score, not by the challenger's.
        downwards: the reverse.
    """

    cut_score: int
    upwards: int
    downwards: int


@dataclass(frozen=True)
class Comparison:
    """Challenger and champion on the same held-out responses.

    What is not defined, or rests on fewer than FEWEST_ROWS, is NaN.

    Attributes:
        n: held-out responses that neither was fitted to.
        champion_qwk, challenger_qwk: quadratic weighted kappa with people.
        difference: challenger minus champion.
        low, high: its 95% interval, by bootstrap over responses, or over students where known.
        changed: share of the responses whose score is another.
        crossings: one for each of the item's cut scores.
        flaw: what is wrong with the champion, if anything is.
        saving: what the challenger saves where it is no better, a phrase; empty: nothing.
    """

    n: int
    champion_qwk: float = math.nan
    challenger_qwk: float = math.nan
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    changed: float = math.nan
    crossings: tuple[Crossing, ...] = ()
    flaw: Flaw | None = None
    saving: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the figures lead to; see the module."""
        return _judged(self)[0]

    @property
    def reason(self) -> str:
        """Why, in a sentence with the figures that decided."""
        return _judged(self)[1]

    @property
    def most_crossing(self) -> float:
        """The largest share of responses that cross one cut score in one direction."""
        counts = [max(one.upwards, one.downwards) for one in self.crossings]
        return max(counts, default=0) / self.n if self.n else 0.0


def compare(
    human: ArrayLike,
    champion: ArrayLike,
    challenger: ArrayLike,
    *,
    cut_scores: Sequence[int] = (),
    students: Sequence[int] = (),
    flaw: Flaw | None = None,
    saving: str = "",
) -> Comparison:
    """Compare two adapters' reported scores.

    Args:
        human: [N] human scores.
        champion: [N] the champion's scores of the same responses.
        challenger: [N] the challenger's.
        cut_scores: the item's, each the lowest score on its upper side.
        students: [N] whose response each is, -1 where that is not known; empty: not known.
        flaw: what is wrong with the champion, where it could score all the same.
        saving: what the challenger saves where it is no better, a phrase; empty: nothing.
    """
    truth = np.asarray(human, dtype=np.float64)
    old, new = np.asarray(champion), np.asarray(challenger)
    n = truth.size
    if n < FEWEST_ROWS:
        return Comparison(n, flaw=flaw)
    clusters = np.asarray(students) if len(students) else None
    gain = paired_difference(truth, new, old, seed=SEED, clusters=clusters)
    return Comparison(
        n=n,
        champion_qwk=quadratic_weighted_kappa(truth, old),
        challenger_qwk=quadratic_weighted_kappa(truth, new),
        difference=gain.value,
        low=gain.low,
        high=gain.high,
        changed=float(np.mean(old != new)),
        crossings=tuple(
            Crossing(
                cut_score=cut,
                upwards=int(np.sum((old < cut) & (new >= cut))),
                downwards=int(np.sum((old >= cut) & (new < cut))),
            )
            for cut in cut_scores
        ),
        flaw=flaw,
        saving=saving,
    )


def unopposed(human: ArrayLike, challenger: ArrayLike, flaw: Flaw) -> Comparison:
    """What there is to say of a challenger whose champion cannot be used.

    Args:
        human: [N] human scores of the held-out responses.
        challenger: [N] its scores.
        flaw: what is wrong with the champion.
    """
    truth = np.asarray(human, dtype=np.float64)
    if truth.size < FEWEST_ROWS:
        return Comparison(truth.size, flaw=flaw)
    qwk = quadratic_weighted_kappa(truth, challenger)
    return Comparison(truth.size, challenger_qwk=qwk, flaw=flaw)


def of_first(qwk: float, n: int) -> tuple[Verdict, str]:
    """What becomes of an item's first adapter: champion, unless it clearly scores nothing.

    Args:
        qwk: its quadratic weighted kappa with people on validation responses.
        n: how many these are.
    """
    if n >= ENOUGH_ROWS and not qwk > 0:
        figures = f"QWK {qwk:.3f} on {n} held-out responses"
        return "ask", f"the item had no champion; this one does not agree with people: {figures}"
    return "promote", "the item had no champion"


def metrics(comparison: Comparison) -> dict[str, float]:
    """The figures, as the registry keeps them."""
    named = {
        "comparison/n": float(comparison.n),
        "comparison/champion_qwk": comparison.champion_qwk,
        "comparison/challenger_qwk": comparison.challenger_qwk,
        "comparison/difference": comparison.difference,
        "comparison/difference_low": comparison.low,
        "comparison/difference_high": comparison.high,
        "comparison/scores_changed": comparison.changed,
    }
    for one in comparison.crossings:
        named[f"comparison/cut_{one.cut_score}_upwards"] = float(one.upwards)
        named[f"comparison/cut_{one.cut_score}_downwards"] = float(one.downwards)
    return named


def tags(verdict: Verdict, reason: str) -> dict[str, str]:
    """A verdict and its reason, as the registry keeps them."""
    return {"promotion": verdict, "promotion_reason": reason}


def _judged(found: Comparison) -> tuple[Verdict, str]:
    flaw, few = found.flaw, found.n < FEWEST_ROWS
    if flaw is not None and not flaw.usable:
        lost = f"the champion cannot be used ({flaw.reason})"
        if few:
            return "ask", f"{lost}, and {found.n} held-out responses say too little of another"
        figures = f"QWK {found.challenger_qwk:.3f} on {found.n} held-out responses"
        # NaN, where it and people give everyone the same score, is no agreement, either.
        if found.n >= ENOUGH_ROWS and not found.challenger_qwk > 0:
            return "ask", f"{lost}, and the challenger does not agree with people: {figures}"
        return "promote", f"{lost}; {figures}"
    doubt = "" if flaw is None else f", which the champion may have seen ({flaw.reason})"
    rows = f"{found.n} held-out responses{doubt}"
    unproven: Verdict = "keep" if flaw is None or found.changed == 0 else "ask"
    if few or math.isnan(found.low):
        return unproven, f"{rows}: too little to tell two adapters apart"
    figures = (
        f"QWK {found.challenger_qwk:.3f} against {found.champion_qwk:.3f} on {rows}, difference "
        f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    )
    if found.low <= 0 and found.saving and found.difference >= -MOST_GIVEN_UP:
        crossing = f"; {_crossing(found)}" if found.most_crossing > MOST_CROSSING else ""
        return "ask", f"{figures}: not better, but {found.saving}{crossing}"
    if found.low <= 0:
        return unproven, f"{figures}: not better by more than chance"
    if found.n < ENOUGH_ROWS:
        return "ask", f"{figures}: better, but on fewer than {ENOUGH_ROWS} responses"
    if found.most_crossing > MOST_CROSSING:
        return "ask", f"{figures}: better, but {_crossing(found)}"
    return "promote", f"{figures}: better by more than chance"


def _crossing(found: Comparison) -> str:
    return f"{found.most_crossing:.1%} of the responses cross a cut score in one direction"
