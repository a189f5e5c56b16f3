"""Names that MLflow takes, for what exports and people name as they like.

MLflow refuses a metric's name that holds anything but letters, digits and ``_ - . / : space``, is
longer than 250 characters, or reads as another path. A slug keeps what can be kept; where it had
to change anything, a few digits of a hash follow, so that two names never meet in one slug and
every night gives a name the same slug.
"""

import hashlib
import re
import unicodedata
from datetime import date

LONGEST_SLUG = 60
HASH_DIGITS = 6
LONGEST_TAG = 8000
LONGEST_PARAM = 6000
CUT = " … (cut)"

_REFUSED = re.compile(r"[^A-Za-z0-9_.-]+")


def slug(name: str) -> str:
    """A name in at most 60 ASCII letters, digits, dots, dashes and single underscores.

    A name that already is one stays as it is. Others lose accents and signs, and get six digits
    of their own sha256.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = re.sub("_{2,}", "_", _REFUSED.sub("-", plain)).strip("-_.")
    if kept == name and 0 < len(kept) <= LONGEST_SLUG:
        return kept
    digits = hashlib.sha256(name.encode()).hexdigest()[:HASH_DIGITS]
    return f"{kept[: LONGEST_SLUG - HASH_DIGITS - 1].rstrip('_')}-{digits}".lstrip("-")


def subgroup_metric(kind: str, attribute: str, level: str) -> str:
    """The metric of one level of one attribute, such as ``dsm/first_language__Navi``."""
    return f"{kind}/{slug(attribute)}__{slug(level)}"


def metric_step(day: date) -> int:
    """The step of a metric: yyyymmdd of the administration, so a backfill draws in its place."""
    return day.year * 10_000 + day.month * 100 + day.day


def fitting(value: object, longest: int) -> str:
    """A value as text; what MLflow would cut without a word is cut here, and says so."""
    text = str(value)
    return text if len(text) <= longest else text[: longest - len(CUT)] + CUT
