"""The app's settings are those that were measured to lose nothing."""

from typing import Any

import pytest

from orchestrator.errors import SettingsError
from orchestrator.transport.brokers.address import parse_broker
from orchestrator.transport.celery_app import make_celery


def test_nothing_but_json_is_read_or_written() -> None:
    conf = make_celery("redis://localhost/0").conf

    assert conf.accept_content == ["json"]
    assert conf.task_serializer == conf.event_serializer == "json"


@pytest.mark.parametrize("url", ["redis://localhost/0", "amqp://localhost//"])
def test_no_results_no_retries_no_chatter(url: str) -> None:
    conf: Any = make_celery(url).conf

    assert conf.result_backend is None
    assert conf.task_ignore_result
    assert conf.task_acks_late
    assert not conf.task_reject_on_worker_lost
    assert not conf.task_send_sent_event
    assert not conf.worker_send_task_events
    assert conf.broker_connection_max_retries is None


def test_rabbitmq_confirms_what_is_published() -> None:
    assert make_celery("amqp://localhost//").conf.broker_transport_options["confirm_publish"]


def test_redis_is_never_waited_for_in_silence() -> None:
    options = make_celery("redis://localhost/0").conf.broker_transport_options

    assert options["socket_timeout"] <= 15
    assert options["socket_connect_timeout"] <= 5
    assert options["health_check_interval"] <= 10
    assert options["socket_keepalive"]
    assert not options["ack_emulation"]


def test_settings_of_ones_own_go_before_ours() -> None:
    conf = make_celery("redis://localhost/0", worker_prefetch_multiplier=7).conf

    assert conf.worker_prefetch_multiplier == 7


def test_valkey_is_redis() -> None:
    assert parse_broker("valkey://user:pw@host:1/2") == ("redis", "redis://user:pw@host:1/2")
    assert parse_broker("valkeys://host") == ("redis", "rediss://host")
    assert parse_broker("amqps://host/v") == ("rabbitmq", "amqps://host/v")


@pytest.mark.parametrize(
    "url", ["", "localhost", "sqs://", "kafka://host", "redis://a;redis://b", "memory://"]
)
def test_other_brokers_are_refused_with_those_we_know(url: str) -> None:
    with pytest.raises(SettingsError):
        make_celery(url)


def test_a_password_is_not_shown() -> None:
    for url in ("redis://:secret@host:1/0", "amqp://me:secret@host/v"):
        assert "secret" not in parse_broker(url).redacted
        assert "host" in parse_broker(url).redacted
