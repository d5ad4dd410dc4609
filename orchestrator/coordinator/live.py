"""What a coordinator holds in memory of the shards it writes: all of it can be had from the
journal again.
"""

from __future__ import annotations

from orchestrator.coordinator.outbox import Lane
from orchestrator.journal.port import Tenure
from orchestrator.kernel.events import CommandKind
from orchestrator.kernel.state import RunState
from orchestrator.kernel.summary import RunSummary

Identity = tuple[str, CommandKind, int]
"""Step, kind and attempt: what a reply must match."""


class LiveRun:
    """An open run, and which of its commands are on their way."""

    __slots__ = ("asked", "defect", "flying", "row", "sent", "state")

    def __init__(self, state: RunState, row: RunSummary | None = None) -> None:
        self.state = state
        self.row = row
        """The read model's row as last written."""
        self.sent: dict[Identity, Lane | None] = {}
        """Commands that need no dispatch now: waiting for it or under way, with the lane they count
        against, or None for those an alarm will bring back."""
        self.flying: set[Identity] = set()
        """Commands that were under way when the run was paused: they aren't sent again when it goes on."""
        self.asked: dict[tuple[str, int], float] = {}
        """Group and round to when the first of its prepares went out."""
        self.defect = ""


class OwnedShard:
    """A shard this coordinator writes."""

    __slots__ = ("held", "number", "poison", "runs", "tenure")

    def __init__(self, tenure: Tenure) -> None:
        self.number = tenure.shard
        self.tenure = tenure
        self.runs: dict[str, LiveRun] = {}
        self.poison: set[int | None] = set()
        """Inbox rows that can't be decided on; they stay there, for a release that can."""
        self.held = 0
        """Commands implied by the log that the outbox still holds; the dispatch cursor waits
        for them.
        """
