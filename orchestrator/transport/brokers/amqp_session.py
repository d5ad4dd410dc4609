"""One AMQP connection of ours: publishing with confirms in bulk, and every wait bounded.

A confirm per message costs a round trip to the broker's disk. Here all messages of a call are sent first and their
confirms awaited together. Any error ends the connection; the next use makes a new one, so no state survives a fault.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import amqp
from kombu import Connection
from kombu.exceptions import KombuError

from orchestrator.errors import TransportUnavailableError

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 5.0
"""For the broker's answer to anything: a declaration, a confirm."""
PERSISTENT = 2
TRANSIENT = 1

ERRORS: tuple[type[Exception], ...] = (amqp.AMQPError, KombuError, OSError)


class Outgoing(NamedTuple):
    """A message for a queue, through the default exchange. It has a ``message_id`` of its own."""

    queue: str
    message: amqp.Message


class AmqpSession:
    """A connection that is opened when needed. Not for several threads at once.

    ``heartbeat_s``: 0 for none; otherwise ``beat`` must be called every few seconds.
    """

    def __init__(self, url: str, *, heartbeat_s: int = 0) -> None:
        self._url = url
        self._heartbeat_s = heartbeat_s
        self._connection: Any = None
        self._confirms: _Confirms | None = None
        self._declared: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def connect(self) -> None:
        """Open the connection if there is none. Raises one of ``ERRORS``."""
        if self._connection is None:
            connection = Connection(
                self._url,
                connect_timeout=CONNECT_TIMEOUT_S,
                heartbeat=self._heartbeat_s,
                transport_options={
                    "read_timeout": ANSWER_TIMEOUT_S,
                    "write_timeout": ANSWER_TIMEOUT_S,
                },
            )
            # The one below kombu's: kombu's own connects again and again inside many of its calls.
            self._connection = connection.transport.establish_connection()

    def channel(self) -> Any:
        """Return a new channel. Raises one of ``ERRORS``."""
        self.connect()
        return self._connection.channel()

    def declare(self, queue: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Make sure the queue exists, durable. One that was made otherwise is taken as it is."""
        if queue in self._declared:
            return
        channel = self.channel()
        try:
            channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        except amqp.PreconditionFailed:
            pass  # it exists with other arguments (a quorum queue, say); the channel is closed
        else:
            channel.close()
        self._declared.add(queue)

    def publish(self, outgoing: Sequence[Outgoing]) -> list[Exception | None]:
        """Send the messages and wait for the broker to have them all; per message None or the error.

        Never raises one of ``ERRORS``; takes little more than ``ANSWER_TIMEOUT_S``.
        """
        confirms: _Confirms | None = None
        outcome: list[Exception | None]
        try:
            for queue in {item.queue for item in outgoing}:
                self.declare(queue)
            self._confirms = confirms = self._confirms or _Confirms(self.channel())
            confirms.begin(len(outgoing))
            for index, item in enumerate(outgoing):
                confirms.send(index, item)
            confirms.wait(self._connection)
            outcome = confirms.outcome
        except ERRORS as error:
            self.drop()
            unknown = unavailable(error)
            outcome = [unknown] * len(outgoing)
            if confirms is not None:
                outcome = [
                    unknown if index in confirms.open else known
                    for index, known in enumerate(confirms.outcome)
                ]
        for item, error_or_none in zip(outgoing, outcome, strict=True):
            if error_or_none is not None:
                self._declared.discard(item.queue)
        return outcome

    def drain(self, timeout_s: float) -> bool:
        """Handle what the broker sent, waiting for it; whether there was anything. Raises one of ``ERRORS``."""
        try:
            self._connection.drain_events(timeout=max(timeout_s, 0))
        except TimeoutError:
            return False
        return True

    def beat(self) -> None:
        """Send a heartbeat if one is due. Raises one of ``ERRORS`` when the broker has been silent."""
        self._connection.heartbeat_tick(rate=4)

    def drop(self) -> None:
        """Close the connection without a word to the broker."""
        connection, self._connection = self._connection, None
        self._confirms = None
        self._declared.clear()
        if connection is not None:
            connection.collect()

    def close(self) -> None:
        """Close the connection."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(*ERRORS):
                connection.close()
        self.drop()


class _Confirms:
    """A channel in confirm mode, and what is known about the messages of one call."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._sent = 0
        self._tags: dict[int, int] = {}
        self._indexes: dict[str, int] = {}
        self.open: set[int] = set()
        self.outcome: list[Exception | None] = []
        channel.confirm_select()
        channel.events["basic_ack"].add(self._on_ack)
        channel.events["basic_nack"].add(self._on_nack)
        channel.events["basic_return"].add(self._on_return)

    def begin(self, count: int) -> None:
        self._tags = {}
        self._indexes = {}
        self.open = set(range(count))
        self.outcome = [None] * count

    def send(self, index: int, item: Outgoing) -> None:
        self._sent += 1
        self._tags[self._sent] = index
        self._indexes[item.message.properties["message_id"]] = index
        self._channel.basic_publish(
            item.message, "", item.queue, mandatory=True, timeout=ANSWER_TIMEOUT_S
        )

    def wait(self, connection: Any) -> None:
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        while self.open:
            connection.drain_events(timeout=max(deadline - time.monotonic(), 0.001))

    def _on_ack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - amqp's signature
        self._settle(self._upto(tag, multiple=multiple), None)

    def _on_nack(self, tag: int, multiple: bool) -> None:  # noqa: FBT001 - amqp's signature
        refused = TransportUnavailableError("RabbitMQ refused the message")
        self._settle(self._upto(tag, multiple=multiple), refused)

    def _on_return(self, error: Exception, _exchange: str, _queue: str, message: Any) -> None:
        # The queue is gone. A confirm follows, which would say that all is well.
        index = self._indexes.get(message.properties.get("message_id"))
        if index is not None:
            self.outcome[index] = unavailable(error)

    def _upto(self, tag: int, *, multiple: bool) -> list[int]:
        return [known for known in self._tags if known <= tag] if multiple else [tag]

    def _settle(self, tags: Sequence[int], error: Exception | None) -> None:
        for settled in tags:
            index = self._tags.pop(settled, None)
            if index is not None:
                self.open.discard(index)
                self.outcome[index] = self.outcome[index] or error


def unavailable(error: Exception) -> TransportUnavailableError:
    """Return the error as this package names it."""
    return TransportUnavailableError(f"RabbitMQ: {type(error).__name__}: {error}")
