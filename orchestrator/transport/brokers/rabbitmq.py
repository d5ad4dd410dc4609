"""RabbitMQ: task messages on Celery's queues, replies on one durable queue per shard, pokes on a short one beside it.

A shard's replies are consumed on a channel of its own: closing it gives back what is not acknowledged. Replies carry an
id of their own, because after a lost connection the broker delivers again what this process already holds.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import amqp

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport.brokers.amqp_session import (
    ERRORS,
    PERSISTENT,
    TRANSIENT,
    AmqpSession,
    Outgoing,
    unavailable,
)
from orchestrator.transport.brokers.port import Parcel, TaskMessage

logger = logging.getLogger(__name__)

HEARTBEAT_S = 60
BEAT_EVERY_S = 5.0
UNACKNOWLEDGED_AT_MOST = 1000
"""Per shard: bounds memory when much has piled up."""
REMEMBERED_AT_MOST = 5000
"""Acknowledgements are not confirmed; this many are remembered, in case the broker never saw them."""
POKE_PAUSE_S = 1.0
"""After a poke that failed none is tried for this long: a launch must not wait for a broker that is down."""

# A poke only has to be seen once, and by nobody if nobody listens.
_POKE_QUEUE = {"x-max-length": 1, "x-expires": 600_000}


class RabbitCoordinatorLink:
    """A coordinator's end on RabbitMQ."""

    def __init__(self, url: str, namespace: str) -> None:
        self._names = _Names(namespace)
        self._session = AmqpSession(url, heartbeat_s=HEARTBEAT_S)
        self._feeds: dict[int, _Feed] = {}
        self._poker = _Poker(url, self._names)
        self._beaten_at = 0.0
        self._closed = threading.Event()

    def publish(self, messages: Sequence[TaskMessage]) -> list[Exception | None]:
        """Publish with confirms, awaited together; see the port."""
        outcome = self._session.publish([_task(message) for message in messages])
        self._notice_loss()
        return outcome

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Parcel]:
        """Consume the shards' queues, waiting for the first message; see the port."""
        if self._closed.is_set():
            raise TransportUnavailableError("the transport is closed")
        if not shards:
            self._closed.wait(timeout_s)
            return []
        try:
            for shard in shards:
                self._feed(shard).open(self._session)
            self._wait(shards, time.monotonic() + timeout_s)
        except ERRORS as error:
            self._session.drop()
            self._notice_loss()
            raise unavailable(error) from error
        return [parcel for shard in shards for parcel in self._feed(shard).take()]

    def forget(self, parcels: Sequence[tuple[int, str]]) -> None:
        """Acknowledge these; see the port."""
        try:
            for shard, entry in parcels:
                self._feed(shard).forget(entry)
        except ERRORS as error:
            logger.warning("replies stay on the broker for now: %s", error)
            self._session.drop()
            self._notice_loss()
            for shard, entry in parcels:
                self._feed(shard).forget(entry)

    def release(self, shard: int) -> None:
        """Close the shard's channel, which gives back what is not acknowledged; see the port."""
        feed = self._feeds.pop(shard, None)
        if feed is None:
            return
        try:
            feed.close()
        except ERRORS as error:
            logger.info("releasing shard %d: %s", shard, error)
            self._session.drop()
            self._notice_loss()

    def poke(self, shard: int) -> None:
        """Publish to the shard's queue for pokes, if there is one; see the port."""
        self._poker.poke(shard)

    def close(self) -> None:
        """Close the connections; see the port."""
        self._closed.set()
        self._poker.close()
        self._session.close()

    def _wait(self, shards: Sequence[int], deadline: float) -> None:
        """Wait until there is something for these shards, then take in what else is there."""
        while not any(self._feed(shard).ready for shard in shards):
            self._beat()
            remaining_s = max(deadline - time.monotonic(), 0)
            found = self._session.drain(min(remaining_s, BEAT_EVERY_S))
            if self._closed.is_set() or (not found and remaining_s <= BEAT_EVERY_S):
                return
        for _ in range(UNACKNOWLEDGED_AT_MOST):
            if not self._session.drain(0):
                return

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten_at > BEAT_EVERY_S:
            self._beaten_at = now
            self._session.beat()

    def _feed(self, shard: int) -> _Feed:
        return self._feeds.setdefault(shard, _Feed(shard, self._names))

    def _notice_loss(self) -> None:
        if not self._session.is_open:
            for feed in self._feeds.values():
                feed.lost()


class RabbitWorkerLink:
    """A worker process's end on RabbitMQ."""

    def __init__(self, url: str, namespace: str) -> None:
        self._names = _Names(namespace)
        self._session = AmqpSession(url)
        self._lock = threading.Lock()

    def send(self, replies: Sequence[tuple[int, str]]) -> None:
        """Publish to the shards' queues, with confirms; see the port."""
        outgoing = [
            Outgoing(self._names.replies(shard), _message(sealed.encode(), PERSISTENT))
            for shard, sealed in replies
        ]
        with self._lock:
            outcome = self._session.publish(outgoing)
        for error in outcome:
            if error is not None:
                raise error

    def close(self) -> None:
        """Close the connection; see the port."""
        with self._lock:
            self._session.close()


