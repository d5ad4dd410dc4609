"""What is on its way: the commands that must be outstanding, sent when due and watched until answered.

The journal's state says what must be outstanding; this compares it with what is.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.coordinator.live import Identity, LiveRun, OwnedShard
from orchestrator.coordinator.outbox import NOWHERE, BundleOptions, Lane, Outbox, Outgoing
from orchestrator.coordinator.timers import Alarm, Purpose, Timers, timer_identity
from orchestrator.coordinator.traces import Traces
from orchestrator.coordinator.turn import Arrival
from orchestrator.errors import (
    EncodingError,
    EnvelopeError,
    InvalidInputError,
    PayloadTooLargeError,
)
from orchestrator.kernel.commands import Execute, Timer
from orchestrator.kernel.events import Failure, SignalReceived
from orchestrator.kernel.messages import Expired, Reply, TimerFired
from orchestrator.kernel.pending import pending
from orchestrator.kernel.state import Status
from orchestrator.kernel.two_phase import group_of, node_of
from orchestrator.transport.messages import Answer
from orchestrator.transport.port import Bundle, CoordinatorTransport

_log = logging.getLogger(__name__)


class Dispatcher:
    """Sends commands, and brings them back when their time has come. ``shards`` are those held now."""

    def __init__(
        self,
        shards: Mapping[int, OwnedShard],
        transport: CoordinatorTransport,
        bundle: BundleOptions,
        republish_s: float,
        clock: Callable[[], float],
        counts: Counter[str],
        stopped: Callable[[Outgoing, LiveRun], bool],
    ) -> None:
        self._shards = shards
        self._transport = transport
        self._republish_s = republish_s
        self._clock = clock
        self._counts = counts
        self._stopped = stopped
        self._timers = Timers()
        self._outbox = Outbox(bundle)
        self._traces = Traces()
        self._unsendable: list[Arrival] = []

    @property
    def next_at(self) -> float | None:
        """When the next alarm is due."""
        return self._timers.next_at()

    @property
    def drain_s(self) -> float:
        """How long it would take until all short commands under way are answered."""
        return self._outbox.drain_s()

    def answered(self, number: int, now: float) -> None:
        """So many answers came in one turn."""
        self._outbox.answered(number, now)

    def learn(self, owned: OwnedShard, answer: Answer, now: float) -> None:
        """Take in what an answer says of its participant and its worker."""
        live = owned.runs.get(answer.run)
        lane = live.sent.get((answer.step, answer.kind, answer.attempt)) if live else None
        self._outbox.learn(answer, lane or NOWHERE, now)
        if live is not None and live.state.trace:
            self._traces.answered(answer)

    def took_over(
        self,
        run_id: str,
        live: LiveRun,
        signals: Sequence[SignalReceived],
        dispatched_to: float | None,
    ) -> None:
        """A run is ours from now on, which had these signals from traced senders."""
        self._traces.took_over(run_id, live, signals, dispatched_to)

    def _still_means(self, alarm: Alarm) -> bool:
        owned = self._shards.get(alarm.shard)
        live = owned.runs.get(alarm.run_id) if owned else None
        return live is not None and (alarm.purpose == "votes" or alarm.identity in live.sent)

    def woken(self, now: float, most: int) -> Iterable[Arrival]:
        """What the alarms that are due now mean: deadlines, sleeps, waits; retries go to the outbox.

        And what could not be made a message, which is the answer to it.
        """
        yield from self._unsendable
        self._unsendable = []
        self._timers.thin_out(self._still_means)
        for alarm in self._timers.due(now, most):
            owned = self._shards.get(alarm.shard)
            live = owned.runs.get(alarm.run_id) if owned else None
            if owned is None or live is None:
                continue
            match alarm.purpose:
                case "dispatch":
                    if live.sent.get(alarm.identity, NOWHERE) is None:
                        del live.sent[alarm.identity]
                        self.want(owned, alarm.run_id, live)
                case "deadline":
                    if alarm.identity in live.sent and _is_still_due(live, alarm):
                        yield Arrival(
                            alarm.shard,
                            alarm.run_id,
                            Expired(
                                at=now, step=alarm.step, kind=alarm.kind, attempt=alarm.attempt
                            ),
                        )
                case "timer" | "votes" if not _is_awaited(live, alarm):
                    continue  # set anew when the run goes on
                case "timer" | "votes" if (at := _votes_due(live, alarm.step, now)) > now:
                    self._timers.add(alarm._replace(at=at, purpose="votes"))
                case "timer" | "votes":
                    yield Arrival(
                        alarm.shard, alarm.run_id, TimerFired(at=now, step=alarm.step or None)
                    )

    def want(
        self, owned: OwnedShard, run_id: str, live: LiveRun, dispatched_to: float | None = None
    ) -> None:
        """Compare what must be outstanding with what is; whatever was due up to
        ``dispatched_to`` has gone out.
        """
        now = self._clock()
        sent: dict[Identity, Lane | None] = {}
        stopped = live.state.paused is not None or live.state.holds
        if stopped:
            live.flying |= {one for one, lane in live.sent.items() if lane not in (None, NOWHERE)}
        for command in pending(live.state):
            if not isinstance(command, Execute):
                sent[self._await(owned, run_id, live, command)] = NOWHERE
                continue
            identity: Identity = (command.step, command.kind, command.attempt)
            if identity in live.sent:
                sent[identity] = live.sent[identity]
            elif command.due > now:
                sent[identity] = None
                self._alarm(owned, run_id, command, "dispatch", command.due)
            elif identity in live.flying:
                sent[identity] = NOWHERE
                self._alarm(owned, run_id, command, "deadline", now + command.timeout_s)
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
                        self._traces.began(run_id, live, command) if live.state.trace else {},
                    )
                )
        _settle(lane for identity, lane in live.sent.items() if identity not in sent)
        live.sent = sent
        if live.state.trace:
            self._traces.settled(run_id, live)
        if not stopped:
            live.flying.clear()

    def _await(self, owned: OwnedShard, run_id: str, live: LiveRun, timer: Timer) -> Identity:
        """Set a timer of the run, unless it is set."""
        step = timer.step or ""
        identity = timer_identity(step, timer.at)
        if identity not in live.sent:
            self._timers.add(Alarm(timer.at, owned.number, run_id, "timer", step))
        return identity

    def _alarm(
        self, owned: OwnedShard, run_id: str, command: Execute, purpose: Purpose, at: float
    ) -> None:
        shard = owned.number
        alarm = (at, shard, run_id, purpose, command.step, command.kind, command.attempt)
        self._timers.add(Alarm(*alarm, command.due))

    def publish(self) -> None:
        """Send what may go out now."""
        now = self._clock()
        batch = list(self._outbox.bundles(now, self._is_wanted))
        if not batch:
            return
        errors = self._transport.dispatch([bundle for bundle, _, _ in batch])
        for (bundle, outgoing, lane), error in zip(batch, errors, strict=True):
            if isinstance(error, EnvelopeError):
                self._publish_singly(bundle.queue, outgoing, lane, now)
            else:
                self._published(outgoing, lane, now, error)

    def _publish_singly(
        self, queue: str, outgoing: Sequence[Outgoing], lane: Lane, now: float
    ) -> None:
        """One of these can't be made a message, now or later: it ends here, the others go."""
        errors = self._transport.dispatch([Bundle(queue, (out.work(),)) for out in outgoing])
        for out, error in zip(outgoing, errors, strict=True):
            if isinstance(error, EnvelopeError):
                self._counts["unsendable"] += 1
                self._unsendable.append(_unsendable(out, error, now))
                error = None  # noqa: PLW2901 - it counts as sent, and its answer is here
            self._published([out], lane, now, error)

    def _published(
        self, outgoing: Sequence[Outgoing], lane: Lane, now: float, error: Exception | None
    ) -> None:
        if error is not None:
            self._counts["publish errors"] += 1
            _log.warning("a publish failed, its outcome is unknown: %s", error)
        for out in outgoing:
            self._dispatched(out, lane, now, failed=error is not None)

    def _is_wanted(self, out: Outgoing) -> bool:
        """Whether the run still needs this command; while it waited the run may have turned back."""
        owned = self._shards.get(out.shard)
        if owned is None or owned.tenure.epoch != out.epoch:
            return False
        live = owned.runs.get(out.run_id)
        command = out.command
        identity = (command.step, command.kind, command.attempt)
        if live is None or identity not in live.sent or not _is_still_due(live, command):
            owned.held -= 1
            return False
        if self._stopped(out, live):
            owned.held -= 1
            live.sent[identity] = None
            self._alarm(owned, out.run_id, command, "dispatch", self._clock() + self._republish_s)
            return False
        return True

    def _dispatched(self, out: Outgoing, lane: Lane, now: float, *, failed: bool) -> None:
        owned = self._shards[out.shard]
        live = owned.runs[out.run_id]
        command = out.command
        owned.held -= 1
        identity = (command.step, command.kind, command.attempt)
        if command.kind == "prepare" and (group := group_of(live.state, command.step)):
            live.asked.setdefault((group, command.round), now)
        if failed:
            lane.settled()
            live.sent[identity] = None
            self._alarm(owned, out.run_id, command, "dispatch", now + self._republish_s)
        else:
            self._counts["dispatched"] += 1
            live.sent[identity] = lane
            self._alarm(owned, out.run_id, command, "deadline", now + command.timeout_s)

    def signalled(self, run_id: str, live: LiveRun, signal: SignalReceived) -> None:
        """Link what follows from a signal to who sent it."""
        self._traces.signalled(run_id, live, signal)

    def finished(self, run_id: str, live: LiveRun) -> None:
        """Nothing is outstanding for the run any more, nor will be."""
        if live.state.trace:
            self._traces.finished(run_id, live)

    def queues(self) -> dict[str, tuple[int, int]]:
        """By queue: how many commands are held back here, and how many are under way. Safe from other threads."""
        return self._outbox.queues()

    def forget(self, owned: OwnedShard) -> None:
        """The shard has another writer, or is read anew."""
        self._outbox.forget(owned.number)
        for run_id, live in owned.runs.items():
            _settle(live.sent.values())
            if live.state.trace:
                self._traces.forget(run_id)


