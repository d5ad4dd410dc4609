"""The one event loop of a process, on which asynchronous participants run.

It lives in a thread of its own and is kept, so that clients and engines that belong to a loop can be kept too. After a
fork the child makes its own.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)


class _Loop:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._serve, name="saga-participants", daemon=True)
        self.thread.start()

    @property
    def is_usable(self) -> bool:
        return self.pid == os.getpid() and self.thread.is_alive()

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        while True:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):
                # A participant's own: asyncio lets it through. Going on delivers it to whoever waits in ``run``.
                logger.info("a participant left the process")


_current: _Loop | None = None
_lock = threading.Lock()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the process's loop and wait for it; cancelled if the waiting is interrupted.

    Raises what the coroutine raises.
    """
    future = asyncio.run_coroutine_threadsafe(coroutine, _usable().loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _usable() -> _Loop:
    global _current  # noqa: PLW0603 - one loop for the process is what this module is for
    if _current is None or not _current.is_usable:
        with _lock:
            if _current is None or not _current.is_usable:
                _current = _Loop()
    return _current


def _forked() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forked)
