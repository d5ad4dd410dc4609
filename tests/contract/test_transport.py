"""What every transport does, in this process and on real brokers with a real Celery worker."""

import threading
import time
from collections.abc import Iterator

import pytest

from orchestrator.errors import EnvelopeError
from orchestrator.transport.port import Bundle, CoordinatorTransport
from tests.contract.transport_stacks import (
    QUEUE,
    LocalStack,
    Stack,
    answers_in,
    celery_stack,
    command,
    dispatch,
    new_shard,
    receive,
    runs,
)
from tests.servers import RabbitMQ, Valkey


@pytest.fixture(scope="module", params=["local", "redis", "rabbitmq"])
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    if request.param == "local":
        local = LocalStack()
        yield local
        local.close()
    elif request.param == "redis":
        valkey: Valkey = request.getfixturevalue("redis_server")
        with valkey.database() as url, celery_stack(url, log) as on_redis:
            yield on_redis
    else:
        rabbitmq: RabbitMQ = request.getfixturevalue("rabbitmq_server")
        with rabbitmq.vhost() as url, celery_stack(url, log) as on_rabbitmq:
            yield on_rabbitmq


@pytest.fixture
def transport(stack: Stack) -> Iterator[CoordinatorTransport]:
    transport = stack.transport()
    yield transport
    transport.close()


@pytest.fixture
def shard() -> int:
    return new_shard()


def test_every_command_is_answered_once(transport: CoordinatorTransport, shard: int) -> None:
    commands = [command(shard, number=number) for number in range(70)]
    bundles = [
        Bundle(QUEUE, tuple(commands[:50])),
        *(Bundle(QUEUE, (one,)) for one in commands[50:]),
    ]

    assert transport.dispatch(bundles) == [None] * len(bundles)
    received = receive(transport, shard, answers=70)
    transport.acknowledge(received)

    assert runs(answers_in(received)) == runs(commands)
    assert transport.receive([shard], 0.2) == []


def test_an_answer_names_its_command_and_carries_the_result(
    transport: CoordinatorTransport, shard: int
) -> None:
    sent = command(shard, text="Zwölf Boxkämpfer 🥊", nested={"list": [1, None, 2.5]})
    dispatch(transport, sent)

    [answer] = answers_in(receive(transport, shard, answers=1))

    assert (answer.run, answer.shard, answer.epoch) == (sent.run, shard, 1)
    assert (answer.step, answer.kind, answer.attempt) == ("step", "do", 1)
    assert answer.outcome == "succeeded"
    assert answer.result == sent.args
    assert answer.result is not sent.args


def test_answers_go_to_the_shard_they_are_for(transport: CoordinatorTransport, shard: int) -> None:
    other = new_shard()
    dispatch(transport, command(shard), command(other), command(shard))

    assert {answer.shard for answer in answers_in(receive(transport, shard, answers=2))} == {shard}
    assert {answer.shard for answer in answers_in(receive(transport, other, answers=1))} == {other}


def test_what_was_returned_is_not_returned_again(
    transport: CoordinatorTransport, shard: int
) -> None:
    dispatch(transport, command(shard))
    receive(transport, shard, answers=1)

    assert transport.receive([shard], 0.2) == []


def test_what_is_not_acknowledged_comes_again_after_release(
    transport: CoordinatorTransport, shard: int
) -> None:
    commands = [command(shard) for _ in range(3)]
    for one in commands:
        dispatch(transport, one)
    received = receive(transport, shard, answers=3)
    transport.acknowledge(received[:1])
    gone = runs(answers_in(received[:1]))

    transport.release(shard)
    again = answers_in(receive(transport, shard, answers=3 - len(gone)))

    assert runs(again) == sorted(set(runs(commands)) - set(gone))
    assert transport.receive([shard], 0.2) == []


def test_the_next_owner_gets_what_is_not_acknowledged(stack: Stack, shard: int) -> None:
    first, second = stack.transport(), stack.transport()
    commands = [command(shard) for _ in range(3)]
    for one in commands:
        dispatch(first, one)
    received = receive(first, shard, answers=3)
    first.acknowledge(received[1:])
    acknowledged = runs(answers_in(received[1:]))
    first.close()  # as when its process dies: nothing is released

    again = answers_in(receive(second, shard, answers=3 - len(acknowledged)))

    assert runs(again) == sorted(set(runs(commands)) - set(acknowledged))
    second.close()


