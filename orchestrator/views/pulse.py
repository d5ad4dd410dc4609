"""How much began and ended in each of the last minutes: the first thing an operator looks at.

Counted at the ends of the shards' logs, by the journal.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec

from orchestrator.journal.port import ReaderJournal

EVENTS_MAX = 100_000
_COUNTED = {
    "RunLaunched": "launched",
    "RunCompleted": "completed",
    "RunCompensated": "compensated",
    "StepParked": "parked",
}


class Beat(msgspec.Struct):
    """One minute. ``at`` is its beginning, in epoch seconds."""

    at: float
    launched: int = 0
    completed: int = 0
    compensated: int = 0
    parked: int = 0


class Pulse(msgspec.Struct, frozen=True):
    """The last minutes, oldest first; the last one isn't over."""

    beats: tuple[Beat, ...]
    shortened: bool
    """There were more events than are read for one answer: the first minutes lack some."""


def pulse(
    journal: ReaderJournal,
    shards: int,
    now: float,
    minutes: int,
    *,
    sagas: Collection[str] = (),
    events_max: int = EVENTS_MAX,
) -> Pulse:
    """What happened in each of the last ``minutes``, to runs of ``sagas`` if any are named."""
    last = math.floor(now / 60) * 60.0
    beats = [Beat(last - 60.0 * back) for back in range(minutes - 1, -1, -1)]
    since = beats[0].at
    found = journal.happened(since, max(1, events_max // shards), _COUNTED, sagas)
    for (kind, minute), number in found.numbers.items():
        beat = beats[min(len(beats) - 1, minute)]
        setattr(beat, _COUNTED[kind], getattr(beat, _COUNTED[kind]) + number)
    return Pulse(tuple(beats), found.covered > since)
