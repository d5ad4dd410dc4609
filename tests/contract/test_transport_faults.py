"""What must not be lost, repeated or crash when processes and brokers die and messages are forged."""

import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
from kombu import Connection

from orchestrator.errors import TransportUnavailableError
from orchestrator.kernel.events import Failure
from orchestrator.transport import task_message
from orchestrator.transport.celery_app import EXECUTE_TASK
from orchestrator.transport.celery_transport import CeleryTransport
from orchestrator.transport.envelope import Envelopes
from orchestrator.transport.messages import Answer, Work
from orchestrator.transport.port import Bundle
from tests.contract.transport_stacks import (
    KEY,
    QUEUE,
    CeleryStack,
    answers_in,
    celery_stack,
    command,
    dispatch,
    new_shard,
    receive,
    receive_all,
    runs,
)
from tests.servers import RabbitMQ, Server, Valkey
from tests.waiting import eventually

OTHER_KEY = b"another key of thirty-two bytes!"


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CeleryStack]:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    server: Valkey | RabbitMQ = request.getfixturevalue(f"{request.param}_server")
    lent = server.database() if isinstance(server, Valkey) else server.vhost()
    with lent as url, celery_stack(url, log) as running:
        yield running


@pytest.fixture
def transport(stack: CeleryStack) -> Iterator[CeleryTransport]:
    transport = stack.transport()
    yield transport
    transport.close()


@pytest.fixture
def shard() -> int:
    return new_shard()


@pytest.fixture(params=["redis", "rabbitmq"])
def broker_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["redis", "rabbitmq"])
def own_server(request: pytest.FixtureRequest) -> Server:
    server: Server = request.getfixturevalue(f"own_{request.param}")
    return server


@pytest.mark.parametrize("end", ["kill", "exit"])
def test_a_lost_process_is_told_at_once(transport: CeleryTransport, shard: int, end: str) -> None:
    dispatch(transport, command(shard))
    receive(transport, shard, answers=1)  # the worker is up
    victim, neighbour = command(shard, do=end), command(shard)
    dispatch(transport, victim, neighbour)
    started = time.monotonic()

    answers = answers_in(receive(transport, shard, answers=2))

    assert time.monotonic() - started < 2
    assert runs(answers) == runs([victim, neighbour])
    assert {answer.outcome for answer in answers} == {"lost"}
    dispatch(transport, command(shard))
    receive(transport, shard, answers=1)  # and it goes on


def test_a_message_that_takes_too_long_is_lost(
    transport: CeleryTransport, shard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_message, "KILL_GRACE_S", 0.5)
    dispatch(transport, command(shard, do="hang", timeout_s=0.5))

    [answer] = answers_in(receive(transport, shard, answers=1))

    assert answer.outcome == "lost"
    assert "TimeLimitExceeded" in str(answer.failure)


def test_a_forked_process_disposes_of_the_parents_connections(
    transport: CeleryTransport, shard: int
) -> None:
    dispatch(transport, command(shard, do="disposed"))

    [answer] = answers_in(receive(transport, shard, answers=1))

    assert answer.result == 1


def test_celerys_own_publishing_reaches_the_worker_too(
    stack: CeleryStack, transport: CeleryTransport, shard: int
) -> None:
    sealed = stack.envelopes.seal_work([command(shard)])
    stack.app.send_task(EXECUTE_TASK, args=[sealed], queue=QUEUE)

    receive(transport, shard, answers=1)


