"""A meter that counts for Prometheus. Needs the extra ``prometheus``.

It counts in plain numbers, which one thread writes, and makes metrics of them when it is asked: the library's own
counters lock and loop, and were seen to take some 7% of a coordinator's time; these take 2 us an event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry

from orchestrator.coordinator.live import LiveRun, OwnedShard
from orchestrator.coordinator.metering import Load, Meter
from orchestrator.coordinator.turn import Arrival, Decisions, Draft
from orchestrator.kernel import events as ev
from orchestrator.kernel.messages import Expired, Launch, Reply
from orchestrator.kernel.summary import RunSummary
from orchestrator.telemetry.catalog import BATCH, COMMIT_S, WORK_S
from orchestrator.telemetry.prometheus import Collected, Family, bucketed, counted, gauged

_DROPPED, _DOUBT = "dropped: ", "in doubt: "
_WORK = frozenset({"dispatched", "transactions", "operations refused"})
"""What a coordinator counts beside its faults."""
CLUSTERS_MAX = 50
"""Of incidents, each a series of its own; what there is beyond them is one for each saga."""
_ENDED = ("completed", "compensated", "stuck")


class _Spread:
    """A histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


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
        self._waits: dict[str, _Spread] = {}
        self._barrier_hits: dict[str, int] = defaultdict(int)
        self._inbox_wait = _Spread(WORK_S)
        self._turn_events = _Spread(BATCH)
        self._append = _Spread(COMMIT_S)
        self._leases = {"gained": 0, "lost": 0}

    def watch(self, load: Callable[[], Load]) -> None:
        """Export what the coordinator has to do, too."""
        self.registry.register(Collected(lambda: _of_load(load())))

    def written(
        self, decisions: Decisions, drafts: Sequence[Draft], now: float, took_s: float
    ) -> None:
        """Count a turn."""
        self._append.add(took_s)
        self._turn_events.add(sum(len(draft.events) for draft in drafts))
        smoothly = True
        for arrival in decisions.meaningful:
            smoothly &= getattr(arrival.message, "outcome", "") == "succeeded"
            self._arrived(arrival, decisions.drafts[arrival.shard], now)
        for draft in drafts:
            for row in draft.moved:
                if row.status in self._ended:
                    self._ended[row.status][row.saga] += 1
            if not smoothly:  # successes alone lead to no retry
                self._retried(draft)

    def barrier_hit(self, participant: str) -> None:
        """Count it for the participant's service."""
        self._barrier_hits[participant.partition(".")[0]] += 1

    def gained(self) -> None:
        """Count it."""
        self._leases["gained"] += 1

    def lost(self) -> None:
        """Count it."""
        self._leases["lost"] += 1

    def _arrived(self, arrival: Arrival, draft: Draft, now: float) -> None:
        message = arrival.message
        if arrival.inbox_id is not None:
            self._inbox_wait.add(max(0.0, now - message.at))
        if isinstance(message, Reply):
            live = draft.changed[arrival.run_id]
            command = self._command(live, message.step, message.kind)
            command.outcomes[message.outcome] += 1
            command.seconds.add(message.took_s)
            waited_s = _waited_s(draft.owned, arrival.run_id, message)
            if waited_s is not None:
                command.waits.add(waited_s)
        elif isinstance(message, Launch):
            self._launched[message.saga] += 1
        elif isinstance(message, Expired):
            live = draft.changed[arrival.run_id]
            self._command(live, message.step, message.kind).outcomes["expired"] += 1

    def _retried(self, draft: Draft) -> None:
        for run_id, event in draft.events:
            if isinstance(event, ev.StepSucceeded):  # nearly all there are
                continue
            if isinstance(event, ev.StepFailed | ev.StepInDoubt | ev.AbortDecided):
                if event.retry_at is None:
                    continue
            elif not isinstance(event, ev.StepRetried):
                continue
            kind = "prepare" if isinstance(event, ev.AbortDecided) else event.kind
            self._command(draft.changed[run_id], event.step, kind).retries += 1

    def _command(self, live: LiveRun, step: str, kind: str) -> _Command:
        """A step goes by its place in the plan, not by its place in a fan-out, of which there may be many."""
        if "[" in step or "#" in step:
            step = step.partition("[")[0].partition("#")[0]
        program = live.state.program
        key = (program.plan.saga, step, kind)
        command = self._commands.get(key)
        if command is None:
            service = getattr(program.named.get(step), "service", "")
            waits = self._waits.setdefault(service, _Spread(WORK_S))
            command = self._commands[key] = _Command(waits)
        return command

    def _families(self) -> Iterable[Family]:
        yield counted("saga_runs_launched_total", _by(self._launched))
        for status, sagas in self._ended.items():
            yield counted(f"saga_runs_{status}_total", _by(sagas))
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
        yield counted("saga_barrier_hits_total", _by(self._barrier_hits))
        yield _spread("saga_turn_events", {(): self._turn_events})
        yield _spread("saga_append_seconds", {(): self._append})
        yield counted("saga_lease_changes_total", _by(self._leases))


def _waited_s(owned: OwnedShard, run_id: str, reply: Reply) -> float | None:
    before = owned.runs.get(run_id)
    step = None if before is None else before.state.steps.get(reply.step)
    if step is None or step.attempt != reply.attempt:
        return None
    return max(0.0, reply.at - step.due - reply.took_s)


def _of_load(load: Load) -> Iterable[Family]:
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
    yield gauged("saga_open_incidents", _incidents(load.runs))
    yield gauged("saga_shards_held", {(): load.shards})
    queues: dict[tuple[str, ...], float] = {
        (queue, state): number
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


def _incidents(runs: Iterable[RunSummary]) -> dict[tuple[str, ...], float]:
    """Open incidents by saga, step, cluster and whether somebody is on it.

    A cluster is a cause, so there are few; should causes be told apart wrongly there may be as many as incidents. So
    the largest are named and the rest of a saga counted together.
    """
    found: Counter[tuple[str, ...]] = Counter(
        (run.saga, one.step.partition("[")[0], one.cluster, "yes" if one.acked_at else "no")
        for run in runs
        for one in run.incidents
    )
    if len(found) <= CLUSTERS_MAX:
        return dict(found)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    named = Counter(dict(ranked[:CLUSTERS_MAX]))
    for key, number in ranked[CLUSTERS_MAX:]:
        named[key[0], "other", "other", key[3]] += number
    return dict(named)


def _spread(name: str, spreads: Mapping[tuple[str, ...], _Spread]) -> Family:
    return bucketed(
        name, {key: (list(spread.counts), spread.total) for key, spread in spreads.items()}
    )


def _of(load: Load, prefix: str) -> dict[tuple[str, ...], float]:
    found = {what: number for what, number in load.counts.items() if what.startswith(prefix)}
    return {(what.removeprefix(prefix),): number for what, number in found.items()}


def _by(numbers: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    return {(what,): number for what, number in list(numbers.items())}
