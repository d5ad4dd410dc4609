"""A meter that counts for Prometheus. Needs the extra ``prometheus``.

It counts in plain numbers, which one thread writes, and makes metrics of them when it is asked: the library's own
counters lock and loop, and were seen to take some 7% of a coordinator's time; these take 2 us an event.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add, sub

from prometheus_client import CollectorRegistry

from orchestrator.coordinator.gauges import by_name, of_load
from orchestrator.coordinator.live import LiveRun
from orchestrator.coordinator.metering import Load, Meter
from orchestrator.coordinator.turn import Decisions, Draft
from orchestrator.kernel import events as ev
from orchestrator.kernel.messages import Expired, Inbound, Launch, Reply
from orchestrator.telemetry.catalog import BATCH, COMMIT_S, WORK_S
from orchestrator.telemetry.prometheus import Collected, Family, bucketed, counted

_ENDED = ("completed", "compensated", "stuck")
_MAY_RETRY = (ev.StepFailed, ev.StepInDoubt, ev.AbortDecided)
_FRESH_MAX = 4096
"""So many events are kept as they are before they are sorted into buckets."""


class _Spread:
    """A histogram that one thread writes. Values are put into buckets many at a time, which costs less than half of
    doing it one by one.
    """

    __slots__ = ("_told", "add", "bounds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._begin([0] * (len(bounds) + 1), 0.0)

    def _begin(self, numbers: list[int], total: float) -> None:
        fresh: list[float] = []
        self._told = (numbers, total, fresh)
        self.add = fresh.append
        """Take a value."""

    def sort_in(self) -> None:
        """Put what was added into its buckets; the writer's to call."""
        self._begin(*self.told())

    def told(self) -> tuple[list[int], float]:
        """How many fell into each bucket, and their sum; any thread may ask."""
        numbers, total, fresh = self._told
        values = sorted(fresh)
        up_to = [bisect_right(values, bound) for bound in self.bounds]
        found = map(sub, [*up_to, len(values)], [0, *up_to])
        return list(map(add, numbers, found)), total + sum(values)


class _Command:
    """What is counted of one saga's step and kind."""

    __slots__ = ("outcomes", "retries", "seconds", "waits")

    def __init__(self, waits: _Spread) -> None:
        self.outcomes: dict[str, int] = defaultdict(int)
        self.retries = 0
        self.seconds = _Spread(WORK_S)
        self.waits = waits
        """Of its service."""


