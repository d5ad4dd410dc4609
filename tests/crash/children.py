"""Forked processes, as the stage sees them."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from typing import Literal

import msgspec

from tests.crash.wire import Failed, Finished, Line, Lot, Reply, Told, Wanted, heard

NOTHING = Lot(0)
_PR_SET_PDEATHSIG = 1
Role = Literal["coordinator", "worker"]


class Child:
    """A process of ours, alive until ``kill``."""

    def __init__(self, role: Role, play: Callable[[Line], None], lot: Lot = NOTHING) -> None:
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _live(Line(theirs, lot), play)
        theirs.close()
        self.role: Role = role
        self.alive = True
        self.wanted: Wanted | None = None
        """What a coordinator waits for."""
        self.job: str | None = None
        """The message a worker is at."""
        self.about = ""
        """What its last point was about: a commit doesn't know."""
        self._pid = pid
        self._connection = ours

    def heard(self) -> list[Told]:
        """What it has to say. Raises ``EOFError`` when it is dead."""
        return heard(self._connection)

    def send(self, reply: Reply) -> None:
        """Let it go on."""
        self._connection.send_bytes(msgspec.json.encode(reply))

    def kill(self) -> None:
        """SIGKILL; it is gone when this returns."""
        if self.alive:
            self.alive = False
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._connection.close()


def aside(play: Callable[[], None]) -> None:
    """Do something in a process of its own, which has to live to its end."""

    def told(line: Line) -> None:
        play()
        line.say(Finished())

    child = Child("worker", told)
    try:
        said = child.heard()
    finally:
        child.kill()
    assert said == [Finished()], said


@contextmanager
def serving(serve: Callable[[], None] | None) -> Iterator[None]:
    """Have a server run meanwhile, in a process of its own; None for no server."""
    if serve is None:
        yield
        return
    child = Child("worker", lambda _line: serve())
    try:
        yield
    finally:
        child.kill()


def _live(line: Line, play: Callable[[Line], None]) -> None:
    """All of a forked process's life. It doesn't end by itself: it waits to be killed."""
    _die_with_parent()
    gc.disable()  # short as it is, it would only touch memory that is shared with its parent
    try:
        play(line)
        signal.pause()
    except BaseException:  # noqa: BLE001 - told to the stage
        line.say(Failed(traceback.format_exc()))
    finally:
        os._exit(1)


def _die_with_parent() -> None:
    """A campaign that is killed itself leaves nobody behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
