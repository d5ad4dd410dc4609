"""What was thrown away, and why: counted always, logged once in a while.

A flood of forged messages must not become a flood of log lines, so each reason is logged at most once per interval,
with how many came since.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping

LOG_EVERY_S = 30.0


class Dropped:
    """Counts dropped messages by reason; safe to use from several threads.

    ``what`` names the messages in the log: "answers", "work".
    """

    def __init__(self, what: str, logger: logging.Logger) -> None:
        self._what = what
        self._logger = logger
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._unlogged: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}

    def add(self, reason: str, detail: str) -> None:
        """Count one dropped message. ``detail`` goes to the log only, and only now and then."""
        now = time.monotonic()
        with self._lock:
            self._counts[reason] += 1
            self._unlogged[reason] += 1
            if now - self._logged_at.get(reason, -LOG_EVERY_S) < LOG_EVERY_S:
                return
            self._logged_at[reason] = now
            times = self._unlogged.pop(reason)
        self._logger.error(
            "dropped %s (%s, %d since last told): %s", self._what, reason, times, detail
        )

    @property
    def counts(self) -> Mapping[str, int]:
        """How many were dropped since the start, by reason."""
        with self._lock:
            return dict(self._counts)

    @property
    def total(self) -> int:
        """How many were dropped since the start."""
        with self._lock:
            return self._counts.total()