def test_work_that_cannot_be_trusted_is_dropped_and_the_worker_goes_on(
    stack: CeleryStack, transport: CeleryTransport, shard: int
) -> None:
    good = stack.envelopes.seal_work([command(shard)])
    forged = json.loads(good)
    forged["b"][0]["participant"] = "service.refund"
    bad: list[list[Any]] = [
        ["no envelope"],
        [json.dumps(forged)],
        [Envelopes().seal_work([command(shard)])],
        [Envelopes([OTHER_KEY]).seal_work([command(shard)])],
        [good[:-9]],
        [{"v": 1}],
        [None],
        ["x" * 150_000],
        [],
        [good, good],
    ]
    for args in bad:
        stack.app.send_task(EXECUTE_TASK, args=args, queue=QUEUE)
    stack.app.send_task(EXECUTE_TASK, kwargs={"sealed": good}, queue=QUEUE)
    stack.app.send_task("nobody.knows", args=[good], queue=QUEUE)
    sent = [command(shard) for _ in range(4)]
    for one in sent:
        dispatch(transport, one)

    assert runs(answers_in(receive(transport, shard, answers=4))) == runs(sent)
    assert transport.receive([shard], 0.3) == []
    for reason in ("malformed", "forged", "unsigned", "oversized"):
        assert f"dropped work ({reason}" in stack.worker_log


