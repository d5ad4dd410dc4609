"""Commands on their way out: how many go into one message, and how many may be under way at once.

Celery's own cost per message is what limits throughput, so short commands share a message of about
``work_s`` of work; long ones and ones of unknown duration travel alone. What is queued at the
broker is kept short: a deadline, counted from the dispatch, then measures the participant and not
the queue, and a short command never stands behind a backlog of long ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from orchestrator.kernel.commands import Execute
from orchestrator.kernel.events import CommandKind
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle

QUEUED_S = 0.1
"""Enough work at the broker for workers to be busy while a turn of the coordinator lasts."""
UNKNOWN_AT_ONCE = 16
"""Commands under way while nothing is known of their durations and of the workers."""

ENDINGS = frozenset({"commit", "abort"})
"""Kinds of commands that end a branch of an atomic group."""

_SMOOTHING = 0.2
_WORKER_SEEN_S = 30.0
_PATIENCE_S = 1.0
_ROUNDING = 1.001
_MOST_DOUBLINGS = 10


class BundleOptions(msgspec.Struct, frozen=True):
    """How commands are put together into messages."""

    work_s: float = 0.02
    """Aim for this much work in one message."""
    most: int = 100
    """Never more commands than this in one message; 1 switches bundling off."""
    window: int = 1_000
    """The most commands under way to one queue."""


class Outgoing(NamedTuple):
    """A command with what its message needs to say beside it."""

    shard: int
    epoch: int
    run_id: str
    saga: str
    command: Execute
    trace: dict[str, str]

    def work(self) -> Work:
        """The command as it travels."""
        command = self.command
        return Work(
            run=self.run_id,
            shard=self.shard,
            epoch=self.epoch,
            step=command.step,
            kind=command.kind,
            attempt=command.attempt,
            round=command.round,
            participant=command.participant,
            args=command.args,
            result=command.result,
            timeout_s=command.timeout_s,
            saga=self.saga,
            trace=self.trace,
            one_phase=command.one_phase,
        )


class Lane:
    """Commands for one queue that are alike: the short ones, or the long ones and the unknown."""

    __slots__ = ("mean_s", "progress_at", "queue", "under_way", "waiting")

    def __init__(self, queue: _Queue | None = None) -> None:
        self.queue = queue
        self.waiting: deque[Outgoing] = deque()
        self.under_way = 0
        self.progress_at = 0.0
        """When an answer came, or something went out while nothing was under way."""
        self.mean_s = 0.0
        """How long one takes, 0 while that isn't known."""

    def settled(self) -> None:
        """A command that was under way has its answer, or is given up."""
        if self.under_way > 0:
            self.under_way -= 1

    def learn(self, took_s: float) -> None:
        """One of these has taken so long."""
        self.mean_s += _SMOOTHING * (took_s - self.mean_s) if self.mean_s else took_s

    def sent(self, number: int, now: float) -> None:
        """So many have gone out."""
        if self.under_way == 0:
            self.progress_at = now
        self.under_way += number

    def widened(self, allowed: int, now: float) -> int:
        """``allowed``, doubled for every while without an answer: what is under way may be lost."""
        patience_s = max(_PATIENCE_S, 2 * self.mean_s)
        doublings = max(0, int((now - self.progress_at) / patience_s))
        return allowed << min(doublings, _MOST_DOUBLINGS)


NOWHERE = Lane()
"""Stands for commands that count against no lane: those that wait, and those of an earlier tenure."""


class _Pace:
    """How long one participant takes."""

    __slots__ = ("duration_s", "is_long")

    def __init__(self, took_s: float, short_s: float) -> None:
        self.duration_s = took_s
        self.is_long = took_s > short_s

    def learn(self, took_s: float, short_s: float) -> bool:
        """Whether it changes lanes; not for small ups and downs."""
        self.duration_s += _SMOOTHING * (took_s - self.duration_s)
        was_long = self.is_long
        self.is_long = self.duration_s > (short_s / 2 if was_long else short_s)
        return self.is_long != was_long


