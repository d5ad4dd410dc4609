"""What a process under test and the stage tell each other: points that are passed, and the messages of the broker.

At the point where it is to die a process stands still until the stage answers, so where it dies is exact.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec


class Lot(NamedTuple):
    """What awaits a process: ``passed`` points lie behind all of them, and number ``doomed`` is one to stand still at.

    Only one process moves at a time, so that each can count for itself while it does.
    """

    passed: int
    doomed: int = -1


class At(msgspec.Struct, tag=True):
    """A point is reached. ``inside`` a transaction, which holds locks."""

    what: str
    moment: str
    about: str = ""
    inside: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.moment, self.what, self.about)))


class Published(msgspec.Struct, tag=True):
    """A coordinator has handed a message to the broker."""

    sealed: str


class Wanted(msgspec.Struct, tag=True):
    """A coordinator has nothing to do until answers come, or ``timeout_s`` is over."""

    positions: dict[int, int]
    """What it has seen of the stream of each of its shards."""
    timeout_s: float
    open_runs: int


class Acknowledged(msgspec.Struct, tag=True):
    """A coordinator doesn't want these again."""

    tokens: Sequence[tuple[int, int]]


class Free(msgspec.Struct, tag=True):
    """A worker waits for a message."""


class Answered(msgspec.Struct, tag=True):
    """A worker has handed answers to the broker, by shard."""

    sealed: Sequence[tuple[int, str]]


class Finished(msgspec.Struct, tag=True):
    """A worker has acknowledged its message."""


class Failed(msgspec.Struct, tag=True):
    """The process ends by an exception, which nothing here may lead to."""

    traceback: str


class Go(msgspec.Struct, tag=True):
    """Go on."""

    lot: Lot


class Got(msgspec.Struct, tag=True):
    """What there is for a coordinator: shard, number, sealed answers; and what time it is."""

    lot: Lot
    entries: Sequence[tuple[int, int, str]]
    now: float


class Job(msgspec.Struct, tag=True):
    """A message for a worker."""

    lot: Lot
    sealed: str


class Wire(Protocol):
    """One end of a pipe."""

    def send_bytes(self, buf: bytes, /) -> None:
        """Send a message."""
        ...

    def recv_bytes(self) -> bytes:
        """Wait for a message. Raises ``EOFError`` when the other end is closed."""
        ...


Told = At | Published | Wanted | Acknowledged | Free | Answered | Finished | Failed
Reply = Go | Got | Job
R = TypeVar("R", Go, Got, Job)

_told: msgspec.json.Decoder[list[Told]] = msgspec.json.Decoder(list[Told])
_reply: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


class Line:
    """A process's end of the wire. What it says is kept until it waits for an answer, or stands at its last point."""

    def __init__(self, connection: Wire, lot: Lot) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._lot = lot
        self._unsaid: list[Told] = []

    def at(self, what: str, moment: str, about: str = "", *, inside: bool = False) -> None:
        """Reach a point; the process may not live to see the other side of it."""
        point = At(what, moment, about, inside)
        passed, doomed = self._lot
        if passed == doomed:
            self.ask(point, Go)
        else:
            self._lot = Lot(passed + 1, doomed)
            self.tell(point)

    def tell(self, message: Told) -> None:
        """Say something that needs no answer."""
        with self._lock:
            self._unsaid.append(message)

    def ask(self, message: Told, kind: type[R]) -> R:
        """Say something and wait for the answer."""
        self.say(message)
        reply = _reply.decode(self._connection.recv_bytes())
        assert isinstance(reply, kind), f"{reply} where {kind.__name__} belongs"
        self._lot = reply.lot
        return reply

    def say(self, message: Told) -> None:
        """Say something now."""
        with self._lock:
            self._unsaid.append(message)
            self._connection.send_bytes(msgspec.json.encode(self._unsaid))
            self._unsaid.clear()


def heard(connection: Wire) -> list[Told]:
    """What a process has to say. Raises ``EOFError`` when it is dead."""
    return _told.decode(connection.recv_bytes())
