"""A cascade: the student scores every response, its teacher those of which the student is unsure.

What it is worth hangs on one number, the confidence from which the student's score stands. It is
chosen on responses that the student has not learned from, so that the cascade's quadratic weighted
kappa (QWK) stays within a stated loss of the teacher's.

An item has a dozen validation responses as a rule. On so few, two scorers' QWKs differ or do not
by chance. The loss is therefore expected, not counted: of a response whose teacher says 1.5, a
score of 1 is as good as one of 2, and of one whose teacher says 1.9 it is not. Nor is the teacher
always right where the two differ: what a person would say is best foretold by a mean m of both
expected scores. The student's share in it is STUDENT_SHARE at first; less where it differs from its
teacher by more than USEFUL_GAP of the variance of the teacher's scores, for that is noise; and the
more responses people have scored that neither learned from, the nearer it moves to what foretells
these scores best. A rater with that opinion, whose scores spread as the teacher's t do, agrees with
scores c by a QWK of 2 cov(m, c) / (var t + var c + (mean m - mean c)^2); the loss is this for t
less this for the cascade. It needs no human score, so that any response of the item counts which
the teacher alone has scored. Where people have scored enough that the teacher has not learned from,
the loss that they see must not be clearly greater, that is by more than its standard error; and
both must hold for every higher limit too, lest a lucky one be chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.agreement import quadratic_weighted_kappa
from models.scores import ScoreColumns

Floats = NDArray[np.float64]

# Fitted to people's scores of responses that neither had learned from it was 0.55 on 10 items and
# 0.68 on 11 others, and no less on the third of them where the student differed most, by 0.24 of
# the variance in the mean.
STUDENT_SHARE = 0.5
USEFUL_GAP = 0.25
# Of one item's share from that: the standard deviation of a normal prior. The share that is taken
# lies half a standard deviation below the posterior's mean, for too large a one breaks the promise.
SHARE_DEVIATION, CAUTION = 0.3, 0.5
# On fewer responses nothing can be said of a loss: all go to the teacher.
FEWEST_ROWS = 30
# On fewer human scores the loss that people see is chance.
FEWEST_HUMAN_SCORES = 30
# Limits that are tried, at most; between two of them lies half a hundredth of the responses.
MOST_LIMITS = 200
# More than any confidence: nothing is kept.
NOTHING_KEPT = 1.5


@dataclass(frozen=True)
class Limit:
    """From which confidence a student's score stands, and what that costs.

    Attributes:
        limit: the student keeps responses whose confidence is this or more.
        kept_share: share of the responses that it so keeps, 0 to 1.
        expected_loss: what both's expected scores say that this costs in QWK.
        n, n_human: responses that it was chosen on, and how many of them people have scored.
        qwk_student, qwk_teacher, qwk_cascade: with people's scores; None where not defined.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for its settings
    limit: float
    kept_share: float
    expected_loss: float
    n: int
    n_human: int
    qwk_student: float | None
    qwk_teacher: float | None
    qwk_cascade: float | None


@dataclass(frozen=True)
class Cascaded:
    """Scores of n texts by student or teacher.

    Attributes:
        columns: of whichever scored each.
        by_student: bool [n], the student's score stands.
    """

    columns: ScoreColumns
    by_student: NDArray[np.bool_]


def choose_limit(
    human: ArrayLike,
    student: ArrayLike,
    teacher: ArrayLike,
    student_raw: ArrayLike,
    teacher_raw: ArrayLike,
    confidence: ArrayLike,
    most_loss: float,
) -> Limit:
    """The lowest limit whose cascade loses no more than ``most_loss`` of its teacher's QWK.

    Args:
        human: [n] human scores of responses that neither learned from; NaN where nobody has scored
            one, and where the teacher did, for there it looks better than it is.
        student: [n] reported scores of responses that it did not learn from.
        teacher: [n] reported scores.
        student_raw: [n] expected scores of the student.
        teacher_raw: [n] expected scores of the teacher.
        confidence: [n] the student's, as it will be when responses are scored.
        most_loss: of QWK, 0 or more.

    Raises:
        ValueError: the arrays are not of one length, or hold what is no number (but for human
            scores), or the loss is below 0.
    """
    rows = _Rows.of(human, student, teacher, student_raw, teacher_raw, confidence)
    if not most_loss >= 0:
        raise ValueError(f"a loss is 0 or more, found {most_loss}")
    chosen = rows.at(NOTHING_KEPT)
    for limit in rows.limits():
        found = rows.at(limit)
        if found.expected_loss > most_loss or rows.clear_loss(limit) > most_loss:
            break
        chosen = found
    return chosen


def cascaded(
    student: ScoreColumns,
    confidence: Floats,
    limit: float,
    teacher_of: Callable[[NDArray[np.int64]], ScoreColumns],
) -> Cascaded:
    """Let the teacher score what the student is not sure enough of.

    Args:
        student: its scores of n texts.
        confidence: float64 [n], the student's, calibrated.
        limit: see ``Limit``.
        teacher_of: the teacher's scores of the texts at some positions, int64 [m]; called at most
            once, and not at all where the student keeps every text.
    """
    by_student = np.asarray(confidence >= limit)
    rest = np.flatnonzero(~by_student)
    confidences = replace(student, confidence=np.asarray(confidence, dtype=np.float64))
    if not len(rest):
        return Cascaded(confidences, by_student)
    return Cascaded(_replaced(confidences, rest, teacher_of(rest)), by_student)


