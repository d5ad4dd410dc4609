"""Opening the right kind of link for a broker's URL."""

from __future__ import annotations

from orchestrator.transport.brokers.address import parse_broker
from orchestrator.transport.brokers.port import CoordinatorLink, WorkerLink
from orchestrator.transport.brokers.rabbitmq import RabbitCoordinatorLink, RabbitWorkerLink
from orchestrator.transport.brokers.redis import RedisCoordinatorLink, RedisWorkerLink


def coordinator_link(broker_url: str, namespace: str) -> CoordinatorLink:
    """Return a coordinator's end; connects when first used. Raises ``SettingsError``."""
    address = parse_broker(broker_url)
    if address.kind == "redis":
        return RedisCoordinatorLink(address.url, namespace)
    return RabbitCoordinatorLink(address.url, namespace)


def worker_link(broker_url: str, namespace: str) -> WorkerLink:
    """Return a worker process's end; connects when first used. Raises ``SettingsError``."""
    address = parse_broker(broker_url)
    if address.kind == "redis":
        return RedisWorkerLink(address.url, namespace)
    return RabbitWorkerLink(address.url, namespace)
