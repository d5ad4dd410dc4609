"""Commands on their way out: how many go into one message, and how many may be under way at once.

Celery's own cost per message is what limits throughput, so short commands share a message of about
``bundle_s`` of work; long ones and ones of unknown duration travel alone, and no bundle is so
large that a free worker process idles. The window keeps what is queued at the broker short, so
that a deadline, counted from the dispatch, measures the participant and not the queue.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from orchestrator.kernel.commands import Execute
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle

_SMOOTHING = 0.2
_WORKER_SEEN_S = 30.0
_UNKNOWN_S = 1.0
_ROUNDING = 1.001


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
        )


class Outbox:
    """Commands waiting to be published, by queue."""

    def __init__(self, options: BundleOptions) -> None:
        self._options = options
        self._waiting: dict[str, deque[Outgoing]] = {}
        self._under_way: Counter[str] = Counter()
        self._duration_s: dict[str, float] = {}
        self._workers: dict[str, dict[str, float]] = {}

    def put(self, outgoing: Outgoing) -> None:
        """Queue a command for dispatch."""
        self._waiting.setdefault(outgoing.command.queue, deque()).append(outgoing)

    def settled(self, queue: str) -> None:
        """A command that was under way to this queue has its answer, or is given up."""
        if self._under_way[queue] > 0:
            self._under_way[queue] -= 1

    def learn(self, answer: Answer, queue: str, now: float) -> None:
        """Take in how long a participant took, and that a worker is alive."""
        if answer.took_s > 0 and not answer.duplicate:
            known = self._duration_s.get(answer.participant)
            self._duration_s[answer.participant] = (
                answer.took_s if known is None else known + _SMOOTHING * (answer.took_s - known)
            )
        if answer.worker and queue:
            self._workers.setdefault(queue, {})[answer.worker] = now

    def waiting(self) -> int:
        """How many commands are held."""
        return sum(map(len, self._waiting.values()))

    def forget(self, shard: int) -> None:
        """Drop the commands of a shard that is no longer ours."""
        for queue, waiting in self._waiting.items():
            self._waiting[queue] = deque(out for out in waiting if out.shard != shard)

    def bundles(self, now: float) -> Iterator[tuple[Bundle, list[Outgoing]]]:
        """Take what may go out now. Each bundle counts as under way until ``settled``."""
        for queue, waiting in self._waiting.items():
            room = self._options.window - self._under_way[queue]
            free = self._free(queue, now)
            while waiting and room > 0:
                taken = self._take(waiting, min(room, self._share(len(waiting), free)))
                room -= len(taken)
                free = max(1, free - 1)
                self._under_way[queue] += len(taken)
                yield Bundle(queue, tuple(out.work() for out in taken)), taken

    def _take(self, waiting: deque[Outgoing], most: int) -> list[Outgoing]:
        taken: list[Outgoing] = []
        work_s = 0.0
        while waiting and len(taken) < most:
            work_s += self._duration_s.get(waiting[0].command.participant, _UNKNOWN_S)
            if taken and work_s > self._options.work_s * _ROUNDING:
                break
            taken.append(waiting.popleft())
        return taken

    def _share(self, waiting: int, free: int) -> int:
        return max(1, min(self._options.most, -(-waiting // free)))

    def _free(self, queue: str, now: float) -> int:
        """How many worker processes of a queue have nothing to do, as far as is known; at least
        one.
        """
        seen = self._workers.get(queue)
        if not seen:
            return 1
        for worker in [worker for worker, at in seen.items() if now - at > _WORKER_SEEN_S]:
            del seen[worker]
        return max(1, len(seen) - self._under_way[queue])
