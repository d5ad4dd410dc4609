"""The coordinator: take what has arrived, decide, one transaction for everything, then acknowledge
and dispatch.

The batch grows with the load by itself: while one transaction commits, more arrives. Everything it
knows can be had from the journal again, so any failure is answered by dropping a shard and
beginning anew.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from tenacity.stop import stop_when_event_set

from orchestrator.coordinator.bulks import Bulks
from orchestrator.coordinator.dispatching import Dispatcher
from orchestrator.coordinator.guard import Guard
from orchestrator.coordinator.holds import Holds
from orchestrator.coordinator.inquiries import Inquiries
from orchestrator.coordinator.kept import Kept
from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.coordinator.metering import Load, Meter, load_of
from orchestrator.coordinator.outbox import BundleOptions
from orchestrator.coordinator.ownership import Ownership, Programs
from orchestrator.coordinator.turn import Arrival, Decisions, Draft
from orchestrator.errors import (
    FencedError,
    JournalUnavailableError,
    OutcomeUnknownError,
    TransportUnavailableError,
)
from orchestrator.journal.port import Tenure, WriterJournal
from orchestrator.kernel.decide_group import recovered
from orchestrator.kernel.events import SignalReceived
from orchestrator.kernel.messages import Recovered, Reply
from orchestrator.kernel.second import NOBODY, TwoPeople
from orchestrator.transport.port import CoordinatorTransport, Received

_log = logging.getLogger(__name__)

_GATHER_AT_LEAST_S = 0.001
_EPOCH_MAX = 2**31 - 1
"""What the journal's column holds."""


class CoordinatorOptions(msgspec.Struct, frozen=True):
    """How one coordinator works. Times are in seconds."""

    owner: str
    """Unique among running coordinators."""
    lease_s: float = 10.0
    """How long a killed coordinator's shards wait for a new writer."""
    poll_s: float = 0.25
    """How often the inbox is looked at when nobody pokes."""
    inbox_every_s: float = 0.05
    """How often the inbox is looked at under load."""
    republish_s: float = 1.0
    """How long a command waits after its publish failed."""
    batch: int = 2_000
    """The most inbox rows or alarms taken in one turn."""
    gather_s: float = 0.1
    """The longest pause between turns, for more answers to share one, while many are awaited."""
    gather_share: float = 0.05
    """The pause as a share of the time until all that are awaited are there."""
    keep_s: float = 1.0
    """The longest that votes and acknowledgements of atomic groups may wait for what they are written with."""
    bundle: BundleOptions = BundleOptions()
    two_people: TwoPeople = NOBODY
    """What takes a second person."""