def _is_awaited(live: LiveRun, alarm: Alarm) -> bool:
    """Whether the run still waits for that time, or for a group's votes at all; while it is paused it may not."""
    if alarm.purpose == "timer":
        return alarm.identity in live.sent
    timer, _, _ = timer_identity(alarm.step, 0.0)
    return any(name == timer for name, _, _ in live.sent)


def _is_still_due(live: LiveRun, what: Alarm | Execute) -> bool:
    """Whether it is about the command as it stands; a pause puts it off, and then there is another."""
    step = live.state.steps.get(what.step)
    return step is not None and step.due == what.due


def _votes_due(live: LiveRun, step: str, now: float) -> float:
    """When the time for a group's votes is over: counted from the first prepare that went out, as deadlines are.

    Groups that wait for their turn would else be given up unasked, and taking them back be all the workers did.
    """
    group = live.state.steps.get(step)
    if group is None or group.status is not Status.VOTING:
        return now
    return live.asked.get((step, group.round), now) + node_of(live.state, step).timeout_s


def _unsendable(out: Outgoing, error: EnvelopeError, now: float) -> Arrival:
    command = out.command
    kind = PayloadTooLargeError if error.reason == "oversized" else EncodingError
    failure = Failure(
        kind.__name__,
        f"its command can't be sent: {error}",
        tuple(f"{base.__module__}.{base.__qualname__}" for base in (kind, InvalidInputError)),
    )
    reply = Reply(
        at=now,
        step=command.step,
        kind=command.kind,
        attempt=command.attempt,
        # What was never sent has no effect, which is what a refusal says: nothing is there to undo,
        # and the undo would be as large.
        outcome="refused" if command.kind == "do" else "failed",
        failure=failure,
    )
    return Arrival(out.shard, out.run_id, reply)


def _settle(lanes: Iterable[Lane | None]) -> None:
    for lane in lanes:
        if lane is not None:
            lane.settled()
