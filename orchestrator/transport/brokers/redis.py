"""Redis and Valkey: task messages on Celery's lists, replies on one stream per shard, pokes on a stream beside it.

A stream is read from the last entry seen and an entry is deleted when its answers are in the journal, so whoever owns
the shard next reads the rest from the start: no consumer groups, no second store of what is pending.
"""

from __future__ import annotations

import base64
import itertools
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport.brokers.port import Parcel, TaskMessage

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
SOCKET_TIMEOUT_S = 5.0
BLOCK_AT_MOST_S = 5.0
"""One blocking read; a longer wait is several, so that a silent connection is noticed."""
READ_AT_ONCE = 500
"""Entries per stream and read: bounds memory when much has piled up."""
PUBLISH_AT_ONCE_BYTES = 1024 * 1024
REWIND_EVERY_S = 30.0
POKE_LIVES_S = 60
POKE_PAUSE_S = 1.0
"""After a poke that failed none is tried for this long: a launch must not wait for a broker that is down."""

_FIELD = b"e"
_START = "0-0"


class RedisCoordinatorLink:
    """A coordinator's end on Redis."""

    def __init__(self, url: str, namespace: str) -> None:
        self._keys = _Keys(namespace)
        self._client = connect(url)
        self._reader = connect(url, socket_timeout_s=BLOCK_AT_MOST_S + SOCKET_TIMEOUT_S)
        self._shards: dict[int, _Shard] = {}
        self._poke_positions: dict[int, str] = {}
        self._unforgotten: list[tuple[int, str]] = []
        self._rewound_at = time.monotonic()
        self._no_poke_before = 0.0
        self._closed = threading.Event()

    def publish(self, messages: Sequence[TaskMessage]) -> list[Exception | None]:
        """Push the messages onto the lists that Celery's workers read; one round trip for many."""
        outcome: list[Exception | None] = []
        for batch in _batches([(item.queue, _wrap(item)) for item in messages]):
            if outcome and isinstance(outcome[-1], TransportUnavailableError):
                outcome += [outcome[-1]] * len(batch)  # no second wait for a broker that is away
                continue
            pipe = self._client.pipeline(transaction=False)
            for queue, wire in batch:
                pipe.lpush(queue, wire)
            try:
                results = pipe.execute(raise_on_error=False)
            except redis.RedisError as error:
                outcome += [_unavailable(error)] * len(batch)
            else:
                outcome += [item if isinstance(item, Exception) else None for item in results]
        return outcome

    def receive(self, shards: Sequence[int], timeout_s: float) -> list[Parcel]:
        """Read the streams of these shards, waiting for the first entry; see the port."""
        if not shards:
            self._closed.wait(timeout_s)
            return []
        self._forget_leftovers()
        deadline = time.monotonic() + timeout_s
        while True:
            remaining_s = deadline - time.monotonic()
            parcels, poked = self._read(shards, remaining_s)
            if parcels or poked or time.monotonic() >= deadline:
                if not parcels and time.monotonic() - self._rewound_at > REWIND_EVERY_S:
                    self._rewind()
                return parcels

    def forget(self, parcels: Sequence[tuple[int, str]]) -> None:
        """Delete these entries; see the port."""
        self._unforgotten += parcels
        self._forget_leftovers()

    def release(self, shard: int) -> None:
        """Start from the stream's beginning when the shard is received for again; see the port."""
        self._shards.pop(shard, None)

    def poke(self, shard: int) -> None:
        """Leave one entry that wakes a blocked read; see the port."""
        if time.monotonic() < self._no_poke_before:
            return
        key = self._keys.pokes(shard)
        try:
            pipe = self._client.pipeline(transaction=False)
            pipe.xadd(key, {_FIELD: b""}, maxlen=1, approximate=False)
            pipe.expire(key, POKE_LIVES_S)
            pipe.execute()
        except redis.RedisError as error:
            self._no_poke_before = time.monotonic() + POKE_PAUSE_S
            logger.debug("poke of shard %d: %s", shard, error)

    def close(self) -> None:
        """Close the connections; see the port."""
        self._closed.set()
        self._client.close()
        self._reader.close()

    def _read(self, shards: Sequence[int], wait_s: float) -> tuple[list[Parcel], bool]:
        if self._closed.is_set():
            raise TransportUnavailableError("the transport is closed")
        positions: dict[Any, Any] = {}
        for shard in shards:
            positions[self._keys.replies(shard)] = self._shard(shard).position
            positions[self._keys.pokes(shard)] = self._poke_positions.get(shard, _START)
        block_ms = int(min(wait_s, BLOCK_AT_MOST_S) * 1000)
        try:
            # A block of 0 would wait for ever.
            found = self._reader.xread(positions, READ_AT_ONCE, block_ms if block_ms > 0 else None)
        except redis.RedisError as error:
            self._rewind()
            raise _unavailable(error) from error
        return self._sort_out(found)

    def _sort_out(self, found: Iterable[Any]) -> tuple[list[Parcel], bool]:
        parcels: list[Parcel] = []
        poked = False
        for key, entries in found:
            shard, is_poke = self._keys.meaning(key.decode())
            if is_poke:
                self._poke_positions[shard] = entries[-1][0].decode()
                poked = True
            else:
                parcels += self._shard(shard).take(shard, entries)
        return parcels, poked

    def _shard(self, shard: int) -> _Shard:
        return self._shards.setdefault(shard, _Shard())

    def _rewind(self) -> None:
        """Read from the start again, leaving out what is known.

        Entry ids come from the server's clock. After its data was lost and its clock set back, new entries would be
        below the last one seen and wait for ever.
        """
        self._rewound_at = time.monotonic()
        self._poke_positions.clear()
        for shard in self._shards.values():
            shard.position = _START

    def _forget_leftovers(self) -> None:
        if not self._unforgotten:
            return
        by_shard: dict[int, list[str]] = {}
        for shard, entry in self._unforgotten:
            by_shard.setdefault(shard, []).append(entry)
        pipe = self._client.pipeline(transaction=False)
        for shard, entries in by_shard.items():
            pipe.xdel(self._keys.replies(shard), *entries)
        try:
            pipe.execute()
        except redis.RedisError as error:
            # Kept for the next call: they are known, so they aren't returned twice meanwhile.
            logger.warning("replies stay on the broker for now: %s", error)
            return
        self._unforgotten.clear()
        for shard, entries in by_shard.items():
            if shard in self._shards:
                self._shards[shard].known.difference_update(entries)


