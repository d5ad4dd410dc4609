"""Answers that may wait: votes and acknowledgements of atomic groups on which nothing depends yet.

They stay what they are, messages that were not read: not decided on, not acknowledged. Whatever is written next takes
them along; if all is lost before, they are delivered again, or asked for again. So a group costs one journal
transaction before its second phase, and one at its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.coordinator.turn import Arrival
from orchestrator.transport.port import Received


class Kept:
    """Answers kept for at most ``keep_s`` seconds."""

    def __init__(self, keep_s: float) -> None:
        self.arrivals: list[Arrival] = []
        self.until: float | None = None
        """When they have to be written at the latest."""
        self._received: list[Received] = []
        self._keep_s = keep_s

    def may_wait(self, now: float) -> bool:
        """Whether there is still time."""
        return self._keep_s > 0 and (self.until is None or now < self.until)

    def keep(self, received: Sequence[Received], arrivals: Sequence[Arrival], now: float) -> None:
        """Keep these, those that were kept before among them."""
        self._received.extend(received)
        self.arrivals = list(arrivals)
        if self.until is None:
            self.until = now + self._keep_s

    def taken(self, received: Sequence[Received]) -> list[Received]:
        """All of it is in the journal, ``received`` too; returns what can be acknowledged now."""
        done = [*self._received, *received]
        self._received, self.arrivals, self.until = [], [], None
        return done

    def forget(self, shard: int) -> None:
        """The shard has another writer, or is read anew: its answers will come again."""
        self.arrivals = [one for one in self.arrivals if one.shard != shard]
        self._received = [
            message
            for message in self._received
            if not any(answer.shard == shard for answer in message.answers)
        ]
        if not self.arrivals and not self._received:
            self.until = None