class PrometheusMeter(Meter):
    """Counts one coordinator's work, for a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Collected(self._families))
        self._launched: dict[str, int] = defaultdict(int)
        self._ended: dict[str, dict[str, int]] = {status: defaultdict(int) for status in _ENDED}
        self._commands: dict[tuple[str, str, str], _Command] = {}
        self._places: dict[tuple[str, str, str], _Command] = {}
        """The same by plan, step as it is written in the plan, and kind."""
        self._waits: dict[str, _Spread] = {}
        self._barrier_hits: dict[str, int] = defaultdict(int)
        self._inbox_wait = _Spread(WORK_S)
        self._turn_events = _Spread(BATCH)
        self._append = _Spread(COMMIT_S)
        self._leases = {"gained": 0, "lost": 0}
        self._fresh = 0

    def watch(self, load: Callable[[], Load]) -> None:
        """Export what the coordinator has to do, too."""
        self.registry.register(Collected(lambda: of_load(load())))

    def written(
        self, decisions: Decisions, drafts: Sequence[Draft], now: float, took_s: float
    ) -> None:
        """Count a turn."""
        events = sum(len(draft.events) for draft in drafts)
        self._append.add(took_s)
        self._turn_events.add(events)
        smoothly = True
        by_shard, answered = decisions.drafts, self._answered
        for shard, run_id, message, inbox_id in decisions.meaningful:
            if type(message) is Reply:  # nearly all are
                smoothly = answered(by_shard[shard], run_id, message) and smoothly
                continue
            if inbox_id is not None:
                self._inbox_wait.add(max(0.0, now - message.at))
            if type(message) is Launch:
                self._launched[message.saga] += 1
            else:
                smoothly = False
                self._came(message, by_shard[shard], run_id)
        for draft in drafts:
            for row in draft.moved:
                if row.status in self._ended:
                    self._ended[row.status][row.saga] += 1
            if not smoothly:  # launches and successes alone lead to no retry
                self._retried(draft)
        self._fresh += events
        if self._fresh > _FRESH_MAX:
            self._sort_in()

    def barrier_hit(self, participant: str) -> None:
        """Count it for the participant's service."""
        self._barrier_hits[participant.partition(".")[0]] += 1

    def gained(self) -> None:
        """Count it."""
        self._leases["gained"] += 1

    def lost(self) -> None:
        """Count it."""
        self._leases["lost"] += 1

    def _answered(self, draft: Draft, run_id: str, reply: Reply) -> bool:
        """In one piece, as it is done for every step. Whether it was a success."""
        name, took_s = reply.step, reply.took_s
        live = draft.changed[run_id]
        command = self._places.get((live.state.program.hash, name, reply.kind))
        if command is None:
            command = self._command(live, name, reply.kind)
        outcome = reply.outcome
        command.outcomes[outcome] += 1
        command.seconds.add(took_s)
        before = draft.owned.runs.get(run_id)
        step = None if before is None else before.state.steps.get(name)
        if step is not None and step.attempt == reply.attempt:
            command.waits.add(max(0.0, reply.at - step.due - took_s))
        return outcome == "succeeded"

    def _came(self, message: Inbound, draft: Draft, run_id: str) -> None:
        if isinstance(message, Expired):
            command = self._command(draft.changed[run_id], message.step, message.kind)
            command.outcomes["expired"] += 1

    def _retried(self, draft: Draft) -> None:
        for run_id, event in draft.events:
            if isinstance(event, ev.StepSucceeded):  # nearly all there are
                continue
            if isinstance(event, _MAY_RETRY):
                if event.retry_at is None:
                    continue
            elif not isinstance(event, ev.StepRetried):
                continue
            kind = "prepare" if isinstance(event, ev.AbortDecided) else event.kind
            self._command(draft.changed[run_id], event.step, kind).retries += 1

    def _command(self, live: LiveRun, step: str, kind: str) -> _Command:
        """A step goes by its place in the plan, not by its place in a fan-out, of which there may be many."""
        name = step.partition("[")[0].partition("#")[0]
        program = live.state.program
        key = (program.plan.saga, name, kind)
        command = self._commands.get(key)
        if command is None:
            service = getattr(program.named.get(name), "service", "")
            waits = self._waits.setdefault(service, _Spread(WORK_S))
            command = self._commands[key] = _Command(waits)
        if name == step:
            self._places[program.hash, step, kind] = command
        return command

    def _sort_in(self) -> None:
        self._fresh = 0
        spreads = (self._inbox_wait, self._turn_events, self._append, *self._waits.values())
        for spread in (*spreads, *(command.seconds for command in self._commands.values())):
            spread.sort_in()

    def _families(self) -> Iterable[Family]:
        yield counted("saga_runs_launched_total", by_name(self._launched))
        for status, sagas in self._ended.items():
            yield counted(f"saga_runs_{status}_total", by_name(sagas))
        commands = list(self._commands.items())
        outcomes: dict[tuple[str, ...], float] = {
            (*key, outcome): number
            for key, command in commands
            for outcome, number in list(command.outcomes.items())
        }
        yield counted("saga_commands_total", outcomes)
        yield _spread("saga_command_seconds", {key: command.seconds for key, command in commands})
        yield counted("saga_retries_total", {key: command.retries for key, command in commands})
        waits: dict[tuple[str, ...], _Spread] = {
            (service,): spread for service, spread in list(self._waits.items()) if service
        }
        yield _spread("saga_queue_wait_seconds", waits)
        yield _spread("saga_inbox_wait_seconds", {(): self._inbox_wait})
        yield counted("saga_barrier_hits_total", by_name(self._barrier_hits))
        yield _spread("saga_turn_events", {(): self._turn_events})
        yield _spread("saga_append_seconds", {(): self._append})
        yield counted("saga_lease_changes_total", by_name(self._leases))


def _spread(name: str, spreads: Mapping[tuple[str, ...], _Spread]) -> Family:
    return bucketed(name, {key: spread.told() for key, spread in spreads.items()})