def test_a_pickle_is_never_opened(
    stack: CeleryStack, transport: CeleryTransport, shard: int, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    payload = b"cos\nsystem\n(S'touch " + str(touched).encode() + b"'\ntR."
    with Connection(stack.url) as connection:
        connection.Producer().publish(
            payload,
            routing_key=QUEUE,
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers={"task": EXECUTE_TASK, "id": str(uuid.uuid4()), "lang": "py"},
        )
    dispatch(transport, command(shard))

    receive(transport, shard, answers=1)
    assert not touched.exists()


def test_replies_that_cannot_be_trusted_are_counted_and_removed(
    stack: CeleryStack, transport: CeleryTransport, shard: int
) -> None:
    answer = _answer(command(shard))
    good = stack.envelopes.seal_answers([answer])
    forged = json.loads(good)
    forged["b"][0]["outcome"] = "refused"
    for bad in (
        "",
        "no envelope",
        json.dumps(forged),
        Envelopes().seal_answers([answer]),
        Envelopes([OTHER_KEY]).seal_answers([answer]),
        stack.envelopes.seal_work([command(shard)]),
        good.replace('"v":1', '"v":2'),
        "x" * 150_000,
        good,
    ):
        stack.send_reply(shard, bad)

    received = receive(transport, shard, answers=1)

    assert answers_in(received) == [answer]
    assert transport.dropped == {
        "malformed": 2,
        "forged": 2,
        "unsigned": 1,
        "misplaced": 1,
        "version": 1,
        "oversized": 1,
    }
    transport.acknowledge(received)
    transport.close()
    assert stack.transport().receive([shard], 0.2) == []


def test_a_key_is_rotated_without_a_pause(stack: CeleryStack, shard: int) -> None:
    answer = _answer(command(shard))
    for keys in ([OTHER_KEY], [KEY]):
        stack.send_reply(shard, Envelopes(keys).seal_answers([answer]))

    assert len(receive(stack.transport([OTHER_KEY, KEY]), shard, answers=2)) == 2


def test_an_orderly_stop_gives_back_what_was_not_begun(broker_url: str, tmp_path: Path) -> None:
    with celery_stack(broker_url, tmp_path / "worker.log") as stack:
        transport, shard = stack.transport(), new_shard()
        sent = [command(shard, do="sleep", seconds=0.4) for _ in range(12)]
        for one in sent:
            dispatch(transport, one)
        answers = answers_in(receive_all(transport, shard, sent[:1]))
        stack.stop_worker()
        stack.start_worker()
        already = set(runs(answers))
        answers += answers_in(
            receive_all(transport, shard, [one for one in sent if one.run not in already])
        )

        assert runs(answers) == runs(sent)
        assert {answer.outcome for answer in answers} == {"succeeded"}


@pytest.mark.chaos
def test_a_killed_worker_answers_nothing(broker_url: str, tmp_path: Path) -> None:
    with celery_stack(broker_url, tmp_path / "worker.log") as stack:
        transport, shard = stack.transport(), new_shard()
        dispatch(transport, command(shard))
        receive(transport, shard, answers=1)
        dispatch(transport, command(shard, at_once=True), command(shard, do="hang"))
        receive(transport, shard, answers=1)  # the second is under way
        _kill_all(stack.worker_pid)
        stack.wait_for_worker()

        assert transport.receive([shard], 1.0) == []


@pytest.mark.chaos
def test_a_message_that_kills_every_worker_is_given_to_two_at_most(
    rabbitmq_url: str, tmp_path: Path
) -> None:
    with celery_stack(rabbitmq_url, tmp_path / "worker.log") as stack:
        transport, shard = stack.transport(), new_shard()
        dispatch(transport, command(shard, do="kill worker"))
        stack.wait_for_worker()
        stack.start_worker()
        stack.wait_for_worker()
        stack.start_worker()
        harmless = command(shard)
        dispatch(transport, harmless)

        assert runs(answers_in(receive(transport, shard, answers=1))) == [harmless.run]


@pytest.mark.chaos
def test_a_broker_that_dies_and_comes_back(own_server: Server, tmp_path: Path) -> None:
    with celery_stack(own_server.url, tmp_path / "worker.log") as stack:
        transport, shard = stack.transport(), new_shard()
        dispatch(transport, command(shard))
        held = receive(transport, shard, answers=1)
        other = stack.transport()
        unread = command(shard)
        dispatch(transport, unread)
        transport.release(shard)
        receive(other, shard, answers=2)  # the second is there, too; and this end has read neither
        other.close()
        own_server.kill()

        started = time.monotonic()
        errors = transport.dispatch([Bundle(QUEUE, (command(shard),)) for _ in range(300)])
        assert time.monotonic() - started < 6
        assert len(errors) == 300
        assert all(isinstance(error, TransportUnavailableError) for error in errors)
        with pytest.raises(TransportUnavailableError):
            transport.receive([shard], 5)
        transport.poke(shard)  # says nothing
        transport.acknowledge(held)  # kept until the broker is back

        own_server.start()
        sent = [command(shard) for _ in range(3)]
        for one in sent:
            _dispatch_again(transport, one)
        got = receive_all(transport, shard, [unread, *sent])

        # The work itself may have been done again; the reply that was acknowledged is gone.
        assert held[0].token not in [item.token for item in got]
        transport.close()
        receive_all(stack.transport(), shard, [unread, *sent])


@pytest.mark.chaos
def test_a_broker_that_is_silent(own_server: Server, tmp_path: Path) -> None:
    with celery_stack(own_server.url, tmp_path / "worker.log") as stack:
        transport, shard = stack.transport(), new_shard()
        dispatch(transport, command(shard))
        receive(transport, shard, answers=1)
        own_server.pause()
        started = time.monotonic()
        errors = transport.dispatch([Bundle(QUEUE, (command(shard),)) for _ in range(300)])
        took_s = time.monotonic() - started
        own_server.resume()

        assert took_s < 12
        assert all(isinstance(error, TransportUnavailableError) for error in errors)
        _dispatch_again(transport, command(shard))


def test_no_message_that_celery_itself_refuses_stops_the_worker(
    redis_url: str, tmp_path: Path
) -> None:
    with celery_stack(redis_url, tmp_path / "worker.log") as stack:
        transport, shard = stack.transport(), new_shard()
        with redis.Redis.from_url(redis_url) as client:
            client.lpush(QUEUE, "no message", "{}", '{"properties": {}}', "[1]")
        dispatch(transport, command(shard))

        receive(transport, shard, answers=1)


def _dispatch_again(transport: CeleryTransport, work: Work) -> None:
    """Dispatch until the broker takes it; it may have it more than once by then."""
    eventually(lambda: transport.dispatch([Bundle(QUEUE, (work,))]) == [None])


def _answer(work: Work) -> Answer:
    return Answer(
        run=work.run,
        shard=work.shard,
        epoch=work.epoch,
        step=work.step,
        kind=work.kind,
        attempt=work.attempt,
        outcome="succeeded",
        failure=Failure("type", "message"),
    )


def _kill_all(parent: int) -> None:
    process = psutil.Process(parent)
    for each in [process, *process.children(recursive=True)]:
        os.kill(each.pid, signal.SIGKILL)
