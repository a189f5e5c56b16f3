"""Figures as a reader of a report wants them written."""

import math
from datetime import UTC, datetime

from tasks.evaluation import Figure

NOT_DEFINED = "–"
MOST_DIGITS = 8


def figure(value: float | None, digits: int = 2) -> str:
    """A number with thousands separators and a true minus sign; a dash where undefined."""
    if value is None or math.isnan(value):
        return NOT_DEFINED
    # Rounding first: -0.001 would be written as a negative zero.
    rounded = round(value, digits) + 0.0
    return f"{rounded:,.{digits}f}".replace("-", "−")


def share(value: float | None, digits: int = 0) -> str:
    """A share between 0 and 1 as per cent."""
    if value is None or math.isnan(value):
        return NOT_DEFINED
    return f"{value:.{digits}%}".replace("-", "−")


def interval(found: Figure, digits: int = 2) -> str:
    """Both ends of a figure's interval; a dash where it has none."""
    if math.isnan(found.low) or math.isnan(found.high):
        return NOT_DEFINED
    return f"{figure(found.low, digits)} to {figure(found.high, digits)}"


def against(value: float, limit: float) -> str:
    """A value with as many digits as show the limit whole, and the value on its side of it.

    0.9948 against a limit of 0.995 reads 0.9948, not 0.99; 0.70 stays 0.70; 0.00005 is not 0.0001.
    """
    if math.isnan(value) or math.isnan(limit):
        return figure(value)
    whole = next((d for d in range(2, MOST_DIGITS) if round(limit, d) == limit), MOST_DIGITS)
    telling = (d for d in range(whole, MOST_DIGITS) if round(value, d) != round(limit, d))
    return figure(value, next(telling, whole))


def limit_text(limit: float) -> str:
    """A limit with the digits it was written with, two at least."""
    return against(limit, limit)


def duration(seconds: float | None) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return NOT_DEFINED
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def times(factor: float) -> str:
    """What became of a number: 10 times smaller, 7.5 times larger, of the other sign."""
    if factor < 0:
        return "of the other sign"
    ratio, word = (factor, "larger") if factor >= 1 else (1 / factor, "smaller")
    return f"{ratio:.3g} times {word}"


def moment(when: datetime) -> str:
    """A time in UTC."""
    return f"{when.astimezone(UTC):%-d %B %Y, %H:%M}"


def probability(p: float) -> str:
    """A p value: three digits, or that it is smaller."""
    if math.isnan(p):
        return NOT_DEFINED
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def counted(n: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 item, 1,204 items."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"
