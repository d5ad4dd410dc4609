"""The broker of the settings: the Celery app, and the coordinator's end of the transport."""

from __future__ import annotations

from celery import Celery

from orchestrator.settings import Settings
from orchestrator.transport.celery_app import make_celery
from orchestrator.transport.celery_transport import CeleryTransport


def celery_app(settings: Settings) -> Celery:
    """The Celery app, for publishing and for workers."""
    return make_celery(settings.broker_url)


def transport(settings: Settings) -> CeleryTransport:
    """The coordinator's end of the broker."""
    return CeleryTransport(
        celery_app(settings),
        namespace=settings.namespace,
        keys=signing_keys(settings),
        limit_bytes=message_limit_bytes(settings),
    )


def signing_keys(settings: Settings) -> tuple[bytes, ...]:
    """The keys messages are signed with, the first one, and accepted with, all."""
    return tuple(key.get_secret_value().encode() for key in settings.signing_keys)


def message_limit_bytes(settings: Settings) -> int:
    """The longest message that is read: a bundle holds several payloads."""
    return settings.payload_limit_bytes * 4
