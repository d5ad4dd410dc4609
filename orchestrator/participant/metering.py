"""What a worker counts, over all its processes: fixed numbers in memory that they share.

Every process writes a row of its own, so that no lock is needed that a killed one could keep; its successor goes on in
the same row. Everything that can be counted is known when the worker starts: participants, kinds and outcomes.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import NamedTuple, get_args

from orchestrator.errors import EnvelopeError
from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.messages import Outcome
from orchestrator.telemetry.catalog import BY_NAME
from orchestrator.transport.messages import Answer

ROWS = 256
"""The most processes of one worker that are told apart; more of them share rows, and may lose a count."""
REASONS = ("encoding", "forged", "malformed", "misplaced", "oversized", "unsigned", "version")
"""Why a message is thrown away."""

_KINDS: tuple[CommandKind, ...] = get_args(CommandKind)
_OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_BOUNDS = BY_NAME["saga_worker_command_seconds"].buckets
_HITS = len(_OUTCOMES)
_SUM = _HITS + 1
_BUCKETS = _SUM + 1
_WIDTH = _BUCKETS + len(_BOUNDS) + 1


class Cell(NamedTuple):
    """One participant's kind of command, as counted so far."""

    participant: str
    kind: str
    outcomes: dict[str, int]
    hits: int
    seconds: float
    buckets: tuple[float, ...]
    """How many fell into each of the catalog's buckets, and beyond."""


class WorkerCounts:
    """Counters for ``participants``, qualified names; made before the processes are."""

    def __init__(self, participants: Sequence[str]) -> None:
        self._places = {
            (participant, kind): (number * len(_KINDS) + at) * _WIDTH
            for number, participant in enumerate(participants)
            for at, kind in enumerate(_KINDS)
        }
        self._dropped_at = len(self._places) * _WIDTH
        self._size = self._dropped_at + len(REASONS)
        self._numbers = RawArray("d", self._size * ROWS)
        self._row = 0
        self._lock = threading.Lock()

    def use_row(self, process: int) -> None:
        """In a forked process, before anything is counted: its number within the worker, from 0 on."""
        self._row = (1 + process) % ROWS
        self._lock = threading.Lock()  # the parent's may have been held while it forked

    def done(self, answer: Answer) -> None:
        """A command was carried out. One for a participant that isn't known is not counted."""
        place = self._places.get((answer.participant, answer.kind))
        if place is None:
            return
        at = self._row * self._size + place
        numbers = self._numbers
        with self._lock:
            numbers[at + _OUTCOMES.index(answer.outcome)] += 1
            numbers[at + _HITS] += answer.duplicate
            numbers[at + _SUM] += answer.took_s
            numbers[at + _BUCKETS + bisect_left(_BOUNDS, answer.took_s)] += 1

    def dropped(self, error: EnvelopeError) -> None:
        """A message was thrown away."""
        with self._lock:
            at = self._row * self._size + self._dropped_at + REASONS.index(error.reason)
            self._numbers[at] += 1

    def cells(self) -> Iterator[Cell]:
        """What was counted, without what never happened."""
        for (participant, kind), place in self._places.items():
            numbers = [self._total(place + at) for at in range(_WIDTH)]
            outcomes: dict[str, int] = {
                outcome: int(number)
                for outcome, number in zip(_OUTCOMES, numbers, strict=False)
                if number
            }
            if outcomes:
                buckets = tuple(numbers[_BUCKETS:])
                yield Cell(participant, kind, outcomes, int(numbers[_HITS]), numbers[_SUM], buckets)

    def dropped_by_reason(self) -> dict[str, int]:
        """How many messages were thrown away, by reason, each of them."""
        return {
            reason: int(self._total(self._dropped_at + at)) for at, reason in enumerate(REASONS)
        }

    def _total(self, at: int) -> float:
        return float(sum(self._numbers[at :: self._size]))
