"""Which shards this coordinator writes, and what it takes to begin.

A lease decides who should write; ``begin_tenure`` appends a record that fences every earlier
writer, so nothing here has to trust a clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import NamedTuple

from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.errors import FencedError, IllegalEventError, OutcomeUnknownError
from orchestrator.journal.port import Recorded, WriterJournal
from orchestrator.kernel.events import SignalReceived
from orchestrator.kernel.evolve import fold
from orchestrator.kernel.program import Program
from orchestrator.kernel.summary import summarize
from orchestrator.telemetry.bound import Subject, handling

_log = logging.getLogger(__name__)
_CHUNK = 500
_LOOKS_PER_LEASE = 6


class Gained(NamedTuple):
    """A shard that this coordinator writes from now on."""

    owned: OwnedShard
    offsets: dict[str, int]
    """By run: where its last event is."""
    signals: dict[str, list[SignalReceived]]
    """By traced run: the signals it had from traced senders."""


class Programs:
    """The plans in use, read once each."""

    def __init__(self, journal: WriterJournal) -> None:
        self._journal = journal
        self._known: dict[str, Program] = {}

    def get(self, plan_hash: str) -> Program:
        """The program of a stored plan."""
        program = self._known.get(plan_hash)
        if program is None:
            program = self._known[plan_hash] = Program(self._journal.plan(plan_hash), plan_hash)
        return program


class Ownership:
    """The shards this coordinator writes."""

    def __init__(
        self,
        journal: WriterJournal,
        programs: Programs,
        owner: str,
        ttl_s: float,
        lost: Callable[[OwnedShard], None],
    ) -> None:
        self.shards: dict[int, OwnedShard] = {}
        self._journal = journal
        self._programs = programs
        self._owner = owner
        self._ttl_s = ttl_s
        self._lost = lost
        self._renew_at = 0.0
        self._beyond: dict[int, int] = {}
        """By shard: an epoch that participants have heard of and the journal hasn't."""

    def refresh(self, now: float) -> Iterator[Gained]:
        """Renew leases when it is time; yields each shard that was gained."""
        if now < self._renew_at:
            return
        self._renew_at = now + self._ttl_s / _LOOKS_PER_LEASE
        alive = set(self._journal.coordinators(now)) | {self._owner}
        wanted = -(-self._journal.shards() // len(alive))
        try:
            held = set(self._journal.take_leases(self._owner, now, self._ttl_s, wanted))
        except OutcomeUnknownError:
            _log.warning("which leases are ours isn't known: asking again", exc_info=True)
            self._renew_at = 0.0
            return
        for shard in (set(self.shards) - held) | self._overtaken():
            self.give_up(shard)
        for shard in sorted(held - set(self.shards)):
            gained = self._begin(shard, now)
            if gained is not None:
                yield gained

    def give_up(self, shard: int) -> None:
        """Forget a shard: another coordinator writes it, or its state has to be read anew."""
        owned = self.shards.pop(shard, None)
        if owned is not None:
            self._lost(owned)
        self._renew_at = 0.0

    def catch_up(self, shard: int, epoch: int) -> None:
        """Begin anew beyond an epoch that a participant has heard of, or else it refuses every command.

        Where a successor has begun it, the lease is the successor's. Where the journal has forgotten it, because it was
        restored from a backup, nobody else can.
        """
        self._beyond[shard] = max(epoch, self._beyond.get(shard, 0))
        self.give_up(shard)

    def hand_over(self) -> None:
        """Give every lease back, so that others need not wait for it to expire."""
        held = list(self.shards)
        for shard in held:
            self.give_up(shard)
        self._journal.drop_leases(self._owner, held)

    def _overtaken(self) -> set[int]:
        """Shards whose log isn't as we left it. Another has written, and the lease came back to us: we were
        asleep, or our clock was off. Or the journal was restored from a backup behind our back. Without anything to
        append the fence would never tell.
        """
        if not self.shards:
            return set()
        found = {lease.shard: (lease.epoch, lease.end) for lease in self._journal.leases()}
        return {
            shard
            for shard, owned in self.shards.items()
            if found.get(shard) != (owned.tenure.epoch, owned.tenure.next_offset - 1)
        }

    def history(self, shard: int, run_id: str) -> LiveRun | None:
        """A run that isn't in memory because it has ended; None if there is none."""
        records = self._journal.histories(shard, [run_id]).get(run_id)
        return self._live(records, shard) if records else None

    def has_record(self, shard: int, run_id: str) -> bool:
        """Whether the journal knows the run at all, readable or not."""
        return bool(self._journal.histories(shard, [run_id]).get(run_id))

    def _begin(self, shard: int, now: float) -> Gained | None:
        try:
            beyond = self._beyond.get(shard, 0)
            owned = OwnedShard(self._journal.begin_tenure(shard, self._owner, now, beyond))
        except FencedError:
            _log.info("shard %d was taken by another coordinator first", shard)
            return None
        except OutcomeUnknownError:
            _log.warning("shard %d may be ours: beginning again", shard, exc_info=True)
            self._renew_at = 0.0
            return None
        self._beyond.pop(shard, None)
        gained = Gained(owned, {}, {})
        open_runs = self._journal.open_runs(shard)
        for start in range(0, len(open_runs), _CHUNK):
            histories = self._journal.histories(shard, open_runs[start : start + _CHUNK])
            for run_id, records in histories.items():
                live = self._live(records, shard)
                if live is not None:
                    owned.runs[run_id] = live
                    gained.offsets[run_id] = records[-1].offset
                    if signals := _traced_signals(records):
                        gained.signals[run_id] = signals
        self.shards[shard] = owned
        return gained

    def _live(self, records: list[Recorded], shard: int) -> LiveRun | None:
        events = [record.event for record in records if record.event is not None]
        try:
            program = self._programs.get(getattr(events[0], "plan", ""))
            state = fold(program, events)
        except IllegalEventError:
            with handling(Subject(records[0].run_id)):
                _log.exception("run %s can't be read back and is left alone", records[0].run_id)
            return None
        return LiveRun(state, summarize(state, shard, records[-1].at))


def _traced_signals(records: list[Recorded]) -> list[SignalReceived]:
    events = (record.event for record in records)
    return [event for event in events if isinstance(event, SignalReceived) and event.trace]
