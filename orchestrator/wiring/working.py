"""A Celery worker for the participants of the user's modules."""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery

from orchestrator.errors import SettingsError
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.metering import WorkerCounts
from orchestrator.participant.registry import Registry
from orchestrator.participant.service import Service
from orchestrator.participant.two_phase.sweep import SweepOptions
from orchestrator.settings import Settings
from orchestrator.transport.worker import install
from orchestrator.wiring.apps import definitions
from orchestrator.wiring.broker import celery_app, message_limit_bytes, signing_keys
from orchestrator.wiring.counting import serve_counts, worker_counts


def worker_app(settings: Settings) -> Celery:
    """A Celery app that carries out the participants of the settings' modules."""
    services = definitions(settings.apps).services
    if not services:
        raise SettingsError(
            "no service in apps: name the modules that define participants, as SAGA_APPS=mypackage"
        )
    app = celery_app(settings)
    counts = worker_counts(settings, services)
    executor = work_executor(settings, services, counts)
    install(
        app,
        executor,
        namespace=settings.namespace,
        keys=signing_keys(settings),
        limit_bytes=message_limit_bytes(settings),
        on_dropped=None if counts is None else counts.dropped,
    )
    if counts is not None:
        serve_counts(settings, executor, counts)
    return app


def work_executor(
    settings: Settings, services: Iterable[Service], counts: WorkerCounts | None = None
) -> WorkExecutor:
    """What carries out the commands of a message, and holds their answers together."""
    hold_s = settings.bundle_work_s
    return WorkExecutor(Registry.of(services), sweep_options(settings), counts, hold_s=hold_s)


def sweep_options(settings: Settings) -> SweepOptions:
    """The sweep's part of the settings."""
    return SweepOptions(settings.sweep_s, settings.in_doubt_s, settings.in_doubt_s * 5)
