"""What a coordinator tells of itself while it works: to nobody, unless a meter that counts is handed in.

A meter is called once a turn, after the commit, so it counts what is in the journal, each thing once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from orchestrator.coordinator.turn import Decisions, Draft
from orchestrator.kernel.summary import RunSummary


class Load(msgspec.Struct, frozen=True):
    """What a coordinator has to do at one time, and what it counted since its start."""

    now: float
    shards: int
    """Held now."""
    runs: Sequence[RunSummary]
    """The open ones, as last written."""
    queues: Mapping[str, tuple[int, int]]
    """By queue: commands held back, and under way."""
    counts: Mapping[str, int]
    dropped: Mapping[str, int]
    """Messages that the transport threw away, by reason."""


class Meter:
    """Counts nothing; the base of those that do."""

    def watch(self, load: Callable[[], Load]) -> None:
        """The coordinator says what it has to do to whoever calls ``load``, from any thread."""

    def written(
        self, decisions: Decisions, drafts: Sequence[Draft], now: float, took_s: float
    ) -> None:
        """A turn is in the journal, and the shards still are as they were before; the commit took ``took_s``."""

    def barrier_hit(self, participant: str) -> None:
        """A participant knew the command already."""

    def gained(self) -> None:
        """A shard is written from now on."""

    def lost(self) -> None:
        """A shard is given up."""
