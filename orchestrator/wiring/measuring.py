"""A coordinator's metrics, where the settings serve them. Needs the extra ``prometheus``.

Without a port in the settings nothing is counted, and the library isn't even imported.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.settings import Settings
from orchestrator.wiring.extras import needing_prometheus

if TYPE_CHECKING:
    from orchestrator.coordinator.metering import Meter

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
    with needing_prometheus():
        from orchestrator.coordinator.metrics import PrometheusMeter  # noqa: PLC0415
        from orchestrator.telemetry.prometheus import Served  # noqa: PLC0415
    meter = PrometheusMeter()
    served = Served(meter.registry, settings.metrics.host, port)
    _log.info("metrics on http://%s:%d/metrics", settings.metrics.host, served.port)
    try:
        yield meter
    finally:
        served.close()
