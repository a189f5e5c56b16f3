"""Tail probabilities of the normal, t and F distributions, without scipy.

t and F follow from the regularised incomplete beta function (NIST Digital Library of Mathematical
Functions, dlmf.nist.gov, chapter 8.17).
"""

import math

# Steps of a continued fraction that needs about the square root of the degrees of freedom.
_MOST_STEPS = 100_000
_TINY = 1e-300


def normal_tail(z: float) -> float:
    """Probability that a standard normal variable lies further from 0 than z, either way."""
    return math.erfc(abs(z) / math.sqrt(2))


def t_tail(t: float, df: float) -> float:
    """Probability that Student's t with df degrees of freedom lies further from 0 than t."""
    if math.isnan(t) or not df > 0:
        return math.nan
    if math.isinf(t):
        return 0.0
    return _incomplete_beta(df / 2, 0.5, df / (df + t * t), t * t / (df + t * t))


def f_tail(f: float, df1: float, df2: float) -> float:
    """Probability that an F variable with df1 and df2 degrees of freedom exceeds f."""
    if math.isnan(f) or not (df1 > 0 and df2 > 0):
        return math.nan
    if math.isinf(f):
        return 0.0
    whole = df2 + df1 * f
    return _incomplete_beta(df2 / 2, df1 / 2, df2 / whole, df1 * f / whole)


def t_quantile(level: float, df: float) -> float:
    """The t that holds the given share of Student's distribution between -t and t."""
    if not df > 0:
        return math.nan
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1 - level:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        if t_tail(middle, df) > 1 - level:
            low = middle
        else:
            high = middle


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """I_x(a, b); rest is 1 - x, given apart since it may be too small to be told from x."""
    if x <= 0 or rest <= 0:
        return 0.0 if x <= 0 else 1.0
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = math.exp(a * math.log(x) + b * math.log(rest) - log_beta)
    # The fraction converges fast on this side of the mean only: DLMF 8.17.4 swaps the sides.
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, rest) / b


def _fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of DLMF 8.17.22, by the modified method of Lentz."""
    numerator, denominator = 1.0, 1 / _away_from_0(1 - (a + b) * x / (a + 1))
    value = denominator
    for m in range(1, _MOST_STEPS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            denominator = 1 / _away_from_0(1 + term * denominator)
            numerator = _away_from_0(1 + term / numerator)
            step = numerator * denominator
            value *= step
        if abs(step - 1) < 1e-15:
            break
    return value


def _away_from_0(x: float) -> float:
    return x if abs(x) > _TINY else _TINY