class _Queue:
    """One queue: its two lanes, and the worker processes that answer from it."""

    def __init__(self) -> None:
        self.short = Lane(self)
        self.long = Lane(self)
        self.workers: dict[str, float] = {}
        self._grew_at = 0.0

    @property
    def under_way(self) -> int:
        return self.short.under_way + self.long.under_way

    def seen(self, worker: str, now: float) -> None:
        if worker not in self.workers:
            self._grew_at = now
        self.workers[worker] = now

    def processes(self, now: float) -> int:
        """How many worker processes there are, as far as is known; at least one."""
        since = now - _WORKER_SEEN_S - 4 * self.long.mean_s
        for worker in [worker for worker, at in self.workers.items() if at < since]:
            del self.workers[worker]
        return max(1, len(self.workers))

    def long_allowed(self, processes: int, now: float) -> int:
        """One for each process and a few more, which find out whether there are more processes."""
        if not self.long.mean_s:
            return max(UNKNOWN_AT_ONCE, 2 * processes)
        growing = now - self._grew_at < _PATIENCE_S + 2 * self.long.mean_s
        return 2 * processes if growing else processes + 1 + processes // 4

    def short_allowed(self, processes: int) -> int:
        return max(int(processes * QUEUED_S / self.short.mean_s), 2 * processes)


