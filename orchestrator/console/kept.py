"""Answers that many ask for at once and that cost much: kept for a few seconds.

Every open overview asks again when something happens; the figures are read from thousands of records each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")

_MOST = 100


class Kept(Generic[T]):
    """By what was asked. Safe for threads; two that ask for the same at once ask once."""

    def __init__(self, for_s: float, clock: Callable[[], float]) -> None:
        self._for_s = for_s
        self._clock = clock
        self._found: dict[Hashable, tuple[float, T]] = {}
        self._lock = threading.Lock()

    def get(self, asked: Hashable, find: Callable[[], T]) -> T:
        """What was found within the last seconds, or is now."""
        with self._lock:
            kept = self._found.get(asked)
            if kept is not None and self._clock() - kept[0] < self._for_s:
                return kept[1]
            if len(self._found) >= _MOST:
                self._found.clear()
            found = find()
            self._found[asked] = (self._clock(), found)
            return found
