"""In-process transport: threads carry out the work, answers arrive in memory. For tests and for embedding.

What is sent and answered passes through JSON as on a real broker, so that a participant can't reach into the
coordinator's state and a value that isn't JSON fails here as it would there.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Sequence

from orchestrator.errors import EnvelopeError, TransportUnavailableError
from orchestrator.transport.envelope import LIMIT_BYTES, Envelopes
from orchestrator.transport.execution import execute
from orchestrator.transport.messages import Answer
from orchestrator.transport.parts import answers_by_shard, seal_in_parts
from orchestrator.transport.port import Bundle, Executor, Received


class LocalTransport:
    """A ``CoordinatorTransport`` whose workers are threads of this process.

    ``threads``: how many bundles are carried out at the same time. ``limit_bytes``: the size limit of one message.
    ``close`` finishes what is being carried out and forgets what waits, as the end of the process would.
    """

    def __init__(
        self, executor: Executor, *, threads: int = 4, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._hub = _Hub(executor, threads, Envelopes(limit_bytes=limit_bytes))
        self._owns_hub = True
        self._positions: dict[int, int] = {}

    def attach(self) -> LocalTransport:
        """Return another end of the same transport: for a second coordinator, or a client that pokes.

        Closing it leaves the transport open.
        """
        other = object.__new__(LocalTransport)
        other._hub = self._hub
        other._owns_hub = False
        other._positions = {}
        return other

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """Hand each bundle to the threads; see the port. Which queue it is for makes no difference here."""
        return [self._submit(bundle) for bundle in bundles]

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        """Wait for answers or a poke; see the port."""
        hub = self._hub
        deadline = time.monotonic() + timeout_s
        with hub.changed:
            while True:
                hub.check_open()
                taken = [entry for shard in shards for entry in self._take(shard)]
                poked = not hub.pokes.isdisjoint(shards)
                hub.pokes.difference_update(shards)
                remaining_s = deadline - time.monotonic()
                if taken or poked or remaining_s <= 0:
                    break
                hub.changed.wait(remaining_s)
        return [
            Received(hub.envelopes.open_answers(sealed), (shard, number))
            for shard, number, sealed in taken
        ]

    def acknowledge(self, received: Sequence[Received]) -> None:
        """Forget these answers; see the port."""
        with self._hub.changed:
            for item in received:
                shard, number = item.token
                self._hub.streams.get(shard, {}).pop(number, None)

    def release(self, shard: int) -> None:
        """Receive what is not acknowledged again; see the port."""
        self._positions.pop(shard, None)

    def poke(self, shard: int) -> None:
        """Wake whoever receives for the shard; see the port."""
        with self._hub.changed:
            self._hub.pokes.add(shard)
            self._hub.changed.notify_all()

    def close(self) -> None:
        """End the threads, if this end made them; see the port."""
        if self._owns_hub:
            self._hub.close()

    def _submit(self, bundle: Bundle) -> Exception | None:
        try:
            for sealed in seal_in_parts(self._hub.envelopes.seal_work, bundle.work):
                self._hub.submit(sealed)
        except (EnvelopeError, TransportUnavailableError) as error:
            return error
        return None

    def _take(self, shard: int) -> list[tuple[int, int, str]]:
        """Return the entries of this shard that came since the last call, oldest first."""
        entries = self._hub.streams.get(shard)
        if not entries:
            return []
        position = self._positions.get(shard, 0)
        fresh = list(itertools.takewhile(lambda number: number > position, reversed(entries)))
        if fresh:
            self._positions[shard] = fresh[0]
        return [(shard, number, entries[number]) for number in reversed(fresh)]


class _Hub:
    """What all ends of one in-process transport share: the threads and the streams of answers."""

    def __init__(self, executor: Executor, threads: int, envelopes: Envelopes) -> None:
        self.envelopes = envelopes
        self.changed = threading.Condition()
        """Guards the three below."""
        self.streams: dict[int, dict[int, str]] = {}
        """By shard: what is not acknowledged, by its ascending number."""
        self.pokes: set[int] = set()
        self.closed = False
        self._executor = executor
        self._numbers = itertools.count(1)
        self._work: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._carry_out, name=f"saga-local-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, sealed: str) -> None:
        self.check_open()
        self._work.put(sealed)

    def answer(self, answers: Sequence[Answer]) -> None:
        """Put answers onto the streams of their shards: the workers' end."""
        sealed = answers_by_shard(self.envelopes, answers)
        with self.changed:
            for shard, envelope in sealed:
                self.streams.setdefault(shard, {})[next(self._numbers)] = envelope
            self.changed.notify_all()

    def check_open(self) -> None:
        if self.closed:
            raise TransportUnavailableError("the in-process transport is closed")

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _carry_out(self) -> None:
        while (sealed := self._work.get()) is not None:
            if not self.closed:
                execute(self._executor, self.envelopes.open_work(sealed), self)