class Coordinator:
    """Drives the runs of the shards it holds. Not thread-safe: one thread calls ``turn`` or ``run``."""

    def __init__(
        self,
        journal: WriterJournal,
        transport: CoordinatorTransport,
        options: CoordinatorOptions,
        clock: Callable[[], float],
        meter: Meter | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._meter = meter or Meter()
        self._journal = journal
        self._transport = transport
        self._options = options
        self._clock = clock
        self._programs = Programs(journal)
        self._ownership = Ownership(
            journal, self._programs, options.owner, options.lease_s, self._forget
        )
        self._holds = Holds(journal, self._ownership.shards, clock)
        self._dispatcher = Dispatcher(
            self._ownership.shards,
            transport,
            options.bundle,
            options.republish_s,
            clock,
            self.counts,
            self._holds.stops,
        )
        self._guard = Guard(journal, options.two_people)
        self._bulks = Bulks(journal, lambda: self.shards, clock, self._guard)
        self._inquiries = Inquiries(transport, self._ownership, self.counts)
        self._kept = Kept(options.keep_s)
        self._recovered: list[Arrival] = []
        self._inbox_at = 0.0
        self._collected_at = 0.0
        """Up to when alarms have been taken: what falls due later isn't dispatched yet."""
        self._outrun: dict[int, int] = {}
        """By shard: an epoch newer than the journal's that a participant has heard of."""
        self._stopping = threading.Event()
        self._meter.watch(self.load)

    @property
    def shards(self) -> list[int]:
        """The shards held now."""
        return sorted(self._ownership.shards)

    @property
    def open_runs(self) -> int:
        """How many open runs are in memory."""
        return sum(len(owned.runs) for owned in self._ownership.shards.values())

    def load(self) -> Load:
        """What there is to do now, and what was counted so far. Safe from other threads."""
        return load_of(
            list(self._ownership.shards.values()),
            self._clock(),
            self._dispatcher.queues(),
            self.counts,
            getattr(self._transport, "dropped", {}),
        )

    def stop(self) -> None:
        """Have ``run`` end after the current turn and hand its shards over; safe from a signal
        handler.
        """
        self._stopping.set()

    def run(self) -> None:
        """Take turns until ``stop``."""
        patiently = Retrying(
            retry=retry_if_exception_type((JournalUnavailableError, TransportUnavailableError)),
            wait=wait_random_exponential(multiplier=0.1, max=self._options.lease_s / 3),
            stop=stop_when_event_set(self._stopping),
            sleep=self._pause,
            before_sleep=_say_why_waiting,
            retry_error_callback=lambda _: None,
        )
        try:
            while not self._stopping.is_set():
                began = self._clock()
                patiently(self.turn)
                self._gather(began)
        finally:
            self.close()

    def turn(self, wait_s: float | None = None) -> int:
        """Collect, decide, append, dispatch, once; returns the number of events. Waits up to
        ``wait_s`` for work.
        """
        self._gain_shards()
        self._bulks.go_on()
        self._dispatcher.publish()
        received, arrivals = self._collect(wait_s)
        self._inquiries.publish()
        decisions = Decisions(self._ownership, self._programs, self._guard, self.counts)
        try:
            for arrival in (*self._kept.arrivals, *arrivals):
                decisions.take(arrival)
            if decisions.drafts and decisions.can_wait and self._kept.may_wait(self._clock()):
                self._kept.keep(received, decisions.meaningful, self._clock())
                return 0
            written = self._append(decisions)
        except JournalUnavailableError:  # this turn's alarms are taken: only the log knows them
            for shard in self.shards:
                self._ownership.give_up(shard)
            raise
        if written is None:
            self._receive_again()
            return 0
        for draft in decisions.drafts.values():
            self._link_signals(draft)
            self._install(draft.owned, draft.changed)
        self._dispatcher.publish()
        received = self._kept.taken(received)
        self._transport.acknowledge(received)  # after the dispatch, which somebody waits for
        return written

    def _gather(self, turn_began: float) -> None:
        """Let answers gather, for a small share of the time until all that is under way is answered:
        a turn costs much the same for one answer as for ten.
        """
        pause_s = min(self._options.gather_s, self._dispatcher.drain_s * self._options.gather_share)
        left_s = turn_began + pause_s - self._clock()
        if left_s > _GATHER_AT_LEAST_S:
            self._pause(left_s)

    def close(self) -> None:
        """Hand the shards over at once."""
        try:
            self._save_cursors()
            self._ownership.hand_over()
        except (JournalUnavailableError, OutcomeUnknownError, FencedError):
            _log.warning("the leases couldn't be given back and will expire", exc_info=True)

    def _gain_shards(self) -> None:
        now = self._clock()
        self._catch_up()
        self._holds.look()
        for owned, offsets, signals in self._ownership.refresh(now):
            self._holds.gained(owned)
            _log.info(
                "writing shard %d, epoch %d, %d open runs",
                owned.number,
                owned.tenure.epoch,
                len(owned.runs),
            )
            self._meter.gained()
            self._inbox_at = 0.0  # what has waited for a writer is older than what its runs do next
            for run_id, live in owned.runs.items():
                known = offsets[run_id] <= owned.tenure.cursor_offset
                dispatched_to = owned.tenure.cursor_at if known else None
                if run_id in signals:
                    self._dispatcher.took_over(run_id, live, signals[run_id], dispatched_to)
                if recovered(live.state, now):  # sent anew once that is decided
                    message = Recovered(at=now)
                    self._recovered.append(Arrival(owned.number, run_id, message))
                    continue
                self._dispatcher.want(owned, run_id, live, dispatched_to)

    def _catch_up(self) -> None:
        for shard, epoch in self._outrun.items():
            owned = self._ownership.shards.get(shard)
            if owned is not None and owned.tenure.epoch < epoch:
                self.counts["behind the participants"] += 1
                _log.error(
                    "shard %d is in epoch %d, and a participant has heard from epoch %d: if no other coordinator"
                    " began it, the journal was restored from an older backup; see `saga journal forgotten`",
                    shard,
                    owned.tenure.epoch,
                    epoch,
                )
                self._ownership.catch_up(shard, epoch)
        self._outrun.clear()

    def _collect(self, wait_s: float | None) -> tuple[list[Received], list[Arrival]]:
        shards = self.shards
        received = self._transport.receive(shards, self._patience_s(wait_s))
        now = self._collected_at = self._clock()
        arrivals = list(self._answers(received, now))
        if not received or now - self._inbox_at >= self._options.inbox_every_s:
            self._inbox_at = now
            arrivals += self._inbox(shards)
        arrivals += self._dispatcher.woken(now, self._options.batch)
        arrivals += self._holds.arrivals(self._options.batch)  # last: see ``Recovered``
        first, self._recovered = self._recovered, []  # only now: the inbox may be out of reach
        return received, [*first, *arrivals]

    def _inbox(self, shards: list[int]) -> list[Arrival]:
        try:
            items = self._journal.inbox(shards, {}, self._options.batch)
        except JournalUnavailableError:
            self._receive_again()
            raise
        return [
            Arrival(item.shard, item.run_id, item.message, item.id)
            for item in items
            if item.id not in self._ownership.shards[item.shard].poison
        ]

    def _receive_again(self) -> None:
        """What was received in this turn isn't in the journal: it has to come again."""
        for shard in self.shards:
            self._kept.forget(shard)
            self._transport.release(shard)

    def _patience_s(self, wait_s: float | None) -> float:
        patience_s = self._options.poll_s if wait_s is None else wait_s
        next_at = self._dispatcher.next_at
        if next_at is not None:
            patience_s = min(patience_s, next_at - self._clock())
        if self._recovered or self._holds.waiting:
            patience_s = 0.0
        if self._kept.until is not None:
            patience_s = min(patience_s, self._kept.until - self._clock())
        return max(0.0, patience_s)

    def _answers(self, received: Iterable[Received], now: float) -> Iterable[Arrival]:
        self._dispatcher.answered(sum(len(message.answers) for message in received), now)
        for message in received:
            for answer in message.answers:
                owned = self._ownership.shards.get(answer.shard)
                if owned is None:
                    continue
                if answer.outcome == "rejected" and answer.epoch < owned.tenure.epoch:
                    self.counts["dropped: an older epoch was rejected"] += 1
                    continue
                heard = answer.heard_epoch
                if heard is not None and owned.tenure.epoch < heard < _EPOCH_MAX:
                    self._outrun[answer.shard] = max(heard, self._outrun.get(answer.shard, 0))
                    continue
                if self._inquiries.takes(answer, owned):
                    continue
                self._dispatcher.learn(owned, answer, now)
                if answer.duplicate:
                    self._meter.barrier_hit(answer.participant)
                yield Arrival(
                    answer.shard,
                    answer.run,
                    Reply(
                        at=now,
                        step=answer.step,
                        kind=answer.kind,
                        attempt=answer.attempt,
                        outcome=answer.outcome,
                        vote=answer.vote,
                        result=answer.result,
                        failure=answer.failure,
                        took_s=answer.took_s,
                    ),
                )

    def _append(self, decisions: Decisions) -> int | None:
        """The number of events written; None if nothing of this turn may be acted on."""
        now = self._clock()
        drafts = [draft for draft in decisions.drafts.values() if draft.changed or draft.consumed]
        if not drafts:
            return 0
        writes = [draft.write(now, self._collected_at) for draft in drafts]
        began = self._clock()
        try:
            tenures = self._journal.append(writes)
        except FencedError as error:
            self.counts["fenced"] += 1
            _log.warning("%s: giving it up", error)
            for draft in drafts:
                self._ownership.give_up(draft.owned.number)
            return None
        except OutcomeUnknownError:
            _log.warning("a commit's outcome is unknown: reading back", exc_info=True)
            for draft in drafts:
                self._ownership.give_up(draft.owned.number)
            return None
        self._advance(tenures)
        self.counts["transactions"] += 1
        self._meter.written(decisions, drafts, now, self._clock() - began)
        return sum(len(draft.events) for draft in drafts)

    def _advance(self, tenures: Iterable[Tenure]) -> None:
        for tenure in tenures:
            self._ownership.shards[tenure.shard].tenure = tenure

    def _link_signals(self, draft: Draft) -> None:
        if self._ownership.shards.get(draft.owned.number) is not draft.owned:
            return
        for run_id, event in draft.events:
            if isinstance(event, SignalReceived) and event.trace:
                self._dispatcher.signalled(run_id, draft.changed[run_id], event)

    def _install(self, owned: OwnedShard, changed: dict[str, LiveRun]) -> None:
        if self._ownership.shards.get(owned.number) is not owned:
            return
        for run_id, live in changed.items():
            self._dispatcher.want(owned, run_id, live)
            if live.state.open:
                owned.runs[run_id] = live
                self._holds.changed(owned.number, run_id, live)
            elif owned.runs.pop(run_id, None) is not None:
                self._dispatcher.finished(run_id, live)

    def _save_cursors(self) -> None:
        now = self._clock()
        shards = self._ownership.shards.values()
        writes = [Draft(owned).write(now, self._collected_at) for owned in shards]
        if writes:
            self._journal.append(writes)

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _forget(self, owned: OwnedShard) -> None:
        self._meter.lost()
        self._dispatcher.forget(owned)
        self._kept.forget(owned.number)
        self._recovered = [one for one in self._recovered if one.shard != owned.number]
        self._transport.release(owned.number)


def _say_why_waiting(state: RetryCallState) -> None:
    _log.warning("waiting for a server: %s", state.outcome and state.outcome.exception())
