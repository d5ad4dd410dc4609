"""The metrics of the catalog in Prometheus' format. Needs the extra ``prometheus``; imported by those who serve them.

Each process part has a registry of its own, so that two coordinators in one process don't mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import start_http_server
from prometheus_client.registry import Collector

from orchestrator.errors import SettingsError
from orchestrator.telemetry.catalog import BY_NAME

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Values = Mapping[tuple[str, ...], float]
"""By the values of the labels, in the catalog's order."""


def counted(name: str, values: Values) -> CounterMetricFamily:
    """A counter whose values are kept elsewhere."""
    metric = BY_NAME[name]
    family = CounterMetricFamily(name.removesuffix("_total"), metric.says, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def gauged(name: str, values: Values) -> GaugeMetricFamily:
    """A gauge whose values are kept elsewhere."""
    metric = BY_NAME[name]
    family = GaugeMetricFamily(name, metric.says, labels=metric.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def bucketed(
    name: str, spreads: Mapping[tuple[str, ...], tuple[Sequence[float], float]]
) -> HistogramMetricFamily:
    """A histogram: per labels how many fell into each of the catalog's buckets and beyond, and their sum."""
    metric = BY_NAME[name]
    bounds = [*map(str, map(float, metric.buckets)), "+Inf"]
    family = HistogramMetricFamily(name, metric.says, labels=metric.labels)
    for labels, (numbers, total) in spreads.items():
        family.add_metric(labels, list(zip(bounds, accumulate(numbers), strict=True)), total)
    return family


class Collected(Collector):
    """What is worked out when it is asked for."""

    def __init__(self, families: Callable[[], Iterable[Family]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Any]:
        """The families, as they are now."""
        return self._families()

    def describe(self) -> Iterable[Any]:
        """Nothing: the names are unique by the catalog, and asking for them now would be too early."""
        return ()


def page(registry: CollectorRegistry) -> bytes:
    """Everything as Prometheus reads it."""
    return generate_latest(registry)


class Served:
    """An HTTP server for a registry, on a thread, until ``close``. Raises ``SettingsError`` if it can't listen."""

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise SettingsError(
                f"metrics can't be served on {host}:{port}: {error.strerror or error}; another process of this"
                " machine may have the port"
            ) from error
        self.port: int = self._server.server_port
        """The one given, or, for 0, the one that was free."""

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