def test_answers_wait_for_an_owner(stack: Stack, shard: int) -> None:
    sender, owner = stack.transport(), stack.transport()
    dispatch(sender, command(shard))
    sender.close()

    assert len(receive(owner, shard, answers=1)) == 1
    owner.close()


def test_a_poke_wakes_a_waiting_receive(
    stack: Stack, transport: CoordinatorTransport, shard: int
) -> None:
    other = stack.transport()
    transport.receive([shard], 0)
    poke = threading.Timer(0.3, other.poke, [shard])
    poke.start()
    started = time.monotonic()

    assert transport.receive([new_shard(), shard], 10) == []

    assert 0.25 < time.monotonic() - started < 2
    poke.join()
    other.close()


def test_a_poke_is_for_one_shard(stack: Stack, transport: CoordinatorTransport, shard: int) -> None:
    transport.receive([shard], 0)
    transport.poke(new_shard())
    started = time.monotonic()

    assert transport.receive([shard], 0.3) == []
    assert time.monotonic() - started >= 0.29


def test_pokes_do_not_pile_up(transport: CoordinatorTransport, shard: int) -> None:
    transport.receive([shard], 0)
    for _ in range(500):
        transport.poke(shard)

    wakes = 0
    while True:
        started = time.monotonic()
        assert transport.receive([shard], 0.3) == []
        if time.monotonic() - started >= 0.29:
            break
        wakes += 1
    assert 1 <= wakes <= 5


def test_a_slow_command_does_not_hold_back_what_is_answered(
    transport: CoordinatorTransport, shard: int
) -> None:
    fast, slow = command(shard, at_once=True), command(shard, do="sleep", seconds=2)
    dispatch(transport, fast, slow)
    started = time.monotonic()

    assert runs(answers_in(receive(transport, shard, answers=1))) == [fast.run]
    assert time.monotonic() - started < 1.5
    assert runs(answers_in(receive(transport, shard, answers=1))) == [slow.run]


def test_a_broken_executor_is_a_lost_command(transport: CoordinatorTransport, shard: int) -> None:
    dispatch(transport, command(shard, do="fail"), command(shard))

    answers = answers_in(receive(transport, shard, answers=2))

    assert {answer.outcome for answer in answers} == {"lost"}
    assert answers[0].failure is not None
    assert "the executor is broken" in answers[0].failure.message


def test_a_bundle_that_is_too_large_goes_in_parts(
    transport: CoordinatorTransport, shard: int
) -> None:
    commands = [command(shard, data="x" * 20_000) for _ in range(30)]
    dispatch(transport, *commands)

    assert runs(answers_in(receive(transport, shard, answers=30))) == runs(commands)


def test_a_command_that_is_too_large_is_an_error_of_its_bundle_alone(
    transport: CoordinatorTransport, shard: int
) -> None:
    small = command(shard)
    errors = transport.dispatch(
        [Bundle(QUEUE, (command(shard, data="x" * 200_000),)), Bundle(QUEUE, (small,))]
    )

    assert isinstance(errors[0], EnvelopeError)
    assert errors[1] is None
    assert runs(answers_in(receive(transport, shard, answers=1))) == [small.run]


def test_an_answer_that_is_too_large_is_lost_and_says_why(
    transport: CoordinatorTransport, shard: int
) -> None:
    large, small = command(shard, do="large", size=200_000), command(shard)
    dispatch(transport, large, small)

    by_run = {answer.run: answer for answer in answers_in(receive(transport, shard, answers=2))}

    assert by_run[small.run].outcome == "succeeded"
    assert by_run[large.run].outcome == "lost"
    failure = by_run[large.run].failure
    assert failure is not None
    assert "the limit is 100000" in failure.message


def test_no_shards_is_only_a_wait(transport: CoordinatorTransport) -> None:
    started = time.monotonic()

    assert transport.receive([], 0.1) == []
    assert time.monotonic() - started < 5
