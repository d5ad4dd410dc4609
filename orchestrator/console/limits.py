"""How often somebody may change something: a bucket of permissions that fills up evenly."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from orchestrator.errors import SagaError

_KNOWN_MAX = 10_000
"""Buckets that are remembered; a forgotten one is full again."""


class TooManyError(SagaError):
    """More was asked for than may be; ``after_s`` says when to come back."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"too many requests: try again in {after_s:.0f} s")
        self.after_s = after_s


class Limit:
    """So many a minute for each name, and as many at once. Safe for threads."""

    def __init__(self, per_min: int, clock: Callable[[], float]) -> None:
        self._per_min = per_min
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str, cost: int = 1) -> None:
        """Use up ``cost`` permissions. Raises ``TooManyError``, and then nothing is used up."""
        now = self._clock()
        with self._lock:
            left, at = self._buckets.pop(name, (float(self._per_min), now))
            left = min(self._per_min, left + (now - at) * self._per_min / 60)
            enough = left >= min(cost, self._per_min)
            self._buckets[name] = (left - cost if enough else left, now)
            if len(self._buckets) > _KNOWN_MAX:
                self._buckets.popitem(last=False)
        if not enough:
            raise TooManyError(max(1.0, (cost - left) * 60 / self._per_min))
