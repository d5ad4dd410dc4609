"""Reply streams on Redis, against fakeredis: positions, deletion, faults between the calls."""

from collections.abc import Iterator
from typing import Any

import fakeredis
import pytest
import redis

from orchestrator.errors import TransportUnavailableError
from orchestrator.transport.brokers import redis as redis_broker
from orchestrator.transport.brokers.port import Parcel, TaskMessage
from orchestrator.transport.brokers.redis import RedisCoordinatorLink, RedisWorkerLink

STREAM = "saga:ns:replies:7"


@pytest.fixture
def server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def client(server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch) -> redis.Redis:
    def connect(_url: str, **_: float) -> Any:
        return fakeredis.FakeRedis(server=server)

    monkeypatch.setattr(redis_broker, "connect", connect)
    own: redis.Redis = connect("")
    return own


@pytest.fixture
def link(client: redis.Redis) -> Iterator[RedisCoordinatorLink]:
    link = RedisCoordinatorLink("", "ns")
    yield link
    link.close()


@pytest.fixture
def worker(client: redis.Redis) -> RedisWorkerLink:
    return RedisWorkerLink("", "ns")


def entries(parcels: list[Parcel]) -> list[tuple[int, str]]:
    return [(parcel.shard, parcel.entry) for parcel in parcels]


def data(parcels: list[Parcel]) -> list[bytes]:
    return [parcel.data for parcel in parcels]


def test_replies_come_in_order_and_once(
    link: RedisCoordinatorLink, worker: RedisWorkerLink
) -> None:
    worker.send([(7, "a"), (8, "x"), (7, "b")])
    assert data(link.receive([7], 0)) == [b"a", b"b"]
    worker.send([(7, "c")])

    assert data(link.receive([7], 0)) == [b"c"]
    assert data(link.receive([8], 0)) == [b"x"]
    assert link.receive([7, 8], 0) == []


def test_what_is_forgotten_is_deleted(
    link: RedisCoordinatorLink, worker: RedisWorkerLink, client: redis.Redis
) -> None:
    worker.send([(7, "a"), (7, "b")])
    first, second = link.receive([7], 0)
    link.forget(entries([first]))

    assert client.xlen(STREAM) == 1
    link.release(7)
    assert link.receive([7], 0) == [second]


def test_what_could_not_be_deleted_is_deleted_later_and_not_returned_meanwhile(
    link: RedisCoordinatorLink,
    worker: RedisWorkerLink,
    client: redis.Redis,
    server: fakeredis.FakeServer,
) -> None:
    worker.send([(7, "a")])
    parcels = link.receive([7], 0)
    server.connected = False
    link.forget(entries(parcels))
    with pytest.raises(TransportUnavailableError):
        link.receive([7], 0)
    server.connected = True

    assert client.xlen(STREAM) == 1
    assert link.receive([7], 0) == []
    assert client.xlen(STREAM) == 0


def test_after_a_fault_what_is_held_is_not_returned_again(
    link: RedisCoordinatorLink, worker: RedisWorkerLink, server: fakeredis.FakeServer
) -> None:
    worker.send([(7, "a")])
    link.receive([7], 0)
    server.connected = False
    with pytest.raises(TransportUnavailableError):
        link.receive([7], 0)
    server.connected = True
    worker.send([(7, "b")])

    assert data(link.receive([7], 0)) == [b"b"]


def test_entries_below_the_last_one_seen_are_found(
    link: RedisCoordinatorLink, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a broker that lost its data and whose clock went back."""
    client.xadd(STREAM, {"e": "late"}, id="9000000000000-0")
    assert data(link.receive([7], 0)) == [b"late"]
    client.delete(STREAM)
    client.xadd(STREAM, {"e": "early"}, id="1000-0")
    monkeypatch.setattr(redis_broker, "REWIND_EVERY_S", -1.0)

    found = link.receive([7], 0) + link.receive([7], 0)

    assert data(found) == [b"early"]


def test_a_long_backlog_comes_in_pieces(
    link: RedisCoordinatorLink, worker: RedisWorkerLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "READ_AT_ONCE", 10)
    worker.send([(7, str(number)) for number in range(25)])

    pieces = [data(link.receive([7], 0)) for _ in range(4)]

    assert [len(piece) for piece in pieces] == [10, 10, 5, 0]
    assert [item for piece in pieces for item in piece] == [b"%d" % n for n in range(25)]


def test_an_entry_that_is_not_ours_is_handed_on_to_be_dropped(
    link: RedisCoordinatorLink, client: redis.Redis
) -> None:
    client.xadd(STREAM, {"other": "field"})

    assert data(link.receive([7], 0)) == [b""]


def test_a_poke_is_one_short_lived_entry(link: RedisCoordinatorLink, client: redis.Redis) -> None:
    for _ in range(100):
        link.poke(7)

    assert client.xlen("saga:ns:pokes:7") == 1
    assert 0 < client.ttl("saga:ns:pokes:7") <= redis_broker.POKE_LIVES_S
    assert link.receive([7], 5) == []  # at once


def test_a_poke_into_the_dark_is_not_repeated_at_once(
    link: RedisCoordinatorLink, server: fakeredis.FakeServer, client: redis.Redis
) -> None:
    server.connected = False
    link.poke(7)
    server.connected = True
    link.poke(7)

    assert client.xlen("saga:ns:pokes:7") == 0


def test_publishing_says_which_messages_failed(
    link: RedisCoordinatorLink, client: redis.Redis, server: fakeredis.FakeServer
) -> None:
    client.set("no list", "text")
    messages = [TaskMessage(queue, "id", {}, b"[]") for queue in ("queue", "no list", "queue")]

    outcome = link.publish(messages)

    assert [type(error) for error in outcome] == [type(None), redis.ResponseError, type(None)]
    assert client.llen("queue") == 2
    server.connected = False
    assert all(isinstance(e, TransportUnavailableError) for e in link.publish(messages))


def test_many_bytes_go_in_several_round_trips(
    link: RedisCoordinatorLink, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_broker, "PUBLISH_AT_ONCE_BYTES", 1000)
    messages = [TaskMessage("queue", str(number), {}, b"x" * 400) for number in range(20)]

    assert link.publish(messages) == [None] * 20
    assert client.llen("queue") == 20


def test_a_reply_that_cannot_be_sent_is_an_error(
    worker: RedisWorkerLink, server: fakeredis.FakeServer
) -> None:
    server.connected = False

    with pytest.raises(TransportUnavailableError):
        worker.send([(7, "a")])


def test_a_closed_link_says_so(link: RedisCoordinatorLink) -> None:
    link.close()

    with pytest.raises(TransportUnavailableError, match="closed"):
        link.receive([7], 1)