class _Feed:
    """One shard's replies: the consumer, what it has delivered, and what this process already has."""

    def __init__(self, shard: int, names: _Names) -> None:
        self._shard = shard
        self._names = names
        self._channel: Any = None
        self._arrived: list[Parcel] = []
        self._poked = False
        self._tags: dict[str, int] = {}
        self._held: set[str] = set()
        self._forgotten: dict[str, None] = {}

    def open(self, session: AmqpSession) -> None:
        if self._channel is not None:
            return
        session.declare(self._names.replies(self._shard))
        session.declare(self._names.pokes(self._shard), _POKE_QUEUE)
        # Deliveries begin before the calls below return, and use the channel.
        self._channel = channel = session.channel()
        channel.basic_qos(0, UNACKNOWLEDGED_AT_MOST, False)
        channel.basic_consume(
            self._names.replies(self._shard), callback=self._on_reply, on_cancel=self._on_cancel
        )
        channel.basic_consume(
            self._names.pokes(self._shard),
            no_ack=True,
            callback=self._on_poke,
            on_cancel=self._on_cancel,
        )

    @property
    def ready(self) -> bool:
        """Whether there is something to return, or a reason to return with nothing."""
        return self._poked or bool(self._arrived)

    def take(self) -> list[Parcel]:
        taken, self._arrived = self._arrived, []
        self._poked = False
        return taken

    def forget(self, entry: str) -> None:
        self._held.discard(entry)
        self._forgotten[entry] = None
        if len(self._forgotten) > REMEMBERED_AT_MOST:
            del self._forgotten[next(iter(self._forgotten))]
        tag = self._tags.pop(entry, None)
        if tag is not None:
            self._channel.basic_ack(tag)

    def close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def lost(self) -> None:
        """The connection is gone: the broker will deliver what was not acknowledged again."""
        self._channel = None
        self._tags.clear()

    def _on_reply(self, message: amqp.Message) -> None:
        tag: int = message.delivery_info["delivery_tag"]
        entry = str(message.properties.get("message_id") or f"unnamed-{tag}")
        if entry in self._forgotten:
            self._channel.basic_ack(tag)
            return
        self._tags[entry] = tag
        if entry not in self._held:
            self._held.add(entry)
            body = message.body
            data = body if isinstance(body, bytes) else str(body).encode(errors="replace")
            self._arrived.append(Parcel(self._shard, entry, data))

    def _on_poke(self, _message: amqp.Message) -> None:
        self._poked = True

    def _on_cancel(self, _consumer: str) -> None:
        # Someone deleted the queue: declare it again, on a new connection.
        raise amqp.RecoverableConnectionError(f"the queues of shard {self._shard} were deleted")


class _Poker:
    """Pokes, from any thread, on a connection of their own."""

    def __init__(self, url: str, names: _Names) -> None:
        self._session = AmqpSession(url)
        self._names = names
        self._lock = threading.Lock()
        self._channel: Any = None
        self._none_before = 0.0

    def poke(self, shard: int) -> None:
        with self._lock:
            if time.monotonic() < self._none_before:
                return
            try:
                self._publish(shard)
            except ERRORS as error:
                self._channel = None
                self._session.drop()
                self._none_before = time.monotonic() + POKE_PAUSE_S
                logger.debug("poke of shard %d: %s", shard, error)

    def close(self) -> None:
        with self._lock:
            self._channel = None
            self._session.close()

    def _publish(self, shard: int) -> None:
        message = _message(b"", TRANSIENT)
        queue = self._names.pokes(shard)
        if self._channel is not None:
            try:
                self._channel.basic_publish(message, "", queue)
            except ERRORS:  # the broker has restarted since: one more try, on a new connection
                self._session.drop()
            else:
                return
        self._channel = self._session.channel()
        self._channel.basic_publish(message, "", queue)


class _Names:
    """The names of a namespace's queues."""

    def __init__(self, namespace: str) -> None:
        self._prefix = f"saga.{namespace}"

    def replies(self, shard: int) -> str:
        return f"{self._prefix}.replies.{shard}"

    def pokes(self, shard: int) -> str:
        return f"{self._prefix}.pokes.{shard}"


def _message(body: bytes, delivery_mode: int) -> amqp.Message:
    return amqp.Message(
        body,
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=delivery_mode,
        message_id=str(uuid.uuid4()),
    )


def _task(message: TaskMessage) -> Outgoing:
    return Outgoing(
        message.queue,
        amqp.Message(
            message.body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=PERSISTENT,
            priority=0,
            message_id=message.task_id,
            correlation_id=message.task_id,
            application_headers=dict(message.headers),
        ),
    )
