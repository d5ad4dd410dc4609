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

from orchestrator.coordinator.live import Identity, LiveRun, OwnedShard
from orchestrator.coordinator.outbox import NOWHERE, BundleOptions, Lane, Outbox, Outgoing
from orchestrator.coordinator.ownership import Ownership, Programs
from orchestrator.coordinator.timers import Alarm, Purpose, Timers, timer_identity
from orchestrator.coordinator.turn import Arrival, Decisions, Draft
from orchestrator.errors import (
    FencedError,
    JournalUnavailableError,
    OutcomeUnknownError,
    TransportUnavailableError,
)
from orchestrator.journal.port import Tenure, WriterJournal
from orchestrator.kernel.commands import Execute
from orchestrator.kernel.messages import Expired, Reply, TimerFired
from orchestrator.kernel.pending import pending
from orchestrator.transport.messages import Answer
from orchestrator.transport.port import CoordinatorTransport, Received

_log = logging.getLogger(__name__)

_GATHER_SHARE = 0.02
_GATHER_AT_LEAST_S = 0.001


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
    gather_s: float = 0.05
    """The longest pause between turns, for more answers to share one, while many are awaited."""
    bundle: BundleOptions = BundleOptions()


class Coordinator:
    """Drives the runs of the shards it holds. Not thread-safe: one thread calls ``turn`` or
    ``run``.
    """

    def __init__(
        self,
        journal: WriterJournal,
        transport: CoordinatorTransport,
        options: CoordinatorOptions,
        clock: Callable[[], float],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._journal = journal
        self._transport = transport
        self._options = options
        self._clock = clock
        self._programs = Programs(journal)
        self._timers = Timers()
        self._outbox = Outbox(options.bundle)
        self._ownership = Ownership(
            journal, self._programs, options.owner, options.lease_s, self._forget
        )
        self._inbox_at = 0.0
        self._stopping = threading.Event()

    @property
    def shards(self) -> list[int]:
        """The shards held now."""
        return sorted(self._ownership.shards)

    @property
    def open_runs(self) -> int:
        """How many open runs are in memory."""
        return sum(len(owned.runs) for owned in self._ownership.shards.values())

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
        self._publish()
        received, arrivals = self._collect(wait_s)
        decisions = Decisions(self._ownership, self._programs, self.counts)
        for arrival in arrivals:
            decisions.take(arrival)
        written = self._append(decisions)
        if written is None:
            return 0
        for draft in decisions.drafts.values():
            self._install(draft.owned, draft.changed)
        self._publish()
        self._transport.acknowledge(received)  # after the dispatch, which somebody waits for
        return written

    def _gather(self, turn_began: float) -> None:
        """Let answers gather, for a small share of the time until all that is under way is answered:
        a turn costs much the same for one answer as for ten.
        """
        pause_s = min(self._options.gather_s, self._outbox.drain_s() * _GATHER_SHARE)
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
        for owned, offsets in self._ownership.refresh(now):
            _log.info(
                "writing shard %d, epoch %d, %d open runs",
                owned.number,
                owned.tenure.epoch,
                len(owned.runs),
            )
            for run_id, live in owned.runs.items():
                known = offsets[run_id] <= owned.tenure.cursor_offset
                self._want(
                    owned, run_id, live, dispatched_to=owned.tenure.cursor_at if known else None
                )

    def _collect(self, wait_s: float | None) -> tuple[list[Received], list[Arrival]]:
        shards = self.shards
        received = self._transport.receive(shards, self._patience_s(wait_s))
        now = self._clock()
        arrivals = list(self._answers(received, now))
        if not received or now - self._inbox_at >= self._options.inbox_every_s:
            self._inbox_at = now
            arrivals += [
                Arrival(item.shard, item.run_id, item.message, item.id)
                for item in self._journal.inbox(shards, {}, self._options.batch)
                if item.id not in self._ownership.shards[item.shard].poison
            ]
        arrivals += self._alarms(now)
        return received, arrivals

    def _patience_s(self, wait_s: float | None) -> float:
        patience_s = self._options.poll_s if wait_s is None else wait_s
        next_at = self._timers.next_at()
        if next_at is not None:
            patience_s = min(patience_s, next_at - self._clock())
        return max(0.0, patience_s)

    def _answers(self, received: Iterable[Received], now: float) -> Iterable[Arrival]:
        self._outbox.answered(sum(len(message.answers) for message in received), now)
        for message in received:
            for answer in message.answers:
                owned = self._ownership.shards.get(answer.shard)
                if owned is None:
                    continue
                if answer.outcome == "rejected" and answer.epoch < owned.tenure.epoch:
                    self.counts["dropped: an older epoch was rejected"] += 1
                    continue
                self._learn(owned, answer, now)
                yield Arrival(
                    answer.shard,
                    answer.run,
                    Reply(
                        at=now,
                        step=answer.step,
                        kind=answer.kind,
                        attempt=answer.attempt,
                        outcome=answer.outcome,
                        result=answer.result,
                        failure=answer.failure,
                        took_s=answer.took_s,
                    ),
                )

    def _learn(self, owned: OwnedShard, answer: Answer, now: float) -> None:
        live = owned.runs.get(answer.run)
        lane = live.sent.get((answer.step, answer.kind, answer.attempt)) if live else None
        self._outbox.learn(answer, lane or NOWHERE, now)

    def _still_means(self, alarm: Alarm) -> bool:
        owned = self._ownership.shards.get(alarm.shard)
        live = owned.runs.get(alarm.run_id) if owned else None
        return live is not None and alarm.identity in live.sent

    def _alarms(self, now: float) -> Iterable[Arrival]:
        self._timers.thin_out(self._still_means)
        for alarm in self._timers.due(now, self._options.batch):
            owned = self._ownership.shards.get(alarm.shard)
            live = owned.runs.get(alarm.run_id) if owned else None
            if owned is None or live is None:
                continue
            match alarm.purpose:
                case "dispatch":
                    if live.sent.get(alarm.identity, NOWHERE) is None:
                        del live.sent[alarm.identity]
                        self._want(owned, alarm.run_id, live)
                case "deadline":
                    if alarm.identity in live.sent:
                        yield Arrival(
                            alarm.shard,
                            alarm.run_id,
                            Expired(
                                at=now, step=alarm.step, kind=alarm.kind, attempt=alarm.attempt
                            ),
                        )
                case "timer":
                    yield Arrival(
                        alarm.shard, alarm.run_id, TimerFired(at=now, step=alarm.step or None)
                    )

    def _append(self, decisions: Decisions) -> int | None:
        """The number of events written; None if nothing of this turn may be acted on."""
        now = self._clock()
        drafts = [draft for draft in decisions.drafts.values() if draft.changed or draft.consumed]
        if not drafts:
            return 0
        writes = [draft.write(now) for draft in drafts]
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
        except JournalUnavailableError:
            for draft in drafts:
                self._ownership.give_up(draft.owned.number)
            raise
        self._advance(tenures)
        self.counts["transactions"] += 1
        return sum(len(draft.events) for draft in drafts)

    def _advance(self, tenures: Iterable[Tenure]) -> None:
        for tenure in tenures:
            self._ownership.shards[tenure.shard].tenure = tenure

    def _install(self, owned: OwnedShard, changed: dict[str, LiveRun]) -> None:
        if self._ownership.shards.get(owned.number) is not owned:
            return
        for run_id, live in changed.items():
            self._want(owned, run_id, live)
            if live.state.open:
                owned.runs[run_id] = live
            else:
                owned.runs.pop(run_id, None)

    def _want(
        self, owned: OwnedShard, run_id: str, live: LiveRun, dispatched_to: float | None = None
    ) -> None:
        """Compare what must be outstanding with what is; whatever was due up to
        ``dispatched_to`` has gone out.
        """
        now = self._clock()
        sent: dict[Identity, Lane | None] = {}
        for command in pending(live.state):
            if not isinstance(command, Execute):
                step = command.step or ""
                identity: Identity = timer_identity(step, command.at)
                sent[identity] = NOWHERE
                if identity not in live.sent:
                    self._timers.add(Alarm(command.at, owned.number, run_id, "timer", step))
                continue
            identity = (command.step, command.kind, command.attempt)
            if identity in live.sent:
                sent[identity] = live.sent[identity]
            elif command.due > now:
                sent[identity] = None
                self._alarm(owned, run_id, command, "dispatch", command.due)
            elif dispatched_to is not None and command.due <= dispatched_to:
                sent[identity] = NOWHERE
                self._alarm(owned, run_id, command, "deadline", command.due + command.timeout_s)
            else:
                sent[identity] = NOWHERE
                owned.held += 1
                self._outbox.put(
                    Outgoing(
                        owned.number,
                        owned.tenure.epoch,
                        run_id,
                        live.state.program.plan.saga,
                        command,
                    )
                )
        _settle(lane for identity, lane in live.sent.items() if identity not in sent)
        live.sent = sent

    def _alarm(
        self, owned: OwnedShard, run_id: str, command: Execute, purpose: Purpose, at: float
    ) -> None:
        shard = owned.number
        self._timers.add(
            Alarm(at, shard, run_id, purpose, command.step, command.kind, command.attempt)
        )

    def _publish(self) -> None:
        now = self._clock()
        batch = list(self._outbox.bundles(now, self._is_wanted))
        if not batch:
            return
        errors = self._transport.dispatch([bundle for bundle, _, _ in batch])
        for (_, outgoing, lane), error in zip(batch, errors, strict=True):
            if error is not None:
                self.counts["publish errors"] += 1
                _log.warning("a publish failed, its outcome is unknown: %s", error)
            for out in outgoing:
                self._dispatched(out, lane, now, failed=error is not None)

    def _is_wanted(self, out: Outgoing) -> bool:
        """Whether the run still needs this command; while it waited the run may have turned back."""
        owned = self._ownership.shards.get(out.shard)
        if owned is None or owned.tenure.epoch != out.epoch:
            return False
        live = owned.runs.get(out.run_id)
        command = out.command
        if live is None or (command.step, command.kind, command.attempt) not in live.sent:
            owned.held -= 1
            return False
        return True

    def _dispatched(self, out: Outgoing, lane: Lane, now: float, *, failed: bool) -> None:
        owned = self._ownership.shards[out.shard]
        live = owned.runs[out.run_id]
        command = out.command
        owned.held -= 1
        identity = (command.step, command.kind, command.attempt)
        if failed:
            lane.settled()
            live.sent[identity] = None
            self._alarm(owned, out.run_id, command, "dispatch", now + self._options.republish_s)
        else:
            self.counts["dispatched"] += 1
            live.sent[identity] = lane
            self._alarm(owned, out.run_id, command, "deadline", now + command.timeout_s)

    def _save_cursors(self) -> None:
        now = self._clock()
        writes = [Draft(owned).write(now) for owned in self._ownership.shards.values()]
        if writes:
            self._journal.append(writes)

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def _forget(self, owned: OwnedShard) -> None:
        self._outbox.forget(owned.number)
        for live in owned.runs.values():
            _settle(live.sent.values())
        self._transport.release(owned.number)


def _settle(lanes: Iterable[Lane | None]) -> None:
    for lane in lanes:
        if lane is not None:
            lane.settled()


def _say_why_waiting(state: RetryCallState) -> None:
    _log.warning("waiting for a server: %s", state.outcome and state.outcome.exception())
