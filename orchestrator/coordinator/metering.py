"""What a coordinator tells of itself while it works: to nobody, unless a meter that counts is handed in.

A meter is called once a turn, after the commit, so it counts what is in the journal, each thing once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec

from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.coordinator.turn import Decisions, Draft
from orchestrator.kernel.events import ApprovalAsked
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
    approvals: Sequence[tuple[str, ApprovalAsked]] = ()
    """What waits for a second person, with its run's saga."""
    oldest_due: Mapping[str, float] = {}
    """By service: since when the command that waits longest for its answer has been due, at its first attempt."""


def load_of(
    shards: Sequence[OwnedShard],
    now: float,
    queues: Mapping[str, tuple[int, int]],
    counts: Mapping[str, int],
    dropped: Mapping[str, int],
) -> Load:
    """What these shards have to do. Safe from other threads: states are replaced, never changed."""
    lives = [live for owned in shards for live in list(owned.runs.values())]
    rows = [live.row for live in lives]
    states = [live.state for live in lives]
    return Load(
        now=now,
        shards=len(shards),
        runs=[row for row in rows if row is not None],
        queues=queues,
        counts=dict(counts),
        dropped=dict(dropped),
        approvals=[
            (state.program.plan.saga, asked)
            for state in states
            for asked in state.waiting.values()
            if asked.expires_at >= now
        ],
        oldest_due=_oldest_due(lives),
    )


def _oldest_due(lives: Iterable[LiveRun]) -> dict[str, float]:
    found: dict[str, float] = {}
    for live in lives:
        state = live.state
        for name, _, _ in list(live.sent):
            step = state.steps.get(name)
            if step is not None:  # else a timer
                service = state.call(name).service
                found[service] = min(step.since, found.get(service, step.since))
    return found


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
