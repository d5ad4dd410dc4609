"""The checks of a broker, against real ones."""

from pathlib import Path

import pytest
import redis

from orchestrator.errors import SettingsError, TransportUnavailableError, UnsafeBrokerError
from orchestrator.transport.celery_app import make_celery
from orchestrator.transport.port import Bundle
from orchestrator.transport.presence import worker_states
from orchestrator.transport.safety import (
    QueueState,
    broker_state,
    queue_states,
    require_safe_broker,
)
from tests.contract.transport_stacks import QUEUE, CeleryStack, celery_stack, command
from tests.servers import RabbitMQ, Valkey
from tests.servers.base import free_port
from tests.waiting import eventually


def test_a_safe_redis_is_taken(redis_url: str) -> None:
    state = require_safe_broker(redis_url)

    assert (state.kind, state.policy, state.warnings) == ("redis", "noeviction", ())


def test_an_evicting_redis_is_refused_with_the_way_out(own_redis: Valkey) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")

    with pytest.raises(UnsafeBrokerError, match="CONFIG SET maxmemory-policy noeviction"):
        require_safe_broker(own_redis.url)


def test_a_redis_that_keeps_nothing_is_a_warning(own_redis: Valkey) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("appendonly", "no")

    [warning] = require_safe_broker(own_redis.url).warnings

    assert "appendonly yes" in warning


def test_a_redis_that_forbids_its_configuration_is_asked_otherwise(own_redis: Valkey) -> None:
    with redis.Redis.from_url(own_redis.url) as client:
        client.acl_setuser(
            "app",
            enabled=True,
            passwords=["+secret"],
            categories=["+@all"],
            commands=["-config"],
            keys=["*"],
        )
    url = own_redis.url.replace("redis://", "redis://app:secret@")

    assert require_safe_broker(url).policy == "noeviction"


def test_a_rabbitmq_is_taken(rabbitmq_url: str) -> None:
    assert require_safe_broker(rabbitmq_url).kind == "rabbitmq"


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_not_there_is_named_without_its_password(scheme: str) -> None:
    port = free_port()

    with pytest.raises(TransportUnavailableError) as caught:
        broker_state(f"{scheme}://me:secret@127.0.0.1:{port}/0", wait_s=0.3)

    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_broker_that_comes_up_late_is_waited_for(own_redis: Valkey) -> None:
    own_redis.kill()
    with pytest.raises(TransportUnavailableError):
        broker_state(own_redis.url)
    own_redis.start()

    assert broker_state(own_redis.url, wait_s=10).policy == "noeviction"


def test_a_broker_we_do_not_know_is_refused() -> None:
    with pytest.raises(SettingsError, match="redis://"):
        broker_state("kafka://localhost")


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_queues_tell_what_waits_and_who_reads(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    server: Valkey | RabbitMQ = request.getfixturevalue(f"{kind}_server")
    lent = server.database() if isinstance(server, Valkey) else server.vhost()
    with lent as url:
        sender = CeleryStack(url, tmp_path / "none.log")
        sender.transport().dispatch([Bundle("other", (command(1),))] * 3)
        with celery_stack(url, tmp_path / "worker.log") as stack:
            expected = [
                QueueState("other", 3, 0),
                QueueState(QUEUE, 0, 1),
                QueueState("none", 0, 0),
            ]
            eventually(lambda: queue_states(stack.app, ["other", QUEUE, "none"]) == expected, 20)
            [state] = worker_states(stack.app, stack.namespace)
            assert (state.pid, state.processes) == (stack.worker_pid, 2)
            assert state.name.startswith("celery@")
            assert (state.queues, state.participants) == ((QUEUE,), ("scripted.echo",))
        sender.close()


def test_queues_of_a_broker_that_is_not_there() -> None:
    for scheme in ("redis", "amqp"):
        with pytest.raises(TransportUnavailableError):
            queue_states(make_celery(f"{scheme}://127.0.0.1:{free_port()}/0"), ["any"])
        with pytest.raises(TransportUnavailableError):
            worker_states(make_celery(f"{scheme}://127.0.0.1:{free_port()}/0"), "any")
