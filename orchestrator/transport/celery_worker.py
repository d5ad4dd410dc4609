"""What our Celery worker does otherwise than Celery's: quieter, quicker to see a death, harder to bring down.

Each class is hooked in where Celery has a place for it; what was seen without it stands in its docstring.
"""

from __future__ import annotations

import functools
import logging
import select
import time
from collections.abc import Callable
from typing import Any

from celery import bootsteps
from celery.apps.worker import Worker
from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)

POOL_WATCH_EVERY_S = 0.5
BEGUN_WITHIN_S = 1.0
"""How long an orderly stop waits to hear from a process that it has begun with what it was given."""


class LeanWorker(Worker):
    """A worker that tells no other worker about itself: nothing of ours listens, and mingling delays its start 1 s.

    Remote control (``celery inspect``) stays, and so do events where they are asked for (``-E``).
    """

    def __init__(self, app: Any = None, hostname: str | None = None, **options: Any) -> None:
        quiet = {"without_gossip": True, "without_mingle": True, "without_heartbeat": True}
        super().__init__(app, hostname, **{**options, **quiet})


class WorkConsumer(Consumer):
    """Reads the queues; outlives what a broker's death or a foreign message does to Celery's own reader."""

    loop: Any

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.loop = functools.partial(_reconnecting, self.loop)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """The broker is gone. What this worker holds goes on; nothing is pushed back.

        On Redis, Celery would try to: it would run again what is running, and fail where Redis is down.
        """
        transport = self.connection.transport if self.connection else None
        for channel in getattr(transport, "channels", None) or ():
            channel.do_restore = False
        super().on_connection_error_after_connected(exc)

    def on_close(self) -> None:
        """The worker stops, or reconnects: what no process has begun is given back.

        Celery takes what a process was handed a moment ago for not begun, too. It is run twice then, and the process
        waits 30 s at its end for someone to read the result. So the processes are heard out first.
        """
        _hear_out(getattr(self.pool, "_pool", None))
        super().on_close()


def _reconnecting(loop: Callable[..., None], *arguments: Any) -> None:
    """Run Celery's event loop; what it can't read of a message ends the connection, not the worker.

    On Redis anything can be pushed onto a queue. It is off the queue when reading it fails, so it does no harm again.
    """
    try:
        loop(*arguments)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        logger.exception("dropped what is no Celery message; reconnecting")
        raise ConnectionAbortedError(f"unreadable message: {error}") from error


def _hear_out(pool: Any) -> None:
    """Wait until each process that was handed a message has said that it begins; only prefork has such processes."""
    handle_event = getattr(pool, "handle_result_event", None)
    if handle_event is None:
        return
    deadline = time.monotonic() + BEGUN_WITHIN_S
    while any(job._write_to and not job._accepted for job in list(pool._cache.values())):  # noqa: SLF001
        remaining_s = deadline - time.monotonic()
        if remaining_s <= 0:
            return
        pipes = select.poll()
        for pipe in list(pool._fileno_to_outq):  # noqa: SLF001
            pipes.register(pipe, select.POLLIN)
        for pipe, _ in pipes.poll(remaining_s * 1000):
            handle_event(pipe)


class PoolWatch(bootsteps.StartStopStep):
    """Looks for dead worker processes twice a second.

    Celery is told by the closing of a pipe, but a process that was killed closes it a moment before it can be reaped.
    When that moment is missed, the next look is Celery's own, every 5 s.
    """

    requires = ("celery.worker.components:Pool",)
    _timer: Any = None

    def register_with_event_loop(self, worker: Any, hub: Any) -> None:
        """Set the timer; Celery calls this again after every reconnection."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = hub.call_repeatedly(POOL_WATCH_EVERY_S, worker.pool.maintain_pool)