class Outbox:
    """Commands waiting to be published, by queue."""

    def __init__(self, options: BundleOptions) -> None:
        self._options = options
        self._queues: dict[str, _Queue] = {}
        self._paces: dict[str, _Pace] = {}
        self._went_to: dict[str, Lane] = {}
        """By pace: where the last of these went."""
        self._answered_at = 0.0
        self._interval_s = 0.0

    def put(self, outgoing: Outgoing) -> None:
        """Queue a command for dispatch."""
        name = outgoing.command.queue
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = _Queue()
        waiting = self._lane(queue, outgoing).waiting
        if outgoing.command.kind in ENDINGS:
            waiting.appendleft(outgoing)  # a prepared branch holds locks that others may wait for
        else:
            waiting.append(outgoing)

    def learn(self, answer: Answer, lane: Lane, now: float) -> None:
        """Take in how long a participant took, and that a worker is alive.

        An answer that comes too late to count against its ``lane`` is progress all the same. Else a backlog whose
        answers are all late would look like silence, and be widened until it is longer than any timeout, for ever.
        """
        name = _pace_name(answer.participant, answer.kind)
        if lane.queue is None:
            lane = self._went_to.get(name, lane)
        lane.progress_at = now
        queue = lane.queue
        if queue is not None and answer.worker:
            queue.seen(answer.worker, now)
        took_s = answer.took_s
        if took_s <= 0 or answer.duplicate:
            return
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = _Pace(took_s, self._options.work_s)
            changes = not pace.is_long
        else:
            changes = pace.learn(took_s, self._options.work_s)
        if queue is not None:
            (queue.long if pace.is_long else queue.short).learn(took_s)
        if changes:
            self._change_lanes(name)

    def answered(self, number: int, now: float) -> None:
        """So many answers came in one turn."""
        if number:
            interval_s = min(_PATIENCE_S, now - self._answered_at) / number
            self._interval_s += _SMOOTHING * (interval_s - self._interval_s)
            self._answered_at = now

    def drain_s(self) -> float:
        """How long it would take until all short commands under way are answered."""
        return self._interval_s * sum(queue.short.under_way for queue in self._queues.values())

    def waiting(self) -> int:
        """How many commands are held."""
        return sum(len(lane.waiting) for lane in self._lanes())

    def under_way(self) -> int:
        """How many commands are dispatched and not answered."""
        return sum(lane.under_way for lane in self._lanes())

    def queues(self) -> dict[str, tuple[int, int]]:
        """By queue: how many commands are held, and how many are under way. Safe from other threads."""
        return {
            name: (len(queue.short.waiting) + len(queue.long.waiting), queue.under_way)
            for name, queue in list(self._queues.items())
        }

    def forget(self, shard: int) -> None:
        """Drop the commands of a shard that is no longer ours."""
        for lane in self._lanes():
            lane.waiting = deque(out for out in lane.waiting if out.shard != shard)

    def bundles(
        self, now: float, wanted: Callable[[Outgoing], bool]
    ) -> Iterator[tuple[Bundle, list[Outgoing], Lane]]:
        """Take what may go out now, short ones first, and is still ``wanted``. Each command counts
        as under way in its lane until ``settled``.
        """
        for name, queue in self._queues.items():
            for lane, taken in self._take(queue, now):
                going = [out for out in taken if wanted(out)]
                if going:
                    self._went_to.update((_pace_of(out), lane) for out in going)
                    lane.sent(len(going), now)
                    yield Bundle(name, tuple(out.work() for out in going)), going, lane

    def _take(self, queue: _Queue, now: float) -> Iterator[tuple[Lane, list[Outgoing]]]:
        if not queue.short.waiting and not queue.long.waiting:
            return
        processes = queue.processes(now)
        free = max(1, processes - queue.under_way)
        while (room := self._short_room(queue, processes, now)) > 0:
            share = max(1, min(self._options.most, -(-len(queue.short.waiting) // free)))
            free = max(1, free - 1)
            yield queue.short, self._bundle(queue.short.waiting, min(room, share))
        while self._long_room(queue, processes, now) > 0:
            yield queue.long, [queue.long.waiting.popleft()]

    def _short_room(self, queue: _Queue, processes: int, now: float) -> int:
        lane = queue.short
        if not lane.waiting:
            return 0
        mean_known = lane.mean_s > 0
        allowed = queue.short_allowed(processes) if mean_known else UNKNOWN_AT_ONCE
        room = lane.widened(allowed, now) - lane.under_way
        return min(room, self._options.window - queue.under_way)

    def _long_room(self, queue: _Queue, processes: int, now: float) -> int:
        lane = queue.long
        if not lane.waiting:
            return 0
        room = lane.widened(queue.long_allowed(processes, now), now) - lane.under_way
        return min(room, self._options.window - queue.under_way)

    def _bundle(self, waiting: deque[Outgoing], most: int) -> list[Outgoing]:
        taken: list[Outgoing] = []
        work_s = 0.0
        while waiting and len(taken) < most:
            work_s += self._paces[_pace_of(waiting[0])].duration_s
            if taken and work_s > self._options.work_s * _ROUNDING:
                break
            taken.append(waiting.popleft())
        return taken

    def _lane(self, queue: _Queue, outgoing: Outgoing) -> Lane:
        pace = self._paces.get(_pace_of(outgoing))
        return queue.long if pace is None or pace.is_long else queue.short

    def _change_lanes(self, pace: str) -> None:
        """Bring waiting commands of this pace to the lane they now belong to."""
        for queue in self._queues.values():
            for lane in (queue.short, queue.long):
                moving = [out for out in lane.waiting if _pace_of(out) == pace]
                if moving and self._lane(queue, moving[0]) is not lane:
                    rest = (out for out in lane.waiting if _pace_of(out) != pace)
                    lane.waiting = deque(rest)
                    self._lane(queue, moving[0]).waiting.extend(moving)

    def _lanes(self) -> Iterator[Lane]:
        for queue in self._queues.values():
            yield queue.short
            yield queue.long


def _pace_of(outgoing: Outgoing) -> str:
    return _pace_name(outgoing.command.participant, outgoing.command.kind)


def _pace_name(participant: str, kind: CommandKind) -> str:
    """Ending a branch has a pace of its own: it does none of the participant's work."""
    return f"{participant} {kind}" if kind in ENDINGS else participant
