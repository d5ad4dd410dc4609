"""Holds of sagas and services, brought to the runs they concern: to each as a message, so that its own log says when.

Between the moment a hold is seen and the turn that brings it to a run, nothing that it stops is sent for that run: the
dispatcher asks here. Without holds that costs one look at an empty dict.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.coordinator.outbox import ENDINGS, Outgoing
from orchestrator.coordinator.turn import Arrival
from orchestrator.journal.hold import Hold
from orchestrator.journal.port import WriterJournal
from orchestrator.kernel import messages as msg
from orchestrator.kernel.hold import concerns
from orchestrator.kernel.program import Program
from orchestrator.kernel.state import Phase, Status
from orchestrator.kernel.two_phase import group_of

LOOK_EVERY_S = 0.5
"""How often the journal is asked which holds are in force."""


class Holds:
    """The holds in force, and the runs that haven't heard of them or of their end."""

    def __init__(
        self,
        journal: WriterJournal,
        shards: Mapping[int, OwnedShard],
        clock: Callable[[], float],
    ) -> None:
        self._journal = journal
        self._shards = shards
        self._clock = clock
        self._look_at = 0.0
        self._in_force: dict[str, Hold] = {}
        self._by_plan: dict[str, dict[str, Hold]] = {}
        """Of those in force, by plan, what concerns its runs: worked out once, as each event asks for it."""
        self._ended: dict[str, Hold] = {}
        """Those whose end was seen: who ended them, for the runs that are told later."""
        self._to_tell: deque[tuple[int, str]] = deque()

    def look(self) -> None:
        """Ask what is in force, now and then. Raises ``JournalUnavailableError``."""
        now = self._clock()
        if self._look_at - LOOK_EVERY_S <= now < self._look_at:  # else the clock was set back
            return
        self._look_at = now + LOOK_EVERY_S
        found = {hold.id: hold for hold in self._journal.holds()}
        if found.keys() == self._in_force.keys():
            return
        if self._in_force.keys() - found.keys():
            known = self._journal.holds(in_force=False)
            self._ended = {hold.id: hold for hold in known if hold.id not in found}
        self._in_force = found
        self._by_plan.clear()
        for owned in self._shards.values():
            self.gained(owned)

    def gained(self, owned: OwnedShard) -> None:
        """Look through a shard's runs."""
        for run_id, live in owned.runs.items():
            self.changed(owned.number, run_id, live)

    def changed(self, shard: int, run_id: str, live: LiveRun) -> None:
        """A run began or went on: it may have to be told."""
        state = live.state
        if self._in_force or state.holds:
            known = self._concerning(state.program)
            if (known or state.holds) and known.keys() != state.holds.keys():
                self._to_tell.append((shard, run_id))

    @property
    def waiting(self) -> bool:
        """Whether runs have to be told."""
        return bool(self._to_tell)

    def arrivals(self, limit: int) -> Iterator[Arrival]:
        """What is in force, and what has ended, for the next of the runs that have to be told."""
        for _ in range(min(limit, len(self._to_tell))):
            shard, run_id = self._to_tell.popleft()
            owned = self._shards.get(shard)
            live = owned.runs.get(run_id) if owned else None
            if live is not None:
                for message in self._messages(live):
                    yield Arrival(shard, run_id, message)

    def stops(self, out: Outgoing, live: LiveRun) -> bool:
        """Whether a command must not be sent, because of a hold that its run hasn't heard of."""
        if not self._in_force:
            return False
        state = live.state
        concerning = self._concerning(state.program)
        if not concerning or out.command.kind in ENDINGS:
            return False
        group = group_of(state, out.command.step) if out.command.kind == "prepare" else None
        if group is not None and (group, out.command.round) in live.asked:
            return False
        for key, hold in concerning.items():
            if key in state.holds:
                continue
            forward = out.command.kind != "callback" and state.phase is Phase.FORWARD
            if hold.kind == "saga" and (forward or hold.undos):
                return True
            if hold.kind == "service" and (group or out.command.service == hold.name):
                return True
        return False

    def _concerning(self, program: Program) -> dict[str, Hold]:
        found = self._by_plan.get(program.hash)
        if found is None:
            found = self._by_plan[program.hash] = {
                key: hold
                for key, hold in self._in_force.items()
                if concerns(program, hold.kind, hold.name)
            }
        return found

    def _messages(self, live: LiveRun) -> Iterator[msg.Message]:
        now = self._clock()
        for key in live.state.holds:
            if key not in self._in_force:
                end = self._ended.get(key)
                actor, reason = (end.released_by, end.release_reason) if end else ("", "")
                yield msg.Release(at=now, actor=actor, hold=key, reason=reason)
        for hold in self._concerning(live.state.program).values():
            if hold.id not in live.state.holds:
                yield msg.Hold(
                    at=now,
                    actor=hold.actor,
                    hold=hold.id,
                    kind=hold.kind,
                    name=hold.name,
                    reason=hold.reason,
                    undos=hold.undos,
                    unsent=_unsent(live),
                )


def _unsent(live: LiveRun) -> tuple[str, ...]:
    """Groups whose votes nobody was asked for in this round; what an earlier coordinator asked for is aborted."""
    return tuple(
        key
        for key, step in live.state.steps.items()
        if step.status is Status.VOTING and (key, step.round) not in live.asked
    )
