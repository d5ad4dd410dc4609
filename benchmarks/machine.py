"""What else the machine was busy with during a measurement: figures from a busy machine are to be read as such."""

from __future__ import annotations

import os
import time

import psutil


class OtherLoad:
    """The share of all cores that went to processes not of this benchmark, since it was made."""

    def __init__(self) -> None:
        self._wall = time.monotonic()
        self._busy = _busy_s()
        self._own = _own_s()

    def share(self) -> float:
        """Between 0, the machine was ours alone, and 1."""
        available_s = (time.monotonic() - self._wall) * (os.cpu_count() or 1)
        others_s = (_busy_s() - self._busy) - (_own_s() - self._own)
        return round(max(0.0, others_s / available_s), 2)


def _busy_s() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # part of user, nice
    return float(sum(times) - idle - guests)


def _own_s() -> float:
    """CPU time of this process, of all below it, and of those below it that have ended."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])  # its own and its ended children's
        except psutil.NoSuchProcess:
            continue
    return total
