"""A meter that counts for Prometheus. Needs the extra ``prometheus``.

Each pair of saga and step has its counters looked up once, so that an event costs a few additions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import prometheus_client as prometheus

from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.coordinator.metering import Load, Meter
from orchestrator.coordinator.turn import Arrival, Decisions, Draft
from orchestrator.kernel import events as ev
from orchestrator.kernel.messages import Expired, Launch, Reply
from orchestrator.telemetry.prometheus import (
    Collected,
    Family,
    counted,
    counter,
    gauged,
    histogram,
)
from orchestrator.transport.messages import Answer

_DROPPED, _DOUBT = "dropped: ", "in doubt: "
_WORK = frozenset({"dispatched", "transactions", "operations refused"})
"""What a coordinator counts beside its faults."""
_ENDED = frozenset({"completed", "compensated", "stuck"})


class _Command(NamedTuple):
    """The counters of one saga's step and kind."""

    outcomes: dict[str, prometheus.Counter]
    seconds: prometheus.Histogram
    retries: prometheus.Counter


class PrometheusMeter(Meter):
    """Counts one coordinator's work in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = prometheus.CollectorRegistry()
        self._launched = counter(registry, "saga_runs_launched_total")
        self._ended = {status: counter(registry, f"saga_runs_{status}_total") for status in _ENDED}
        self._commands = counter(registry, "saga_commands_total")
        self._seconds = histogram(registry, "saga_command_seconds")
        self._retries = counter(registry, "saga_retries_total")
        self._queue_wait = histogram(registry, "saga_queue_wait_seconds")
        self._inbox_wait = histogram(registry, "saga_inbox_wait_seconds")
        self._barrier_hits = counter(registry, "saga_barrier_hits_total")
        self._turn_events = histogram(registry, "saga_turn_events")
        self._append = histogram(registry, "saga_append_seconds")
        self._leases = counter(registry, "saga_lease_changes_total")
        for change in ("gained", "lost"):
            self._leases.labels(change)  # so that the first change shows as one
        self._known: dict[tuple[str, str, str], _Command] = {}
        self._waits: dict[str, prometheus.Histogram] = {}

    def watch(self, load: Callable[[], Load]) -> None:
        """Export what the coordinator has to do, too."""
        self.registry.register(Collected(lambda: _families(load())))

    def written(
        self, decisions: Decisions, drafts: Sequence[Draft], now: float, took_s: float
    ) -> None:
        """Count a turn."""
        self._append.observe(took_s)
        self._turn_events.observe(sum(len(draft.events) for draft in drafts))
        for arrival in decisions.meaningful:
            draft = decisions.drafts[arrival.shard]
            self._arrived(arrival, draft, now)
        for draft in drafts:
            for row in draft.moved:
                if row.status in _ENDED:
                    self._ended[row.status].labels(row.saga).inc()
            self._retried(draft)

    def barrier_hit(self, answer: Answer) -> None:
        """Count it for the participant's service."""
        self._barrier_hits.labels(answer.participant.partition(".")[0]).inc()

    def gained(self) -> None:
        """Count it."""
        self._leases.labels("gained").inc()

    def lost(self) -> None:
        """Count it."""
        self._leases.labels("lost").inc()

    def _arrived(self, arrival: Arrival, draft: Draft, now: float) -> None:
        message = arrival.message
        if arrival.inbox_id is not None:
            self._inbox_wait.observe(max(0.0, now - message.at))
        if isinstance(message, Launch):
            self._launched.labels(message.saga).inc()
        elif isinstance(message, Reply):
            command = self._command(draft, arrival.run_id, message.step, message.kind)
            self._outcome(command, draft, arrival.run_id, message, message.outcome)
            command.seconds.observe(message.took_s)
            self._waited(draft.owned, arrival.run_id, message)
        elif isinstance(message, Expired):
            command = self._command(draft, arrival.run_id, message.step, message.kind)
            self._outcome(command, draft, arrival.run_id, message, "expired")

    def _outcome(
        self,
        command: _Command,
        draft: Draft,
        run_id: str,
        message: Reply | Expired,
        outcome: str,
    ) -> None:
        child = command.outcomes.get(outcome)
        if child is None:
            labels = _labels(draft.changed[run_id], message.step, message.kind)
            child = command.outcomes[outcome] = self._commands.labels(*labels, outcome)
        child.inc()

    def _waited(self, owned: OwnedShard, run_id: str, reply: Reply) -> None:
        before = owned.runs.get(run_id)
        step = None if before is None else before.state.steps.get(reply.step)
        if before is None or step is None or step.attempt != reply.attempt:
            return
        service = before.state.program.call(step.name).service
        child = self._waits.get(service)
        if child is None:
            child = self._waits[service] = self._queue_wait.labels(service)
        child.observe(max(0.0, reply.at - step.due - reply.took_s))

    def _retried(self, draft: Draft) -> None:
        for run_id, event in draft.events:
            match event:
                case ev.StepRetried(step=step, kind=kind):
                    pass
                case (
                    ev.StepFailed(step=step, kind=kind, retry_at=float())
                    | ev.StepInDoubt(step=step, kind=kind, retry_at=float())
                ):
                    pass
                case ev.AbortDecided(step=step, retry_at=float()):
                    kind = "prepare"
                case _:
                    continue
            self._command(draft, run_id, step, kind).retries.inc()

    def _command(self, draft: Draft, run_id: str, step: str, kind: str) -> _Command:
        labels = _labels(draft.changed[run_id], step, kind)
        command = self._known.get(labels)
        if command is None:
            command = self._known[labels] = _Command(
                {}, self._seconds.labels(*labels), self._retries.labels(*labels)
            )
        return command


def _labels(live: LiveRun, step: str, kind: str) -> tuple[str, str, str]:
    """A step goes by its place in the plan, not by its place in a fan-out, of which there may be many."""
    return live.state.program.plan.saga, step.partition("[")[0].partition("#")[0], kind


def _families(load: Load) -> Iterable[Family]:
    runs: Counter[tuple[str, ...]] = Counter((run.saga, run.status) for run in load.runs)
    yield gauged("saga_open_runs", runs)
    oldest: dict[tuple[str, ...], float] = {}
    stuck: dict[tuple[str, ...], float] = {}
    for run in load.runs:
        ages, since = (
            (stuck, run.updated_at) if run.status == "stuck" else (oldest, run.launched_at)
        )
        ages[run.saga,] = max(ages.get((run.saga,), 0.0), load.now - since)
    yield gauged("saga_oldest_open_run_seconds", oldest)
    yield gauged("saga_oldest_stuck_seconds", stuck)
    yield gauged("saga_shards_held", {(): load.shards})
    queues: dict[tuple[str, ...], float] = {
        (queue, state): float(number)
        for queue, numbers in load.queues.items()
        for state, number in zip(("held", "under way"), numbers, strict=True)
    }
    yield gauged("saga_queue_commands", queues)
    yield counted("saga_dropped_replies_total", _of(load, _DROPPED) | _by(load.dropped))
    yield counted("saga_inquiries_total", _of(load, _DOUBT))
    faults = {
        what: number
        for what, number in load.counts.items()
        if what not in _WORK and not what.startswith((_DROPPED, _DOUBT))
    }
    yield counted("saga_coordinator_faults_total", _by(faults))


def _of(load: Load, prefix: str) -> dict[tuple[str, ...], float]:
    found = {what: number for what, number in load.counts.items() if what.startswith(prefix)}
    return {(what.removeprefix(prefix),): float(number) for what, number in found.items()}


def _by(numbers: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(what,): float(number) for what, number in numbers.items()}
