"""What the Celery transport needs of a message broker: queues for tasks, and per shard a stream of replies.

Below the envelopes: nothing here knows what is inside a message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class TaskMessage(NamedTuple):
    """A task as Celery's message protocol 2 has it, for one queue."""

    queue: str
    task_id: str
    headers: Mapping[str, Any]
    body: bytes
    """JSON, not yet wrapped for any broker."""


class Parcel(NamedTuple):
    """A message from a worker as it arrived: ``data`` may be anything."""

    shard: int
    entry: str
    """Names the message within its shard."""
    data: bytes


class CoordinatorLink(Protocol):
    """A coordinator's connection. Every method is called from one thread, except ``poke`` and ``close``."""

    def publish(self, messages: Sequence[TaskMessage]) -> list[Exception | None]:
        """Put each message on its queue; per message None, or why that is not certain. Takes seconds at most."""
        ...

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Parcel]:
        """Wait for replies to these shards, or a poke. What was returned is not returned again until ``release``.

        Raises ``TransportUnavailableError``; the next call tries to connect again.
        """
        ...

    def forget(self, parcels: Sequence[tuple[int, str]]) -> None:
        """Remove these replies, given as shard and entry. What can't be removed now is removed later."""
        ...

    def release(self, shard: int) -> None:
        """Let whoever receives for the shard next have what is not forgotten."""
        ...

    def poke(self, shard: int) -> None:
        """Wake whoever receives for the shard. Best effort, never raises."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class WorkerLink(Protocol):
    """A worker process's connection for replies; may be used from several threads."""

    def send(self, replies: Sequence[tuple[int, str]]) -> None:
        """Add each reply to the stream of its shard, once. Raises ``TransportUnavailableError``."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
