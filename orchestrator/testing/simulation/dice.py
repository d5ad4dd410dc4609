"""``Dice``: every choice of a schedule, drawn from its seed, and a count of the faults among them.

Each schedule has its own mix: some faults often, some never, because faults that are all equally rare hide the
combinations that matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from random import Random
from typing import TypeVar

T = TypeVar("T")

FAULTS: Mapping[str, float] = {
    "coordinator killed before lease": 0.001,
    "coordinator killed after lease": 0.001,
    "coordinator killed before tenure": 0.01,
    "coordinator killed after tenure": 0.02,
    "coordinator killed while reading": 0.0005,
    "coordinator killed before append": 0.01,
    "coordinator killed after append": 0.015,
    "coordinator killed before a decision": 0.1,
    "coordinator killed after a decision": 0.15,
    "coordinator killed before publish": 0.01,
    "coordinator killed amid publish": 0.06,
    "coordinator killed after publish": 0.01,
    "coordinator killed before acknowledge": 0.01,
    "coordinator killed amid acknowledge": 0.06,
    "coordinator killed after acknowledge": 0.01,
    "coordinator paused after tenure": 0.02,
    "coordinator paused while reading": 0.0005,
    "coordinator paused before append": 0.01,
    "coordinator paused after append": 0.01,
    "coordinator paused before a decision": 0.1,
    "coordinator paused after a decision": 0.15,
    "coordinator paused before publish": 0.02,
    "coordinator paused amid publish": 0.05,
    "coordinator paused after publish": 0.005,
    "coordinator paused before acknowledge": 0.01,
    "power failure instead of a kill": 0.3,
    "journal unavailable": 0.003,
    "commit unknown, written": 0.01,
    "commit unknown, not written": 0.01,
    "publish failed": 0.02,
    "publish failed, sent anyway": 0.02,
    "command lost": 0.03,
    "command doubled": 0.05,
    "command late": 0.05,
    "answer lost": 0.03,
    "answer doubled": 0.05,
    "answer late": 0.05,
    "participant refuses": 0.04,
    "participant fails": 0.05,
    "participant times out": 0.02,
    "participant fails after its effect": 0.02,
    "undo fails": 0.06,
    "confirm or cancel fails": 0.06,
    "worker paused before the effect": 0.08,
    "worker killed before the effect": 0.02,
    "worker killed after the effect": 0.02,
    "worker killed after the commit": 0.02,
    "worker killed after the answer": 0.02,
    "participant's commit unknown, written": 0.01,
    "participant's commit unknown, not written": 0.01,
    "participant not registered": 0.005,
    "journal restored": 0.2,
}
"""What goes wrong by itself, and its probability where it could."""

_SEVERE = [
    name for name in FAULTS if name.startswith(("coordinator", "power", "command", "answer"))
]
_FOCUS = 0.2
"""How often at least, in a schedule where a few faults happen all the time."""

DISTURBANCES: Mapping[str, int] = {
    "coordinator killed": 3,
    "coordinator paused": 3,
    "clock jumped": 1,
    "broker wiped": 2,
    "cancelled": 4,
    "compensated by hand": 1,
    "retried by hand": 2,
    "skipped by hand": 1,
    "resolved by hand": 1,
    "acknowledged by hand": 1,
    "paused by hand": 3,
    "resumed by hand": 2,
    "signalled": 6,
    "launched again": 1,
}
"""What somebody or something does from outside, and how often compared with the others."""


class Dice:
    """The chance of one schedule."""

    def __init__(self, seed: int, certain: Iterable[str] = ()) -> None:
        self.random = Random(seed)
        self.counts: Counter[str] = Counter()
        """How often each fault happened."""
        self._rates = self._mix() | dict.fromkeys(certain, 1.0)
        self._disturbances = dict(DISTURBANCES)

    def happens(self, fault: str) -> bool:
        """Whether this fault happens here and now; counted if so."""
        rate = self._rates.get(fault, 0.0)
        if not rate or self.random.random() >= rate:
            return False
        self.counts[fault] += 1
        return True

    def which(self, *faults: str) -> str:
        """The first of these that happens, or an empty text."""
        return next((fault for fault in faults if self.happens(fault)), "")

    def disturbance(self) -> str:
        """Something that happens from outside; counted."""
        [chosen] = self.random.choices(list(self._disturbances), list(self._disturbances.values()))
        self.counts[chosen] += 1
        return chosen

    def heal(self) -> None:
        """From here on nothing goes wrong by itself."""
        self._rates = {}

    def forbid(self, what: str) -> None:
        """Leave a fault or a disturbance out of this schedule."""
        self._rates.pop(what, None)
        self._disturbances.pop(what, None)

    def _mix(self) -> dict[str, float]:
        draw = self.random
        kind = draw.random()
        if kind < 0.02:
            return {}
        if kind < 0.3:  # a few faults all the time
            rates = {name: max(FAULTS[name], _FOCUS) for name in draw.sample(_SEVERE, 2)}
            rates |= {name: max(FAULTS[name], _FOCUS / 2) for name in draw.sample(list(FAULTS), 2)}
            return rates
        return {
            name: min(0.5, rate * draw.choice((1, 1, 2, 5)))
            for name, rate in FAULTS.items()
            if draw.random() < 0.55
        }
