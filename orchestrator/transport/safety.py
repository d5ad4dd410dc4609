"""Is the broker there, and is it one that keeps what it is given? Asked at every start, and by the doctor.

An evicting Redis throws away queued messages without a word, so it is refused. What only costs time after a crash is a
warning: every command has a deadline and is dispatched again from the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import amqp
import msgspec
import redis
from celery import Celery
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from orchestrator.errors import TransportUnavailableError, UnsafeBrokerError
from orchestrator.transport.brokers.address import BrokerAddress, BrokerKind, parse_broker
from orchestrator.transport.brokers.amqp_session import ERRORS, AmqpSession
from orchestrator.transport.brokers.redis import connect

SAFE_POLICY = "noeviction"
WORKERS_ANSWER_S = 1.5
"""How long workers are given to say which queues they serve."""


_ASKING_ERRORS: tuple[type[Exception], ...] = (redis.RedisError, *ERRORS)


class BrokerState(msgspec.Struct, frozen=True):
    """What a broker says of itself."""

    kind: BrokerKind
    policy: str = ""
    """Redis: what it does when its memory is full. Empty for RabbitMQ, and where it doesn't tell."""
    warnings: tuple[str, ...] = ()


class QueueState(msgspec.Struct, frozen=True):
    """One queue: how much waits in it, and how many workers read it."""

    name: str
    waiting: int
    workers: int


def broker_state(url: str, *, wait_s: float = 0.0) -> BrokerState:
    """Ask a broker about itself, trying for up to ``wait_s`` to reach it.

    Raises ``TransportUnavailableError``; ``SettingsError`` for a URL that names no broker we know.
    """
    address = parse_broker(url)
    ask = _redis_state if address.kind == "redis" else _rabbitmq_state
    retrying = Retrying(
        retry=retry_if_exception_type(TransportUnavailableError),
        stop=stop_after_delay(wait_s),
        wait=wait_random_exponential(multiplier=0.1, max=2.0),
        reraise=True,
    )
    return retrying(ask, address)


def require_safe_broker(url: str, *, wait_s: float = 0.0) -> BrokerState:
    """As ``broker_state``; raises ``UnsafeBrokerError`` for a broker that throws messages away."""
    state = broker_state(url, wait_s=wait_s)
    if state.policy and state.policy != SAFE_POLICY:
        raise UnsafeBrokerError(
            f"Redis at {parse_broker(url).redacted} evicts when its memory is full (maxmemory-policy "
            f"{state.policy}), so queued commands would vanish: run CONFIG SET maxmemory-policy {SAFE_POLICY}, "
            "and set it in its configuration file"
        )
    return state


def queue_states(app: Celery, queues: Sequence[str]) -> list[QueueState]:
    """Return depth and readers of each queue, in the order given; one that doesn't exist yet is empty.

    On Redis the workers themselves are asked, which takes ``WORKERS_ANSWER_S``. Raises ``TransportUnavailableError``.
    """
    address = parse_broker(app.conf.broker_url)
    if address.kind == "rabbitmq":
        return _rabbitmq_queues(address, queues)
    return _redis_queues(address, app, queues)


def _redis_state(address: BrokerAddress) -> BrokerState:
    client = connect(address.url)
    try:
        told: dict[str, Any] = dict(client.info())
        policy = str(told.get("maxmemory_policy") or _configured_policy(client))
    except redis.RedisError as error:
        raise _unreachable(address, error) from error
    finally:
        client.close()
    warnings = []
    if not policy:
        warnings.append(
            f"Redis doesn't tell its maxmemory-policy; make sure that it is {SAFE_POLICY}"
        )
    if not told.get("aof_enabled"):
        warnings.append(
            "Redis keeps no append-only file: after its crash, what was queued waits for its deadlines; "
            "set appendonly yes"
        )
    return BrokerState("redis", policy, tuple(warnings))


def _configured_policy(client: redis.Redis) -> str:
    try:
        settings: dict[Any, Any] = dict(client.config_get("maxmemory-policy"))
    except redis.ResponseError:  # forbidden: it is so on managed servers
        return ""
    return str(settings.get("maxmemory-policy", ""))


def _rabbitmq_state(address: BrokerAddress) -> BrokerState:
    session = AmqpSession(address.url)
    try:
        session.connect()
    except ERRORS as error:
        raise _unreachable(address, error) from error
    finally:
        session.close()
    return BrokerState("rabbitmq")


def _redis_queues(address: BrokerAddress, app: Celery, queues: Sequence[str]) -> list[QueueState]:
    client = connect(address.url)
    try:
        waiting = [int(client.llen(queue)) for queue in queues]
        answers = app.control.inspect(timeout=WORKERS_ANSWER_S).active_queues() or {}
    except _ASKING_ERRORS as error:
        raise _unreachable(address, error) from error
    finally:
        client.close()
    served = [queue["name"] for served_by in answers.values() for queue in served_by]
    return [
        QueueState(queue, depth, served.count(queue))
        for queue, depth in zip(queues, waiting, strict=True)
    ]


def _rabbitmq_queues(address: BrokerAddress, queues: Sequence[str]) -> list[QueueState]:
    session = AmqpSession(address.url)
    try:
        return [_rabbitmq_queue(session, queue) for queue in queues]
    except ERRORS as error:
        raise _unreachable(address, error) from error
    finally:
        session.close()


def _rabbitmq_queue(session: AmqpSession, queue: str) -> QueueState:
    channel = session.channel()  # its own: asking for a queue that isn't there closes it
    try:
        declared = channel.queue_declare(queue, passive=True)
    except amqp.NotFound:
        return QueueState(queue, 0, 0)
    channel.close()
    return QueueState(queue, declared.message_count, declared.consumer_count)


def _unreachable(address: BrokerAddress, error: Exception) -> TransportUnavailableError:
    return TransportUnavailableError(
        f"the broker at {address.redacted} can't be reached: {error}; start it, or name another with "
        "SAGA_BROKER_URL"
    )
