"""``Outbox``: answers on their way out, collected for a moment so that they travel together.

While a command runs, the worker's thread can't send; one thread of the process's own sends for it once an answer has
waited long enough.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import threading
import time
from types import TracebackType
from typing import Self

from orchestrator.transport.messages import Answer
from orchestrator.transport.port import WorkerTransport

logger = logging.getLogger(__name__)


class Outbox:
    """The answers of one message. Leaving it sends what hasn't been sent, whatever else has happened.

    Sending raises ``TransportUnavailableError`` on leaving; until then unsent answers are kept.
    """

    def __init__(self, transport: WorkerTransport, hold_s: float) -> None:
        self._transport = transport
        self._hold_s = hold_s
        self._lock = threading.Lock()
        self._unsent: list[Answer] = []
        self._since = 0.0
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._send()

    def add(self, answer: Answer, *, more_to_come: bool) -> None:
        """Take an answer. While more are to come it is sent with them, but no later than ``hold_s`` from now."""
        with self._lock:
            self._unsent.append(answer)
            if len(self._unsent) > 1 or not more_to_come:
                return
            self._since = time.monotonic()
        _postman().remind(self._since + self._hold_s, self)

    def send_due(self) -> None:
        """Send what has waited long enough; a failure is left for the end, where it is raised."""
        with self._lock:
            due = self._unsent and time.monotonic() >= self._since + self._hold_s
            if not due or self._failed:
                return
            try:
                self._send()
            except Exception:
                self._failed = True
                logger.warning("answers could not be sent early; trying again", exc_info=True)

    def _send(self) -> None:
        if self._unsent:
            self._transport.answer(tuple(self._unsent))
            self._unsent.clear()


class _Postman:
    """The thread that sends for busy workers. Idle unless a message has several commands."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Outbox]] = []
        self._counter = itertools.count()
        threading.Thread(target=self._serve, name="saga-answers", daemon=True).start()

    def remind(self, at: float, outbox: Outbox) -> None:
        with self._changed:
            heapq.heappush(self._due, (at, next(self._counter), outbox))
            if len(self._due) == 1:
                self._changed.notify()

    def _serve(self) -> None:
        while True:
            self._next().send_due()

    def _next(self) -> Outbox:
        with self._changed:
            while (wait_s := self._wait_s()) is None or wait_s > 0:
                self._changed.wait(wait_s)
            return heapq.heappop(self._due)[2]

    def _wait_s(self) -> float | None:
        """Until the next one is due; None while there is none."""
        return self._due[0][0] - time.monotonic() if self._due else None


_current: _Postman | None = None
_lock = threading.Lock()


def _postman() -> _Postman:
    global _current  # noqa: PLW0603 - one sending thread for the process is enough
    if _current is None or _current.pid != os.getpid():
        with _lock:
            if _current is None or _current.pid != os.getpid():
                _current = _Postman()
    return _current


def _forked() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)
