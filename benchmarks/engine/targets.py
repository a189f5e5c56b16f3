"""What the engine must show: the one place where the limits stand."""

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["times", "share", "difference"]


@dataclass(frozen=True)
class Target:
    """A limit on a figure.

    Attributes:
        title: of its row.
        limit: what the figure is held against.
        needs: how: at least the limit, above it, or at most the limit.
        kind: how it is written.
    """

    title: str
    limit: float
    needs: Literal["at least", "above", "at most"] = "at least"
    kind: Kind = "times"

    def is_met(self, value: float) -> bool:
        """Whether a figure is within the limit; a figure that is no number never is."""
        if self.needs == "at most":
            return value <= self.limit
        return value > self.limit if self.needs == "above" else value >= self.limit

    @property
    def text(self) -> str:
        """The limit in words."""
        return f"{self.needs} {shown(self.limit, self.kind)}"


def shown(value: float, kind: Kind) -> str:
    """A figure as a reader wants it."""
    if kind == "share":
        return f"{value:.1%}"
    return f"{value:.2f} times" if kind == "times" else f"{value:.4f}"


TARGETS = {
    "users-bf16": Target(
        "throughput in bf16 over B2' and B6 as users run them (fp32, batch 32 as it comes), "
        "third mix",
        11.0,
    ),
    "users-fp32": Target("the same in exact fp32", 6.0),
    "compiled": Target(
        "throughput over B7 (OpenVINO, ONNX Runtime), equal precision", 1.0, "above"
    ),
    "b2-small": Target("throughput over B2, same precision, small groups", 1.3),
    "b2-others": Target("throughput over B2, same precision, the other mixes", 1.0),
    "ceiling-large": Target("share of the ceiling, large groups", 0.95, kind="share"),
    "ceiling-small": Target("share of the ceiling, small groups", 0.85, kind="share"),
    "machine-bf16": Target(
        "share of the machine's matrix-product rate, large groups, bf16", 0.60, kind="share"
    ),
    "machine-fp32": Target("the same in fp32", 0.65, kind="share"),
    "latency": Target(
        "latency per response below B0 with loading, the paper's shape", 0.80, kind="share"
    ),
    "memory": Target("memory below B1 (fp32), 27 items", 0.93, kind="share"),
    "per-item": Target("memory per further item, in sizes of the adapter's file", 1.5, "at most"),
    "training": Target("training over plain PEFT with bf16 autocast, equal QWK", 2.0),
    "qwk": Target("mean QWK, bf16 against fp32", 0.002, "at most", "difference"),
}
FEWEST_ROUNDS = 5
# Two trainings reach "equal QWK" when the engine's is at most this much lower.
EQUAL_QWK = 0.01
TRAINING_SIZES = (100, 1700)


@dataclass(frozen=True)
class Figure:
    """A measured case of a target.

    Attributes:
        target: a key of TARGETS.
        case: which backbone, mix, precision or rival.
        value: the median over rounds, None if it was not measured.
        low, high: smallest and largest over rounds, the value itself where there is one only.
    """

    target: str
    case: str
    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it was measured and is within its limit."""
        return self.value is not None and TARGETS[self.target].is_met(self.value)

    @property
    def measured(self) -> str:
        """The value and its spread in words."""
        kind = TARGETS[self.target].kind
        if self.value is None:
            return "not measured"
        if self.low is None or self.high is None:
            return shown(self.value, kind)
        return f"{shown(self.value, kind)} ({shown(self.low, kind)} to {shown(self.high, kind)})"

    def as_row(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "target": self.target,
            "case": self.case,
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "limit": TARGETS[self.target].limit,
            "is_met": self.is_met,
        }
