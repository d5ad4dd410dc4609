"""Which metrics are served where: the settings' part of wiring that needs the extra ``prometheus``.

Without a port in the settings nothing is counted, and the library isn't even imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from billiard import current_process
from celery.signals import worker_process_init, worker_ready, worker_shutdown

from orchestrator.coordinator.metering import Meter
from orchestrator.errors import SettingsError
from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.metering import WorkerCounts
from orchestrator.participant.service import Service
from orchestrator.settings import Settings

_log = logging.getLogger(__name__)


@contextmanager
def measured(settings: Settings) -> Iterator[Meter | None]:
    """A meter for one coordinator whose metrics are served meanwhile, where the settings say so; else None.

    Raises ``SettingsError``, also where the extra ``prometheus`` is missing.
    """
    port = settings.metrics.coordinator_port
    if port is None:
        yield None
        return
    with _needing_prometheus():
        from orchestrator.coordinator.metrics import PrometheusMeter  # noqa: PLC0415
        from orchestrator.telemetry.prometheus import Served  # noqa: PLC0415
    meter = PrometheusMeter()
    served = Served(meter.registry, settings.metrics.host, port)
    _log.info("metrics on http://%s:%d/metrics", settings.metrics.host, served.port)
    try:
        yield meter
    finally:
        served.close()


def worker_counts(settings: Settings, services: Sequence[Service]) -> WorkerCounts | None:
    """What a worker's processes count in; None where the settings serve no metrics of it."""
    if settings.metrics.worker_port is None:
        return None
    return WorkerCounts(
        [f"{service.name}.{name}" for service in services for name in service.participants]
    )


def serve_counts(settings: Settings, executor: WorkExecutor, counts: WorkerCounts) -> None:
    """Have the worker's parent process serve what all its processes count, from when they are there."""
    with _needing_prometheus():
        from orchestrator.participant.metrics import worker_registry  # noqa: PLC0415
        from orchestrator.telemetry.prometheus import Served  # noqa: PLC0415
    registry = worker_registry(counts, lambda: executor.prepared)

    def serve(**_: Any) -> None:
        served = Served(registry, settings.metrics.host, settings.metrics.worker_port or 0)
        _log.info("metrics on http://%s:%d/metrics", settings.metrics.host, served.port)
        worker_shutdown.connect(lambda **_: served.close(), weak=False)

    def forked(**_: Any) -> None:
        counts.use_row(getattr(current_process(), "index", 0))

    worker_ready.connect(serve, weak=False)
    worker_process_init.connect(forked, weak=False)


@contextmanager
def _needing_prometheus() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("orchestrator"):
            raise
        raise SettingsError(
            f"metrics need {error.name}: pip install 'saga-orchestrator[prometheus]', or set no port for them"
        ) from error
