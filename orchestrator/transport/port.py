"""The transport's two ends, as the coordinator and the worker see them.

At-most-once and at-least-once brokers fit alike: nothing here promises delivery, the journal's
deadlines do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from orchestrator.transport.messages import Answer, Work


class Bundle(msgspec.Struct, gc=False, frozen=True):
    """One message: commands for one queue."""

    queue: str
    work: tuple[Work, ...]


class Received(msgspec.Struct, gc=False, frozen=True):
    """One message from a worker. ``token`` acknowledges it."""

    answers: tuple[Answer, ...]
    token: Any = None


class CoordinatorTransport(Protocol):
    """The coordinator's end. Every method is called from one thread, except ``poke`` and
    ``close``.
    """

    def dispatch(self, bundles: Sequence[Bundle]) -> list[Exception | None]:
        """Publish each bundle; per bundle None, or the error. An error means the outcome is
        unknown.
        """
        ...

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Received]:
        """Wait up to ``timeout_s`` for answers to these shards, or for a poke. Not acknowledged:
        delivered again to whoever receives for the shard next, until ``acknowledge``. Within one
        process a message that was returned is not returned again unless its shard was ``release``d
        in between.

        Raises ``TransportUnavailableError``."""
        ...

    def acknowledge(self, received: Sequence[Received]) -> None:
        """These are in the journal: forget them."""
        ...

    def release(self, shard: int) -> None:
        """This process no longer owns the shard: forget what was received for it and not
        acknowledged.
        """
        ...

    def poke(self, shard: int) -> None:
        """Wake whoever receives for the shard: something is in its inbox. Best effort, never
        raises.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class WorkerTransport(Protocol):
    """The worker's end: answers go back in batches."""

    def answer(self, answers: Sequence[Answer]) -> None:
        """Send answers to the streams of their shards; retried within reason, then raises
        ``TransportUnavailableError``."""
        ...


class Executor(Protocol):
    """What a worker does with the work it gets; implemented by ``participant``, called by the
    transport's task.
    """

    def execute(self, work: Sequence[Work], transport: WorkerTransport) -> None:
        """Carry out every command, independently of one another, and answer each."""
        ...