def _replaced(columns: ScoreColumns, at: NDArray[np.int64], others: ScoreColumns) -> ScoreColumns:
    """The columns with some of their rows exchanged."""
    names = ("raw_score", "score", "confidence", "probabilities")
    changed = {name: getattr(columns, name).copy() for name in names}
    for name in names:
        changed[name][at] = getattr(others, name)
    return ScoreColumns(**changed)


@dataclass(frozen=True)
class _Rows:
    """Responses that the limit is chosen on; see ``choose_limit``."""

    human: Floats
    student: Floats
    teacher: Floats
    student_raw: Floats
    teacher_raw: Floats
    confidence: Floats

    @staticmethod
    def of(*columns: ArrayLike) -> "_Rows":
        arrays = [np.asarray(column, dtype=np.float64) for column in columns]
        if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
            raise ValueError(f"the arrays have the shapes {[array.shape for array in arrays]}")
        if not all(np.isfinite(array).all() for array in arrays[1:]) or np.isinf(arrays[0]).any():
            raise ValueError("scores and confidence must be finite numbers, and some are not")
        return _Rows(*arrays)

    def at(self, limit: float) -> Limit:
        """What a limit would bring."""
        kept, cascade = self.confidence >= limit, self._cascade(limit)
        return Limit(
            limit=limit,
            kept_share=float(kept.mean()) if len(kept) else 0.0,
            expected_loss=self._expected_loss(cascade),
            n=len(kept),
            n_human=int(np.isfinite(self.human).sum()),
            qwk_student=self._qwk(self.student),
            qwk_teacher=self._qwk(self.teacher),
            qwk_cascade=self._qwk(cascade),
        )

    def limits(self) -> list[float]:
        """The limits to try, highest first; none where there are too few rows."""
        if len(self.confidence) < FEWEST_ROWS:
            return []
        shares = np.linspace(0, 1, MOST_LIMITS + 1)
        found = np.unique(np.quantile(self.confidence, shares, method="inverted_cdf"))
        return [float(limit) for limit in found[::-1]]

    def clear_loss(self, limit: float) -> float:
        """The least loss of QWK that people's scores are in keeping with: a standard error less.

        0 where people have scored too few. QWK is 1 less the mean squared difference over what
        chance would give; the latter is taken to be the teacher's.
        """
        rated = np.isfinite(self.human)
        human, teacher = self.human[rated], self.teacher[rated]
        if len(human) < FEWEST_HUMAN_SCORES:
            return 0.0
        by_chance = human.var() + teacher.var() + (human.mean() - teacher.mean()) ** 2
        costs = (human - self._cascade(limit)[rated]) ** 2 - (human - teacher) ** 2
        least = costs.mean() - costs.std(ddof=1) / np.sqrt(len(costs))
        return float(least / by_chance) if by_chance > 0 else 0.0

    def _cascade(self, limit: float) -> Floats:
        return np.where(self.confidence >= limit, self.student, self.teacher)

    def _expected_loss(self, cascade: Floats) -> float:
        """What a rater of both's opinion would see.

        Of a teacher that gives one score to all nothing can be said: no score may be changed.
        """
        if np.array_equal(cascade, self.teacher):
            return 0.0
        if not np.ptp(self.teacher):
            return np.inf
        return self._expected_qwk(self.teacher) - self._expected_qwk(cascade)

    def _expected_qwk(self, scores: Floats) -> float:
        share = self._student_share()
        opinion = share * self.student_raw + (1 - share) * self.teacher_raw
        gap = opinion.mean() - scores.mean()
        covariance = ((opinion - opinion.mean()) * scores).mean()
        return float(2 * covariance / (self.teacher.var() + scores.var() + gap**2))

    def _student_share(self) -> float:
        """Of the student in the opinion: Bayesian regression of people's scores, cut to 0 to 1."""
        gap = self.student_raw - self.teacher_raw
        useful, found = USEFUL_GAP * float(self.teacher_raw.var()), float((gap**2).mean())
        expected = STUDENT_SHARE * min(1.0, useful / found if found > 0 else 1.0)
        rated = np.isfinite(self.human)
        gap, error = gap[rated], (self.human - self.teacher_raw)[rated]
        noise, precision = float((error**2).mean()) if len(error) else 1.0, SHARE_DEVIATION**-2
        if not noise:
            return 0.0
        precision += float(gap @ gap) / noise
        mean = (expected * SHARE_DEVIATION**-2 + float(gap @ error) / noise) / precision
        return float(np.clip(mean - CAUTION * precision**-0.5, 0.0, 1.0))

    def _qwk(self, scores: Floats) -> float | None:
        rated = np.isfinite(self.human)
        qwk = float(quadratic_weighted_kappa(self.human[rated], scores[rated]))
        return None if np.isnan(qwk) else qwk
