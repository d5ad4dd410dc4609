"""``Outbox``: answers on their way out, collected for a moment so that they travel together.

While a command runs, the worker's thread can't send; where that takes long, a thread of the process's own sends for it.
"""

from __future__ import annotations

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
        self._is_watched = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_watched:
            _postman().forget(self)
        with self._lock:
            self._send()

    def add(self, answer: Answer, *, more_to_come: bool) -> None:
        """Take an answer. While more are to come it is sent with them, or once it has waited for ``hold_s``.

        The next answer's coming sends it then; where that takes twice as long, the postman does.
        """
        now = time.monotonic()
        with self._lock:
            if not self._unsent:
                self._since = now
            self._unsent.append(answer)
        if not more_to_come:
            return
        if now >= self._since + self._hold_s:
            self._send_early()
        if not self._is_watched:
            self._is_watched = True
            _postman().watch(self)

    def send_due(self) -> float:
        """Send what has waited for twice as long as it should; returns after how many seconds to look again."""
        with self._lock:
            left_s = 2 * self._hold_s
            if self._unsent and not self._failed:
                left_s -= time.monotonic() - self._since
        if left_s > 0:
            return left_s
        self._send_early()
        return 2 * self._hold_s

    def _send_early(self) -> None:
        """A failure is left for the end, where it is raised."""
        with self._lock:
            if self._failed:
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
    """The thread that sends for workers whose command is a slow one. Idle unless a message has several commands."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._changed = threading.Condition()
        self._watched: set[Outbox] = set()
        threading.Thread(target=self._serve, name="saga-answers", daemon=True).start()

    def watch(self, outbox: Outbox) -> None:
        """Look after the answers of a message, until it is forgotten."""
        with self._changed:
            self._watched.add(outbox)
            if len(self._watched) == 1:
                self._changed.notify()

    def forget(self, outbox: Outbox) -> None:
        """The message is done."""
        with self._changed:
            self._watched.discard(outbox)

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not self._watched:
                    self._changed.wait()
                watched = tuple(self._watched)
            time.sleep(min(outbox.send_due() for outbox in watched))


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
