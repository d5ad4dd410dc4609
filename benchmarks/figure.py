"""What a measurement found: ours, the peer's, their ratio, and under which settings."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

Better = Literal["more", "less"]


class Target(msgspec.Struct, frozen=True):
    """What was asked for: of the ratio where there is a peer, else of our own value."""

    value: float
    better: Better

    def met_by(self, value: float) -> bool:
        """Whether ``value`` reaches the target."""
        return value >= self.value if self.better == "more" else value <= self.value


class Figure(msgspec.Struct, frozen=True):
    """One measured figure. ``ratio`` is ours / peer, the median over the pairs of one run."""

    name: str
    ours: float
    unit: str
    settings: dict[str, Any]
    peer: float | None = None
    ratio: float | None = None
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.target.met_by(self.ours if self.ratio is None else self.ratio)

    def as_json(self) -> dict[str, Any]:
        """The figure as ``--json`` prints it under its name."""
        found: dict[str, Any] = {
            "ours": _short(self.ours),
            "peer": _short(self.peer),
            "ratio": _short(self.ratio),
            "unit": self.unit,
            "settings": self.settings,
        }
        if self.target is not None:
            found["target"] = self.target.value
            found["met"] = self.met
        return found


def in_pairs(
    pairs: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[float, float, float]:
    """Measure alternately, peer then ours, and return both medians and the median of the pairs' ratios.

    Whatever else the machine does meanwhile slows down both halves of a pair, so the ratio is steadier than either.
    """
    measured = [(peer(), ours()) for _ in range(pairs)]
    ratios = [mine / theirs for theirs, mine in measured]
    return (
        statistics.median(mine for _, mine in measured),
        statistics.median(theirs for theirs, _ in measured),
        statistics.median(ratios),
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of the values lie, by the nearest rank."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def _short(value: float | None) -> float | None:
    """Four significant digits: the rest is noise."""
    return None if value is None else float(f"{value:.4g}")