class RedisWorkerLink:
    """A worker's end on Redis."""

    def __init__(self, url: str, namespace: str) -> None:
        self._keys = _Keys(namespace)
        self._client = connect(url)

    def send(self, replies: Sequence[tuple[int, str]]) -> None:
        """Append to the streams in one round trip; see the port."""
        pipe = self._client.pipeline(transaction=False)
        for shard, sealed in replies:
            pipe.xadd(self._keys.replies(shard), {_FIELD: sealed})
        try:
            pipe.execute()
        except redis.RedisError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close the connections; see the port."""
        self._client.close()


def connect(url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> redis.Redis:
    """Return a client that fails within seconds, and once reconnects by itself.

    A pooled connection that a restarted server has closed costs one immediate second try; nothing waits here.
    """
    return redis.Redis.from_url(
        url,
        protocol=2,  # its parser in Python is the faster one
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=socket_timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )


class _Keys:
    """The names of a namespace's streams."""

    def __init__(self, namespace: str) -> None:
        self._replies = f"saga:{namespace}:replies:"
        self._pokes = f"saga:{namespace}:pokes:"

    def replies(self, shard: int) -> str:
        return f"{self._replies}{shard}"

    def pokes(self, shard: int) -> str:
        return f"{self._pokes}{shard}"

    def meaning(self, key: str) -> tuple[int, bool]:
        """Return the shard of a stream, and whether it is the one for pokes."""
        return int(key.rpartition(":")[2]), key.startswith(self._pokes)


class _Shard:
    """How far this process has read a shard's stream, and which entries it holds."""

    def __init__(self) -> None:
        self.position = _START
        self.known: set[str] = set()

    def take(self, shard: int, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Parcel]:
        parcels = []
        for raw_entry, fields in entries:
            self.position = entry = raw_entry.decode()
            if entry not in self.known:
                self.known.add(entry)
                parcels.append(Parcel(shard, entry, fields.get(_FIELD, b"")))
        return parcels


def _wrap(message: TaskMessage) -> bytes:
    """Return the message as kombu's Redis transport stores it."""
    return _encode(
        {
            "body": base64.b64encode(message.body).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": message.headers,
            "properties": {
                "correlation_id": message.task_id,
                "reply_to": "",
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": message.queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": message.task_id,
            },
        }
    )


def _batches(wires: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Cut into round trips of bounded size."""
    size = itertools.accumulate(len(wire) for _, wire in wires)
    numbered = zip(size, wires, strict=True)
    for _, group in itertools.groupby(numbered, lambda item: item[0] // PUBLISH_AT_ONCE_BYTES):
        yield [wire for _, wire in group]


def _unavailable(error: redis.RedisError) -> TransportUnavailableError:
    return TransportUnavailableError(f"Redis: {type(error).__name__}: {error}")


_encode = msgspec.json.Encoder().encode
