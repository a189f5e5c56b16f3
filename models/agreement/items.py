"""One figure for many items: always a summary of their own figures, never of their scores.

Scores of several items are not to be put together: their scales differ, and a machine that guesses
at random then seems to agree, since it knows which scale an item has. Guesses on eight scales that
end between 3 and 60 have a pooled kappa of .66, and one of 0 in each item.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# Fisher's z of 1 is infinite: one item of perfect agreement would make that of all perfect.
_FISHER_LIMIT = 0.999


@dataclass(frozen=True)
class OverItems:
    """What many items' figures come to.

    Attributes:
        mean: arithmetic mean.
        minimum: the lowest.
        fisher_mean: tanh of the mean of atanh, each figure kept within .999 either way. Read it
            beside the other two: one nearly perfect item lifts it far.
        n: items whose figure is defined.
    """

    mean: float
    minimum: float
    fisher_mean: float
    n: int


def over_items(values: Iterable[float]) -> OverItems:
    """Summarise one figure per item, such as its QWK; NaN ones are left out.

    The mean over Fisher's z is the rule by which the ASAP competition ranked its entries.

    Args:
        values: a kappa or a correlation of each item; other figures may lie beyond -1 and 1, and
            then only mean and minimum mean anything.
    """
    given = np.fromiter(values, dtype=np.float64)
    given = given[~np.isnan(given)]
    if not given.size:
        return OverItems(math.nan, math.nan, math.nan, 0)
    z = np.arctanh(np.clip(given, -_FISHER_LIMIT, _FISHER_LIMIT))
    return OverItems(
        float(given.mean()), float(given.min()), float(np.tanh(z.mean())), int(given.size)
    )
