"""A worker's metrics: counted by all its processes, served by their parent. Needs the extra ``prometheus``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from billiard import current_process
from celery.signals import worker_process_init, worker_ready, worker_shutdown

from orchestrator.participant.executor import WorkExecutor
from orchestrator.participant.metering import WorkerCounts
from orchestrator.participant.service import Service
from orchestrator.settings import Settings
from orchestrator.wiring.extras import needing_prometheus

_log = logging.getLogger(__name__)


def worker_counts(settings: Settings, services: Sequence[Service]) -> WorkerCounts | None:
    """What a worker's processes count in; None where the settings serve no metrics of it."""
    if settings.metrics.worker_port is None:
        return None
    return WorkerCounts(
        [f"{service.name}.{name}" for service in services for name in service.participants]
    )


def serve_counts(settings: Settings, executor: WorkExecutor, counts: WorkerCounts) -> None:
    """Have the worker's parent process serve what all its processes count, from when they are there."""
    with needing_prometheus():
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
